import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import { loadConfig } from '../../core/src/repository/keys/config.ts';
import { FRAME_BLOBS, FRAME_BYTES, type PackingHost } from '../../core/src/repository/blobs/blob-packer.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { decodeSegment } from '../../core/src/repository/format/index-segment.ts';
import { RepositoryKeys } from '../../core/src/repository/format/key-set.ts';
import { PackWriter } from '../../core/src/repository/format/pack-writer.ts';
import { createRepository, openRepository, type Repository } from '../../core/src/repository/repository.ts';
import { readRow, ROW_BYTES } from '../../core/src/repository/format/table.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { keysUnder, seededRandom, SMALL, UNLOCK } from '../support/repository.ts';

const random = seededRandom(31);
const idOf = (n: number) => Buffer.alloc(24, n).toString('hex') as BlobId;
const asked = (...ids: BlobId[]) => ids.map((id) => ({ id, offset: 0, length: 10 }));

describe('frames', () => {
  /** Of each frame of the data that lies in the store: how many blobs it has, and how many bytes before compression. */
  async function framesOf(store: MemoryStore): Promise<{ blobs: number; bytes: number }[]> {
    const { keys } = (await loadConfig(store, UNLOCK, {}))!;
    const frames = new Map<string, { blobs: number; bytes: number }>();
    for (const key of await keysUnder(store, 'index/')) {
      const { packs, rows } = decodeSegment(keys, key, (await store.get(key))!).table;
      for (let i = 0; i < rows.length / ROW_BYTES; i++) {
        const row = readRow(rows, i);
        const name = `${packs[row.pack]!.id} ${row.offset}`;
        const frame = frames.get(name) ?? { blobs: 0, bytes: 0 };
        frames.set(name, { blobs: frame.blobs + 1, bytes: frame.bytes + row.innerLength });
      }
    }
    return [...frames.values()].sort((a, b) => b.bytes - a.bytes);
  }

  async function put(sizes: readonly number[]): Promise<{ blobs: number; bytes: number }[]> {
    const store = new MemoryStore();
    const repository = await createRepository(store, UNLOCK);
    await repository.write(async (writer) => {
      for (const size of sizes) await writer.put('data', random(size));
    });
    return framesOf(store);
  }

  it('are filled to the last byte, and no further', async () => {
    const half = FRAME_BYTES / 2;
    assert.deepEqual(await put([half, half]), [{ blobs: 2, bytes: FRAME_BYTES }]);
    assert.deepEqual(await put([half, half, 100]), [
      { blobs: 2, bytes: FRAME_BYTES },
      { blobs: 1, bytes: 100 },
    ]);
    assert.deepEqual(await put([half, half - 1, 2]), [
      { blobs: 2, bytes: FRAME_BYTES - 1 },
      { blobs: 1, bytes: 2 },
    ]);
  });

  it('of one large blob are as large as it is', async () => {
    assert.deepEqual(await put([100, 3 * FRAME_BYTES, 100]), [
      { blobs: 1, bytes: 3 * FRAME_BYTES },
      { blobs: 1, bytes: 100 },
      { blobs: 1, bytes: 100 },
    ]);
  });

  it('hold a limited number of small ones', async () => {
    assert.deepEqual(await put(Array.from({ length: FRAME_BLOBS + 10 }, () => 12)), [
      { blobs: FRAME_BLOBS, bytes: FRAME_BLOBS * 12 },
      { blobs: 10, bytes: 120 },
    ]);
  });
});

describe('a write', () => {
  it('says what is new, and how much', async () => {
    const repository = await createRepository(new MemoryStore(), UNLOCK, { parameters: SMALL });
    await repository.write(async (writer) => {
      const [first, again] = [await writer.put('data', Buffer.alloc(100, 1)), await writer.put('data', Buffer.alloc(100, 1))];
      assert.deepEqual([first.isNew, first.storedBytes], [true, 100]);
      assert.deepEqual(again, { id: first.id, isNew: false, storedBytes: 0 });
      await writer.put('node', Buffer.alloc(30, 1));
      assert.deepEqual(writer.totals(), { blobs: 3, bytes: 230, newBlobs: 2, newBytes: 130 });
    });
  });

  it('fails when the last pack of it does, in whatever moment', async () => {
    for (let moments = 0; moments < 60; moments++) {
      const store = new MemoryStore();
      const repository = await createRepository(store, UNLOCK, { parameters: SMALL });
      const put = store.put.bind(store);
      store.put = async (key, body, opts) => {
        if (!key.startsWith('packs/')) return put(key, body, opts);
        for (let moment = 0; moment < moments; moment++) await Promise.resolve();
        throw new DmaasError('STORE_UNAVAILABLE', 'the store is gone');
      };
      await assert.rejects(
        repository.write((writer) => writer.put('node', random(100))),
        { code: 'STORE_UNAVAILABLE' },
        `${moments} moments later`,
      );
    }
  });

  it('that is given up waits until nothing of it runs any more', async () => {
    const store = new FaultyStore(new MemoryStore());
    const repository = await createRepository(store, UNLOCK, { parameters: SMALL });
    const uploads = { begun: 0, ended: 0 };
    const put = store.put.bind(store);
    store.put = async (key, body, opts) => {
      uploads.begun++;
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
      await put(key, body, opts).finally(() => uploads.ended++);
    };
    const write = repository.write(async (writer) => {
      for (let n = 0; n < 200; n++) await writer.put('data', random(1000));
      while (uploads.begun < 2) await new Promise((resolve) => setImmediate(resolve));
      throw new Error('the disk is gone');
    });
    await assert.rejects(write, /the disk is gone/);
    assert.ok(uploads.begun > 1);
    assert.equal(uploads.ended, uploads.begun);
  });
});

describe('threads that pack', () => {
  let store: FaultyStore;
  let repository: Repository;
  beforeEach(async () => {
    store = new FaultyStore(new MemoryStore());
    repository = await createRepository(store, UNLOCK, { parameters: SMALL });
  });

  /** A pack in this memory that holds one blob, stored for the host. */
  function storePack(host: PackingHost, memory: SharedArrayBuffer | ArrayBuffer, n: number): BlobId {
    const { keySet, repositoryId } = repository.forThread().keys;
    const keys = new RepositoryKeys(keySet, repositoryId);
    const data = Buffer.from(`blob ${n}`);
    const id = keys.blobId('data', data);
    const writer = new PackWriter('data', keys, random, Buffer.from(memory));
    writer.add([random(60)], [{ id, offset: 0, length: data.length }]);
    const { body, crc32, table } = writer.finish();
    host.store({ key: writer.key, memory, length: body.length, crc32, table });
    return id;
  }

  it('are told once that a blob is theirs to store, and not when it is stored', async () => {
    await repository.write(async (writer) => {
      const { id: stored } = await writer.put('data', Buffer.from('stored'));
      const host = writer.packingHost(1);
      assert.deepEqual(await host.claim(asked(stored, idOf(1), idOf(2), idOf(1))), [true, false, false, true]);
      assert.deepEqual(await host.claim(asked(idOf(2), idOf(3), stored)), [true, false, true]);
      const { blobs, newBlobs } = writer.totals();
      assert.deepEqual({ blobs, newBlobs }, { blobs: 8, newBlobs: 4 });
      const other = writer.packingHost(1);
      assert.deepEqual(await other.claim(asked(idOf(1))), [false], 'what another has claimed may yet fail');
    });
    const later = await openRepository(store, UNLOCK);
    await later.write(async (writer) => {
      const { id, isNew } = await writer.put('data', Buffer.from('stored'));
      assert.equal(isNew, false);
      const host = writer.packingHost(1);
      for (let n = 0; n < 2; n++) assert.deepEqual(await host.claim(asked(id)), [true]);
    });
  });

  it('get memory for a pack again when it is stored, and other memory when they need more', async () => {
    await repository.write(async (writer) => {
      const host = writer.packingHost(1);
      const first = await host.packMemory(SMALL.packBytes);
      assert.ok(first instanceof SharedArrayBuffer);
      assert.equal(first.byteLength, SMALL.packBytes);
      storePack(host, first, 1);
      while (store.count('put', 'packs/') === 0) await new Promise((resolve) => setImmediate(resolve));
      await new Promise((resolve) => setImmediate(resolve));
      const large = await host.packMemory(SMALL.packBytes * 4);
      assert.equal(large.byteLength, SMALL.packBytes * 4);
      assert.ok(large instanceof ArrayBuffer, 'and it is theirs');
      assert.equal(await host.packMemory(SMALL.packBytes), first);
    });
  });

  it('learn that a write has failed, instead of waiting for memory', async () => {
    store.addRule({ verb: 'put', key: 'packs/', fault: { kind: 'error' } });
    const write = repository.write(async (writer) => {
      const host = writer.packingHost(1);
      storePack(host, await host.packMemory(SMALL.packBytes), 1);
      while (store.count('put', 'packs/') === 0) await new Promise((resolve) => setImmediate(resolve));
      await new Promise((resolve) => setImmediate(resolve));
      for (let n = 0; n < 5; n++) await assert.rejects(host.packMemory(SMALL.packBytes), { code: 'STORE_UNAVAILABLE' });
      await assert.rejects(host.claim(asked(idOf(1))), { code: 'STORE_UNAVAILABLE' });
      await assert.rejects(writer.put('data', Buffer.from('more')), { code: 'STORE_UNAVAILABLE' });
    });
    await assert.rejects(write, { code: 'STORE_UNAVAILABLE' });
  });
});
