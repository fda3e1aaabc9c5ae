import assert from 'node:assert/strict';
import { Flow } from '../../core/src/repository/blobs/flow.ts';
import { Slots } from '../../core/src/slots.ts';

/** Time that passes when everything waits for it. */
class Clock {
  now = 0;
  readonly #waiting: { readonly at: number; readonly wake: () => void }[] = [];

  sleep(ms: number): Promise<void> {
    return new Promise((wake) => this.#waiting.push({ at: this.now + ms, wake }));
  }

  async until(isDone: () => boolean): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (isDone()) return;
      this.#waiting.sort((a, b) => a.at - b.at);
      const next = this.#waiting.shift();
      assert.ok(next !== undefined, 'everything waits for ever');
      this.now = next.at;
      next.wake();
    }
  }
}

/** Two threads that take 15 ms for a range of 4 MiB, which takes `fetchMs` to come. */
async function simulate(fetchMs: number, { ranges = 300, maxBytes = 200 } = {}) {
  const clock = new Clock();
  const flow = new Flow(maxBytes);
  const threads = new Slots(2);
  let [inMemory, peak, left] = [0, 0, ranges];
  const one = async (): Promise<void> => {
    await flow.run(
      4,
      async () => {
        peak = Math.max(peak, (inMemory += 4));
        await clock.sleep(fetchMs);
      },
      async () => {
        await threads.acquire();
        await clock.sleep(15);
        threads.release();
        inMemory -= 4;
      },
    );
    left -= 1;
  };
  const running = Array.from({ length: ranges }, one);
  await clock.until(() => left === 0);
  await Promise.all(running);
  return { limit: flow.limit, peak, ms: clock.now, idealMs: (ranges * 15) / 2 };
}

describe('the flow of ranges', () => {
  it('keeps few in memory from a store that is near', async () => {
    const { limit, ms, idealMs } = await simulate(1);
    assert.ok(limit <= 8, `${limit}`);
    assert.ok(ms < idealMs * 1.05, `${ms} ms`);
  });

  for (const fetchMs of [20, 50, 100])
    it(`hides ${fetchMs} ms for each request`, async () => {
      const { limit, ms, idealMs } = await simulate(fetchMs);
      assert.ok(limit <= 20, `${limit}`);
      assert.ok(ms < idealMs * 1.15, `${ms} ms instead of ${idealMs}`);
    });

  it('keeps within its bytes, and runs alone what is larger', async () => {
    assert.ok((await simulate(100, { maxBytes: 24 })).peak <= 24);
    assert.ok((await simulate(100, { maxBytes: 3, ranges: 20 })).peak <= 4);
  });

  it('goes on after what failed', async () => {
    const flow = new Flow(10);
    const fail = () => Promise.reject(new Error('no'));
    for (let n = 0; n < 50; n++) {
      await assert.rejects(flow.run(10, fail, () => Promise.resolve()));
      await assert.rejects(flow.run(10, () => Promise.resolve(), fail));
    }
    assert.equal(
      await flow.run(
        10,
        () => Promise.resolve(1),
        (n) => Promise.resolve(n + 1),
      ),
      2,
    );
  });
});
