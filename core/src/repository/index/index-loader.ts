import { DmaasError } from '../../errors.ts';
import { forEachParallel } from '../../parallel.ts';
import { Slots } from '../../slots.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import { twice } from '../../twice.ts';
import { LIMITS } from '../format/blob.ts';
import { damaged, keysMissing } from '../format/damage.ts';
import type { Random } from '../format/derive.ts';
import { encodeSegment, newSegmentKey } from '../format/index-segment.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { openPackTable, packIdOf, PACKS } from '../format/pack-reader.ts';
import { checkCrc, encodeHeader, HEADER_BYTES, OBJECT_TYPE, readTrailer, TRAILER_BYTES } from '../format/sealed.ts';
import { joinTables, rowCount, type Table } from '../format/table.ts';
import { FENCE_BYTES, isFence } from '../protocol/fence.ts';
import { BlockCache } from './block-cache.ts';
import { OpenSegment, SegmentVanished, type SegmentDeps } from './open-segment.ts';
import { RepositoryIndex } from './repository-index.ts';
import { SegmentCache } from './segment-cache.ts';

const INDEX = 'index/';
const SEGMENT_KEY = /^index\/(\d{1,3})\/[0-9a-f]{32}$/;
const MAX_REQUESTS = 8;
/** Ends of segments in memory at once. */
const MAX_OPENING_BYTES = 4 << 20;
/** A segment can vanish between the listing and the read, when it was merged; then there is a new one to list. */
const MAX_LISTINGS = 5;
/** Entries of packs that no segment names are held in memory up to so many. */
const SPILL_ROWS = 1 << 17;
/** The table of most packs, with the trailer. */
const TABLE_GUESS_BYTES = 32 << 10;

interface ListedSegment {
  readonly key: string;
  readonly size: number;
  readonly level: number;
  readonly modifiedAt: Date;
}

/** A segment that others replace, and one of those. */
export interface ReplacedSegment {
  readonly key: string;
  readonly by: OpenSegment;
  /** How long the other has been in the store, at least, by the store's clock. */
  readonly forMs: number;
  /** When the other was written. */
  readonly writtenAt: Date | undefined;
}

/** Keeps a `RepositoryIndex` up with the segments in the store. */
export class IndexLoader {
  readonly index: RepositoryIndex;
  readonly #store: ObjectStore;
  readonly #keys: RepositoryKeys;
  readonly #cache: SegmentCache;
  readonly #deps: SegmentDeps;
  /** For what is no copy of anything in the store. */
  readonly #temporary: SegmentCache;
  readonly #random: Random;
  readonly #damaged = new Map<string, DmaasError>();
  /** Of these, those that can be opened, and are damaged further inside. */
  readonly #refused = new Set<string>();
  #listed: ReadonlySet<string> = new Set();
  #replaced: readonly ReplacedSegment[] = [];
  #refreshing: Promise<void> = Promise.resolve();

  constructor(store: ObjectStore, keys: RepositoryKeys, cache: SegmentCache, random: Random) {
    this.#store = store;
    this.#keys = keys;
    this.#cache = cache;
    this.#random = random;
    this.#temporary = new SegmentCache('', { limitBytes: Infinity, random, now: () => new Date(0) });
    this.#deps = { store, keys, cache, blocks: new BlockCache() };
    this.index = new RepositoryIndex({
      putAside: (segment, error) => {
        this.putAside(segment, error);
      },
      onVanished: (opts) => this.refresh(opts),
    });
  }

  /** Segments that could not be read when last tried. What they name is found in the packs' own tables, if need be. */
  get damaged(): ReadonlyMap<string, DmaasError> {
    return this.#damaged;
  }

  /** Throws REPOSITORY_KEY when some of them are sealed with keys that are not at hand: nobody can tell from here what is lost, and nothing should be written that older keys open. */
  requireKeys(): void {
    const sealed = [...this.#damaged.values()].find((e) => DmaasError.is(e, 'REPOSITORY_KEY'));
    if (sealed !== undefined) throw sealed;
  }

  /** Whether the last listing had a segment. */
  isListed(key: string): boolean {
    return this.#listed.has(key);
  }

  /** Segments in the last listing whose entries are all in others. */
  get replaced(): readonly ReplacedSegment[] {
    return this.#replaced;
  }

  /** Gives back files, and removes temporary ones. */
  close(): void {
    this.index.close();
    this.#cache.close();
    this.#temporary.close();
  }

  /** Opens a segment that this process wrote. */
  open(key: string, object: Uint8Array): Promise<OpenSegment> {
    return OpenSegment.of(key, object, this.#deps);
  }

  /** Reads all of a segment from the store; one that is damaged is put aside, and REPOSITORY_CORRUPT thrown. */
  async check(segment: OpenSegment, opts: CallOptions): Promise<void> {
    try {
      await twice(() => segment.check(opts));
    } catch (e) {
      this.putAside(segment, e);
      throw e;
    }
  }

  /** The same for all that are open. Afterwards the index has what those that are damaged replaced, if that is still there. */
  async checkAll(opts: CallOptions): Promise<void> {
    const before = this.#refused.size;
    for (const segment of [...this.index.segments]) {
      await this.check(segment, opts).catch((e: unknown) => {
        if (!DmaasError.is(e, 'REPOSITORY_CORRUPT') && !(e instanceof SegmentVanished)) throw e;
      });
    }
    if (this.#refused.size > before) await this.refresh(opts);
  }

  /** Does without a segment if `error` says that it is damaged or gone. */
  putAside(segment: OpenSegment, error: unknown): void {
    if (DmaasError.is(error, 'REPOSITORY_CORRUPT')) {
      this.#damaged.set(segment.key, error);
      this.#refused.add(segment.key);
    } else if (!(error instanceof SegmentVanished)) return;
    this.index.removeSegment(segment.key);
  }

  /** Opens what is new and lets go of what is not listed any more, or is replaced. A damaged segment is noted, not fatal: it costs no backup. */
  refresh(opts: CallOptions = {}): Promise<void> {
    const refreshed = this.#refreshing.catch(() => undefined).then(() => this.#refresh(opts));
    this.#refreshing = refreshed;
    return refreshed;
  }

  async #refresh(opts: CallOptions): Promise<void> {
    for (let listing = 0; listing < MAX_LISTINGS; listing++) {
      const before = new Set([...this.index.segments].map(({ key }) => key));
      const listed = await this.#list(opts);
      if (await this.#openAll(listed, opts)) {
        this.#letGo(before, listed);
        return;
      }
    }
    // With a part of it, what is stored looks as if it were not.
    throw new DmaasError('STORE_UNAVAILABLE', 'segments of the index were merged again and again while it was read', {
      hint: 'run it again',
    });
  }

  async #list(opts: CallOptions): Promise<ListedSegment[]> {
    const listed: ListedSegment[] = [];
    for await (const { key, size, modifiedAt } of this.#store.list(INDEX, opts)) {
      const level = SEGMENT_KEY.exec(key)?.[1];
      if (level !== undefined) listed.push({ key, size, level: Number(level), modifiedAt });
    }
    return listed;
  }

  /** Whether all that are needed were there. */
  async #openAll(listed: readonly ListedSegment[], opts: CallOptions): Promise<boolean> {
    let vanished = 0;
    // Merged segments first: what they replace need not be read.
    for (const level of [...new Set(listed.map((s) => s.level))].sort((a, b) => b - a)) {
      const replaced = this.#replacedKeys();
      const needed = listed.filter((s) => s.level === level && !this.index.has(s.key) && !replaced.has(s.key) && !this.#refused.has(s.key));
      const budget = new Slots(MAX_OPENING_BYTES);
      await forEachParallel(needed, MAX_REQUESTS, async ({ key, size }) => {
        const bytes = OpenSegment.openingBytes(size);
        await budget.acquire(bytes);
        try {
          if (!(await this.#open(key, size, opts))) vanished++;
        } finally {
          budget.release(bytes);
        }
      });
    }
    return vanished === 0;
  }

  async #open(key: string, size: number, opts: CallOptions): Promise<boolean> {
    try {
      if (size === FENCE_BYTES && isFence((await this.#store.get(key, opts)) ?? Buffer.alloc(0))) return true;
      const segment = await twice(() => this.#keys.opening(() => OpenSegment.open(key, size, this.#deps, opts)));
      if (segment === undefined) return false;
      this.index.addSegment(segment);
      this.#damaged.delete(key);
    } catch (e) {
      if (!DmaasError.is(e, 'REPOSITORY_CORRUPT') && !DmaasError.is(e, 'REPOSITORY_KEY')) throw e;
      this.#damaged.set(key, (await this.#missingKeys(key, e, opts)) ?? e);
    }
    return true;
  }

  /** Of a segment whose key epoch nobody has begun, and which is whole nevertheless. */
  async #missingKeys(key: string, e: DmaasError, opts: CallOptions): Promise<DmaasError | undefined> {
    const { epoch } = e.details;
    if (typeof epoch !== 'number' || !DmaasError.is(e, 'REPOSITORY_CORRUPT')) return undefined;
    try {
      checkCrc((await this.#store.get(key, opts)) ?? Buffer.alloc(0), key);
      return keysMissing(key, epoch);
    } catch (damage) {
      if (!DmaasError.is(damage, 'REPOSITORY_CORRUPT')) throw damage;
      return undefined;
    }
  }

  /** `before`: what was open before the listing; what this process wrote since cannot be in it. */
  #letGo(before: ReadonlySet<string>, listed: readonly ListedSegment[]): void {
    const keys = new Set(listed.map(({ key }) => key));
    this.#listed = keys;
    const replaced = this.#replacedKeys();
    for (const { key } of [...this.index.segments]) {
      if (replaced.has(key) || (before.has(key) && !keys.has(key))) this.index.removeSegment(key);
    }
    const open = new Set([...this.index.segments].map(({ key }) => key));
    this.#cache.retain(open);
    for (const key of this.#damaged.keys()) if (!keys.has(key)) this.#damaged.delete(key);
    const writtenAt = new Map(listed.map(({ key, modifiedAt }) => [key, modifiedAt.getTime()]));
    const now = Math.max(...writtenAt.values());
    this.#replaced = [...this.index.segments].flatMap((by) =>
      by.replaces
        .filter((key) => keys.has(key))
        .map((key) => ({
          key,
          by,
          forMs: now - (writtenAt.get(by.key) ?? now),
          writtenAt: listed.find((s) => s.key === by.key)?.modifiedAt,
        })),
    );
  }

  #replacedKeys(): Set<string> {
    return new Set([...this.index.segments].flatMap(({ replaces }) => replaces));
  }

  /**
   * What lies in packs that the index does not name, from their own tables: left by a crash, or named by a segment that was lost. For reading
   * only: nothing may rely on it being there tomorrow. Much of it is kept as segments of which there is nothing but a local copy.
   * With `index`, adds to what that has. Whoever asked closes it.
   */
  async loadUnindexed(opts: CallOptions = {}, index = this.#newUnindexed()): Promise<RepositoryIndex> {
    const deps = { ...this.#deps, cache: this.#temporary, blocks: new BlockCache() };
    let tables: Table[] = [];
    const spill = async () => {
      const key = newSegmentKey(0, this.#random);
      const segment = { table: joinTables(tables), replaces: [] };
      tables = [];
      await index.writeFresh(() => OpenSegment.of(key, encodeSegment(this.#keys, key, segment, this.#random), deps));
    };
    await forEachParallel(await this.#packsBeside(index, opts), MAX_REQUESTS, async ({ key, size }) => {
      try {
        const table = await readPackTable(this.#store, this.#keys, key, size, opts);
        index.addTable(table, key);
        tables.push(table);
        if (tables.reduce((sum, { rows }) => sum + rowCount(rows), 0) >= SPILL_ROWS) await spill();
      } catch (e) {
        // Damaged, or gone since: then it is no help, and verifying says so.
        if (!DmaasError.is(e, 'REPOSITORY_CORRUPT') && !DmaasError.is(e, 'STORE_RANGE')) throw e;
      }
    });
    return index;
  }

  /** The tables of packs that the index does not name, as far as they can be read. */
  async *unindexedTables(opts: CallOptions = {}): AsyncGenerator<Table> {
    const empty = this.#newUnindexed();
    for (const { key, size } of await this.#packsBeside(empty, opts)) {
      try {
        yield await readPackTable(this.#store, this.#keys, key, size, opts);
      } catch (e) {
        if (!DmaasError.is(e, 'REPOSITORY_CORRUPT') && !DmaasError.is(e, 'STORE_RANGE')) throw e;
      }
    }
  }

  #newUnindexed(): RepositoryIndex {
    const index: RepositoryIndex = new RepositoryIndex({
      putAside: ({ key }) => {
        index.removeSegment(key);
      },
      onVanished: () => Promise.resolve(),
    });
    return index;
  }

  /** Packs that neither the index names nor `other`. */
  async #packsBeside(other: RepositoryIndex, opts: CallOptions): Promise<{ readonly key: string; readonly size: number }[]> {
    const indexed = new Set([...this.index.packs().keys(), ...other.packs().keys()]);
    const packs: { key: string; size: number }[] = [];
    for await (const { key, size } of this.#store.list(PACKS, opts)) {
      const id = packIdOf(key);
      if (id !== undefined && size <= LIMITS.pack && !indexed.has(id)) packs.push({ key, size });
    }
    return packs;
  }
}

/** A pack's own table, without reading its frames: for most packs one request. */
async function readPackTable(store: ObjectStore, keys: RepositoryKeys, key: string, size: number, opts: CallOptions): Promise<Table> {
  const tailAt = Math.max(0, size - TABLE_GUESS_BYTES);
  const read = async (offset: number, length: number) => {
    if (offset < 0 || length < 1) throw damaged(key, 'it is cut short');
    const bytes = await store.get(key, { ...opts, range: { offset, length } });
    if (bytes?.length !== length) throw damaged(key, 'it is missing or cut short');
    return bytes;
  };
  const tail = await read(tailAt, size - tailAt);
  const { lastSectionLength } = readTrailer(tail.subarray(-TRAILER_BYTES), size, key);
  const from = size - TRAILER_BYTES - lastSectionLength;
  const section = from >= tailAt ? tail.subarray(from - tailAt, from - tailAt + lastSectionLength) : await read(from, lastSectionLength);
  try {
    // The header is guessed: under another one the table does not open.
    return openPackTable(keys, key, encodeHeader(OBJECT_TYPE.pack, keys.epoch), section, size);
  } catch (e) {
    if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
    const header = tailAt === 0 ? tail.subarray(0, HEADER_BYTES) : await read(0, HEADER_BYTES);
    return await keys.opening(() => openPackTable(keys, key, header, section, size));
  }
}
