import assert from 'node:assert/strict';
import { BackupList } from '../../core/src/repository/records/backup-list.ts';
import { BlockCache } from '../../core/src/repository/index/block-cache.ts';
import type { BlobId } from '../../core/src/repository/format/blob.ts';
import { BlobReader } from '../../core/src/repository/blobs/blob-reader.ts';
import { loadConfig } from '../../core/src/repository/keys/config.ts';
import { IndexLoader } from '../../core/src/repository/index/index-loader.ts';
import { decodeSegment } from '../../core/src/repository/format/index-segment.ts';
import { LiveSet } from '../../core/src/repository/collection/live-set.ts';
import { Mark } from '../../core/src/repository/collection/mark.ts';
import { encodeNode, NODE_TYPE } from '../../core/src/repository/format/node.ts';
import { createRepository, openRepository } from '../../core/src/repository/repository.ts';
import { SegmentCache } from '../../core/src/repository/index/segment-cache.ts';
import { readRow, ROW_BYTES } from '../../core/src/repository/format/table.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { chooser } from '../support/interleaving.ts';
import { makeBackup, newBackup, QUIET, seededRandom, SMALL, UNLOCK } from '../support/repository.ts';

describe('the set of what is needed', () => {
  it('is a map from ids to numbers, however it grows', () => {
    const random = seededRandom(5);
    const set = new LiveSet();
    const model = new Map<string, number>();
    // Ids that share their first 64 bits with another are told apart.
    const ids = Array.from({ length: 5000 }, (_, i) => {
      const id = Buffer.from(random(24));
      return i % 3 === 0 ? [id, Buffer.concat([id.subarray(0, 8), Buffer.from(random(16))])] : [id];
    }).flat();
    for (const [n, id] of ids.entries()) {
      assert.equal(set.get(id, 0), undefined);
      set.set(id, 0, n);
      model.set(id.toString('hex'), n);
      if (n % 7 === 0) {
        set.set(id, 0, n + 1);
        model.set(id.toString('hex'), n + 1);
      }
    }
    assert.equal(set.size, model.size);
    for (const id of ids) assert.equal(set.get(id, 0), model.get(id.toString('hex')));
    set.setAll(7);
    for (const id of ids) assert.equal(set.get(id, 0), 7);
    set.setAll(0);
    for (const id of ids) assert.equal(set.get(id, 0), 0);
    assert.equal(set.get(Buffer.alloc(24), 0), undefined);
  });

  it('takes ids for different that lie in one run of slots and differ in any of nine bytes', () => {
    const set = new LiveSet(100);
    const base = Buffer.alloc(24, 0xff);
    const variants = Array.from({ length: 9 }, (_, i) => {
      const id = Buffer.from(base);
      id[4 + i]! ^= 1;
      return id;
    });
    for (const [n, id] of [base, ...variants].entries()) set.set(id, 0, n);
    for (const [n, id] of [base, ...variants].entries()) assert.equal(set.get(id, 0), n, `byte ${3 + n}`);
  });

  it('keeps numbers up to its limit beside any id, and refuses larger ones', () => {
    const set = new LiveSet();
    const largest = 2 ** 24 - 2;
    for (const fill of [0, 0x7f, 0x80, 0xff]) {
      const id = Buffer.alloc(24, fill);
      set.set(id, 0, largest);
      assert.equal(set.get(id, 0), largest);
      set.set(id, 0, 0);
      assert.equal(set.get(id, 0), 0);
    }
    assert.throws(() => {
      set.set(Buffer.alloc(24), 0, largest + 1);
    }, /cannot be told apart/);
    assert.equal(set.size, 4);
  });
});

describe('the list of backups', () => {
  it('gives back what was added, in both orders, whatever its names and however many', () => {
    const list = new BackupList();
    const idOf = (n: number) => Buffer.alloc(24, n).toString('hex') as BlobId;
    const names = ['', 'täglich', 'with \0 in it', '日'.repeat(2000), 'x'];
    const expected = Array.from({ length: 300 }, (_, n) => {
      const { volumes, ...backup } = newBackup(n, { manifests: idOf(n % 256), volume: idOf(255 - (n % 256)) });
      const added = { ...backup, id: `id-${n}`, name: names[n % names.length]!, volumes: n % 3 === 0 ? [] : volumes };
      list.add(added);
      return { id: added.id, name: added.name, roots: [idOf(n % 256), ...(n % 3 === 0 ? [] : [idOf(255 - (n % 256))])].join('') };
    });
    assert.equal(list.length, 300);
    assert.deepEqual([...list], expected);
    assert.deepEqual([...list.reversed()], expected.toReversed());
    assert.deepEqual([...new BackupList()], []);
  });
});

describe('the cache of index blocks', () => {
  const blockOf = (n: number, rows = 3) => Buffer.alloc(rows * ROW_BYTES, n);

  it('gives back what was put in, of each segment its own, and lets go of what was not used for the longest time', () => {
    const cache = new BlockCache();
    const [one, other] = [cache.newNumber(), cache.newNumber()];
    for (let n = 0; n < 1024; n++) cache.set(n % 2 === 0 ? one : other, n, blockOf(n % 251, 1 + (n % 256)));
    assert.deepEqual(cache.get(one, 0), blockOf(0, 1));
    cache.set(one, 5000, blockOf(7));
    assert.deepEqual(cache.get(one, 5000), blockOf(7));
    assert.equal(cache.get(other, 1), undefined, 'the oldest, as 0 was asked for since');
    assert.equal(cache.get(one, 1), undefined);
    for (let n = 2; n < 1024; n++) assert.deepEqual(cache.get(n % 2 === 0 ? one : other, n), blockOf(n % 251, 1 + (n % 256)));
    assert.deepEqual(cache.get(one, 0), blockOf(0, 1));
  });

  it('takes a block that comes twice', () => {
    const cache = new BlockCache();
    cache.set(0, 1, blockOf(1));
    cache.set(0, 1, blockOf(2, 2));
    cache.set(0, 2, blockOf(3));
    assert.deepEqual([cache.get(0, 1), cache.get(0, 2)], [blockOf(2, 2), blockOf(3)]);
  });
});

describe('what each backup keeps', () => {
  for (const seed of [1, 2, 3]) {
    it(`is what no newer one needs, whichever way each is reached (${seed})`, async () => {
      const choose = chooser(seed);
      const random = seededRandom(seed);
      const repository = await createRepository(new MemoryStore(), UNLOCK, { parameters: SMALL });
      const sizes = new Map<BlobId, number>();
      const below = new Map<BlobId, readonly BlobId[]>();
      const backups: { readonly id: string; readonly roots: readonly BlobId[] }[] = [];
      await repository.write(async (writer) => {
        const put = async (kind: 'data' | 'node', bytes: Buffer, references: readonly BlobId[]) => {
          const { id } = await writer.put(kind, bytes);
          sizes.set(id, bytes.length);
          below.set(id, references);
          return id;
        };
        const node = (references: readonly BlobId[]) =>
          put('node', encodeNode({ type: NODE_TYPE.index, references, payload: Buffer.from(random(8)) }), references);
        const pool: BlobId[] = [];
        for (let i = 0; i < 100; i++) pool.push(await put('data', Buffer.from(random(50 + i)), []));
        // Nodes refer to whatever was there before, so the same is near one root and far from another.
        for (let i = 0; i < 300; i++)
          pool.push(await node(Array.from({ length: 3 }, () => pool[Math.max(0, pool.length - 1 - choose(60))]!)));
        for (let n = 1; n <= 60; n++) {
          const [manifests, volume] = [await node([]), pool[100 + choose(300)]!];
          backups.push({ id: String(n), roots: [manifests, volume] });
        }
      });
      for (const [i, { roots }] of backups.entries()) {
        await repository.commit(newBackup(i, { manifests: roots[0]!, volume: roots[1]! }));
      }
      const { keeps } = await repository.prune({ dryRun: true }, QUIET);
      const seen = new Set<BlobId>();
      const expected = backups.toReversed().map(({ roots }) => {
        let bytes = 0;
        const stack = [...roots];
        for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
          if (seen.has(id)) continue;
          seen.add(id);
          bytes += sizes.get(id)!;
          stack.push(...below.get(id)!);
        }
        return bytes;
      });
      assert.deepEqual(
        keeps.map(({ bytes }) => bytes),
        expected,
      );
    });
  }
});

describe('what is used of each pack', () => {
  /** Two backups, some of whose data lies in two packs each, as two writers stored it who did not know of each other; and data that no backup needs. */
  async function repositoryWithCopies() {
    const random = seededRandom(9);
    const contents = Array.from({ length: 12 }, () => Buffer.from(random(700)));
    const store = new MemoryStore();
    await createRepository(store, UNLOCK, { parameters: SMALL });
    const [one, other] = [await openRepository(store, UNLOCK), await openRepository(store, UNLOCK)];
    await makeBackup(one, 1, contents.slice(0, 8));
    await makeBackup(other, 2, contents.slice(4));
    await one.write((writer) => writer.put('data', Buffer.from(random(300))));
    const { keys } = (await loadConfig(store, UNLOCK, {}))!;
    const loader = new IndexLoader(store, keys, new SegmentCache('x', { random, now: () => new Date() }), random);
    await loader.refresh();
    const reader = new BlobReader(store, keys, loader.index);
    const backups = new BackupList();
    for await (const backup of one.backups()) backups.add(backup);
    const rows: { pack: string; id: BlobId; bytes: number }[] = [];
    for (const segment of loader.index.segments) {
      const { packs, rows: bytes } = decodeSegment(keys, segment.key, (await store.get(segment.key))!).table;
      for (let i = 0; i < bytes.length / ROW_BYTES; i++) {
        const row = readRow(bytes, i);
        rows.push({ pack: packs[row.pack]!.id, id: row.id, bytes: row.innerLength });
      }
    }
    const dead = new Set(rows.filter(({ bytes }) => bytes === 300).map(({ id }) => id));
    return { store, index: loader.index, reader, backups, rows, dead };
  }
  type World = Awaited<ReturnType<typeof repositoryWithCopies>>;

  /** Packs of which each has a blob that another has, too. */
  function packsWithCopies({ rows }: World): string[] {
    const packsOf = Map.groupBy(rows, ({ id }) => id);
    return [...new Set(rows.filter(({ id }) => packsOf.get(id)!.length > 1).map(({ pack }) => pack))];
  }

  it('is what backups need and no other pack keeps', async () => {
    const world = await repositoryWithCopies();
    const mark = await Mark.of(world.backups, world);
    const uses = await mark.assign(world.index, () => true);
    assert.deepEqual(new Set(uses.keys()), new Set(world.rows.map(({ pack }) => pack)));
    const sum = (what: 'liveBytes' | 'deadBytes' | 'liveBlobs') => [...uses.values()].reduce((total, use) => total + use[what], 0);
    const needed = new Map(world.rows.filter(({ id }) => !world.dead.has(id)).map(({ id, bytes }) => [id, bytes]));
    assert.equal(sum('liveBlobs'), needed.size, 'each once');
    assert.equal(
      sum('liveBytes'),
      [...needed.values()].reduce((total, bytes) => total + bytes, 0),
    );
    for (const [pack, use] of uses) {
      const own = world.rows.filter((row) => row.pack === pack);
      assert.equal(
        use.liveBytes + use.deadBytes,
        own.reduce((total, { bytes }) => total + bytes, 0),
      );
    }
    assert.ok(packsWithCopies(world).some((pack) => uses.get(pack)!.deadBytes > 0));
  });

  it('is nothing of a pack that is not sound, and then another keeps what it can', async () => {
    const world = await repositoryWithCopies();
    const [gone] = packsWithCopies(world);
    const mark = await Mark.of(world.backups, world);
    const uses = await mark.assign(world.index, (pack) => pack !== gone);
    const own = world.rows.filter(({ pack }) => pack === gone);
    assert.deepEqual(uses.get(gone!), { liveBytes: 0, deadBytes: own.reduce((total, { bytes }) => total + bytes, 0), liveBlobs: 0 });
    const elsewhere = new Set(world.rows.filter(({ pack }) => pack !== gone).map(({ id }) => id));
    const only = own.filter(({ id }) => !elsewhere.has(id) && !world.dead.has(id)).map(({ id }) => id);
    assert.ok(only.length > 0 && only.length < own.length);
    assert.deepEqual(new Set(await mark.toCopy(world.index, new Set(), new Set([gone!]))), new Set(only));
    assert.deepEqual(await mark.toCopy(world.index, new Set(), new Set()), []);
  });

  it('is to be copied before the pack leaves, and nothing else', async () => {
    const world = await repositoryWithCopies();
    for (const leaving of packsWithCopies(world)) {
      const mark = await Mark.of(world.backups, world);
      const uses = await mark.assign(world.index, () => true);
      const ids = await mark.toCopy(world.index, new Set([leaving]), new Set());
      assert.equal(ids.length, uses.get(leaving)!.liveBlobs);
      const own = new Map(world.rows.filter(({ pack }) => pack === leaving).map(({ id, bytes }) => [id, bytes]));
      assert.equal(
        ids.reduce((total, id) => total + own.get(id)!, 0),
        uses.get(leaving)!.liveBytes,
      );
    }
  });

  it('cannot be known while a blob is nowhere', async () => {
    const world = await repositoryWithCopies();
    world.backups.add({ ...newBackup(3, { manifests: 'f'.repeat(48) as BlobId, volume: 'f'.repeat(48) as BlobId }), id: 'x' });
    await assert.rejects(Mark.of(world.backups, world), { code: 'REPOSITORY_CORRUPT', message: /ffff/ });
  });
});
