import assert from 'node:assert/strict';
import type { BigIntStats } from 'node:fs';
import fc from 'fast-check';
import { ByteWriter } from '../../core/src/mover/bytes.ts';
import { decodeContentNode, encodeContentNode } from '../../core/src/mover/content.ts';
import { deviceNumber, FileStat } from '../../core/src/mover/file-stat.ts';
import { LeafScanner } from '../../core/src/mover/leaf-scanner.ts';
import { pathFault } from '../../core/src/mover/paths.ts';
import { encodeEntry, readLeaf, writeEntry, type Entry } from '../../core/src/mover/tree-format.ts';
import { TreeReader } from '../../core/src/mover/tree-reader.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { encodeNode, NODE_TYPE, type Node } from '../../core/src/repository/format/node.ts';

const buffer = (constraints: fc.IntArrayConstraints): fc.Arbitrary<Buffer> => fc.uint8Array(constraints).map((bytes) => Buffer.from(bytes));
const id = buffer({ minLength: 24, maxLength: 24 }).map((bytes) => bytes.toString('hex') as BlobId);
const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> => fc.record<T>(model, { noNullPrototype: true });
const length = fc.integer({ min: 1, max: 16 << 20 });
const item = fc.oneof(record({ length, id }), record({ length: fc.integer({ min: 1, max: 2 ** 40 }) }));
const path = fc
  .array(buffer({ minLength: 1, maxLength: 8 }), { maxLength: 4 })
  .map((names) => Buffer.from(names.map((name) => name.toString('latin1')).join('\0'), 'latin1'))
  .filter((bytes) => pathFault(bytes) === undefined);
const time = fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n });
const xattrs = fc
  .uniqueArray(
    record({ name: buffer({ minLength: 1, maxLength: 20 }).filter((name) => !name.includes(0)), value: buffer({ maxLength: 50 }) }),
    {
      maxLength: 3,
      selector: ({ name }) => name.toString('latin1'),
    },
  )
  .map((list) => list.sort((a, b) => Buffer.compare(a.name, b.name)));

const common = {
  path,
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  gid: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  mtimeNs: time,
  ctimeNs: time,
  inode: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  xattrs,
};
const none = { size: fc.constant(0), content: fc.constant({ items: [] }) };
const linkGroup = fc.option(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { nil: undefined });
const number = fc.integer({ min: 0, max: 2 ** 32 });

const entry: fc.Arbitrary<Entry> = fc
  .oneof(
    record({
      ...common,
      type: fc.constant('file' as const),
      content: fc.array(item, { maxLength: 64 }).map((items) => ({ items })),
      linkGroup,
    }),
    record({
      ...common,
      type: fc.constant('file' as const),
      content: id.map((node) => ({ node })),
      size: fc.integer({ min: 1, max: 2 ** 50 }),
    }),
    record({
      ...common,
      ...none,
      type: fc.constantFrom('directory' as const, 'fifo' as const, 'socket' as const),
      inodeFlags: fc.option(number, { nil: undefined }),
    }),
    record({
      ...common,
      ...none,
      type: fc.constant('symlink' as const),
      target: buffer({ minLength: 1, maxLength: 50 }).filter((bytes) => !bytes.includes(0)),
    }),
    record({
      ...common,
      ...none,
      type: fc.constantFrom('character-device' as const, 'block-device' as const),
      device: record({ major: number, minor: number }),
    }),
  )
  .map((made) => {
    const size = 'size' in made ? made.size : made.content.items.reduce((sum, { length: bytes }) => sum + bytes, 0);
    // Absent and undefined are the same in a leaf.
    return Object.fromEntries(Object.entries({ ...made, size }).filter(([, value]) => value !== undefined)) as unknown as Entry;
  })
  .filter(({ path: at, type }) => at.length > 0 || type === 'directory');

const sorted = fc
  .uniqueArray(entry, { minLength: 1, maxLength: 12, selector: ({ path: at }) => at.toString('latin1') })
  .map((entries) => entries.sort((a, b) => Buffer.compare(a.path, b.path)));

function leafOf(entries: readonly Entry[]): { type: number; references: BlobId[]; payload: Buffer } {
  const payload = new ByteWriter();
  const references: BlobId[] = [];
  entries.forEach((one, i) => {
    writeEntry(payload, references, entries[i - 1]?.path ?? Buffer.alloc(0), one.path, encodeEntry(one));
  });
  return { type: NODE_TYPE.leaf, references, payload: Buffer.from(payload.bytes) };
}

const STAT_FIELDS = ['mtimeNs', 'ctimeNs', 'inode', 'size'] as const;

/** What the system would say of a file with this entry. */
function statOf({ type, mode, uid, gid, size, mtimeNs, ctimeNs, inode, device }: Entry): FileStat {
  const types = { fifo: 1, 'character-device': 2, directory: 4, 'block-device': 6, file: 8, symlink: 10, socket: 12 };
  const rdev = device === undefined ? 0n : deviceNumber(device.major, device.minor);
  const stats = { mode: BigInt((types[type] << 12) | mode), uid, gid, nlink: 1n, size: BigInt(size), blocks: 8n, dev: 7n, rdev };
  return FileStat.of({ ...stats, ino: inode & (2n ** 64n - 1n), mtimeNs, ctimeNs, birthtimeNs: 0n } as unknown as BigIntStats);
}

function scan(leaf: Node): number {
  let entries = 0;
  for (const scanner = new LeafScanner(leaf); scanner.next(); entries++) {
    scanner.check();
    refusesOrReads(() => scanner.entry());
  }
  return entries;
}

function isRead(leaf: Node): boolean {
  try {
    return [...readLeaf(leaf)].length > 0;
  } catch {
    return false;
  }
}

const refusesOrReads = (read: () => unknown): void => {
  try {
    read();
  } catch (error) {
    assert.ok(DmaasError.is(error, 'REPOSITORY_CORRUPT') || DmaasError.is(error, 'REPOSITORY_VERSION'), String(error));
  }
};

describe('tree leaves and content nodes', () => {
  it('H1: give back what was put into them', () => {
    fc.assert(
      fc.property(sorted, (entries) => {
        assert.deepEqual([...readLeaf(leafOf(entries))], entries);
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.array(item, { maxLength: 100 }), id, (items, name) => {
        assert.deepEqual(decodeContentNode(encodeContentNode(0, items), name, 0).items, items);
      }),
    );
  });

  it('H1: are scanned as they are read, and copied byte for byte', () => {
    fc.assert(
      fc.property(sorted, (entries) => {
        const scanner = new LeafScanner(leafOf(entries));
        const read: Entry[] = [];
        while (scanner.next()) {
          scanner.check();
          const one = scanner.entry();
          assert.deepEqual(scanner.encoded, encodeEntry(one));
          for (const other of entries) assert.equal(scanner.comparePath(other.path), Buffer.compare(one.path, other.path));
          read.push(one);
        }
        assert.deepEqual(read, entries);
      }),
      { numRuns: 500 },
    );
  });

  it('H1: are unchanged for a file that is as they say, and for no other', () => {
    fc.assert(
      fc.property(entry, fc.constantFrom(...STAT_FIELDS), (one, field) => {
        const scanner = new LeafScanner(leafOf([one]));
        assert.ok(scanner.next());
        const size = one.type === 'file' ? one.size : 4096;
        assert.ok(scanner.isUnchanged(statOf({ ...one, size })));
        const other = field === 'size' ? { ...one, size: size + 1 } : { ...one, size, [field]: one[field] + 1n };
        const isSame = field === 'size' && one.type !== 'file';
        assert.equal(scanner.isUnchanged(statOf(other)), isSame);
      }),
      { numRuns: 500 },
    );
  });

  it('G3: are read or refused, whatever was done to their bytes', () => {
    const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(sorted, damage, fc.nat(), (entries, changes, cut) => {
        const leaf = leafOf(entries);
        for (const [at, byte] of changes) leaf.payload[at % leaf.payload.length] = byte;
        refusesOrReads(() => [...readLeaf(leaf)]);
        refusesOrReads(() => scan(leaf));
        if (isRead(leaf)) assert.equal(scan(leaf), [...readLeaf(leaf)].length);
        refusesOrReads(() => [...readLeaf({ ...leaf, payload: leaf.payload.subarray(0, cut % leaf.payload.length) })]);
      }),
      { numRuns: 1000 },
    );
  });

  it('G3: are read or refused, whatever bytes they are', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(2, 3, 4, 9),
        fc.array(id, { maxLength: 4 }),
        buffer({ maxLength: 200 }),
        id,
        async (type, references, payload, name) => {
          const node = encodeNode({ type, references, payload });
          refusesOrReads(() => [...readLeaf({ type, references, payload })]);
          refusesOrReads(() => decodeContentNode(node, name));
          // Every reference leads back to the node: a tree that never ends.
          const reader = new TreeReader({ read: () => Promise.resolve(node) }, name);
          await assert.doesNotReject(async () => {
            try {
              for await (const leaf of reader.leaves()) for (const found of leaf) assert.ok(found);
            } catch (error) {
              refusesOrReads(() => {
                throw error;
              });
            }
          });
        },
      ),
      { numRuns: 1000 },
    );
  });
});
