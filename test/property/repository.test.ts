import assert from 'node:assert/strict';
import fc from 'fast-check';
import { stringifyJson } from '../../core/src/json.ts';
import { BlobIndex } from '../../core/src/repository/index/blob-index.ts';
import type { BlobId, BlobKind } from '../../core/src/repository/format/blob.ts';
import { Chunker, chunksOf, gearTable, type ChunkerParameters } from '../../core/src/repository/format/chunker.ts';
import { decodeSegment, encodeSegment } from '../../core/src/repository/format/index-segment.ts';
import { formatKey, parseKey } from '../../core/src/repository/keys/keys.ts';
import { decodeNode, encodeNode } from '../../core/src/repository/format/node.ts';
import { packPayload, unpackPayload } from '../../core/src/repository/format/payload.ts';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import { RunRecords } from '../../core/src/repository/records/runs.ts';
import {
  decodeTable,
  encodeTable,
  joinTables,
  readRow,
  ROW_BYTES,
  rowCount,
  sortRows,
  writeRow,
  type Row,
  type Table,
} from '../../core/src/repository/format/table.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { all, makeBackup, QUIET, restoreBackup, seededRandom, SMALL, STORES, testKeys, UNLOCK } from '../support/repository.ts';

const keys = testKeys();
const KINDS: readonly BlobKind[] = ['data', 'node'];
const idArbitrary = fc.uint8Array({ minLength: 24, maxLength: 24 }).map((bytes) => Buffer.from(bytes).toString('hex') as BlobId);
/** Text that compresses, noise that does not, and runs. */
const bytesArbitrary = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.record({ seed: fc.nat(255), length: fc.nat(20_000) }).map(({ seed, length }) => seededRandom(seed)(length)),
  fc.record({ byte: fc.nat(255), length: fc.nat(20_000) }).map(({ byte, length }) => Buffer.alloc(length, byte)),
);

describe('what is encoded is decoded', function () {
  this.timeout(120_000);

  it('H1: keys', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
        assert.deepEqual(Uint8Array.from(parseKey(formatKey(key))), key);
      }),
    );
  });

  it('H1: payloads', async () => {
    await fc.assert(
      fc.asyncProperty(bytesArbitrary, async (payload) => {
        const packed = Buffer.concat(await packPayload(payload));
        assert.ok(packed.length <= payload.length + 1);
        assert.ok((await unpackPayload(packed, payload.length, 'k')).equals(payload));
        if (payload.length > 0) await assert.rejects(unpackPayload(packed, payload.length - 1, 'k'), { code: 'REPOSITORY_CORRUPT' });
      }),
    );
  });

  it('H1: nodes', () => {
    fc.assert(
      fc.property(fc.nat(255), fc.array(idArbitrary), fc.uint8Array(), (type, references, payload) => {
        const node = decodeNode(encodeNode({ type, references, payload }), references[0] ?? ('' as BlobId));
        assert.deepEqual({ ...node, payload: Uint8Array.from(node.payload) }, { type, references, payload });
      }),
    );
  });

  it('H1: records, which open under their own name only', async () => {
    const store = new MemoryStore();
    const runs = new RunRecords(store, keys, seededRandom(1));
    let n = 0;
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        await runs.put(`run${++n}`, 'value', value);
        assert.equal(stringifyJson(await runs.get(`run${n}`, 'value')), JSON.stringify(value));
        await store.put(`runs/run${n}/other`, (await store.get(`runs/run${n}/value`))!);
        await assert.rejects(runs.get(`run${n}`, 'other'), { code: 'REPOSITORY_CORRUPT' });
      }),
    );
  });

  it('H1: tables and segments, joined and sorted', () => {
    fc.assert(
      fc.property(fc.array(tableArbitrary(), { maxLength: 4 }), (tables) => {
        const joined = joinTables(tables);
        const expected = tables.flatMap((table) => rowsOf(table)).sort(byText);
        assert.deepEqual(rowsOf(joined).sort(byText), expected);
        const ids = Array.from({ length: rowCount(joined.rows) }, (_, i) => readRow(joined.rows, i).id);
        assert.deepEqual(ids, [...ids].sort());
        assert.deepEqual(rowsOf(decodeTable(encodeTable(joined), 'k')), rowsOf(joined));
        const segment = encodeSegment(keys, 'index/0/x', { table: joined, replaces: [] }, seededRandom(1));
        assert.deepEqual(rowsOf(decodeSegment(keys, 'index/0/x', segment).table), rowsOf(joined));
      }),
    );
  });
});

function tableArbitrary(): fc.Arbitrary<Table> {
  const row = fc.record({
    id: idArbitrary,
    pack: fc.nat(2),
    offset: fc.integer({ min: 16, max: 500 }),
    innerOffset: fc.nat(1000),
    innerLength: fc.nat(1000),
  });
  return fc.record({ seed: fc.nat(100), rows: fc.array(row, { maxLength: 700 }) }).map(({ seed, rows }) => {
    const random = seededRandom(seed);
    const packs = [0, 1, 2].map((i) => ({
      id: Buffer.from(random(16)).toString('hex'),
      kind: KINDS[i % 2]!,
      size: 1000,
    }));
    const bytes = Buffer.alloc(rows.length * ROW_BYTES);
    rows.forEach((r, i) => {
      writeRow(bytes, i, { ...r, length: 100 });
    });
    return { packs, rows: sortRows(bytes) };
  });
}

/** Rows as text, with their packs by id. */
function rowsOf({ packs, rows }: Table): string[] {
  return Array.from({ length: rowCount(rows) }, (_, i) => readRow(rows, i)).map((row) => JSON.stringify({ ...row, pack: packs[row.pack] }));
}

function byText(a: string, b: string): number {
  return a < b ? -1 : 1;
}

describe('the index', function () {
  this.timeout(120_000);

  it('H1: finds what a map finds, whatever the order and repetition of tables', () => {
    fc.assert(
      fc.property(fc.array(tableArbitrary(), { maxLength: 6 }), fc.array(idArbitrary), (tables, strangers) => {
        const index = new BlobIndex();
        const model = new Map<BlobId, Set<string>>();
        const place = (row: Omit<Row, 'pack'>, pack: string) => `${pack}:${row.offset}:${row.innerOffset}`;
        for (const table of [...tables, ...tables.slice(0, 2)]) {
          index.addTable(table, 'k');
          for (let i = 0; i < rowCount(table.rows); i++) {
            const row = readRow(table.rows, i);
            model.set(row.id, (model.get(row.id) ?? new Set()).add(place(row, table.packs[row.pack]!.id)));
          }
        }
        for (const [id, places] of model) {
          const found = [...index.copies(id)].map(
            (entry) => `${index.pack(entry).id}:${index.offset(entry)}:${index.inner(entry, id).innerOffset}`,
          );
          assert.deepEqual(found.sort(), [...places].sort());
        }
        assert.equal(
          index.size,
          [...model.values()].reduce((sum, places) => sum + places.size, 0),
        );
        for (const id of strangers) assert.equal(index.has(id), model.has(id));
      }),
      { numRuns: 50 },
    );
  });

  it('grows over many pages', () => {
    const index = new BlobIndex();
    const random = seededRandom(3);
    const rows = Buffer.alloc(200_000 * ROW_BYTES);
    for (let i = 0; i < 200_000; i++) {
      rows.set(random(24), i * ROW_BYTES);
      rows.writeUInt32LE(i, i * ROW_BYTES + 36);
    }
    index.addTable({ packs: [{ id: 'ab'.repeat(16), kind: 'data', size: 1 << 28 }], rows }, 'k');
    assert.equal(index.size, 200_000);
    for (let i = 0; i < 200_000; i += 997) {
      const { id, innerOffset } = readRow(rows, i);
      assert.equal(index.inner(index.find(id)!, id).innerOffset, innerOffset);
    }
  });
});

describe('the chunker', function () {
  this.timeout(120_000);
  const gear = gearTable(keys.chunker);
  const parameters = fc
    .record({ min: fc.integer({ min: 64, max: 200 }), average: fc.constantFrom(256, 512), max: fc.integer({ min: 512, max: 2000 }) })
    .map((p): ChunkerParameters => ({ ...p, block: 4096 }));
  const stream = fc
    .record({ seed: fc.nat(255), length: fc.nat(20_000) })
    .map(({ seed, length }) => Buffer.from(seededRandom(seed)(length)));

  function lengthsOf(data: Uint8Array, p: ChunkerParameters): number[] {
    const chunker = new Chunker(gear, p);
    const lengths: number[] = [];
    let from = 0;
    while (from < data.length) {
      const cut = chunker.next(data, from);
      lengths.push((cut < 0 ? data.length : cut) - from);
      from = cut < 0 ? data.length : cut;
    }
    return lengths;
  }

  it('H1: covers everything, within its limits', () => {
    fc.assert(
      fc.property(stream, parameters, (data, p) => {
        const lengths = lengthsOf(data, p);
        assert.equal(
          lengths.reduce((a, b) => a + b, 0),
          data.length,
        );
        for (const length of lengths.slice(0, -1)) assert.ok(length >= p.min && length <= p.max, String(length));
        assert.ok((lengths.at(-1) ?? 0) <= p.max);
      }),
    );
  });

  it('H1: cuts where it cuts, however the bytes arrive', async () => {
    await fc.assert(
      fc.asyncProperty(stream, parameters, fc.array(fc.nat(3000), { maxLength: 30 }), async (data, p, pieces) => {
        const whole = lengthsOf(data, p);
        const shared = Buffer.alloc(3000);
        const source = async function* () {
          let at = 0;
          for (const length of [...pieces, ...Array<number>(Math.ceil(data.length / 3000)).fill(3000)]) {
            await Promise.resolve();
            // One buffer for all reads, as a reader of files would use.
            const copied = data.copy(shared, 0, at, at + length);
            yield shared.subarray(0, copied);
            at += copied;
          }
        };
        const chunks: Buffer[] = [];
        for await (const chunk of chunksOf(new Chunker(gear, p), source())) chunks.push(Buffer.from(chunk));
        assert.deepEqual(
          chunks.map((c) => c.length),
          whole,
        );
        assert.ok(Buffer.concat(chunks).equals(data));
      }),
    );
  });

  it('H1: finds its old cuts again after an insertion', () => {
    const p: ChunkerParameters = { min: 64, average: 256, max: 1024, block: 4096 };
    fc.assert(
      fc.property(fc.nat(255), fc.nat(30_000), fc.uint8Array({ minLength: 1, maxLength: 500 }), (seed, at, inserted) => {
        const before = Buffer.from(seededRandom(seed)(120_000));
        const after = Buffer.concat([before.subarray(0, at), inserted, before.subarray(at)]);
        const ends = (data: Uint8Array) => {
          let end = 0;
          return lengthsOf(data, p).map((length) => data.length - (end += length));
        };
        // Counted from the end, so that what lies behind the insertion has the same places.
        const common = new Set(ends(before));
        const same = ends(after).filter((end) => common.has(end)).length;
        assert.ok(same >= common.size * 0.6, `${same} of ${common.size}`);
      }),
      { numRuns: 40 },
    );
  });

  it('makes chunks of about the average', () => {
    const p: ChunkerParameters = { min: 256, average: 1024, max: 4096, block: 4096 };
    const lengths = lengthsOf(seededRandom(1)(4 << 20), p);
    const mean = (4 << 20) / lengths.length;
    assert.ok(mean > 900 && mean < 1600, String(mean));
    const other = new Chunker(gearTable(Buffer.alloc(32, 5)), p);
    assert.notEqual(other.next(seededRandom(1)(8192)), lengths[0], 'another repository cuts elsewhere');
  });
});

/** What may happen to a repository, in any order. */
type Step =
  { readonly do: 'write'; readonly blobs: readonly (readonly [BlobKind, Uint8Array])[] } | { readonly do: 'fail' | 'reopen' | 'refresh' };

describe('a repository', function () {
  this.timeout(300_000);
  const blob = fc.tuple(fc.constantFrom<BlobKind>('data', 'node'), bytesArbitrary);
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), blobs: fc.array(blob, { maxLength: 12 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('fail' as const, 'reopen' as const, 'refresh' as const) }) },
  );

  for (const { name, make } of STORES) {
    it(`H1: is a map from ids to bytes, over a ${name} store and several processes`, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(fc.nat(1), step), { maxLength: 12 }), async (steps) => {
          const { store, remove } = make();
          try {
            const model = new Map<BlobId, Uint8Array>();
            const processes: Repository[] = [
              await createRepository(store, UNLOCK, { parameters: SMALL }),
              await openRepository(store, UNLOCK),
            ];
            for (const [which, { do: action, ...rest }] of steps) {
              if (action === 'reopen') processes[which] = await openRepository(store, UNLOCK);
              else if (action === 'refresh') await processes[which]!.refresh();
              else if (action === 'fail') {
                await assert.rejects(
                  processes[which]!.write(async (w) => {
                    await w.put('data', Buffer.from('lost'));
                    throw new Error('stop');
                  }),
                  /stop/,
                );
              } else {
                await processes[which]!.write(async (writer) => {
                  const { blobs } = rest as Extract<Step, { do: 'write' }>;
                  await Promise.all(blobs.map(async ([kind, data]) => model.set((await writer.put(kind, data)).id, data)));
                });
              }
            }
            for (const repository of [...processes, await openRepository(store, UNLOCK)]) {
              const ids = [...model.keys()];
              const seen = new Set<number>();
              await repository.readMany(ids, (i, data) => {
                assert.ok(Buffer.compare(data, model.get(ids[i]!)!) === 0);
                seen.add(i);
              });
              assert.equal(seen.size, ids.length);
              for (const id of ids) assert.ok(Buffer.compare(await repository.read(id), model.get(id)!) === 0);
            }
          } finally {
            remove();
          }
        }),
        { numRuns: name === 'memory' ? 60 : 10 },
      );
    });
  }

  it('H1: restores what was backed up', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(bytesArbitrary, { maxLength: 15 }), { minLength: 1, maxLength: 5 }), async (contents) => {
        const store = new MemoryStore();
        const repository = await createRepository(store, UNLOCK, { parameters: SMALL });
        for (const [n, content] of contents.entries()) await makeBackup(repository, n, content);
        const other = await openRepository(store, UNLOCK);
        const backups = await all(other.backups());
        assert.equal(backups.length, contents.length);
        for (const [n, backup] of backups.entries()) {
          const restored = await restoreBackup(other, backup);
          assert.equal(restored.length, contents[n]!.length);
          assert.ok(restored.every((data, i) => Buffer.compare(data, contents[n]![i]!) === 0));
        }
        assert.deepEqual(await other.verify('data', QUIET), []);
      }),
      { numRuns: 40 },
    );
  });
});
