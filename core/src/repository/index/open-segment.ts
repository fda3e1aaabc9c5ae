import { crc32 } from 'node:zlib';
import { discardView } from '../../discard.ts';
import { DmaasError, throwIfCancelled } from '../../errors.ts';
import { forEachParallel } from '../../parallel.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import { twice } from '../../twice.ts';
import { BLOB_ID_BYTES, LIMITS } from '../format/blob.ts';
import { damaged } from '../format/damage.ts';
import type { SegmentReader } from '../format/index-segment.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { checkHeader, HEADER_BYTES, OBJECT_TYPE, readTrailer, TRAILER_BYTES } from '../format/sealed.ts';
import { mayHave, prefixAt, type IdBatch } from '../format/segment-filter.ts';
import { ROW_BYTES } from '../format/table.ts';
import type { BlockCache } from './block-cache.ts';
import { PackList } from './pack-list.ts';
import { compareIds, searchRows, type OnRow } from './search-rows.ts';
import type { LocalCopy, SegmentCache } from './segment-cache.ts';
import { readEnd, tailBytes, type SegmentEnd } from './segment-end.ts';

/** Segments up to this size are fetched whole: one request, and its answer comes about as soon as that of two small ones. */
const WHOLE_BYTES = 8 << 20;
/** A request costs about as much as this many bytes. */
const REQUEST_BYTES = 1 << 20;
/** Blocks with no more than this between them are fetched together. */
const GAP_BYTES = 128 << 10;
const MAX_REQUESTS = 8;
/** How much of a segment is read at a time when all of it is. */
const RUN_BYTES = 256 << 10;
const CHECK_BYTES = 4 << 20;
/** For what is opened at once: so many small buffers would outrun their collection. */
const SCRATCH = Buffer.allocUnsafeSlow(RUN_BYTES);

export interface SegmentDeps {
  readonly store: ObjectStore;
  readonly keys: RepositoryKeys;
  readonly cache: SegmentCache;
  readonly blocks: BlockCache;
}

/** The segment was deleted, because another replaces it: list again. */
export class SegmentVanished extends Error {
  override readonly name = 'SegmentVanished';
}

interface BlockRange {
  readonly offset: number;
  length: number;
  readonly blocks: number[];
}

/**
 * A segment with what lookups need in memory: filter, fences (the beginning of each block's first id), nodes, packs. Blocks are read from the
 * local copy, at once, or from the store.
 */
export class OpenSegment {
  readonly key: string;
  readonly level: number;
  readonly size: number;
  readonly entries: number;
  readonly packs: PackList;
  readonly replaces: readonly string[];
  readonly #deps: SegmentDeps;
  readonly #reader: SegmentReader;
  readonly #fences: Float64Array;
  readonly #offsets: Uint32Array;
  readonly #lengths: Uint32Array;
  readonly #filter: Uint8Array | undefined;
  readonly #nodes: Buffer | undefined;
  /** Of its blocks in the block cache. */
  readonly #number: number;
  #copy: LocalCopy | undefined;
  #copying: Promise<void> | undefined;
  /** Whether there is room for a copy. */
  #canCopy = true;
  /** What was fetched in pieces so far, requests counted as bytes. */
  #spent = 0;
  #isClosed = false;

  private constructor(
    { key, size, copy }: { key: string; size: number; copy: LocalCopy | undefined },
    { reader, directory, filter, nodes }: SegmentEnd,
    deps: SegmentDeps,
  ) {
    const { blocks } = directory;
    this.key = key;
    this.level = Number(key.split('/')[1]);
    this.size = size;
    this.entries = directory.entries;
    this.packs = new PackList(directory.packs);
    this.replaces = directory.replaces;
    this.#deps = deps;
    this.#reader = reader;
    this.#fences = Float64Array.from(blocks, ({ firstId }) => Number.parseInt(firstId.slice(0, 12), 16));
    this.#offsets = Uint32Array.from(blocks, ({ offset }) => offset);
    this.#lengths = Uint32Array.from(blocks, ({ length }) => length);
    this.#filter = filter;
    this.#nodes = nodes;
    this.#number = deps.blocks.newNumber();
    this.#copy = copy;
  }

  /** Opens the segment of this size; undefined when it is not there any more. */
  static async open(key: string, size: number, deps: SegmentDeps, opts: CallOptions): Promise<OpenSegment | undefined> {
    if (size > LIMITS.segment) throw damaged(key, 'it is too large');
    const { keys, cache, store } = deps;
    const known = cache.open(key, size);
    if (known !== undefined) {
      try {
        const read = (offset: number, length: number) => known.read(offset, length) ?? Buffer.alloc(0);
        const end = await readEnd(keys, key, { size, read, tailBytes: tailBytes(size) });
        return new OpenSegment({ key, size, copy: known }, end, deps);
      } catch (e) {
        // Whatever is wrong with the copy, the store decides.
        if (!DmaasError.is(e)) throw e;
        known.close();
        cache.remove(key);
      }
    }
    if (size <= WHOLE_BYTES) {
      const object = await store.get(key, opts);
      const segment = object && (await OpenSegment.of(key, object, deps));
      discardView(object);
      return segment;
    }
    const fetched: Uint8Array[] = [];
    const read = async (offset: number, length: number) => {
      const bytes = await fetchRange(store, key, offset, length, opts);
      fetched.push(bytes);
      return bytes;
    };
    try {
      const end = await readEnd(keys, key, { size, read, tailBytes: tailBytes(size) });
      return new OpenSegment({ key, size, copy: undefined }, end, deps);
    } catch (e) {
      if (e instanceof SegmentVanished) return undefined;
      throw e;
    } finally {
      fetched.forEach(discardView);
    }
  }

  /** Of a segment of this size, what opening it fetches. */
  static openingBytes(size: number): number {
    return size <= WHOLE_BYTES ? size : tailBytes(size);
  }

  /** Opens a segment of which the whole object is at hand, and keeps a copy of it if there is room. */
  static async of(key: string, object: Uint8Array, deps: SegmentDeps): Promise<OpenSegment> {
    const read = (offset: number, length: number) => object.subarray(offset, offset + length);
    checkHeader(object, key, OBJECT_TYPE.segment);
    const end = await readEnd(deps.keys, key, {
      size: object.length,
      read,
      tailBytes: object.length,
      header: object.subarray(0, HEADER_BYTES),
    });
    const copy = await deps.cache.add(key, object.length, (offset, length) => Promise.resolve(read(offset, length)));
    return new OpenSegment({ key, size: object.length, copy }, end, deps);
  }

  /** The local copy stays for the next process. */
  close(): void {
    this.#isClosed = true;
    this.#dropCopy();
  }

  /**
   * Tells `onRow` of every row whose id is wanted; of some perhaps twice. At once when memory and the local copy can answer, otherwise a promise. Rejects with
   * SegmentVanished, or REPOSITORY_CORRUPT.
   */
  find(batch: IdBatch, isWanted: (i: number) => boolean, onRow: OnRow, opts: CallOptions): Promise<void> | undefined {
    const unread = this.#search(batch, batch.order, isWanted, onRow, (block) => this.#blockAtHand(block));
    return unread.size === 0 ? undefined : this.#fetchAndSearch(unread, batch, isWanted, onRow, opts);
  }

  /** All rows in order, in pieces that are good until the next is asked for: from the local copy when it is good, otherwise from the store. */
  async *rows(opts: CallOptions = {}): AsyncGenerator<Buffer> {
    for (let block = 0; block < this.#offsets.length;) {
      throwIfCancelled(opts.signal);
      const first = block;
      const offset = this.#offsets[first] as number;
      while (block < this.#offsets.length && this.#end(block) - offset <= RUN_BYTES) block++;
      block = Math.max(block, first + 1);
      const rows = this.#localRun(first, block) ?? (await this.#remoteRun(first, block, opts));
      yield rows;
      discardView(rows);
    }
  }

  /** Reads all of the object in the store, whatever is here, and throws REPOSITORY_CORRUPT when any of it is not as it was written. */
  async check(opts: CallOptions = {}): Promise<void> {
    const { store } = this.#deps;
    let crc = 0;
    let held: Buffer = Buffer.alloc(0);
    let heldAt = 0;
    let block = 0;
    let last: Buffer | undefined;
    for (let at = 0; at < this.size; at += CHECK_BYTES) {
      throwIfCancelled(opts.signal);
      const bytes = await fetchRange(store, this.key, at, Math.min(CHECK_BYTES, this.size - at), opts);
      if (at === 0) checkHeader(bytes, this.key, OBJECT_TYPE.segment);
      crc = crc32(bytes.subarray(0, Math.max(0, this.size - TRAILER_BYTES - at)), crc);
      held = Buffer.concat([held, bytes]);
      discardView(bytes);
      for (; block < this.#offsets.length && this.#end(block) <= heldAt + held.length; block++) {
        const rows = this.#open(block, held.subarray((this.#offsets[block] as number) - heldAt, this.#end(block) - heldAt));
        this.#checkOrder(block, rows, last);
        last = rows.subarray(rows.length - ROW_BYTES);
      }
      const next = block < this.#offsets.length ? (this.#offsets[block] as number) : this.size - TRAILER_BYTES;
      const done = Math.min(Math.max(next - heldAt, 0), held.length);
      held = held.subarray(done);
      heldAt += done;
    }
    if (block < this.#offsets.length) throw damaged(this.key, 'it has not as many blocks as it says');
    if (readTrailer(held.subarray(held.length - TRAILER_BYTES), this.size, this.key).crc !== crc)
      throw damaged(this.key, 'its checksum does not match');
  }

  #checkOrder(block: number, rows: Buffer, last: Buffer | undefined): void {
    let isOrdered = last === undefined || compareIds(last, 0, rows, 0) <= 0;
    isOrdered &&= prefixAt(rows, 0) === this.#fences[block];
    let isInFilter = true;
    for (let at = 0; at < rows.length; at += ROW_BYTES) {
      isOrdered &&= at === 0 || compareIds(rows, at - ROW_BYTES, rows, at) <= 0;
      isInFilter &&= this.#filter === undefined || mayHave(this.#filter, rows, at);
    }
    if (!isOrdered) throw damaged(this.key, 'its entries are out of order');
    if (!isInFilter) throw damaged(this.key, 'its filter hides entries');
  }

  /** Which blocks could not be looked at, with the ids that may be in them. */
  #search(
    batch: IdBatch,
    places: Iterable<number>,
    isWanted: (i: number) => boolean,
    onRow: OnRow,
    blockAt: (block: number) => Buffer | undefined,
  ): Map<number, number[]> {
    const unread = new Map<number, number[]>();
    let block = -1;
    let rows: Buffer | undefined;
    for (const i of places) {
      const at = i * BLOB_ID_BYTES;
      if (!isWanted(i) || (this.#filter !== undefined && !mayHave(this.#filter, batch.bytes, at))) continue;
      // Whose id is a node's has no other rows: each kind has a key of its own for its ids.
      if (this.#nodes !== undefined && searchRows(this.#nodes, batch, i, onRow)) continue;
      const prefix = batch.prefixes[i] as number;
      // More than one only where blocks begin with the same six bytes.
      for (let b = this.#blockOf(prefix); b < this.#fences.length && (b < 0 || (this.#fences[b] as number) <= prefix); b++) {
        if (b < 0) continue;
        if (b !== block) {
          block = b;
          rows = unread.has(b) ? undefined : blockAt(b);
        }
        if (rows !== undefined) searchRows(rows, batch, i, onRow);
        else if (unread.get(b)?.push(i) === undefined) unread.set(b, [i]);
      }
    }
    return unread;
  }

  /** The last block that begins below, -1 if none does. */
  #blockOf(prefix: number): number {
    let low = 0;
    let high = this.#fences.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#fences[middle] as number) < prefix) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #blockAtHand(block: number): Buffer | undefined {
    const known = this.#deps.blocks.get(this.#number, block);
    if (known !== undefined) return known;
    const rows = this.#localRun(block, block + 1);
    return rows && this.#keep(block, rows);
  }

  #keep(block: number, rows: Buffer): Buffer {
    const kept = this.#deps.blocks.set(this.#number, block, rows);
    discardView(rows);
    return kept;
  }

  /** Rows of these blocks from the local copy; a copy that is not what was sealed is given up. */
  #localRun(first: number, end: number): Buffer | undefined {
    const from = this.#offsets[first] as number;
    const bytes = this.#copy?.read(from, this.#end(end - 1) - from, SCRATCH);
    if (bytes === undefined) return undefined;
    try {
      return this.#openRun(first, end, bytes);
    } catch (e) {
      if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
      this.#dropCopy();
      this.#deps.cache.remove(this.key);
      return undefined;
    }
  }

  #dropCopy(): void {
    this.#copy?.close();
    this.#copy = undefined;
  }

  async #remoteRun(first: number, end: number, opts: CallOptions): Promise<Buffer> {
    const from = this.#offsets[first] as number;
    return twice(async () => {
      const bytes = await this.#fetch(from, this.#end(end - 1) - from, opts);
      const rows = this.#openRun(first, end, bytes);
      discardView(bytes);
      return rows;
    });
  }

  #openRun(first: number, end: number, bytes: Uint8Array): Buffer {
    const from = this.#offsets[first] as number;
    const parts: Buffer[] = [];
    for (let block = first; block < end; block++) {
      const at = (this.#offsets[block] as number) - from;
      parts.push(this.#open(block, bytes.subarray(at, at + (this.#lengths[block] as number))));
    }
    if (parts.length === 1) return parts[0] as Buffer;
    const rows = Buffer.concat(parts);
    parts.forEach(discardView);
    return rows;
  }

  #open(block: number, section: Uint8Array): Buffer {
    return this.#reader.block({ entries: this.entries, sizes: this.packs.sizes }, block, section);
  }

  #end(block: number): number {
    return (this.#offsets[block] as number) + (this.#lengths[block] as number);
  }

  async #fetchAndSearch(
    unread: ReadonlyMap<number, readonly number[]>,
    batch: IdBatch,
    isWanted: (i: number) => boolean,
    onRow: OnRow,
    opts: CallOptions,
  ): Promise<void> {
    const ranges = this.#rangesOf([...unread.keys()]);
    const cost = ranges.reduce((sum, { length }) => sum + length + REQUEST_BYTES, 0);
    if (this.#spent + cost >= this.size && (await this.#makeCopy(opts))) {
      const rest = this.#search(batch, placesOf(unread.values()), isWanted, onRow, (block) => this.#blockAtHand(block));
      // Only a copy that is damaged at once leaves something.
      if (rest.size > 0) await this.#fetchAndSearch(rest, batch, isWanted, onRow, opts);
      return;
    }
    this.#spent += cost;
    await forEachParallel(ranges, MAX_REQUESTS, async (range) => {
      for (const [block, rows] of await twice(() => this.#readBlocks(range, opts))) {
        const kept = this.#keep(block, rows);
        for (const i of unread.get(block) ?? []) searchRows(kept, batch, i, onRow);
      }
    });
  }

  async #readBlocks({ offset, length, blocks }: BlockRange, opts: CallOptions): Promise<Map<number, Buffer>> {
    const bytes = await this.#fetch(offset, length, opts);
    const read = new Map(
      blocks.map((block) => {
        const at = (this.#offsets[block] as number) - offset;
        return [block, this.#open(block, bytes.subarray(at, at + (this.#lengths[block] as number)))];
      }),
    );
    discardView(bytes);
    return read;
  }

  #rangesOf(blocks: readonly number[]): BlockRange[] {
    const ranges: BlockRange[] = [];
    for (const block of blocks.toSorted((a, b) => a - b)) {
      const open = ranges.at(-1);
      const offset = this.#offsets[block] as number;
      if (open !== undefined && offset - (open.offset + open.length) <= GAP_BYTES && this.#end(block) - open.offset <= CHECK_BYTES) {
        open.length = this.#end(block) - open.offset;
        open.blocks.push(block);
      } else ranges.push({ offset, length: this.#lengths[block] as number, blocks: [block] });
    }
    return ranges;
  }

  /** Whether there is a local copy now. */
  async #makeCopy(opts: CallOptions): Promise<boolean> {
    if (this.#copy === undefined && this.#canCopy) {
      this.#copying ??= this.#copyAll(opts).finally(() => (this.#copying = undefined));
      await this.#copying;
    }
    return this.#copy !== undefined;
  }

  async #copyAll(opts: CallOptions): Promise<void> {
    let last: Uint8Array | undefined;
    const copy = await this.#deps.cache.add(this.key, this.size, async (offset, length) => {
      discardView(last);
      last = await this.#fetch(offset, length, opts);
      return last;
    });
    discardView(last);
    // Once: when the copy turns out bad, pieces are fetched.
    this.#canCopy = false;
    if (this.#isClosed) copy?.close();
    else this.#copy = copy;
  }

  #fetch(offset: number, length: number, opts: CallOptions): Promise<Uint8Array> {
    return fetchRange(this.#deps.store, this.key, offset, length, opts);
  }
}

async function fetchRange(store: ObjectStore, key: string, offset: number, length: number, opts: CallOptions): Promise<Uint8Array> {
  let bytes: Uint8Array | undefined;
  try {
    bytes = await store.get(key, { ...opts, range: { offset, length } });
  } catch (e) {
    if (DmaasError.is(e, 'STORE_RANGE')) throw damaged(key, 'it is cut short', e);
    throw e;
  }
  if (bytes === undefined) throw new SegmentVanished(key);
  if (bytes.length !== length) throw damaged(key, 'the store returned a part of it that was not asked for');
  return bytes;
}

function* placesOf(lists: Iterable<readonly number[]>): Generator<number> {
  for (const places of lists) yield* places;
}
