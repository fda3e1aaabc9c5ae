import { discard, discardView } from '../../discard.ts';
import { DmaasError, throwIfCancelled } from '../../errors.ts';
import { Slots } from '../../slots.ts';
import type { ObjectStore } from '../../store/object-store.ts';
import { blobIdAt, LIMITS, type BlobId, type BlobKind } from '../format/blob.ts';
import type { Random } from '../format/derive.ts';
import { FRAME_ID_BYTES, sealFrame } from '../format/frame.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { PackWriter, type FramedBlob } from '../format/pack-writer.ts';
import { packPayload } from '../format/payload.ts';
import { ROW_BYTES, type Table } from '../format/table.ts';
import type { Journal } from '../index/journal.ts';
import type { RepositoryIndex } from '../index/repository-index.ts';
import { FRAME_BLOBS, FRAME_BYTES, type FinishedPack, type PackingHost, type PackMemory } from './blob-packer.ts';
import type { BlobWriter, StoredBlob, WriteTotals } from './blob-writer.ts';

/** Of frames that are being compressed and sealed; beyond it writers wait. */
const MAX_FRAME_BYTES_IN_FLIGHT = 4 << 20;
/** With the pack that is being filled, three packs of each kind are in memory. */
const MAX_UPLOADS = 2;
/** Packs that are on their way while every other thread fills one. When the store is what is slow, all of them are. */
const SPARE_PACKS = 1;

interface Frame {
  readonly id: Uint8Array;
  readonly payload: Buffer;
  used: number;
  readonly blobs: FramedBlob[];
}

/** Blobs of one kind on their way: into a frame, which goes into a pack. */
interface Lane {
  readonly kind: BlobKind;
  readonly packBytes: number;
  readonly frameBytes: number;
  frame: Frame | undefined;
  pack: PackWriter | undefined;
  /** Frames join the pack one after the other, in the order in which they were closed. */
  tail: Promise<void>;
  readonly buffers: Buffer[];
}

export interface SessionParts {
  readonly store: ObjectStore;
  readonly keys: RepositoryKeys;
  readonly index: RepositoryIndex;
  readonly journal: Journal;
  readonly random: Random;
  readonly packBytes: Readonly<Record<BlobKind, number>>;
}

/** The writes of this process that run at the same time: they share packs, and each blob is stored once. */
export class WriteSession {
  readonly #parts: SessionParts;
  readonly #lanes: Readonly<Record<BlobKind, Lane>>;
  /** Handed over but not acknowledged yet. */
  readonly #pending = new Set<BlobId>();
  readonly #uploads = new Set<Promise<void>>();
  readonly #uploadSlots = new Slots(MAX_UPLOADS);
  readonly #abort = new AbortController();
  /** Of FRAME_BYTES each, to be used again: so much memory allocated anew would outrun its collection. */
  readonly #frameBuffers: Buffer[] = [];
  /**
   * Of packs of the usual size, to be filled again by other threads. Shared: each isolate takes memory that is handed to it for newly allocated, and
   * would collect its garbage for every other pack.
   */
  readonly #packMemory: SharedArrayBuffer[] = [];
  readonly #packSlots = new Slots(SPARE_PACKS);
  #frameBytes = 0;
  #waiting: (() => void)[] = [];
  #failure: { readonly error: unknown } | undefined;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    const lane = (kind: BlobKind): Lane => ({
      kind,
      packBytes: parts.packBytes[kind],
      frameBytes: Math.min(FRAME_BYTES, parts.packBytes[kind] >> 2),
      frame: undefined,
      pack: undefined,
      tail: Promise.resolve(),
      buffers: [],
    });
    this.#lanes = { data: lane('data'), node: lane('node') };
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** Takes the bytes before it returns; the promise is back-pressure. */
  async put(kind: BlobKind, data: Uint8Array): Promise<{ id: BlobId; isNew: boolean }> {
    this.#throwIfFailed();
    if (data.length > LIMITS.blob) throw new DmaasError('INTERNAL', `a blob of ${data.length} bytes is larger than one may be`);
    const id = this.#parts.keys.blobId(kind, data);
    const known = this.#parts.index.known([id]);
    const isNew =
      known instanceof Promise ? await this.#addUnlessKnown(kind, id, Buffer.from(data), known) : this.#add(kind, id, data, known);
    if (this.#parts.journal.isDue) await this.#parts.journal.flush();
    while (this.#frameBytes > MAX_FRAME_BYTES_IN_FLIGHT && this.#failure === undefined) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#throwIfFailed();
    return { id, isNew };
  }

  /**
   * Which of these the repository has, or this session is storing, or whoever has these `claims`. The others are added to the claims: they are the
   * caller's to store. What others have claimed does not count, since they may fail without it.
   */
  async claim(ids: readonly BlobId[], claims: Set<BlobId>): Promise<readonly boolean[]> {
    this.#throwIfFailed();
    const isMine = ids.map((id) => {
      if (claims.has(id) || this.#pending.has(id)) return false;
      claims.add(id);
      return true;
    });
    const known = await this.#parts.index.known(ids);
    return ids.map((id, i) => {
      if (isMine[i] !== true) return true;
      if (known[i] === true) claims.delete(id);
      return known[i] === true;
    });
  }

  /** So many more threads will fill packs. */
  addThreads(count: number): void {
    this.#packSlots.grow(count);
  }

  /** These threads will fill no more packs; so many that they were given come back no more. */
  removeThreads(count: number, lostPacks: number): void {
    this.#packSlots.release(lostPacks);
    this.#packSlots.grow(-count);
  }

  /** Memory for a pack that another thread makes. Comes back with `store`. */
  async packMemory(bytes: number): Promise<PackMemory> {
    await this.#packSlots.acquire();
    if (this.#failure !== undefined) this.#packSlots.release();
    this.#throwIfFailed();
    if (bytes !== this.#parts.packBytes.data) return Buffer.allocUnsafeSlow(bytes).buffer;
    // One that might grow begins at a page, as a store wants it that writes past the page cache.
    return this.#packMemory.pop() ?? new SharedArrayBuffer(bytes, { maxByteLength: bytes });
  }

  /** Stores a pack that another thread has made; what is in it is no longer only claimed. */
  store({ key, memory, length, crc32, table }: FinishedPack, claims: Set<BlobId>): void {
    const upload = this.#put(key, { body: new Uint8Array(memory, 0, length), crc32, table }, claims).then(() => {
      if (memory instanceof SharedArrayBuffer) this.#packMemory.push(memory);
    });
    this.#track(upload, this.#packSlots);
  }

  /** When this resolves, everything put before is durable and in the index. */
  async flush(): Promise<void> {
    const lanes = Object.values(this.#lanes);
    for (const lane of lanes) {
      this.#closeFrame(lane);
      this.#enqueue(lane, () => this.#closePack(lane));
    }
    await Promise.all(lanes.map((lane) => lane.tail));
    await Promise.all(this.#uploads);
    this.#throwIfFailed();
    await this.#parts.journal.flush();
  }

  /** Gives up what is not complete, and waits until nothing of it runs any more. What is complete goes into the index, if the store lets it. */
  async abandon(reason: unknown): Promise<void> {
    this.#fail(reason);
    if (DmaasError.is(reason, 'CANCELLED')) this.#abort.abort(reason);
    await Promise.allSettled([...Object.values(this.#lanes).map((lane) => lane.tail), ...this.#uploads]);
    await this.#parts.journal.flush().catch(() => undefined);
  }

  async #addUnlessKnown(kind: BlobKind, id: BlobId, copy: Uint8Array, known: Promise<readonly boolean[]>): Promise<boolean> {
    return this.#add(kind, id, copy, await known);
  }

  /** Whether it is new. */
  #add(kind: BlobKind, id: BlobId, data: Uint8Array, [isKnown]: readonly boolean[]): boolean {
    if (isKnown === true || this.#pending.has(id)) return false;
    this.#pending.add(id);
    this.#addToFrame(this.#lanes[kind], id, data);
    return true;
  }

  #addToFrame(lane: Lane, id: BlobId, data: Uint8Array): void {
    const open = lane.frame;
    if (open !== undefined && (open.used + data.length > lane.frameBytes || open.blobs.length >= FRAME_BLOBS)) this.#closeFrame(lane);
    const frame = (lane.frame ??= {
      id: this.#parts.random(FRAME_ID_BYTES),
      payload:
        data.length > FRAME_BYTES ? Buffer.allocUnsafeSlow(data.length) : (this.#frameBuffers.pop() ?? Buffer.allocUnsafeSlow(FRAME_BYTES)),
      used: 0,
      blobs: [],
    });
    frame.payload.set(data, frame.used);
    frame.blobs.push({ id, offset: frame.used, length: data.length });
    frame.used += data.length;
    if (frame.used >= lane.frameBytes) this.#closeFrame(lane);
  }

  #closeFrame(lane: Lane): void {
    const frame = lane.frame;
    if (frame === undefined) return;
    lane.frame = undefined;
    this.#frameBytes += frame.used;
    const sealed = this.#seal(frame);
    sealed.catch(this.#fail);
    this.#enqueue(lane, async () => {
      await this.#addToPack(lane, await sealed, frame.blobs);
      this.#frameBytes -= frame.used;
      this.#wake();
    });
  }

  async #seal(frame: Frame): Promise<Uint8Array[]> {
    const packed = await packPayload(frame.payload.subarray(0, frame.used));
    const pieces = sealFrame(this.#parts.keys, frame.id, packed);
    if (packed[1].buffer !== frame.payload.buffer) discard(packed[1].buffer);
    if (frame.payload.length === FRAME_BYTES) this.#frameBuffers.push(frame.payload);
    return pieces;
  }

  async #addToPack(lane: Lane, pieces: readonly Uint8Array[], blobs: readonly FramedBlob[]): Promise<void> {
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (lane.pack?.fits(length, blobs.length) === false) await this.#closePack(lane);
    if (lane.pack === undefined) {
      const needed = PackWriter.sizeFor(length, blobs.length);
      const buffer =
        needed > lane.packBytes ? Buffer.allocUnsafeSlow(needed) : (lane.buffers.pop() ?? Buffer.allocUnsafeSlow(lane.packBytes));
      lane.pack = new PackWriter(lane.kind, this.#parts.keys, this.#parts.random, buffer);
    }
    lane.pack.add(pieces, blobs);
    for (const piece of pieces) discardView(piece);
  }

  /** Waits until an upload may begin, not until it is done. */
  async #closePack(lane: Lane): Promise<void> {
    const pack = lane.pack;
    if (pack === undefined) return;
    await this.#uploadSlots.acquire();
    lane.pack = undefined;
    this.#track(this.#upload(pack, lane), this.#uploadSlots);
  }

  /** A failure is noted before the upload counts as over: who finds that none is left must find that, too. */
  #track(upload: Promise<void>, slots: Slots): void {
    const tracked = upload.catch(this.#fail).finally(() => {
      this.#uploads.delete(tracked);
      slots.release();
    });
    this.#uploads.add(tracked);
  }

  async #upload(pack: PackWriter, lane: Lane): Promise<void> {
    await this.#put(pack.key, pack.finish(), this.#pending);
    // Only now is it sure that the store needs the bytes no longer.
    if (pack.buffer.length === lane.packBytes) lane.buffers.push(pack.buffer);
  }

  async #put(
    key: string,
    pack: { readonly body: Uint8Array; readonly crc32: number; readonly table: Table },
    pending: Set<BlobId>,
  ): Promise<void> {
    this.#throwIfFailed();
    const { store, index, journal } = this.#parts;
    const { body, crc32, table } = pack;
    await store.put(key, body, { ifAbsent: true, crc32, signal: this.#abort.signal });
    index.addTable(table, key);
    journal.add(table);
    for (let at = 0; at < table.rows.length; at += ROW_BYTES) pending.delete(blobIdAt(table.rows, at));
    if (journal.isDue) await journal.flush();
  }

  #enqueue(lane: Lane, step: () => Promise<void>): void {
    lane.tail = lane.tail.then(async () => {
      this.#throwIfFailed();
      await step();
    });
    lane.tail.catch(this.#fail);
  }

  readonly #fail = (error: unknown): void => {
    this.#failure ??= { error };
    this.#wake();
  };

  #throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

/** One caller's part in a session. */
export class SessionWriter implements BlobWriter {
  readonly #session: WriteSession;
  readonly #signal: AbortSignal | undefined;
  readonly #totals = { blobs: 0, bytes: 0, newBlobs: 0, newBytes: 0 };
  #isOpen = true;
  #threads = 0;
  /** Whose memory threads have. */
  #packs = 0;

  constructor(session: WriteSession, signal: AbortSignal | undefined) {
    this.#session = session;
    this.#signal = signal;
  }

  async put(kind: BlobKind, data: Uint8Array, opts?: { readonly signal?: AbortSignal }): Promise<StoredBlob> {
    this.#throwIfOver();
    throwIfCancelled(opts?.signal);
    const length = data.length;
    const { id, isNew } = await this.#session.put(kind, data);
    this.#totals.blobs++;
    this.#totals.bytes += length;
    if (isNew) {
      this.#totals.newBlobs++;
      this.#totals.newBytes += length;
    }
    return { id, isNew, storedBytes: isNew ? length : 0 };
  }

  totals(): WriteTotals {
    return { ...this.#totals };
  }

  packingHost(threads: number): PackingHost {
    this.#session.addThreads(threads);
    this.#threads += threads;
    const claims = new Set<BlobId>();
    return {
      claim: async (blobs) => {
        this.#throwIfOver();
        const known = await this.#session.claim(
          blobs.map(({ id }) => id),
          claims,
        );
        this.#totals.blobs += blobs.length;
        for (const [i, { length }] of blobs.entries()) {
          this.#totals.bytes += length;
          if (known[i] === true) continue;
          this.#totals.newBlobs++;
          this.#totals.newBytes += length;
        }
        return known;
      },
      packMemory: async (bytes) => {
        const memory = await this.#session.packMemory(bytes);
        if (this.#isOpen) this.#packs += 1;
        else this.#session.removeThreads(0, 1); // whoever asked for it has gone
        return memory;
      },
      store: (pack) => {
        this.#packs -= 1;
        this.#session.store(pack, claims);
      },
    };
  }

  close(): void {
    this.#isOpen = false;
    this.#session.removeThreads(this.#threads, this.#packs);
  }

  #throwIfOver(): void {
    throwIfCancelled(this.#signal);
    if (!this.#isOpen) throw new DmaasError('INTERNAL', 'a blob was put after its write had ended');
  }
}
