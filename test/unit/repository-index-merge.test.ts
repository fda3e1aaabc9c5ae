import assert from 'node:assert/strict';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { IndexLoader } from '../../core/src/repository/index/index-loader.ts';
import { condemnedAndGone, deleteReplaced, mergeIndex, mergeSegments, planMerge } from '../../core/src/repository/index/index-merge.ts';
import { decodeSegment, encodeSegment, newSegmentKey } from '../../core/src/repository/format/index-segment.ts';
import { packKey } from '../../core/src/repository/format/pack-reader.ts';
import { Tombstones } from '../../core/src/repository/protocol/tombstones.ts';
import { SegmentCache } from '../../core/src/repository/index/segment-cache.ts';
import { Session } from '../../core/src/repository/protocol/sessions.ts';
import { readRow, ROW_BYTES, sortRows, writeRow } from '../../core/src/repository/format/table.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { keysUnder, seededRandom, testKeys } from '../support/repository.ts';

const MINUTE = 60_000;
const keys = testKeys();
const random = seededRandom(8);
const packOf = (n: number) => Buffer.alloc(16, n).toString('hex');
/** These begin with the same six bytes, by which rows are compared first. */
const alike = (n: number) => Buffer.concat([Buffer.alloc(6, 5), Buffer.alloc(18, n)]).toString('hex') as BlobId;

const plan = (...entries: number[]) => planMerge(entries.map((n) => ({ entries: n }))).map(({ entries: n }) => n);

describe('which segments are merged', () => {
  it('none, while there are few small ones', () => {
    assert.deepEqual(plan(), []);
    assert.deepEqual(plan(10, 10, 10, 10), []);
    assert.deepEqual(plan(10, 10, 10, 10, 700_000, 1_400_000), [], 'full ones do not count');
    assert.deepEqual(plan(10, 10, 10, 10, 699_999).length > 0, true);
  });

  it('the smallest, as long as each is less than twice as large as all that are smaller', () => {
    assert.deepEqual(plan(1, 1, 1, 1, 1), [1, 1, 1, 1, 1]);
    assert.deepEqual(plan(10_000, 1000, 100, 4, 3), [3, 4]);
    assert.deepEqual(plan(10_000, 1000, 100, 50, 1, 1), [1, 1, 50, 100]);
    assert.deepEqual(plan(10_000, 1000, 104, 50, 1, 1), [1, 1, 50], 'one of exactly twice their size stays');
  });

  it('as many as make a full one, and no more', () => {
    assert.deepEqual(plan(500_000, 500_000, 500_000, 400_000, 500_000), [400_000, 500_000, 500_000]);
    assert.deepEqual(plan(500_000, 500_000, 500_000, 400_001, 500_000), [400_001, 500_000]);
    assert.equal(plan(...Array.from({ length: 40 }, () => 5)).length, 32);
  });
});

describe('merging segments', () => {
  let now: number;
  let store: FaultyStore;
  let loader: IndexLoader;
  let session: Session;
  beforeEach(async () => {
    now = Date.parse('2026-11-22T12:00:00Z');
    store = new FaultyStore(new MemoryStore({ now: () => new Date(now) }));
    loader = new IndexLoader(store, keys, new SegmentCache('x', { random, now: () => new Date(now) }), random);
    session = await Session.begin('write', { store, keys, random });
  });
  afterEach(async () => {
    await session.end();
  });

  const parts = () => ({ store, keys, loader, random, session });
  const merge = (gone: readonly string[] = []) => mergeSegments([...loader.index.segments], { ...parts(), gone: new Set(gone) }, {});

  /** A segment of one pack with these ids. */
  async function segment(pack: number, ids: readonly BlobId[], replaces: readonly string[] = []): Promise<string> {
    const rows = Buffer.alloc(ids.length * ROW_BYTES);
    for (const [i, id] of ids.entries()) writeRow(rows, i, { id, pack: 0, offset: 16, length: 100, innerOffset: i, innerLength: 1 });
    const key = newSegmentKey(0, random);
    const table = { packs: [{ id: packOf(pack), kind: 'data' as const, size: 5000 }], rows: sortRows(rows) };
    await store.put(key, encodeSegment(keys, key, { table, replaces }, random));
    return key;
  }

  /** What the one merged segment says: ids and packs, in its order. */
  async function merged(): Promise<string[]> {
    const [key, ...others] = (await keysUnder(store, 'index/')).filter((k) => !k.startsWith('index/0/'));
    assert.deepEqual(others, []);
    const { packs, rows } = decodeSegment(keys, key!, (await store.get(key!))!).table;
    return Array.from({ length: rows.length / ROW_BYTES }, (_, i) => readRow(rows, i)).map(({ id, pack }) => `${id} ${packs[pack]!.id}`);
  }

  it('keeps the order of ids, also of such as begin alike, and every pack of each', async () => {
    await segment(1, [alike(1), alike(3), alike(7)]);
    await segment(2, [alike(2), alike(3), alike(9)]);
    await loader.refresh();
    await merge();
    const rows = await merged();
    const ids = rows.map((row) => row.slice(0, 48));
    assert.deepEqual(ids, [...ids].sort());
    const expected = [[1, 1], [2, 2], [3, 1], [3, 2], [7, 1], [9, 2]] as const; // prettier-ignore
    assert.deepEqual(new Set(rows), new Set(expected.map(([id, pack]) => `${alike(id)} ${packOf(pack)}`)));
    assert.equal(rows.length, expected.length);
  });

  it('writes a row once that several have, and none of packs that are gone', async () => {
    for (let n = 0; n < 3; n++) await segment(1, [alike(1), alike(2)]);
    await segment(2, [alike(1), alike(4)]);
    await loader.refresh();
    await merge([packOf(2)]);
    assert.deepEqual(await merged(), [`${alike(1)} ${packOf(1)}`, `${alike(2)} ${packOf(1)}`]);
    assert.equal([...loader.index.segments].length, 1);
  });

  it('keeps every place of a blob, whichever of its rows comes again', async () => {
    for (const pack of [1, 2, 3, 2, 1]) await segment(pack, [alike(1)]);
    await loader.refresh();
    await merge();
    assert.deepEqual(
      (await merged()).sort(),
      [1, 2, 3].map((pack) => `${alike(1)} ${packOf(pack)}`),
    );
  });

  it('puts the result above all that it replaces', async () => {
    const old = await segment(1, [alike(1)]);
    await loader.refresh();
    await merge();
    await segment(2, [alike(2)]);
    await loader.refresh();
    await merge();
    const above = await keysUnder(store, 'index/2/');
    assert.equal(above.length, 1);
    const { replaces } = decodeSegment(keys, above[0]!, (await store.get(above[0]!))!);
    assert.ok(replaces.includes(old) && replaces.length === 3);
  });

  it('creates what it writes, and never overwrites', async () => {
    await segment(1, [alike(1)]);
    await loader.refresh();
    const put = store.put.bind(store);
    store.put = (key, body, opts) => {
      assert.equal(opts?.ifAbsent, true, key);
      return put(key, body, opts);
    };
    await merge();
    assert.equal((await merged()).length, 1);
  });

  it('leaves out packs that are condemned and not there, and no others', async () => {
    const tombstones = new Tombstones(store, keys, random);
    await tombstones.add(new Map([[packOf(1), 1], [packOf(2), 1]])); // prettier-ignore
    for (const pack of [1, 2, 3]) await segment(pack, [alike(pack)]);
    await store.put(packKey(packOf(2)), Buffer.from('it stays a while'));
    await loader.refresh();
    const goneFrom = await condemnedAndGone(store, tombstones)({});
    assert.deepEqual([...(await goneFrom([...loader.index.segments]))], [packOf(1)]);
  });

  it('puts a damaged one aside, only that, and writes nothing', async () => {
    const sound = await segment(1, [alike(1)]);
    const hurt = await segment(2, [alike(2)]);
    const body = Buffer.from((await store.get(hurt))!);
    body[40]! ^= 1; // in its rows: it opens all the same
    await store.put(hurt, body);
    await loader.refresh();
    await assert.rejects(merge(), { code: 'REPOSITORY_CORRUPT' });
    assert.deepEqual([...loader.damaged.keys()], [hurt]);
    assert.deepEqual(
      [...loader.index.segments].map(({ key }) => key),
      [sound],
    );
    assert.deepEqual((await keysUnder(store, 'index/')).sort(), [hurt, sound].sort());
  });

  it('takes over what its inputs replace and nobody has deleted yet', async () => {
    const old = await segment(1, [alike(1)]);
    const input = await segment(1, [alike(1)], [old, 'index/0/long-gone']);
    await loader.refresh();
    await merge();
    const [key] = await keysUnder(store, 'index/1/');
    const { replaces } = decodeSegment(keys, key!, (await store.get(key!))!);
    assert.deepEqual([...replaces].sort(), [old, input].sort());
  });

  it('deletes what is replaced after ten minutes, when what replaces it is whole', async () => {
    const old = await segment(1, [alike(1)]);
    await loader.refresh();
    await merge();
    now += 10 * MINUTE - 1000;
    await loader.refresh();
    await deleteReplaced(parts(), { now });
    assert.ok((await keysUnder(store, 'index/')).includes(old));
    now += 1000;
    const [by] = await keysUnder(store, 'index/1/');
    const whole = (await store.get(by!))!;
    const at = now;
    now -= 10 * MINUTE; // as it was written
    await store.put(by!, Buffer.from(whole).fill(0, 40, 50));
    now = at;
    await assert.rejects(deleteReplaced(parts(), { now }), { code: 'REPOSITORY_CORRUPT' });
    assert.ok((await keysUnder(store, 'index/')).includes(old), 'what is damaged replaces nothing');
  });

  it('goes by listings when the time of the store is not known', async () => {
    const old = await segment(1, [alike(1)]);
    await loader.refresh();
    await merge();
    now += 60 * MINUTE;
    await loader.refresh();
    await deleteReplaced(parts(), {});
    assert.ok((await keysUnder(store, 'index/')).includes(old), 'nothing is there that is newer');
    await segment(2, [alike(2)]);
    await loader.refresh();
    await deleteReplaced(parts(), {});
    assert.ok(!(await keysUnder(store, 'index/')).includes(old));
  });

  it('does nothing, and asks for nothing, where there are few', async () => {
    for (let n = 1; n < 5; n++) await segment(n, [alike(n)]);
    await loader.refresh();
    const calls = store.calls.length;
    await mergeIndex({ ...parts(), goneOf: () => assert.fail('nobody has to know') }, {});
    assert.equal(store.calls.length, calls);
  });

  it('leaves to the next what the store or damage keeps it from, and nothing else', async () => {
    const goneOf = () => Promise.resolve(() => Promise.resolve(new Set<string>()));
    for (let n = 1; n < 6; n++) await segment(n, [alike(n)]);
    await loader.refresh();
    store.addRule({ verb: 'put', key: 'index/', times: 1, fault: { kind: 'error' } });
    await mergeIndex({ ...parts(), goneOf }, {});
    assert.equal((await keysUnder(store, 'index/')).length, 5);
    await assert.rejects(mergeIndex({ ...parts(), goneOf: () => Promise.reject(new TypeError('a fault')) }, {}), TypeError);
    await mergeIndex({ ...parts(), goneOf }, {});
    assert.equal([...loader.index.segments].length, 1);
    assert.equal((await keysUnder(store, 'index/')).length, 6);
  });
});
