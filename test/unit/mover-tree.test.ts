import assert from 'node:assert/strict';
import { encodeContentNode, bytesOf, ContentWriter, extentsOf } from '../../core/src/mover/content.ts';
import type { Content, ContentItem } from '../../core/src/mover/content-format.ts';
import { parsePath, ROOT, showPath } from '../../core/src/mover/paths.ts';
import { encodeEntry, type Entry } from '../../core/src/mover/tree-format.ts';
import { TreeCursor, TreeReader } from '../../core/src/mover/tree-reader.ts';
import { encodeIndexNode, TreeWriter } from '../../core/src/mover/tree-writer.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import type { BlobWriter } from '../../core/src/repository/blobs/blob-writer.ts';
import type { Repository } from '../../core/src/repository/repository.ts';
import { memoryRepository } from '../support/volume.ts';

const isCorrupt = (error: unknown): boolean => DmaasError.is(error, 'REPOSITORY_CORRUPT');

function entry(path: string, type: Entry['type'] = 'file'): Entry {
  const times = { mtimeNs: 1n, ctimeNs: 1n, inode: 1n };
  return {
    path: path === '' ? ROOT : parsePath(path),
    type,
    mode: 0o644,
    uid: 0,
    gid: 0,
    ...times,
    size: 0,
    content: { items: [] },
    xattrs: [],
  };
}

/** Directories `d000` to `d099`, each with 100 directories of 3 files: 40101 entries. */
function* manyEntries(): Generator<Entry> {
  const number = (n: number, digits: number): string => String(n).padStart(digits, '0');
  yield entry('', 'directory');
  for (let i = 0; i < 100; i++) {
    yield entry(`d${number(i, 3)}`, 'directory');
    for (let j = 0; j < 100; j++) {
      yield entry(`d${number(i, 3)}/sub ${number(j, 2)}`, 'directory');
      for (let k = 0; k < 3; k++) yield entry(`d${number(i, 3)}/sub ${number(j, 2)}/file-${k}`);
    }
  }
}

async function writeTree(repository: Repository, entries: Iterable<Entry>): Promise<BlobId> {
  return repository.write(async (writer) => {
    const tree = new TreeWriter(writer, repository.treeSeed);
    for (const one of entries) await tree.add(one.path, encodeEntry(one));
    return (await tree.finish()).top;
  });
}

/** Counts the blobs that are read. */
function counting(repository: Repository): { readonly reads: () => number; readonly repository: Pick<Repository, 'read' | 'readMany'> } {
  let reads = 0;
  return {
    reads: () => reads,
    repository: {
      read: (id, opts) => {
        reads++;
        return repository.read(id, opts);
      },
      readMany: (ids, deliver, opts) => {
        reads += ids.length;
        return repository.readMany(ids, deliver, opts);
      },
    },
  };
}

describe('a tree of 40301 entries', () => {
  let repository: Repository;
  let top: BlobId;
  before(async () => {
    repository = await memoryRepository();
    top = await writeTree(repository, manyEntries());
  });

  it('is read as it was written', async () => {
    const expected = manyEntries();
    for await (const leaf of new TreeReader(repository, top).leaves()) {
      for (const found of leaf) assert.deepEqual(found, expected.next().value);
    }
    assert.equal(expected.next().done, true);
  });

  it('gives one path with few reads', async () => {
    for (const path of ['d000', 'd042/sub 17/file-2', 'd099/sub 99/file-2', '']) {
      const { reads, repository: counted } = counting(repository);
      const found = await new TreeReader(counted, top).find(parsePath(path));
      assert.equal(found === undefined ? undefined : showPath(found.path), path === '' ? '.' : path);
      assert.ok(reads() <= 4, `${reads()} reads`);
    }
  });

  it('says of a path that it is not there', async () => {
    for (const path of ['d042/sub 17/file-20', 'a', 'z', 'd042/sub 170'])
      assert.equal(await new TreeReader(repository, top).find(parsePath(path)), undefined);
  });

  it('lists a directory without reading what is below it', async () => {
    const { reads, repository: counted } = counting(repository);
    const found: string[] = [];
    for await (const { path } of new TreeReader(counted, top).list(ROOT)) found.push(showPath(path));
    assert.deepEqual(
      found,
      Array.from({ length: 100 }, (_, i) => `d${String(i).padStart(3, '0')}`),
    );
    const inOne: string[] = [];
    for await (const { path } of new TreeReader(repository, top).list(parsePath('d007/sub 00'))) inOne.push(showPath(path));
    assert.deepEqual(inOne, ['d007/sub 00/file-0', 'd007/sub 00/file-1', 'd007/sub 00/file-2']);
    assert.ok(reads() > 0);
  });

  it('is walked beside another list of paths', async () => {
    const cursor = new TreeCursor(new TreeReader(repository, top), () => Promise.resolve());
    const asked = ['', 'a', 'd000', 'd001/sub 50/file-1', 'd001/sub 50/file-10', 'd090', 'd099/sub 99/file-2', 'e'];
    const found: (string | undefined)[] = [];
    for (const path of asked) {
      const one = await cursor.at(parsePath(path));
      found.push(one === undefined ? undefined : showPath(one.entry().path));
    }
    assert.deepEqual(found, ['.', undefined, 'd000', 'd001/sub 50/file-1', undefined, 'd090', 'd099/sub 99/file-2', undefined]);
  });

  it('shares nearly all nodes with one that has an entry more', async () => {
    let puts = 0;
    let added = 0;
    await repository.write(async (writer) => {
      const counted: BlobWriter = {
        put: async (kind, data) => {
          const stored = await writer.put(kind, data);
          puts++;
          if (stored.isNew) added++;
          return stored;
        },
        totals: () => writer.totals(),
        packingHost: (threads) => writer.packingHost(threads),
      };
      const tree = new TreeWriter(counted, repository.treeSeed);
      for (const one of manyEntries()) {
        await tree.add(one.path, encodeEntry(one));
        if (showPath(one.path) === 'd050/sub 50/file-1')
          await tree.add(parsePath('d050/sub 50/file-1a'), encodeEntry(entry('d050/sub 50/file-1a')));
      }
      await tree.finish();
    });
    assert.ok(puts > 10, `${puts} nodes`);
    // The leaf with the entry, the node above it; and one more leaf where the cut was forced by size.
    assert.ok(added <= 4, `${added} new nodes of ${puts}`);
  });

  it('refuses entries that go back', async () => {
    await assert.rejects(writeTree(repository, [entry('', 'directory'), entry('b'), entry('a')]), (error) =>
      DmaasError.is(error, 'INTERNAL'),
    );
  });
});

describe('an index that does not tell the truth is refused', () => {
  const CASES: Readonly<Record<string, (leaf: BlobId, other: BlobId) => Parameters<typeof encodeIndexNode>[0]>> = {
    'when it names another first path': (leaf) => [{ id: leaf, first: Buffer.from('a'), entries: 1 }],
    'when its leaves come in the wrong order': (leaf, other) => [
      { id: other, first: ROOT, entries: 1 },
      { id: leaf, first: Buffer.from('x'), entries: 1 },
    ],
  };
  for (const [what, subtrees] of Object.entries(CASES)) {
    it(what, async () => {
      const repository = await memoryRepository();
      const leaf = await writeTree(repository, [entry('', 'directory'), entry('b')]);
      const other = await writeTree(repository, [entry('', 'directory')]);
      const top = await repository.write(async (writer) => (await writer.put('node', encodeIndexNode(subtrees(leaf, other)))).id);
      await assert.rejects(readAll(new TreeReader(repository, top)), isCorrupt);
    });
  }

  it('when the same leaf comes again and again: a small repository cannot hold an endless tree', async () => {
    const repository = await memoryRepository();
    let top = await writeTree(repository, [entry('', 'directory'), entry('b')]);
    for (let level = 0; level < 3; level++) {
      const subtrees = Array.from({ length: 100 }, (_, i) => ({
        id: top,
        first: i === 0 ? ROOT : Buffer.from(`x${String(i).padStart(3, '0')}`),
        entries: 1,
      }));
      top = await repository.write(async (writer) => (await writer.put('node', encodeIndexNode(subtrees))).id);
    }
    const { reads, repository: counted } = counting(repository);
    await assert.rejects(readAll(new TreeReader(counted, top)), isCorrupt);
    assert.ok(reads() < 50, `${reads()} reads`);
  });

  it('when it is higher than any tree', async () => {
    const repository = await memoryRepository();
    let top = await writeTree(repository, [entry('', 'directory')]);
    for (let level = 0; level < 10; level++) {
      const node = encodeIndexNode([{ id: top, first: ROOT, entries: 1 }]);
      top = await repository.write(async (writer) => (await writer.put('node', node)).id);
    }
    await assert.rejects(readAll(new TreeReader(repository, top)), isCorrupt);
  });
});

async function readAll(reader: TreeReader): Promise<void> {
  for await (const leaf of reader.leaves()) for (const found of leaf) assert.ok(found);
}

/** A file of `count` chunks of one byte more than 100, with holes of 1000 bytes between every ten. */
async function writeContent(repository: Repository, count: number): Promise<{ content: Content; size: number; bytes: Buffer }> {
  const parts: Buffer[] = [];
  const content = await repository.write(async (writer) => {
    const list = new ContentWriter(writer);
    for (let i = 0; i < count; i++) {
      const data = Buffer.alloc(100 + (i % 7), `${i};`);
      parts.push(data);
      await list.add({ length: data.length, id: (await writer.put('data', data)).id });
      if (i % 10 === 9) {
        parts.push(Buffer.alloc(1000));
        await list.add({ length: 600 });
        await list.add({ length: 400 });
      }
    }
    return list.finish();
  });
  const bytes = Buffer.concat(parts);
  return { content, size: bytes.length, bytes };
}

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(Buffer.from(part));
  return Buffer.concat(parts);
}

describe('the content of a file', () => {
  for (const [count, isInline] of [
    [0, true],
    [1, true],
    [59, true],
    [60, false],
    [5000, false],
  ] as const) {
    it(`of ${count} chunks and its holes is listed ${isInline ? 'in the leaf' : 'in nodes'}`, async () => {
      const repository = await memoryRepository();
      const { content, size, bytes } = await writeContent(repository, count);
      assert.equal('items' in content, isInline);
      assert.ok((await collect(bytesOf(repository, content, size))).equals(bytes));
    });
  }

  it('is read in part with few reads', async () => {
    const repository = await memoryRepository();
    const { content, size, bytes } = await writeContent(repository, 6000);
    for (const [offset, length] of [
      [0, 1],
      [size - 1, 1],
      [500_000, 5000],
      [1029, 900],
    ] as const) {
      const { reads, repository: counted } = counting(repository);
      const part = await collect(bytesOf(counted, content, size, { offset, length }));
      assert.ok(part.equals(bytes.subarray(offset, offset + length)), `${offset}+${length}`);
      assert.ok(reads() <= 3 + 60, `${reads()} reads`);
    }
  });

  it('has holes as long as they are, however they came', async () => {
    const repository = await memoryRepository();
    const { content, size } = await writeContent(repository, 10);
    const holes: ContentItem[] = [];
    for await (const extent of extentsOf(repository, content, size)) if (extent.id === undefined) holes.push({ length: extent.length });
    assert.deepEqual(holes, [{ length: 1000 }]);
  });

  it('is refused when its size is another', async () => {
    const repository = await memoryRepository();
    for (const count of [5, 500]) {
      const { content, size } = await writeContent(repository, count);
      await assert.rejects(collect(bytesOf(repository, content, size + 1)), isCorrupt);
      await assert.rejects(collect(bytesOf(repository, content, size - 1)), isCorrupt);
    }
  });

  it('is refused when a chunk or a node is not as long as its place', async () => {
    const repository = await memoryRepository();
    const [chunk, node] = await repository.write(async (writer) => {
      const data = await writer.put('data', Buffer.from('12345'));
      return [data.id, (await writer.put('node', encodeContentNode(0, [{ length: 5, id: data.id }]))).id];
    });
    await assert.rejects(collect(bytesOf(repository, { items: [{ length: 6, id: chunk }] }, 6)), isCorrupt);
    const lying = await repository.write(async (writer) => (await writer.put('node', encodeContentNode(1, [{ length: 6, id: node }]))).id);
    await assert.rejects(collect(bytesOf(repository, { node: lying }, 6)), isCorrupt);
    const high = await repository.write(async (writer) => (await writer.put('node', encodeContentNode(3, [{ length: 5, id: node }]))).id);
    await assert.rejects(collect(bytesOf(repository, { node: high }, 5)), isCorrupt);
  });
});
