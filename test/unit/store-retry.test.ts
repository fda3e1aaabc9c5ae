import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import { parseRetryAfter, withRetry } from '../../core/src/store/retry.ts';
import type { RetryClock, RetryPolicy, Verdict } from '../../core/src/store/retry.ts';

const POLICY: RetryPolicy = { attempts: 5, totalMs: 10_000, baseMs: 100, capMs: 1000 };

class Passing extends Error {}
class Lasting extends Error {}

const judge = (e: unknown): Verdict => ({
  error: new DmaasError('STORE_UNAVAILABLE', 'it failed', { cause: e }),
  retry: e instanceof Passing,
});

/** A clock on which only sleeping takes time. */
function clockWith(random: () => number): RetryClock & { readonly waits: number[] } {
  const waits: number[] = [];
  return {
    waits,
    random,
    now: () => waits.reduce((sum, ms) => sum + ms, 1_000_000),
    sleep(ms, signal) {
      waits.push(ms);
      signal?.throwIfAborted();
      return Promise.resolve();
    },
  };
}

/** Fails `times` times, then returns the number of the try. */
function failing(times: number, error: Error = new Passing()): (n: number) => Promise<number> {
  return (n) => (n <= times ? Promise.reject(error) : Promise.resolve(n));
}

describe('withRetry', () => {
  it('B1: doubles the bound of the waits up to the cap, and draws from the whole of it', async () => {
    for (const [random, waits] of [
      [() => 0.999999, [100, 200, 400, 800]],
      [() => 0, [0, 0, 0, 0]],
      [() => 0.25, [25, 50, 100, 200]],
    ] as const) {
      const clock = clockWith(random);
      assert.equal(await withRetry(failing(4), judge, { policy: POLICY, clock }), 5);
      assert.deepEqual(clock.waits.map(Math.round), waits);
    }
    const clock = clockWith(() => 1);
    await withRetry(failing(7), judge, { policy: { ...POLICY, attempts: 8 }, clock });
    assert.deepEqual(clock.waits, [100, 200, 400, 800, 1000, 1000, 1000]);
  });

  it('gives up after the last try with its error', async () => {
    const clock = clockWith(() => 0.5);
    let tries = 0;
    const call = withRetry(
      (n) => {
        tries = n;
        return Promise.reject(new Passing(`try ${n}`));
      },
      judge,
      { policy: POLICY, clock },
    );
    await assert.rejects(call, (e) => DmaasError.is(e, 'STORE_UNAVAILABLE') && e.cause instanceof Passing && e.cause.message === 'try 5');
    assert.equal(tries, 5);
    assert.equal(clock.waits.length, 4);
  });

  it('B2: gives up when the time is over', async () => {
    const clock = clockWith(() => 1);
    await assert.rejects(withRetry(failing(99), judge, { policy: { attempts: 99, totalMs: 3000, baseMs: 1000, capMs: 1000 }, clock }));
    assert.deepEqual(clock.waits, [1000, 1000]);
  });

  it('does not repeat what is bound to fail again', async () => {
    const clock = clockWith(() => 1);
    await assert.rejects(withRetry(failing(1, new Lasting()), judge, { policy: POLICY, clock }));
    await assert.rejects(withRetry(failing(1, new DmaasError('STORE_EXISTS', 'it exists')), judge, { policy: POLICY, clock }), (e) =>
      DmaasError.is(e, 'STORE_EXISTS'),
    );
    assert.deepEqual(clock.waits, []);
  });

  it('B1: waits no less than the server asks, and not at all if that is too long', async () => {
    const asking = (retryAfterMs: number) => (e: unknown) => ({ ...judge(e), retryAfterMs });
    const clock = clockWith(() => 1);
    await withRetry(failing(1), asking(5000), { policy: POLICY, clock });
    await withRetry(failing(1), asking(1), { policy: POLICY, clock });
    assert.deepEqual(clock.waits, [5000, 100]);
    await assert.rejects(withRetry(failing(1), asking(10_000), { policy: POLICY, clock }));
    assert.equal(clock.waits.length, 2);
  });

  it('stops when cancelled: before, during a try, during a wait', async () => {
    const cancelled = (e: unknown) => DmaasError.is(e, 'CANCELLED');
    const clock = clockWith(() => 1);
    const never = () => Promise.reject(new Error('it was tried'));
    await assert.rejects(withRetry(never, judge, { policy: POLICY, clock, signal: AbortSignal.abort() }), cancelled);

    const during = new AbortController();
    const abort = () => {
      during.abort();
      return Promise.reject(new Passing());
    };
    await assert.rejects(withRetry(abort, judge, { policy: POLICY, clock, signal: during.signal }), cancelled);
    assert.deepEqual(clock.waits, []);

    const asleep = new AbortController();
    const sleepy: RetryClock = {
      ...clock,
      sleep(_ms, signal) {
        asleep.abort();
        return Promise.reject(signal?.reason as Error);
      },
    };
    await assert.rejects(withRetry(failing(1), judge, { policy: POLICY, clock: sleepy, signal: asleep.signal }), cancelled);
  });
});

describe('parseRetryAfter', () => {
  it('reads seconds and dates, and nothing else', () => {
    const now = new Date('2026-11-22T12:00:00Z');
    assert.equal(parseRetryAfter('120', now), 120_000);
    assert.equal(parseRetryAfter('Sun, 22 Nov 2026 12:00:30 GMT', now), 30_000);
    assert.equal(parseRetryAfter('Sun, 22 Nov 2026 11:00:00 GMT', now), 0);
    for (const header of [undefined, 'soon', '']) assert.equal(parseRetryAfter(header, now), undefined);
  });
});
