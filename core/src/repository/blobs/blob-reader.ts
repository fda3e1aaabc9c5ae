import { discardView } from '../../discard.ts';
import { DmaasError, throwIfCancelled } from '../../errors.ts';
import { forEachParallel } from '../../parallel.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import type { BlobId, BlobKind } from '../format/blob.ts';
import { damaged } from '../format/damage.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { blobOf, openFramePayload, packKey } from '../format/pack-reader.ts';
import type { PackInfo } from '../format/table.ts';
import type { BlobIndex, BlobLookup, Entry } from '../index/blob-index.ts';
import { Flow } from './flow.ts';

/** Frames that lie together are fetched together, up to this size and across gaps this wide: bytes read in vain cost less than another round trip. */
const RANGE_BYTES = 4 << 20;
const GAP_BYTES = 1 << 20;
/** Of ranges that are being fetched or opened. */
const MAX_BYTES_IN_FLIGHT = 48 << 20;
const CACHE_BYTES = 32 << 20;

export interface ReadManyOptions extends CallOptions {
  /** Takes what cannot be read, so that the rest is still delivered. Without it the first such blob ends the call. */
  readonly onUnreadable?: (i: number, error: DmaasError) => void;
  /** What is delivered is good only until `deliver` resolves; its memory is given back then. */
  readonly isLent?: boolean;
}

export type Deliver = (i: number, data: Uint8Array) => Promise<void> | void;

/** Frames of one pack, as they are stored, and what is wanted of them. */
export interface StoredRange {
  /** Of the pack. */
  readonly key: string;
  readonly kind: BlobKind;
  readonly bytes: Uint8Array;
  readonly frames: readonly StoredFrame[];
}

export interface StoredFrame {
  /** In the bytes of the range. */
  readonly offset: number;
  readonly length: number;
  readonly blobs: readonly WantedBlob[];
}

export interface WantedBlob {
  /** Its place among those asked for. */
  readonly i: number;
  readonly id: BlobId;
  readonly innerOffset: number;
  readonly innerLength: number;
}

/** Does what is to be done with the blobs of a range, which it may keep. Resolves with the places of those that it found damaged. */
export type OpenRange = (range: StoredRange) => Promise<readonly number[]>;

/** Asked when the index does not name these. It may add to the index; what stays unknown is asked of the reader it returns. */
export type Learn = (unknown: readonly BlobId[], opts: CallOptions) => Promise<BlobReader | undefined>;

/** One request: frames of a pack. `from` and `to` bound the places in the plan's order that it serves. */
interface PlannedRange {
  readonly offset: number;
  length: number;
  readonly from: number;
  to: number;
}

/** Reads blobs out of packs. Whatever it returns has the content its id says. */
export class BlobReader {
  readonly #store: ObjectStore;
  readonly #keys: RepositoryKeys;
  readonly #index: BlobLookup;
  readonly #learn: Learn;
  readonly #refresh: (opts: CallOptions) => Promise<void>;
  readonly #cache = new FrameCache(CACHE_BYTES);
  readonly #flow = new Flow(MAX_BYTES_IN_FLIGHT);
  /** Packs that could not be read, and for which the index was read again. */
  readonly #missed = new Set<string>();

  /** `refresh` brings the index up to date. */
  constructor(
    store: ObjectStore,
    keys: RepositoryKeys,
    index: BlobLookup,
    learn: Learn = () => Promise.resolve(undefined),
    refresh: (opts: CallOptions) => Promise<void> = () => Promise.resolve(),
  ) {
    this.#refresh = refresh;
    this.#store = store;
    this.#keys = keys;
    this.#index = index;
    this.#learn = learn;
  }

  /** Whether its index names all of them. */
  async knows(ids: readonly BlobId[], opts: CallOptions = {}): Promise<boolean> {
    return !(await this.#index.known(ids, opts)).includes(false);
  }

  async read(id: BlobId, opts: CallOptions = {}): Promise<Uint8Array> {
    const { found, other } = await this.#locate([id], opts);
    // A copy: the caller may write into it, and it does not keep the whole frame alive.
    return Uint8Array.prototype.slice.call(await this.#readAny(id, found, opts, other));
  }

  async readMany(ids: readonly BlobId[], deliver: Deliver, opts: ReadManyOptions = {}): Promise<void> {
    await this.fetchMany(ids, (range) => deliverRange(this.#keys, range, deliver, opts), deliver, opts);
  }

  /** As `readMany`; but frames are left to `open`, as they are stored, and only what that cannot read there is delivered from elsewhere. */
  async fetchMany(ids: readonly BlobId[], open: OpenRange, deliver: Deliver, opts: ReadManyOptions = {}): Promise<void> {
    const { found, other } = await this.#locate(ids, opts);
    const missing: number[] = [];
    const entries = Uint32Array.from(ids, (id, i) => {
      const entry = found.find(id);
      if (entry === undefined) missing.push(i);
      return entry ?? 0;
    });
    for (const i of missing) await this.#deliverAny(i, ids[i] as BlobId, found, deliver, opts, other);
    const unplanned = new Set(missing);
    const order = Uint32Array.from(ids.keys()).filter((i) => !unplanned.has(i));
    order.sort((a, b) => found.compare(entries[a] as Entry, entries[b] as Entry));
    await forEachParallel(plan(found, order, entries), Flow.most, async (range) => {
      const pack = found.pack(entries[order[range.from] as number] as Entry);
      const unread = await this.#flow.run(
        range.length,
        () => orDamage(this.#fetch(packKey(pack.id), range, opts)),
        (bytes) => openRange(bytes, pack, framesOf(range, found, order, entries, ids), open),
      );
      for (const i of unread) await this.#deliverAny(i, ids[i] as BlobId, found, deliver, opts);
    });
  }

  /** Where these lie, as far as the index knows; for the rest, another reader that may know more. */
  async #locate(ids: readonly BlobId[], opts: CallOptions): Promise<{ readonly found: BlobIndex; readonly other: BlobReader | undefined }> {
    const found = await this.#index.locate(ids, opts);
    const unknown = ids.filter((id) => !found.has(id));
    if (unknown.length === 0) return { found, other: undefined };
    const other = await this.#learn(unknown, opts);
    return { found: await this.#index.locate(ids, opts), other };
  }

  async #deliverAny(i: number, id: BlobId, index: BlobIndex, deliver: Deliver, opts: ReadManyOptions, other?: BlobReader): Promise<void> {
    const data = await orDamage(this.#readAny(id, index, opts, other));
    if (!DmaasError.is(data)) await deliver(i, data);
    else if (opts.onUnreadable !== undefined) opts.onUnreadable(i, data);
    else throw data;
  }

  /** From any of its copies; from each a second time, in case it was the way and not the store that damaged it. */
  async #readAny(id: BlobId, index: BlobIndex, opts: CallOptions, other?: BlobReader): Promise<Uint8Array> {
    const entries = [...index.copies(id)];
    if (entries.length === 0) {
      if (other === undefined) throw unknownBlob(id);
      return other.#readAny(id, await other.#index.locate([id], opts), opts);
    }
    const damage = await this.#tryCopies(id, index, [...entries, ...entries], opts);
    if (!DmaasError.is(damage)) return damage;
    const moved = await this.#movedSince(id, index, entries, opts);
    const again = moved === undefined ? damage : await this.#tryCopies(id, moved, [...moved.copies(id)], opts);
    if (DmaasError.is(again)) throw damage;
    return again;
  }

  async #tryCopies(id: BlobId, index: BlobIndex, entries: readonly Entry[], opts: CallOptions): Promise<Uint8Array | DmaasError> {
    let damage: DmaasError = unknownBlob(id);
    for (const entry of entries) {
      const pack = index.pack(entry);
      const frame = `${pack.id}:${String(index.offset(entry))}`;
      try {
        const payload = await this.#cache.get(frame, () => this.#loadFrame(index, entry, opts));
        return blobOf(this.#keys, payload, index.inner(entry, id), pack.kind, packKey(pack.id));
      } catch (e) {
        if (!isDamage(e)) throw e;
        this.#cache.drop(frame);
        damage = e;
      }
    }
    return damage;
  }

  /** Garbage collection copies what is needed out of packs that go: where a pack is gone, the index as it is now may know more. */
  async #movedSince(id: BlobId, index: BlobIndex, entries: readonly Entry[], opts: CallOptions): Promise<BlobIndex | undefined> {
    const packs = entries.map((entry) => index.pack(entry).id);
    const unseen = packs.filter((pack) => !this.#missed.has(pack));
    for (const pack of unseen) this.#missed.add(pack);
    if (unseen.length > 0) await this.#refresh(opts);
    const found = await this.#index.locate([id], opts);
    return [...found.copies(id)].some((entry) => !packs.includes(found.pack(entry).id)) ? found : undefined;
  }

  async #loadFrame(index: BlobIndex, entry: Entry, opts: CallOptions): Promise<Uint8Array> {
    const key = packKey(index.pack(entry).id);
    const frame = await this.#fetch(key, { offset: index.offset(entry), length: index.length(entry) }, opts);
    return this.#keys.opening(() => openFramePayload(this.#keys, frame, key));
  }

  async #fetch(key: string, range: { readonly offset: number; readonly length: number }, opts: CallOptions): Promise<Uint8Array> {
    const { offset, length } = range;
    const bytes = await this.#store
      .get(key, { ...(opts.signal && { signal: opts.signal }), range: { offset, length } })
      .catch((e: unknown) => {
        throw DmaasError.is(e, 'STORE_RANGE') ? damaged(key, 'it is cut short', e) : e;
      });
    if (bytes === undefined) throw damaged(key, 'it is missing');
    if (bytes.length !== length) throw damaged(key, 'the store returned a part of it that was not asked for');
    return bytes;
  }
}

/** The places of what could not be read there. */
async function openRange(
  bytes: Uint8Array | DmaasError,
  { id, kind }: PackInfo,
  frames: readonly StoredFrame[],
  open: OpenRange,
): Promise<readonly number[]> {
  if (DmaasError.is(bytes)) return frames.flatMap(({ blobs }) => blobs.map(({ i }) => i));
  return open({ key: packKey(id), kind, bytes, frames });
}

/** Ranges over `order`, which holds places in `ids` in the order in which their blobs lie in packs. */
function* plan(index: BlobIndex, order: Uint32Array, entries: Uint32Array): Generator<PlannedRange> {
  let range: PlannedRange | undefined;
  let pack: unknown;
  for (let at = 0; at < order.length; at++) {
    const entry = entries[order[at] as number] as Entry;
    const offset = index.offset(entry);
    const end = offset + index.length(entry);
    if (range !== undefined && index.pack(entry) === pack && canJoin(range, offset, end)) {
      range.length = Math.max(range.length, end - range.offset);
      range.to = at + 1;
    } else {
      if (range !== undefined) yield range;
      pack = index.pack(entry);
      range = { offset, length: end - offset, from: at, to: at + 1 };
    }
  }
  if (range !== undefined) yield range;
}

/** What is wanted of each frame of a range. */
function framesOf(range: PlannedRange, index: BlobIndex, order: Uint32Array, entries: Uint32Array, ids: readonly BlobId[]): StoredFrame[] {
  const frames: { offset: number; length: number; blobs: WantedBlob[] }[] = [];
  let last: Entry | undefined;
  for (let at = range.from; at < range.to; at++) {
    const i = order[at] as number;
    const entry = entries[i] as Entry;
    if (last === undefined || !index.sameFrame(last, entry)) {
      frames.push({ offset: index.offset(entry) - range.offset, length: index.length(entry), blobs: [] });
    }
    last = entry;
    frames.at(-1)?.blobs.push({ i, ...index.inner(entry, ids[i] as BlobId) });
  }
  return frames;
}

async function deliverRange(
  keys: RepositoryKeys,
  { key, kind, bytes, frames }: StoredRange,
  deliver: Deliver,
  { signal, isLent }: ReadManyOptions,
): Promise<number[]> {
  const damagedOnes: number[] = [];
  for (const { offset, length, blobs } of frames) {
    const payload = await orDamage(keys.opening(() => openFramePayload(keys, bytes.subarray(offset, offset + length), key)));
    for (const blob of blobs) {
      throwIfCancelled(signal);
      const data = DmaasError.is(payload) ? payload : orDamageSync(() => blobOf(keys, payload, blob, kind, key));
      if (DmaasError.is(data)) damagedOnes.push(blob.i);
      else await deliver(blob.i, data);
    }
    if (isLent === true && !DmaasError.is(payload)) discardView(payload);
  }
  discardView(bytes);
  return damagedOnes;
}

function canJoin(range: PlannedRange, offset: number, end: number): boolean {
  const isInside = end <= range.offset + range.length;
  return isInside || (offset - (range.offset + range.length) <= GAP_BYTES && end - range.offset <= RANGE_BYTES);
}

/** Whether the object is at fault, and not the way to it: another copy may do. */
function isDamage(e: unknown): e is DmaasError {
  return DmaasError.is(e, 'REPOSITORY_CORRUPT') || DmaasError.is(e, 'STORE_RANGE');
}

/** The same for what is done at once. */
export function orDamageSync<T>(open: () => T): T | DmaasError {
  try {
    return open();
  } catch (e) {
    if (isDamage(e)) return e;
    throw e;
  }
}

/** Damage as a value, other errors thrown. */
async function orDamage<T>(result: Promise<T>): Promise<T | DmaasError> {
  try {
    return await result;
  } catch (e) {
    if (isDamage(e)) return e;
    throw e;
  }
}

function unknownBlob(id: BlobId): DmaasError {
  return new DmaasError('REPOSITORY_CORRUPT', `the blob ${id} is in no index segment and in no pack`, {
    hint: 'verify the repository: it says which backups are affected',
    details: { blob: id },
  });
}

/** Decoded frames, least recently used first out: neighbouring nodes lie in one frame. */
class FrameCache {
  readonly #limit: number;
  readonly #frames = new Map<string, { readonly payload: Promise<Uint8Array>; bytes: number }>();
  #bytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  async get(key: string, load: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const known = this.#frames.get(key);
    if (known !== undefined) {
      this.#frames.delete(key);
      this.#frames.set(key, known);
      return known.payload;
    }
    const frame = { payload: load(), bytes: 0 };
    this.#frames.set(key, frame);
    try {
      const payload = await frame.payload;
      if (this.#frames.get(key) === frame) {
        frame.bytes = payload.length;
        this.#bytes += payload.length;
        this.#evict();
      }
      return payload;
    } catch (e) {
      if (this.#frames.get(key) === frame) this.drop(key);
      throw e;
    }
  }

  drop(key: string): void {
    this.#bytes -= this.#frames.get(key)?.bytes ?? 0;
    this.#frames.delete(key);
  }

  #evict(): void {
    for (const key of this.#frames.keys()) {
      if (this.#bytes <= this.#limit) return;
      this.drop(key);
    }
  }
}
