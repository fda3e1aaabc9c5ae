/** Rows A1, A6, B5, D1 and H3 of the fault matrix for the repository, over a simulated store. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DmaasError } from '../../core/src/errors.ts';
import type { Backup } from '../../core/src/repository/records/backup-record.ts';
import { loadConfig } from '../../core/src/repository/keys/config.ts';
import { decodeSegment, encodeSegment, newSegmentKey } from '../../core/src/repository/format/index-segment.ts';
import { createRepository, openOrCreateRepository, openRepository } from '../../core/src/repository/repository.ts';
import { joinTables } from '../../core/src/repository/format/table.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { ObjectStore } from '../../core/src/store/object-store.ts';
import { FaultyStore, StoreCrash } from '../support/faulty-store.ts';
import {
  all,
  keysUnder,
  makeBackup,
  newBackup,
  objectsOf,
  operationOf,
  putBackup,
  QUIET,
  restoreBackup,
  seededRandom,
  SMALL,
  STORES,
  storeOf,
  UNLOCK,
} from '../support/repository.ts';

const random = seededRandom(11);
const old = Array.from({ length: 12 }, (_, i) => Buffer.from(random(200 + i * 300)));
/** Shares a half with the old one. */
const next = [...old.slice(6), ...Array.from({ length: 18 }, (_, i) => Buffer.from(random(100 + i * 400)))];

/** What a run of a backup does, from nothing: another process each time. */
async function runBackup(store: ObjectStore, n: number, contents: readonly Uint8Array[]): Promise<Backup> {
  return makeBackup(await openOrCreateRepository(store, UNLOCK, { parameters: SMALL }), n, contents);
}

async function assertRestores(store: ObjectStore, expected: ReadonlyMap<string, readonly Uint8Array[]>): Promise<void> {
  const repository = await openRepository(store, UNLOCK);
  assert.deepEqual(await repository.verify('data', QUIET), []);
  for (const [operation, contents] of expected) {
    const restored = await restoreBackup(repository, await repository.backup(operation));
    assert.deepEqual(restored, contents);
  }
}

function isCrash(e: unknown): boolean {
  return e instanceof StoreCrash;
}

describe('a crash at each store call (A1)', function () {
  this.timeout(300_000);

  for (const when of ['before', 'after'] as const) {
    it(`${when} it took effect leaves older backups whole, and the next run succeeds`, async () => {
      const base = new MemoryStore();
      await runBackup(base, 1, old);
      const baseObjects = await objectsOf(base);
      let crashes = 0;
      for (let k = 1; ; k++) {
        const inner = await storeOf(baseObjects);
        const store = new FaultyStore(inner);
        store.crashAt(k, when);
        const done = await runBackup(store, 2, next).then(
          () => true,
          (e: unknown) => {
            assert.ok(isCrash(e), String(e));
            return false;
          },
        );
        if (done && store.calls.length < k) break;
        crashes++;
        store.heal();
        await assertRestores(store, new Map([[operationOf(1), old]]));
        const operations = (await all((await openRepository(store, UNLOCK)).backups())).map((b) => b.operation);
        const exists = operations.includes(operationOf(2));
        if (exists) await assertRestores(store, new Map([[operationOf(2), next]]));
        for (const [key, body] of baseObjects) assert.ok(Buffer.compare(body, (await inner.get(key))!) === 0, `${key} was touched`);
        await runBackup(store, 2, next);
        await assertRestores(
          store,
          new Map([
            [operationOf(1), old],
            [operationOf(2), next],
          ]),
        );
        assert.equal((await all((await openRepository(store, UNLOCK)).backups())).length, 2, 'never twice');
      }
      assert.ok(crashes > 12, `${crashes} crash points`);
    });

    it(`${when} it took effect during the first backup of all leaves nothing in the way`, async () => {
      for (let k = 1; ; k++) {
        const store = new FaultyStore(new MemoryStore());
        store.crashAt(k, when);
        const done = await runBackup(store, 1, old).then(
          () => true,
          (e: unknown) => {
            assert.ok(isCrash(e), String(e));
            return false;
          },
        );
        if (done && store.calls.length < k) break;
        store.heal();
        await runBackup(store, 1, old);
        await assertRestores(store, new Map([[operationOf(1), old]]));
      }
    });
  }

  it('sends nothing again that an index segment names', async () => {
    const contents = Array.from({ length: 40 }, () => Buffer.from(random(1000)));
    const store = new FaultyStore(new MemoryStore());
    const repository = await createRepository(store, UNLOCK, { parameters: SMALL });
    const roots = await repository.write((writer) => putBackup(writer, contents));
    store.addRule({ verb: 'put', key: 'backups/', fault: { kind: 'crash', when: 'before' } });
    await assert.rejects(repository.commit(newBackup(1, roots)), isCrash);
    store.heal();
    await runBackup(store, 1, contents);
    assert.equal(store.count('put', 'packs/'), 0);
    assert.equal(store.count('put', 'index/'), 0);
  });
});

describe('a lost acknowledgement (A6)', function () {
  this.timeout(120_000);

  it('of each call in turn leaves a state from which the next run succeeds, with one record', async () => {
    for (let k = 1; ; k++) {
      const store = new FaultyStore(new MemoryStore());
      store.addRule({ from: k, times: 1, fault: { kind: 'lost-acknowledgement' } });
      await runBackup(store, 1, old).catch((e: unknown) => {
        assert.ok(DmaasError.is(e, 'STORE_UNAVAILABLE'), String(e));
      });
      const isPast = store.calls.length < k;
      store.heal();
      await runBackup(store, 1, old);
      await assertRestores(store, new Map([[operationOf(1), old]]));
      assert.equal((await keysUnder(store, 'backups/')).length, 1);
      if (isPast) break;
    }
  });
});

describe('a store that returns damaged bytes on the way (B5)', () => {
  it('is asked again once, and its second answer is believed', async () => {
    const inner = new MemoryStore();
    const backup = await runBackup(inner, 1, old);
    for (const change of [
      (b: Uint8Array) => b.subarray(0, -1),
      (b: Uint8Array) => b.fill(0),
      (b: Uint8Array) => {
        b[b.length >> 1]! ^= 1;
        return b;
      },
    ]) {
      const store = new FaultyStore(inner);
      const repository = await openRepository(store, UNLOCK);
      store.addRule({ verb: 'get', key: 'packs/', times: 1, fault: { kind: 'damage', change } });
      assert.deepEqual(await restoreBackup(repository, backup), old);
      store.addRule({ verb: 'get', key: 'packs/', fault: { kind: 'damage', change } });
      await assert.rejects(restoreBackup(await openRepository(store, UNLOCK), backup), { code: 'REPOSITORY_CORRUPT', message: /packs\// });
    }
  });
});

describe('writers at the same time (D1)', function () {
  this.timeout(120_000);

  for (const { name, make } of STORES) {
    it(`need no lock: all their backups restore (${name})`, async () => {
      const { store, remove } = make();
      try {
        // Creators race as well.
        const runs = Array.from({ length: 4 }, (_, n) => runBackup(store, n, [...next, Buffer.from(`own ${n}`)]));
        await Promise.all(runs);
        await assertRestores(store, new Map(runs.map((_, n) => [operationOf(n), [...next, Buffer.from(`own ${n}`)]])));
      } finally {
        remove();
      }
    });
  }

  it('that create the repository agree on one, whoever is first', async () => {
    for (let k = 0; k < 12; k++) {
      const store = new MemoryStore();
      const late = async () => {
        for (let turn = 0; turn < k; turn++) await Promise.resolve();
        return openOrCreateRepository(store, UNLOCK);
      };
      const [a, b] = await Promise.all([openOrCreateRepository(store, UNLOCK), late()]);
      assert.equal(a.id, b.id);
      const id = await a.write(async (writer) => (await writer.put('data', Buffer.from('shared'))).id);
      assert.equal(Buffer.from(await b.read(id)).toString(), 'shared');
    }
  });

  it('of one operation commit one backup', async () => {
    const store = new MemoryStore();
    const repositories = [await createRepository(store, UNLOCK), await openRepository(store, UNLOCK)];
    const committed = await Promise.all(repositories.map((repository) => makeBackup(repository, 1, old)));
    assert.deepEqual(committed[0], committed[1]);
    assert.equal((await keysUnder(store, 'backups/')).length, 1);
  });
});

describe('merged index segments (A4)', () => {
  it('are read beside those they replace, or without them', async () => {
    const store = new MemoryStore();
    const first = await runBackup(store, 1, old);
    const second = await runBackup(store, 2, next);
    const { keys } = (await loadConfig(store, UNLOCK, {}))!;
    const level0 = await keysUnder(store, 'index/0/');
    const tables = await Promise.all(level0.map(async (key) => decodeSegment(keys, key, (await store.get(key))!).table));
    const merged = newSegmentKey(1, random);
    await store.put(merged, encodeSegment(keys, merged, { table: joinTables(tables), replaces: level0 }, random));
    for (const gone of [undefined, ...level0]) {
      if (gone !== undefined) await store.delete(gone);
      const faulty = new FaultyStore(store);
      const repository = await openRepository(faulty, UNLOCK);
      assert.equal(faulty.count('get', 'index/'), 1, 'what is replaced is not read');
      assert.deepEqual(await restoreBackup(repository, first), old);
      assert.deepEqual(await restoreBackup(repository, second), next);
    }
  });
});

describe('memory (H3)', function () {
  this.timeout(600_000);

  // As in the mover's image, whose pod may have 512 MiB; how loaded the machine is moves the peak by some 40 MiB.
  const env = { ...process.env, MALLOC_ARENA_MAX: '2', MALLOC_TRIM_THRESHOLD_: '131072' };
  const LIMIT_MIB = 384;

  it(`of a process that writes or reads a large volume stays below ${LIMIT_MIB} MiB`, async () => {
    const directory = mkdtempSync(join(tmpdir(), 'dmaas-memory-'));
    try {
      const script = join(import.meta.dirname, '../support/repository-memory.ts');
      for (const verb of ['write', 'read']) {
        const { stdout } = await promisify(execFile)(process.execPath, [script, verb, directory, '640'], { env });
        const { blocks, peakMiB } = JSON.parse(stdout) as { blocks: number; peakMiB: number };
        assert.equal(blocks, 640 * 8);
        assert.ok(peakMiB < LIMIT_MIB, `${verb}: ${peakMiB} MiB`);
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
