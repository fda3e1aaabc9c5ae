/** Rows C1 and C2 of the fault matrix: what garbage collection makes of damage that looks as if something were not needed. */
import assert from 'node:assert/strict';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import type { MemoryStore } from '../../core/src/store/memory.ts';
import { addCases } from '../support/cases.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import {
  all,
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

const DAY = 86_400_000;
const WORLDS = 6;

const random = seededRandom(47);
const contentsOf = (count: number, bytes = 600) => Array.from({ length: count }, () => Buffer.from(random(bytes)));

async function open(store: MemoryStore): Promise<Repository> {
  return openRepository(store, UNLOCK);
}

describe('garbage collection in a repository that is damaged', function () {
  this.timeout(60_000);

  it('C2: a pack that is missing or cut short takes no sound copy of its blobs away', async () => {
    for (const [fact, damage] of [
      [/ is missing$/, (store: MemoryStore, key: string) => store.delete(key)],
      [
        / has 100 bytes and was written with /,
        async (store: MemoryStore, key: string) => store.put(key, (await store.get(key))!.subarray(0, 100)),
      ],
    ] as const) {
      for (let n = 0; n < WORLDS; n++) {
        addCases(1);
        const { store, pass } = clockedStore();
        await createRepository(store, UNLOCK, { parameters: SMALL });
        const contents = contentsOf(12);
        const writers = [await open(store), await open(store)] as const;
        // At the same time, so that everything is there twice.
        await Promise.all(writers.map((writer, w) => makeBackup(writer, w, contents)));
        const packs = await keysUnder(store, 'packs/');
        const broken = packs[n % packs.length]!;
        await damage(store, broken);
        pass(2 * DAY);
        for (let tries = 0; tries < 2; tries++) {
          await assert.rejects(collect(store), { message: fact, hint: 'kubectl dmaas repository repair' });
          pass(2 * DAY);
        }
        for (const key of packs) if (key !== broken) assert.notEqual(await store.stat(key), undefined);
        // What repair has condemned keeps nothing from anybody, and does not stand in the way any more.
        await (await open(store)).repair(QUIET);
        for (let tries = 0; tries < 3; tries++) {
          pass(2 * DAY);
          await collect(store);
        }
        for (const backup of await all((await open(store)).backups())) {
          assert.deepEqual(await restoreBackup(await open(store), backup), contents);
        }
        assert.deepEqual(await (await open(store)).verify('data', QUIET), []);
      }
    }
  });

  it('C1: damage of the index that the mark meets deletes nothing', async () => {
    for (let n = 0; n < WORLDS; n++) {
      addCases(1);
      const { store, pass } = clockedStore();
      await createRepository(store, UNLOCK, { parameters: { ...SMALL, packBytes: 1 << 20, nodePackBytes: 1 << 20 } });
      // A segment of two blocks, of which the first has what a backup needs.
      const many = contentsOf(300);
      const ids = await (
        await open(store)
      ).write(async (blobs) => {
        const put: BlobId[] = [];
        for (const content of many) put.push((await blobs.put('data', content)).id);
        return put;
      });
      const [segment] = (await keysUnder(store, 'index/')) as [string];
      const first = ids.map((id, i) => ({ id, content: many[i]! })).sort((a, b) => (a.id < b.id ? -1 : 1))[3]!.content;
      // So many others that a filter takes some of them for its own, in the last block.
      const others = contentsOf(3000, 60);
      const backup = await makeBackup(await open(store), 1, [first, ...others]);
      const body = Buffer.from((await store.get(segment))!);
      body[16 + 256 * 44 + 28 + 40]! ^= 1;
      await store.put(segment, body);
      for (let tries = 0; tries < 3; tries++) {
        pass(2 * DAY);
        await assert.rejects(collect(store), { code: 'REPOSITORY_CORRUPT', message: /^nothing was deleted, because index/ });
      }
      assert.deepEqual(await restoreBackup(await open(store), backup), [first, ...others]);
    }
  });

  it('C2: what a replaced segment names stays condemned until that is gone: it counts again when its successor is damaged', async () => {
    const { store, pass } = clockedStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    const contents = contentsOf(30);
    await makeBackup(await open(store), 1, contents);
    await makeBackup(await open(store), 2, contentsOf(1));
    await removeBackup(store, 1);
    for (let tries = 0; tries < 2; tries++) {
      pass(2 * DAY);
      const dying = new FaultyStore(store, [{ verb: 'put', key: 'index/', fault: { kind: 'error' } }]);
      // The second has deleted packs and dies before their rows are gone.
      await (await openRepository(dying, UNLOCK)).prune({}, QUIET).catch(() => undefined);
    }
    const before = await keysUnder(store, 'index/');
    pass(2 * DAY);
    await collect(store);
    const merged = (await keysUnder(store, 'index/')).filter((key) => !before.includes(key));
    assert.ok(merged.length > 0);
    for (const key of merged) {
      const body = Buffer.from((await store.get(key))!);
      body[body.length - 30]! ^= 1;
      await store.put(key, body);
    }
    const writer = await open(store);
    await writer.begin(operationOf(3));
    const backup = await makeBackup(writer, 3, contents);
    assert.deepEqual(await restoreBackup(await open(store), backup), contents);
  });
});
