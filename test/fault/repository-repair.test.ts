/** Row C7 of the fault matrix: a share of the data, all of it, repair, and the backup that heals. */
import assert from 'node:assert/strict';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import {
  all,
  keysUnder,
  makeBackup,
  objectsOf,
  operationOf,
  QUIET,
  restoreBackup,
  seededRandom,
  SMALL,
  storeOf,
  UNLOCK,
} from '../support/repository.ts';

const random = seededRandom(41);
const contents = [1, 2].map((n) => Array.from({ length: 24 }, () => Buffer.from(random(900 * n))));
const blockers = async (store: MemoryStore) => {
  const findings = await (await openRepository(store, UNLOCK)).verify('data', QUIET);
  return findings.filter(({ level }) => level === 'blocker');
};

describe('verifying and repairing (C7)', function () {
  this.timeout(120_000);
  let objects: ReadonlyMap<string, Uint8Array>;
  let packs: readonly string[];

  before(async () => {
    const store = new MemoryStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    for (const [n, content] of contents.entries()) await makeBackup(await openRepository(store, UNLOCK), n + 1, content);
    objects = await objectsOf(store);
    packs = [...objects.keys()].filter((key) => key.startsWith('packs/'));
    assert.ok(packs.length > 5);
  });

  it('C7: the parts of the data together find what all of it does, each the same every time', async () => {
    for (const key of packs) {
      const body = Buffer.from(objects.get(key)!);
      body[30]! ^= 1;
      const repository = await openRepository(await storeOf(new Map([...objects, [key, body]])), UNLOCK);
      const found: number[] = [];
      for (let part = 1; part <= 5; part++) {
        for (let again = 0; again < 2; again++) {
          const findings = await repository.verify('data', QUIET, { share: { part, of: 5 } });
          if (findings.some(({ code }) => code === 'pack-damaged')) found.push(part);
        }
      }
      assert.equal(found.length, 2, key);
      assert.equal(found[0], found[1]);
    }
  });

  for (const [what, change] of [
    ['with a damaged frame', (body: Buffer) => Buffer.from(body).fill(0, 60, 70)],
    ['cut in the middle', (body: Buffer) => body.subarray(0, body.length >> 1)],
    ['without its table', (body: Buffer) => body.subarray(0, -20)],
    ['that is gone', () => undefined],
  ] as const) {
    it(`C7: a pack ${what} is healed by the next backup that has the data`, async () => {
      for (const key of packs) {
        const body = change(Buffer.from(objects.get(key)!));
        const changed = new Map(objects);
        if (body === undefined) changed.delete(key);
        else changed.set(key, body);
        const store = await storeOf(changed);
        const before = await blockers(store);
        const readable = new Set<string>();
        for (const n of [1, 2]) {
          const repository = await openRepository(store, UNLOCK);
          await restoreBackup(repository, await repository.backup(operationOf(n))).then(
            () => readable.add(operationOf(n)),
            () => undefined,
          );
        }
        const report = await (await openRepository(store, UNLOCK)).repair(QUIET);
        assert.ok(report.condemnedPacks.includes(key.slice(-32)), key);
        for (const operation of readable) {
          const repository = await openRepository(store, UNLOCK);
          const n = operation === operationOf(1) ? 0 : 1;
          assert.deepEqual(
            await restoreBackup(repository, await repository.backup(operation)),
            contents[n],
            'what could be read still can',
          );
        }
        assert.ok((await blockers(store)).length <= before.length + 1);
        for (const [n, content] of contents.entries()) await makeBackup(await openRepository(store, UNLOCK), n + 5, content);
        assert.deepEqual(await blockers(store), [], `${key} is healed`);
        const healed = await openRepository(store, UNLOCK);
        for (const n of [1, 2]) assert.deepEqual(await restoreBackup(healed, await healed.backup(operationOf(n))), contents[n - 1]);
      }
    });
  }

  it('C2, C7: a lost or damaged index is rebuilt from the packs', async () => {
    for (const change of ['lost', 'damaged'] as const) {
      const changed = new Map(objects);
      for (const [key, body] of objects) {
        if (!key.startsWith('index/')) continue;
        if (change === 'lost') changed.delete(key);
        else changed.set(key, Buffer.from(body).fill(0, 20, 60));
      }
      const store = await storeOf(changed);
      const report = await (await openRepository(store, UNLOCK)).repair(QUIET);
      assert.equal(report.indexedPacks, packs.length);
      assert.deepEqual(await (await openRepository(store, UNLOCK)).verify('data', QUIET), []);
      assert.equal(report.removedSegments.length, change === 'lost' ? 0 : 2);
      const puts = (await keysUnder(store, 'packs/')).length;
      await makeBackup(await openRepository(store, UNLOCK), 7, contents[0]!);
      assert.equal((await keysUnder(store, 'packs/')).length, puts, 'nothing is sent again');
    }
  });

  it('C7: a sound repository is left as it is', async () => {
    const store = await storeOf(objects);
    const report = await (await openRepository(store, UNLOCK)).repair(QUIET);
    assert.deepEqual(
      { ...report, findings: report.findings.length },
      {
        restoredKeys: [],
        indexedPacks: 0,
        removedSegments: [],
        settledSessions: [],
        condemnedPacks: [],
        savedBlobs: 0,
        lostBlobs: 0,
        findings: 0,
      },
    );
    assert.deepEqual(await objectsOf(store), objects);
    assert.equal((await all((await openRepository(store, UNLOCK)).backups())).length, 2);
  });
});
