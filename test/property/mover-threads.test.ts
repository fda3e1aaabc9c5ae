import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { captureVolume } from '../../core/src/mover/capture.ts';
import type { ContentItem } from '../../core/src/mover/content-format.ts';
import { extentsOf } from '../../core/src/mover/content.ts';
import { showPath } from '../../core/src/mover/paths.ts';
import { TreeReader } from '../../core/src/mover/tree-reader.ts';
import { readVolume } from '../../core/src/mover/volume-node.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { gearTable, STRETCH_BYTES, stretchStart, type ChunkerParameters } from '../../core/src/repository/format/chunker.ts';
import { RepositoryKeys } from '../../core/src/repository/format/key-set.ts';
import { openPackTable } from '../../core/src/repository/format/pack-reader.ts';
import { createRepository, type Repository } from '../../core/src/repository/repository.ts';
import { lastSection } from '../../core/src/repository/format/sealed.ts';
import { rowCount } from '../../core/src/repository/format/table.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { objectsOf } from '../support/repository.ts';
import { recorder, scratch, settled, UNLOCK } from '../support/volume.ts';

/** Bytes that look random, different for each seed. */
function noise(bytes: number, seed: number): Buffer {
  const iv = Buffer.alloc(16);
  iv.writeUInt32BE(seed);
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, 5), iv).update(Buffer.alloc(bytes));
}

/** Whether the 32 bytes that end with the one at `at` have so many leading zeros in their hash, as DESIGN 4.7 says it; nothing is carried along. */
function isZero(data: Buffer, at: number, bits: number, gear: Uint32Array, from: number): boolean {
  let hash = 0;
  for (let i = Math.max(from, at - 31); i <= at; i++) hash = (hash * 2 + (gear[data[i] as number] as number)) % 2 ** 32;
  return hash < 2 ** (32 - bits);
}

/** Lengths of the chunks of one stretch. */
function naiveChunks(data: Buffer, gear: Uint32Array, { min, average, max }: ChunkerParameters): number[] {
  const lengths: number[] = [];
  const bits = Math.log2(average);
  for (let start = 0; start < data.length;) {
    let end = start + 1;
    const isCut = (): boolean => {
      const length = end - start;
      if (length >= max) return true;
      return length >= min && isZero(data, end - 1, length <= average ? bits + 2 : bits - 2, gear, start);
    };
    while (end < data.length && !isCut()) end++;
    lengths.push(end - start);
    start = end;
  }
  return lengths;
}

const PARAMETERS = { chunker: { min: 4096, average: 8192, max: 32_768, block: 4096 }, packBytes: 256 << 10, nodePackBytes: 64 << 10 };

describe('what threads make of files', function () {
  this.timeout(240_000);
  let dir: ReturnType<typeof scratch>;
  let store: MemoryStore;
  let repository: Repository;
  let keys: RepositoryKeys;
  beforeEach(async () => {
    dir = scratch();
    store = new MemoryStore();
    repository = await createRepository(store, UNLOCK, { parameters: PARAMETERS });
    const { keySet, repositoryId } = repository.forThread().keys;
    keys = new RepositoryKeys(keySet, repositoryId);
  });
  afterEach(() => {
    dir.rm();
  });

  async function contents(source: string, root?: BlobId): Promise<{ root: BlobId; files: Map<string, ContentItem[]> }> {
    const options = { name: 'data', path: source, mode: 'filesystem', repository, now: settled } as const;
    const result = await captureVolume(root === undefined ? options : { ...options, parent: root }, recorder());
    assert.deepEqual(result.findings, []);
    const files = new Map<string, ContentItem[]>();
    for await (const entry of new TreeReader(repository, (await readVolume(repository, result.root)).top).entries()) {
      const items: ContentItem[] = [];
      for await (const { length, id } of extentsOf(repository, entry.content, entry.size))
        items.push(id === undefined ? { length } : { length, id });
      if (entry.type === 'file') files.set(showPath(entry.path), items);
    }
    return { root: result.root, files };
  }

  it('is what one naive reader would have made of them, and is stored once', async () => {
    const gear = gearTable(keys.chunker);
    const seen = new Set<ContentItem[]>();
    let run = 0;
    const file = fc.record({
      bytes: fc.oneof(fc.integer({ min: 1, max: 6000 }), fc.integer({ min: 1, max: 100_000 })),
      seed: fc.nat(4),
      shift: fc.nat(40),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(file, { minLength: 1, maxLength: 20 }), async (made) => {
        const source = join(dir.path, String(run++));
        mkdirSync(source);
        const expected = new Map<string, ContentItem[]>();
        for (const [i, { bytes, seed, shift }] of made.entries()) {
          const data = Buffer.concat([Buffer.alloc(shift, 7), noise(bytes, seed)]);
          const name = `file-${String(i).padStart(3, '0')}`;
          writeFileSync(join(source, name), data);
          let at = 0;
          const lengths = data.length <= PARAMETERS.chunker.min ? [data.length] : naiveChunks(data, gear, PARAMETERS.chunker);
          const items = lengths.map((length) => ({ length, id: keys.blobId('data', data.subarray(at, (at += length))) }));
          expected.set(name, items);
        }
        assert.deepEqual((await contents(source)).files, expected);
        for (const items of expected.values()) seen.add(items);
        assert.deepEqual(await repository.verify('data', recorder()), []);
      }),
      { numRuns: 12 },
    );
    const distinct = new Set([...seen].flatMap((items) => items.map(({ id }) => id)));
    const data = await countBlobs(store, keys);
    assert.equal(data, distinct.size, 'each chunk is stored once');
  });

  it('cuts a long stream where its content says, wherever it begins', () => {
    const gear = gearTable(keys.chunker);
    const bits = Math.log2(PARAMETERS.chunker.average) - 2;
    const starts = (data: Buffer, multiple: number): number =>
      stretchStart(multiple, data.length, gear, PARAMETERS.chunker, (into, position) => data.copy(into, 0, Math.max(position, 0)));
    fc.assert(
      fc.property(fc.integer({ min: 64, max: 80_000 }), fc.integer({ min: 33, max: 100_000 }), fc.nat(9), (multiple, bytes, seed) => {
        const data = noise(bytes, seed);
        let expected = Math.min(multiple, data.length);
        const limit = Math.min(multiple + PARAMETERS.chunker.max, data.length);
        while (expected < limit && !isZero(data, expected, bits, gear, multiple - 32)) expected++;
        assert.equal(starts(data, multiple), multiple >= data.length ? data.length : Math.min(expected + 1, limit));
      }),
      { numRuns: 100 },
    );
  });

  it('shares a large file between them, and finds it again when bytes were put in front', async () => {
    const standard = await createRepository(new MemoryStore(), UNLOCK);
    repository = standard;
    mkdirSync(join(dir.path, 'source'));
    const path = join(dir.path, 'source/large');
    const bytes = 2 * STRETCH_BYTES + (5 << 20);
    const write = (prefix: string): void => {
      const fd = openSync(path, 'w');
      writeSync(fd, prefix);
      for (let i = 0; i * (1 << 20) < bytes; i++) writeSync(fd, noise(1 << 20, i));
      closeSync(fd);
    };
    write('');
    const first = await contents(join(dir.path, 'source'));
    const before = first.files.get('large') as ContentItem[];
    assert.equal(
      before.reduce((sum, { length }) => sum + length, 0),
      bytes,
    );
    write('a few bytes that move all others');
    const after = (await contents(join(dir.path, 'source'), first.root)).files.get('large') as ContentItem[];
    const known = new Set(before.map(({ id }) => id));
    const added = after.filter(({ id }) => !known.has(id));
    assert.ok(added.length <= 4, `${added.length} of ${after.length} chunks are new`);
  });

  it('leaves holes out and keeps them, at the beginning, between and at the end', async () => {
    mkdirSync(join(dir.path, 'source'));
    const fd = openSync(join(dir.path, 'source/sparse'), 'w');
    writeSync(fd, noise(10_000, 1), 0, 10_000, 1 << 20);
    writeSync(fd, noise(10_000, 2), 0, 10_000, 200 << 20);
    ftruncateSync(fd, 300 << 20);
    closeSync(fd);
    const items = (await contents(join(dir.path, 'source'))).files.get('sparse') as ContentItem[];
    const holes = items.filter(({ id }) => id === undefined).map(({ length }) => Math.round(length / 2 ** 20));
    assert.deepEqual(holes, [1, 199, 100]);
    assert.ok(repository.stats().packBytes < 100_000);
  });
});

/** Rows of all data packs' own tables. */
async function countBlobs(store: MemoryStore, keys: RepositoryKeys): Promise<number> {
  let blobs = 0;
  for (const [key, object] of await objectsOf(store)) {
    if (!key.startsWith('packs/')) continue;
    const table = openPackTable(keys, key, object, lastSection(object, key), object.length);
    if (table.packs[0]?.kind === 'data') blobs += rowCount(table.rows);
  }
  return blobs;
}
