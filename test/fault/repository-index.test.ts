/** Rows A4 and D7 of the fault matrix: merging the index, and the local copies of its segments. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { loadConfig } from '../../core/src/repository/keys/config.ts';
import { encodeSegment, newSegmentKey } from '../../core/src/repository/format/index-segment.ts';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import { ROW_BYTES, sortRows, writeRow, type Table } from '../../core/src/repository/format/table.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { FaultyStore, StoreCrash } from '../support/faulty-store.ts';
import { keysUnder, makeBackup, objectsOf, QUIET, restoreBackup, seededRandom, SMALL, storeOf, UNLOCK } from '../support/repository.ts';

const random = seededRandom(21);
const START = Date.parse('2026-11-22T12:00:00Z');
const contents = Array.from({ length: 9 }, (_, n) => Array.from({ length: 3 }, () => Buffer.from(random(300 + n * 50))));

/** As many backups as the index can name before it is merged. */
async function unmerged(store: MemoryStore): Promise<void> {
  await createRepository(store, UNLOCK, { parameters: SMALL });
  for (let n = 0; n < 4; n++) await makeBackup(await openRepository(store, UNLOCK), n, contents[n]!);
}

async function assertWhole(store: MemoryStore | FaultyStore, backups: number): Promise<void> {
  const repository = await openRepository(store, UNLOCK);
  assert.deepEqual(await repository.verify('data', QUIET), []);
  for (let n = 0; n < backups; n++) {
    assert.deepEqual(await restoreBackup(repository, await repository.backup(`backup-${n}`)), contents[n]);
  }
}

describe('merging the index (A4)', function () {
  this.timeout(300_000);

  it('leaves few segments, and deletes what is replaced when it was so for a while', async () => {
    let time = START;
    const store = new MemoryStore({ now: () => new Date(time) });
    await unmerged(store);
    assert.equal((await keysUnder(store, 'index/')).length, 4);
    await makeBackup(await openRepository(store, UNLOCK), 4, contents[4]!);
    assert.equal((await openRepository(store, UNLOCK)).stats().segments, 1);
    assert.equal((await keysUnder(store, 'index/')).length, 6, 'readers of the old ones have time');
    const cold = new FaultyStore(store);
    await openRepository(cold, UNLOCK);
    assert.equal(cold.count('get', 'index/'), 1, 'what is replaced is not read');
    for (let n = 5; n < 9; n++) {
      time += 11 * 60_000;
      await makeBackup(await openRepository(store, UNLOCK), n, contents[n]!);
    }
    const { segments } = (await openRepository(store, UNLOCK)).stats();
    assert.ok(segments <= 4, `${segments} segments`);
    const keys = await keysUnder(store, 'index/');
    assert.ok(keys.every((key) => !/^index\/0\//.test(key) || keys.indexOf(key) < 9));
    assert.ok(keys.length < 9, `${keys.length} objects: those of the first merge are gone`);
    await assertWhole(store, 9);
  });

  for (const when of ['before', 'after'] as const) {
    it(`killed ${when} any store call, it leaves everything reachable, and the next write goes on`, async () => {
      let time = START;
      const base = new MemoryStore({ now: () => new Date(time) });
      await unmerged(base);
      // One merge is done, and what it replaced is due to be deleted.
      await makeBackup(await openRepository(base, UNLOCK), 4, contents[4]!);
      for (let n = 5; n < 8; n++) await makeBackup(await openRepository(base, UNLOCK), n, contents[n]!);
      const objects = await objectsOf(base);
      let deletes = 0;
      for (let k = 1; ; k++) {
        time = START;
        const inner = new MemoryStore({ now: () => new Date(time) });
        for (const [key, body] of objects) await inner.put(key, body);
        time += 3600_000;
        const store = new FaultyStore(inner);
        store.crashAt(k, when);
        const run = async () => makeBackup(await openRepository(store, UNLOCK), 8, contents[8]!);
        const crashed = await run().then(
          () => false,
          (e: unknown) => {
            assert.ok(e instanceof StoreCrash, String(e));
            return true;
          },
        );
        deletes = Math.max(deletes, store.count('delete', 'index/'));
        if (!crashed && store.calls.length < k) break;
        store.heal();
        await assertWhole(store, 8);
        await makeBackup(await openRepository(store, UNLOCK), 8, contents[8]!);
        await assertWhole(store, 9);
      }
      assert.ok(deletes >= 5, `${deletes} deletes`);
    });
  }

  it('does without the right to delete', async () => {
    let time = START;
    const store = new FaultyStore(new MemoryStore({ now: () => new Date(time) }));
    await createRepository(store, UNLOCK, { parameters: SMALL });
    store.addRule({ verb: 'delete', fault: { kind: 'error', code: 'STORE_ACCESS' } });
    for (let n = 0; n < 9; n++) {
      time += 3600_000;
      await makeBackup(await openRepository(store, UNLOCK), n, contents[n]!);
    }
    assert.ok((await openRepository(store, UNLOCK)).stats().segments <= 4);
    await assertWhole(store, 9);
  });

  it('deletes nothing that a damaged segment replaces', async () => {
    let time = START;
    const store = new MemoryStore({ now: () => new Date(time) });
    await unmerged(store);
    await makeBackup(await openRepository(store, UNLOCK), 4, contents[4]!);
    const merged = (await keysUnder(store, 'index/1/'))[0]!;
    const body = Buffer.from((await store.get(merged))!);
    // In the first block: it opens all the same.
    body[40]! ^= 1;
    await store.put(merged, body);
    time += 3600_000;
    for (let n = 5; n < 9; n++) await makeBackup(await openRepository(store, UNLOCK), n, contents[n]!);
    const repository = await openRepository(store, UNLOCK);
    const findings = await repository.verify('data', QUIET);
    assert.deepEqual(
      findings.filter((f) => f.level === 'blocker'),
      [],
    );
    assert.deepEqual(await restoreBackup(repository, await repository.backup('backup-0')), contents[0]);
  });

  it('by several writers at once is harmless', async () => {
    const store = new MemoryStore();
    await unmerged(store);
    const writers = await Promise.all([4, 5, 6, 7, 8].map(() => openRepository(store, UNLOCK)));
    await Promise.all(writers.map((writer, i) => makeBackup(writer, i + 4, contents[i + 4]!)));
    await assertWhole(store, 9);
    await Promise.all(writers.map(async (writer, i) => restoreBackup(writer, await writer.backup(`backup-${i}`))));
  });
});

describe('the local copy of the index (D7)', function () {
  this.timeout(120_000);
  let directory: string;
  let store: FaultyStore;
  const ids: BlobId[] = [];
  const strangers = Array.from({ length: 50 }, () => Buffer.from(random(24)).toString('hex') as BlobId);

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'dmaas-cache-'));
    const inner = new MemoryStore();
    await createRepository(inner, UNLOCK, { parameters: SMALL });
    const { keys } = (await loadConfig(inner, UNLOCK, {}))!;
    ids.length = 0;
    for (const count of [250_000, 300]) {
      const key = newSegmentKey(0, random);
      await inner.put(key, encodeSegment(keys, key, { table: tableOf(count), replaces: [] }, random));
    }
    store = new FaultyStore(inner);
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  /** Rows of a pack; some ids are remembered. */
  function tableOf(count: number): Table {
    const rows = Buffer.alloc(count * ROW_BYTES);
    for (let i = 0; i < count; i++) {
      const id = Buffer.from(random(24)).toString('hex') as BlobId;
      if (i % 250 === 0) ids.push(id);
      writeRow(rows, i, { id, pack: 0, offset: 16, length: 100, innerOffset: 0, innerLength: 50 });
    }
    return { packs: [{ id: Buffer.from(random(16)).toString('hex'), kind: 'data', size: 1000 }], rows: sortRows(rows) };
  }

  /** Opens and looks everything up, as a process of its own; how many GETs of segments that took. */
  async function lookUp(cache: { directory?: string; limitBytes?: number } = { directory }): Promise<number> {
    store.heal();
    const repository = await openRepository(store, UNLOCK, { cache });
    try {
      for (let turn = 0; turn < 2; turn++) {
        for (const id of ids.slice(0, 20)) assert.deepEqual(await repository.known([id]), [true]);
        assert.deepEqual(new Set(await repository.known(ids)), new Set([true]));
        assert.deepEqual(new Set(await repository.known(strangers)), new Set([false]));
      }
      return store.count('get', 'index/');
    } finally {
      await repository.close();
    }
  }

  const copies = () => readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const pathOf = (entry: { parentPath: string; name: string }) => join(entry.parentPath, entry.name);

  it('serves all later processes, and none is needed', async () => {
    assert.ok((await lookUp()) > 2);
    assert.equal(copies().length, 2);
    assert.equal(await lookUp(), 0);
    assert.ok((await lookUp({})) > 2);
    rmSync(directory, { recursive: true });
    assert.ok((await lookUp()) > 2, 'deleted');
  });

  it('is read in a bounded number of requests when there is no room', async () => {
    const gets = await lookUp({ directory, limitBytes: 1 << 20 });
    assert.ok(gets < 1500, `${gets} GETs`);
    assert.equal(copies().length, 1);
  });

  it('is not believed when it is poisoned, cut, mixed up, or that of another repository', async () => {
    await lookUp();
    const good = new Map(copies().map((entry) => [pathOf(entry), readFileSync(pathOf(entry))]));
    const changes: ((body: Buffer, other: Buffer) => Buffer)[] = [
      (body) => body.fill(0),
      (body) => body.subarray(0, body.length >> 1),
      (body) => Buffer.concat([body, Buffer.alloc(1)]),
      (_, other) => other,
      () => Buffer.alloc(0),
      (body) => {
        for (let at = 50; at < body.length; at += 5000) body[at]! ^= 1;
        return body;
      },
      // Everything but the blocks is good.
      (body) => {
        for (let at = 100; at < body.length * 0.8; at += 5000) body[at]! ^= 1;
        return body;
      },
    ];
    for (const [n, change] of changes.entries()) {
      const [first, second] = [...good.values()] as [Buffer, Buffer];
      for (const [path, body] of good) writeFileSync(path, change(Buffer.from(body), body === first ? second : first));
      assert.ok((await lookUp()) > 0, `change ${n}: the store was asked`);
    }
  });

  it('of a segment that is not listed any more is ignored, and removed', async () => {
    await lookUp();
    const large = (await keysUnder(store, 'index/'))[0]!;
    const kept = (await keysUnder(store, 'index/'))[1]!;
    await store.delete(large);
    const repository = await openRepository(store, UNLOCK, { cache: { directory } });
    const known = await repository.known(ids);
    assert.ok(known.includes(false), 'what is not listed is not there');
    await repository.close();
    assert.deepEqual(
      copies().map(({ name }) => name),
      [kept.slice(-32)],
    );
  });

  it('is shared by processes that use it at the same time', async () => {
    await Promise.all([lookUp(), lookUp(), lookUp()]);
    assert.ok(copies().every(({ name }) => !name.endsWith('.part')));
    assert.equal(await lookUp(), 0);
  });

  it('that vanishes while it is used costs requests only', async () => {
    const repository = await openRepository(store, UNLOCK, { cache: { directory } });
    await repository.known(ids);
    for (const entry of copies()) rmSync(pathOf(entry));
    assert.deepEqual(new Set(await repository.known(ids)), new Set([true]));
    await repository.close();
    assert.ok((await lookUp()) > 0);
  });

  it('does not make a lost pack or a rolled back index look whole', async () => {
    const before = await objectsOf(store);
    const repository = await openRepository(store, UNLOCK, { cache: { directory } });
    const content = Buffer.from(random(500));
    const id = await repository.write(async (writer) => (await writer.put('data', content)).id);
    await repository.close();
    // Someone puts back the bucket of yesterday; the copies are of today.
    const old = await storeOf(before);
    const later = await openRepository(old, UNLOCK, { cache: { directory } });
    assert.deepEqual(await later.known([id]), [false]);
    assert.ok((await later.write(async (writer) => writer.put('data', content))).isNew, 'it is sent again');
    assert.deepEqual(Buffer.from(await later.read(id)), content);
    await later.close();
  });
});
