/** Rows C7 and D3 of the fault matrix: verifying finds no damage in what others do meanwhile. */
import assert from 'node:assert/strict';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import type { MemoryStore } from '../../core/src/store/memory.ts';
import { addCases } from '../support/cases.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { clockedStore, collect, makeBackup, QUIET, removeBackup, seededRandom, SMALL, UNLOCK } from '../support/repository.ts';

const DAY = 86_400_000;
const random = seededRandom(53);
const contentsOf = (count: number) => Array.from({ length: count }, () => Buffer.from(random(600)));

describe('verifying beside others', function () {
  this.timeout(120_000);

  /** Does something before every call of a verification in turn, on a repository of its own. */
  async function before(meanwhile: (store: MemoryStore, pass: (ms: number) => void) => Promise<void>): Promise<void> {
    for (let at = 1, calls = Infinity; at <= calls; at++) {
      addCases(1);
      const { store, pass } = clockedStore();
      await createRepository(store, UNLOCK, { parameters: SMALL });
      const shared = contentsOf(6);
      // Of the first backup half stays needed, so that collecting it moves what the second has of it.
      await makeBackup(await openRepository(store, UNLOCK), 1, [...shared, ...contentsOf(6)]);
      await makeBackup(await openRepository(store, UNLOCK), 2, [...shared, ...contentsOf(2)]);
      const watched = new FaultyStore(store);
      const repository = await openRepository(watched, UNLOCK);
      const opened = watched.calls.length;
      let isDone = false;
      const turn = async () => {
        if (isDone || watched.calls.length - opened < at - 1) return;
        isDone = true;
        await meanwhile(store, pass);
      };
      const [get, stat, list] = [watched.get.bind(watched), watched.stat.bind(watched), watched.list.bind(watched)];
      watched.get = async (key, opts) => turn().then(() => get(key, opts));
      watched.stat = async (key, opts) => turn().then(() => stat(key, opts));
      watched.list = async function* (prefix, opts) {
        await turn();
        yield* list(prefix, opts);
      };
      assert.deepEqual(await repository.verify('data', QUIET), [], `before call ${at}`);
      calls = watched.calls.length - opened;
    }
  }

  it('C7: a backup that is made meanwhile is not damaged', async () => {
    await before(async (store) => {
      await makeBackup(await openRepository(store, UNLOCK), 3, contentsOf(8));
    });
  });

  it('D3: what is deleted and collected meanwhile is not lost', async () => {
    await before(async (store, pass) => {
      await removeBackup(store, 1);
      for (let n = 0; n < 2; n++) {
        pass(2 * DAY);
        await collect(store);
      }
    });
  });
});
