/** Rows B9 and C6 of the fault matrix: rights that are missing, and memory that lies, under backups and collections. */
import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { ObjectStore } from '../../core/src/store/object-store.ts';
import { FaultyStore } from '../support/faulty-store.ts';
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
import { addCases } from '../support/cases.ts';

const DAY = 86_400_000;
const random = seededRandom(91);
const contentsOf = (count: number) => Array.from({ length: count }, () => Buffer.from(random(900)));
const open = (store: ObjectStore): Promise<Repository> => openRepository(store, UNLOCK);

describe('what a store refuses (B9)', function () {
  this.timeout(60_000);
  let now: number;
  let store: MemoryStore;
  const [first, second] = [contentsOf(30), contentsOf(12)];

  beforeEach(async () => {
    now = Date.parse('2026-11-22T12:00:00Z');
    store = new MemoryStore({ now: () => new Date(now) });
    await createRepository(store, UNLOCK, { parameters: SMALL });
    await makeBackup(await open(store), 1, first);
  });

  it('B9: without the right to delete, backups are made as ever, and a collection says what it may not do', async () => {
    const denied = new FaultyStore(store, [{ verb: 'delete', fault: { kind: 'error', code: 'STORE_ACCESS' } }]);
    const backup = await makeBackup(await open(denied), 2, second);
    const admin = await open(store);
    await admin.deleteBackup((await admin.backup(operationOf(1))).id);
    now += 2 * DAY;
    await (await open(denied)).prune({}, QUIET);
    now += 2 * DAY;
    const packs = await keysUnder(store, 'packs/');
    await assert.rejects((await open(denied)).prune({}, QUIET), { code: 'STORE_ACCESS' });
    assert.deepEqual(await keysUnder(store, 'packs/'), packs);
    await makeBackup(await open(denied), 3, first);
    for (const [n, contents] of [
      [2, second],
      [3, first],
    ] as const) {
      const reader = await open(denied);
      assert.deepEqual(await restoreBackup(reader, await reader.backup(operationOf(n))), contents);
    }
    // Whoever has the right finishes what was begun: sessions that could not be deleted look dead in time.
    for (let n = 0; n < 3; n++) {
      now += 2 * DAY;
      await (await open(store)).prune({}, QUIET);
    }
    const reader = await open(store);
    assert.deepEqual(await reader.verify('data', QUIET), []);
    assert.deepEqual(await restoreBackup(reader, backup), second);
    assert.ok((await keysUnder(store, 'sessions/')).length <= 12, 'of settled sessions one fence remains');
  });

  it('B9: when writing is refused in the middle, the backup fails and the older ones are untouched', async () => {
    for (let from = 1; from < 12; from++) {
      const denied = new FaultyStore(store, [{ verb: 'put', from, fault: { kind: 'error', code: 'STORE_ACCESS' } }]);
      const error: unknown = await open(denied)
        .then((repository) => makeBackup(repository, 2, second))
        .then(
          () => undefined,
          (e: unknown) => e,
        );
      const isMade = (await all((await open(store)).backups())).some(({ operation }) => operation === operationOf(2));
      assert.ok(isMade ? error === undefined : DmaasError.is(error, 'STORE_ACCESS'), String(error));
      const reader = await open(store);
      assert.deepEqual(await restoreBackup(reader, await reader.backup(operationOf(1))), first);
      if (isMade) break;
    }
    await makeBackup(await open(store), 3, second);
  });
});

describe('memory that lies (C6)', function () {
  this.timeout(60_000);

  it('C6: one bit that flips between sealing and sending is found, whatever it is in, and healed; wrong bytes are never returned', async () => {
    const contents = contentsOf(20);
    const base = new MemoryStore();
    await createRepository(base, UNLOCK, { parameters: SMALL });
    const objects = await objectsOf(base);
    let cases = 0;
    for (const prefix of ['packs/', 'index/', 'backups/', 'sessions/'] as const) {
      for (const share of [0.01, 0.1, 0.3, 0.5, 0.8, 0.99]) {
        const store = await storeOf(objects);
        let isFlipped = false;
        const lying = new FaultyStore(store);
        const put = lying.put.bind(lying);
        lying.put = (key, body, opts) => {
          if (isFlipped || !key.startsWith(prefix)) return put(key, body, opts);
          isFlipped = true;
          const changed = Buffer.from(body);
          changed[Math.floor(changed.length * share)]! ^= 4;
          return put(key, changed, opts);
        };
        const failure = await open(lying)
          .then((repository) => makeBackup(repository, 1, contents))
          .then(
            () => undefined,
            (e: unknown) => {
              assert.ok(DmaasError.is(e), String(e));
              return e;
            },
          );
        assert.ok(isFlipped);
        cases++;
        addCases(1);
        const findings = await (await open(store)).verify('data', QUIET);
        // Data and records are checked before they are sent; an index can be made again.
        const isRefused = prefix === 'packs/' || prefix === 'backups/';
        assert.equal(failure?.code === 'MACHINE_FAULT', isRefused, `${prefix} at ${share}: ${String(failure)}`);
        if (prefix === 'index/') assert.ok(findings.length > 0, `${prefix} at ${share}`);
        if (isRefused)
          assert.deepEqual(
            findings.filter(({ level }) => level !== 'info' && level !== 'warning'),
            [],
          );
        const reader = await open(store);
        try {
          for await (const backup of reader.backups()) assert.deepEqual(await restoreBackup(reader, backup), contents);
        } catch (e) {
          assert.ok(DmaasError.is(e, 'REPOSITORY_CORRUPT') || DmaasError.is(e, 'REPOSITORY_VERSION'), String(e));
        }
        // The next backup is sound once what is damaged counts as not stored.
        await (await open(store)).repair(QUIET);
        const next = await makeBackup(await open(store), 2, contents);
        const healed = await open(store);
        assert.deepEqual(await restoreBackup(healed, next), contents, `${prefix} at ${share}`);
      }
    }
    assert.equal(cases, 24);
  });
});
