/** Rows A3, D2, D3 and D6 of the fault matrix: garbage collection against the real code, on a store whose clock is the test's. */
import assert from 'node:assert/strict';
import { createRepository, openRepository, type PruneReport, type Repository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { all, keysUnder, makeBackup, operationOf, QUIET, restoreBackup, seededRandom, SMALL, UNLOCK } from '../support/repository.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** A store of which the test says what the time is. */
function clockedStore(): { store: MemoryStore; pass: (ms: number) => void } {
  let now = Date.parse('2026-11-22T12:00:00Z');
  return {
    store: new MemoryStore({ now: () => new Date(now) }),
    pass: (ms) => {
      now += ms;
    },
  };
}

const random = seededRandom(21);
const contentsOf = (n: number, count = 12) => Array.from({ length: count }, () => Buffer.from(random(600 + n)));

async function open(store: MemoryStore): Promise<Repository> {
  return openRepository(store, UNLOCK);
}

async function prune(store: MemoryStore): Promise<PruneReport> {
  return (await open(store)).prune({}, QUIET);
}

describe('garbage collection', function () {
  this.timeout(60_000);

  it('brings space back with the second collection, and keeps what backups need', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    const shared = contentsOf(1);
    const [first, second] = [[...shared, ...contentsOf(2, 40)], [...shared, ...contentsOf(3)]];
    await makeBackup(await open(store), 1, first);
    await makeBackup(await open(store), 2, second);
    pass(2 * DAY);
    const before = (await keysUnder(store, 'packs/')).length;
    assert.deepEqual((await prune(store)).condemn, [], 'nothing is dead');
    const repository = await open(store);
    await repository.deleteBackup((await repository.backup(operationOf(1))).id);
    const marked = await prune(store);
    assert.ok(marked.condemn.length > 0);
    assert.deepEqual(marked.delete, []);
    assert.ok((await keysUnder(store, 'packs/')).length >= before, 'nothing is deleted yet');
    pass(23 * HOUR);
    assert.deepEqual((await prune(store)).delete, [], 'the grace is not over');
    pass(2 * HOUR);
    const swept = await prune(store);
    assert.ok(swept.delete.length > 0);
    assert.ok((await keysUnder(store, 'packs/')).length < before);
    const reader = await open(store);
    assert.deepEqual(await restoreBackup(reader, await reader.backup(operationOf(2))), second);
    assert.deepEqual(await reader.verify('data', QUIET), []);
    for (let n = 0; n < 4; n++) {
      pass(2 * DAY);
      await prune(store);
    }
    const last = await open(store);
    assert.deepEqual(await last.verify('data', QUIET), []);
    assert.deepEqual(await keysUnder(store, 'sessions/'), []);
    await last.deleteBackup((await all(last.backups()))[0]!.id);
    for (let n = 0; n < 6; n++) {
      pass(2 * DAY);
      await prune(store);
    }
    assert.deepEqual(await keysUnder(store, 'packs/'), []);
  });
});
