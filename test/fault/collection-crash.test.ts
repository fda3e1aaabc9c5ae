/** Row A3 of the fault matrix: a collection that is killed at each of its store calls in turn. */
import assert from 'node:assert/strict';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import type { MemoryStore } from '../../core/src/store/memory.ts';
import { FaultyStore, StoreCrash } from '../support/faulty-store.ts';
import {
  clockedStore,
  collect,
  keysUnder,
  makeBackup,
  operationOf,
  QUIET,
  removeBackup,
  restoreBackup,
  seededRandom,
  SMALL,
  UNLOCK,
} from '../support/repository.ts';

const DAY = 24 * 3_600_000;

const random = seededRandom(21);
const contentsOf = (n: number, count = 12) => Array.from({ length: count }, () => Buffer.from(random(600 + n)));

async function open(store: MemoryStore): Promise<Repository> {
  return openRepository(store, UNLOCK);
}

describe('garbage collection that is killed', function () {
  this.timeout(60_000);

  for (const when of ['before', 'after'] as const) {
    for (const stage of ['condemns', 'deletes', 'forgets'] as const) {
      it(`A3: killed ${when} the effect of each call while it ${stage} loses nothing, and the next finishes`, async () => {
        let crashes = 0;
        for (let k = 1; ; k++) {
          const { store, pass } = clockedStore();
          await createRepository(store, UNLOCK, { parameters: SMALL });
          const shared = Array.from({ length: 4 }, (_, i) => Buffer.from(`shared ${i}`.repeat(100)));
          const kept = [...shared, ...contentsOf(3, 6)];
          await makeBackup(await open(store), 1, [...shared, ...contentsOf(2, 30)]);
          await makeBackup(await open(store), 2, kept);
          await removeBackup(store, 1);
          for (let n = 0; n < ['condemns', 'deletes', 'forgets'].indexOf(stage); n++) {
            pass(2 * DAY);
            await collect(store);
          }
          pass(2 * DAY);
          const faulty = new FaultyStore(store);
          const repository = await openRepository(faulty, UNLOCK);
          faulty.heal();
          faulty.crashAt(k, when);
          const done = await repository.prune({}, QUIET).then(
            () => true,
            (e: unknown) => {
              assert.ok(e instanceof StoreCrash, String(e));
              return false;
            },
          );
          if (done && faulty.calls.length < k) break;
          crashes++;
          const check = async () => {
            const reader = await open(store);
            assert.deepEqual(await restoreBackup(reader, await reader.backup(operationOf(2))), kept);
            assert.deepEqual(
              (await reader.verify('data', QUIET)).filter((f) => f.level === 'blocker'),
              [],
            );
          };
          await check();
          for (let n = 0; n < 4; n++) {
            pass(2 * DAY);
            await collect(store);
          }
          await check();
          await removeBackup(store, 2);
          for (let n = 0; n < 3; n++) {
            pass(2 * DAY);
            await collect(store);
          }
          assert.deepEqual(await keysUnder(store, 'packs/'), []);
        }
        assert.ok(crashes > 8, `${crashes} crash points`);
      });
    }
  }
});
