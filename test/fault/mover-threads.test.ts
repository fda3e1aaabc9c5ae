/** Threads that die or are told nonsense, and stores that fail under them: nothing is lost, and nothing goes on behind the error. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { DmaasError } from '../../core/src/errors.ts';
import { captureVolume, type CaptureResult } from '../../core/src/mover/capture.ts';
import { populateVolume } from '../../core/src/mover/populate.ts';
import type { ToThread } from '../../core/src/mover/thread-messages.ts';
import { newOperationId } from '../../core/src/operation.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { openOrCreateRepository, type Repository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { FaultyStore, StoreCrash } from '../support/faulty-store.ts';
import { seededRandom } from '../support/repository.ts';
import { recorder, scratch, settled, UNLOCK, watchClaims } from '../support/volume.ts';

const SMALL = { chunker: { min: 2048, average: 4096, max: 16_384, block: 4096 }, packBytes: 64 << 10, nodePackBytes: 16 << 10 };

describe('the threads of a mover', function () {
  this.timeout(240_000);
  let dir: ReturnType<typeof scratch>;
  let store: FaultyStore;
  const at = (path: string): string => join(dir.path, path);
  beforeEach(() => {
    dir = scratch();
    store = new FaultyStore(new MemoryStore());
    const random = seededRandom(3);
    mkdirSync(at('source/sub'), { recursive: true });
    for (let i = 0; i < 30; i++) writeFileSync(at(`source/${i % 2 === 0 ? '' : 'sub/'}file-${String(i)}`), random(3000 + i * 400));
  });
  afterEach(() => {
    dir.rm();
  });

  const open = (): Promise<Repository> => openOrCreateRepository(store, UNLOCK, { parameters: SMALL });
  const capture = (repository: Repository): Promise<CaptureResult> =>
    captureVolume({ name: 'data', path: at('source'), mode: 'filesystem', repository, now: settled }, recorder());
  const populate = async (repository: Repository, root: BlobId, operation = newOperationId()): Promise<void> => {
    mkdirSync(at('target'), { recursive: true });
    const options = { name: 'data', path: at('target'), mode: 'filesystem', repository, root, operation } as const;
    assert.deepEqual((await populateVolume(options, recorder())).findings, []);
  };
  const assertSame = (): void => {
    execFileSync('diff', ['--recursive', at('source'), at('target')]);
    rmSync(at('target'), { recursive: true });
  };

  /** Has `meddle` see each message to a thread before it is sent; what it returns is sent. */
  async function meddling<T>(meddle: (thread: Worker, message: ToThread) => unknown, work: () => Promise<T>): Promise<T> {
    const post = Object.getOwnPropertyDescriptor(Worker.prototype, 'postMessage') as PropertyDescriptor;
    Worker.prototype.postMessage = function (this: Worker, message: ToThread, ...rest: []) {
      Reflect.apply(post.value as typeof this.postMessage, this, [meddle(this, message), ...rest]);
    };
    try {
      return await work();
    } finally {
      Object.defineProperty(Worker.prototype, 'postMessage', post);
    }
  }

  /** Kills the thread that gets the `n`-th task of a kind, as soon as it has it. */
  const killer = (kind: string, n: number) => {
    let seen = 0;
    return (thread: Worker, message: ToThread): ToThread => {
      if (message.type === 'work' && message.kind === kind && ++seen === n) void thread.terminate();
      return message;
    };
  };

  for (const kind of ['files', 'flush']) {
    it(`fail a capture when one dies with a task of the kind ${kind}, and the next one succeeds`, async () => {
      const repository = await open();
      await assert.rejects(
        meddling(killer(kind, 1), () => capture(repository)),
        (error) => DmaasError.is(error, 'MOVER_FAILED'),
      );
      const { root, findings } = await capture(repository);
      assert.deepEqual(findings, []);
      assert.deepEqual(await repository.verify('data', recorder()), []);
      await populate(repository, root);
      assertSame();
    });
  }

  it('fail a restore when one dies, which goes on where it was', async () => {
    const repository = await open();
    const { root } = await capture(repository);
    const operation = newOperationId();
    await assert.rejects(
      meddling(killer('write', 2), () => populate(repository, root, operation)),
      (error) => DmaasError.is(error, 'MOVER_FAILED'),
    );
    const open_ = readdirSync('/proc/self/fd').length;
    await populate(repository, root, operation);
    assert.ok(readdirSync('/proc/self/fd').length <= open_, 'descriptors are closed');
    assertSame();
  });

  it('call what is not foreseen a defect', async () => {
    const repository = await open();
    const nonsense = (_thread: Worker, message: ToThread): unknown => (message.type === 'work' ? { ...message, task: {} } : message);
    await assert.rejects(
      meddling(nonsense, () => capture(repository)),
      (error) => DmaasError.is(error, 'INTERNAL'),
    );
    await capture(repository);
  });

  it('stop when the work is cancelled while they read', async () => {
    const stop = new AbortController();
    const repository = watchClaims(await open(), () => {
      stop.abort();
    });
    const options = { name: 'data', path: at('source'), mode: 'filesystem', repository, now: settled } as const;
    await assert.rejects(captureVolume(options, { ...recorder(), signal: stop.signal }), (error) => DmaasError.is(error, 'CANCELLED'));
  });

  for (const when of ['before', 'after'] as const) {
    it(`lose nothing when the process dies ${when} any call to the store`, async () => {
      for (let call = 1; ; call++) {
        store = new FaultyStore(new MemoryStore());
        await open();
        store.heal();
        const repository = await open();
        store.crashAt(call, when);
        const crashed = await capture(repository).then(
          () => false,
          (error: unknown) => {
            assert.ok(error instanceof StoreCrash, String(error));
            return true;
          },
        );
        store.heal();
        if (!crashed) {
          assert.ok(call > 5, `${call} calls`);
          break;
        }
        const again = await open();
        const { root } = await capture(again);
        assert.deepEqual(await again.verify('data', recorder()), []);
        await populate(again, root);
        assertSame();
      }
    });
  }

  it('go on when an upload whose answer was lost is there', async () => {
    store.addRule({ verb: 'put', key: 'packs/', from: 2, times: 1, fault: { kind: 'error' } });
    const repository = await open();
    await assert.rejects(capture(repository), (error) => DmaasError.is(error, 'STORE_UNAVAILABLE'));
    const { root } = await capture(repository);
    await populate(repository, root);
    assertSame();
  });
});
