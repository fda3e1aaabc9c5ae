import { createCipheriv } from 'node:crypto';
import { discard, discardView } from '../../discard.ts';
import type { BlobId } from '../format/blob.ts';
import type { Random } from '../format/derive.ts';
import { FRAME_ID_BYTES, sealFrame } from '../format/frame.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { PackWriter, type FramedBlob } from '../format/pack-writer.ts';
import { PayloadPacker } from '../format/payload.ts';
import type { Table } from '../format/table.ts';

/** Blobs are sealed in bundles of about this size, a quarter of a pack at most: native calls cost more than their work on small pieces. */
export const FRAME_BYTES = 1 << 20;
export const FRAME_BLOBS = 8192;

/** Of a pack: shared when it is to be used again, else given to whoever has it. */
export type PackMemory = SharedArrayBuffer | ArrayBuffer;

/** A complete pack, on its way from the thread that made it to the one that stores it. */
export interface FinishedPack {
  readonly key: string;
  readonly memory: PackMemory;
  /** Of the memory, bytes that are the pack. */
  readonly length: number;
  /** Of these bytes. */
  readonly crc32: number;
  readonly table: Table;
}

/** What a thread that packs data blobs needs of the one that has the index and the store. */
export interface PackingHost {
  /** Whether the repository has these, or another thread of this host is storing them. The others are the caller's now: it must store them. */
  claim(blobs: readonly FramedBlob[]): Promise<readonly boolean[]>;
  /** Memory for a pack of so many bytes. Waiting for it is back-pressure. */
  packMemory(bytes: number): Promise<PackMemory>;
  /** Takes a pack and its memory. */
  store(pack: FinishedPack): void;
}

export interface PackerParts {
  readonly keys: RepositoryKeys;
  readonly random: Random;
  readonly host: PackingHost;
  readonly packBytes: number;
  /** The largest blob that will be taken. */
  readonly maxBlob: number;
}

/** The most that `reserve` gives at once, beside a blob that is not complete. */
const READ_BYTES = 1 << 20;

/** An arena that holds so much is packed when no blob is half in it: what is never filled takes no memory. It has space for more only because a blob may need it. */
const ARENA_BYTES = 2 << 20;

/** Bytes that are being filled, or wait until the host has said which of their blobs are new. */
interface Arena {
  readonly memory: Buffer;
  blobs: FramedBlob[];
  /** Resolves when the memory may be filled anew. */
  free: Promise<void>;
}

/**
 * Makes packs of the data that one thread reads: names blobs, asks which are new, compresses and seals these in frames. Whoever reads fills
 * memory that the packer owns, so that no byte is copied before it is sealed:
 *
 *     const space = await packer.reserve(n);   // for so many bytes more
 *     packer.fill(read(space));
 *     const id = packer.take(length);          // the first bytes that no blob has taken yet
 */
export class BlobPacker {
  readonly #parts: PackerParts;
  readonly #frameBytes: number;
  readonly #arenas: readonly [Arena, Arena];
  #turn = 0;
  /** In the memory of the arena whose turn it is: what is filled and not taken. */
  #start = 0;
  #end = 0;
  /** Blobs that do not fill a frame yet, and their bytes. */
  readonly #rest: Buffer;
  #restBytes = 0;
  #restBlobs: FramedBlob[] = [];
  readonly #payloads = new PayloadPacker();
  #pack: PackWriter | undefined;
  /** Packing goes one arena after the other. */
  #packing: Promise<void> = Promise.resolve();

  constructor(parts: PackerParts) {
    this.#parts = parts;
    this.#frameBytes = Math.min(FRAME_BYTES, parts.packBytes >> 2);
    const arena = (): Arena => ({ memory: Buffer.allocUnsafeSlow(parts.maxBlob + READ_BYTES), blobs: [], free: Promise.resolve() });
    this.#arenas = [arena(), arena()];
    this.#rest = Buffer.allocUnsafeSlow(this.#frameBytes);
  }

  /** Space behind the bytes that no blob has taken yet, up to 1 MiB, or a whole blob when there is no such byte. What was given before may be given away by this. */
  reserve(bytes: number): Buffer | Promise<Buffer> {
    const { memory } = this.#arena;
    const isFull = this.#end + bytes > memory.length || (this.#start === this.#end && this.#end >= ARENA_BYTES);
    return isFull ? this.#turnOver(bytes) : memory.subarray(this.#end, this.#end + bytes);
  }

  /** The first so many bytes of the space are filled. */
  fill(bytes: number): void {
    this.#end += bytes;
  }

  /** What is filled and not taken: a view, good until the next `reserve`. */
  get untaken(): Buffer {
    return this.#arena.memory.subarray(this.#start, this.#end);
  }

  take(length: number): BlobId {
    const { memory, blobs } = this.#arena;
    const id = this.#parts.keys.blobId('data', memory.subarray(this.#start, this.#start + length));
    blobs.push({ id, offset: this.#start, length });
    this.#start += length;
    return id;
  }

  /** Passes over bytes that need no blob. */
  skip(length: number): void {
    this.#start += length;
  }

  /** When this resolves, everything taken is with the host. */
  async flush(): Promise<void> {
    this.#send();
    await this.#packing;
    if (this.#restBlobs.length > 0) await this.#sealRest();
    this.#finishPack();
  }

  get #arena(): Arena {
    return this.#arenas[this.#turn] as Arena;
  }

  async #turnOver(bytes: number): Promise<Buffer> {
    const untaken = this.untaken;
    const next = this.#arenas[1 - this.#turn] as Arena;
    await next.free;
    untaken.copy(next.memory);
    this.#send();
    this.#turn = 1 - this.#turn;
    this.#start = 0;
    this.#end = untaken.length;
    return this.#arena.memory.subarray(this.#end, this.#end + bytes);
  }

  /** Hands the blobs of the current arena on to be packed. */
  #send(): void {
    const arena = this.#arena;
    const { memory, blobs } = arena;
    if (blobs.length === 0) return;
    arena.blobs = [];
    const claimed = this.#parts.host.claim(blobs);
    claimed.catch(() => undefined); // it is thrown when its turn comes
    this.#packing = this.#packing.then(async () => {
      const known = await claimed;
      await this.#addAll(
        memory,
        blobs.filter((_, i) => known[i] !== true),
      );
    });
    this.#packing.catch(() => undefined); // whoever fills this memory next gets the error
    arena.free = this.#packing;
  }

  async #addAll(memory: Buffer, blobs: readonly FramedBlob[]): Promise<void> {
    for (let first = 0; first < blobs.length;) {
      const next = this.#nextFrame(blobs, first);
      const from = (blobs[first] as FramedBlob).offset;
      const { offset, length } = blobs[next - 1] as FramedBlob;
      const frame = blobs.slice(first, next);
      const bytes = frame.reduce((sum, blob) => sum + blob.length, 0);
      const isWhole = bytes >= this.#frameBytes || frame.length >= FRAME_BLOBS || this.#restBytes + bytes > this.#frameBytes;
      if (isWhole && bytes === offset + length - from && (bytes >= this.#frameBytes >> 1 || this.#restBytes === 0)) {
        await this.#seal(memory.subarray(from, offset + length), shifted(frame, -from));
      } else {
        for (const blob of frame) await this.#addToRest(memory, blob);
      }
      first = next;
    }
  }

  /** The end of the blobs from `first` on that lie side by side and fill a frame at most, one blob at least. */
  #nextFrame(blobs: readonly FramedBlob[], first: number): number {
    let { offset: end, length: bytes } = blobs[first] as FramedBlob;
    end += bytes;
    let next = first + 1;
    for (let blob = blobs[next]; blob?.offset === end && next - first < FRAME_BLOBS; blob = blobs[++next]) {
      if (bytes + blob.length > this.#frameBytes) break;
      bytes += blob.length;
      end += blob.length;
    }
    return next;
  }

  async #addToRest(memory: Buffer, { id, offset, length }: FramedBlob): Promise<void> {
    if (length > this.#frameBytes) return this.#seal(memory.subarray(offset, offset + length), [{ id, offset: 0, length }]);
    if (this.#restBytes + length > this.#frameBytes || this.#restBlobs.length >= FRAME_BLOBS) await this.#sealRest();
    memory.copy(this.#rest, this.#restBytes, offset, offset + length);
    this.#restBlobs.push({ id, offset: this.#restBytes, length });
    this.#restBytes += length;
  }

  async #sealRest(): Promise<void> {
    const blobs = this.#restBlobs;
    const bytes = this.#restBytes;
    this.#restBlobs = [];
    this.#restBytes = 0;
    await this.#seal(this.#rest.subarray(0, bytes), blobs);
  }

  async #seal(payload: Buffer, blobs: readonly FramedBlob[]): Promise<void> {
    const { keys, random } = this.#parts;
    const packed = this.#payloads.pack(payload);
    const pieces = sealFrame(keys, random(FRAME_ID_BYTES), packed);
    if (packed[1].buffer !== payload.buffer) discard(packed[1].buffer);
    await this.#addToPack(pieces, blobs);
    for (const piece of pieces) discardView(piece);
  }

  async #addToPack(pieces: readonly Uint8Array[], blobs: readonly FramedBlob[]): Promise<void> {
    const { keys, random, host, packBytes } = this.#parts;
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (this.#pack?.fits(length, blobs.length) === false) this.#finishPack();
    if (this.#pack === undefined) {
      const memory = await host.packMemory(Math.max(packBytes, PackWriter.sizeFor(length, blobs.length)));
      this.#pack = new PackWriter('data', keys, random, Buffer.from(memory));
    }
    this.#pack.add(pieces, blobs);
  }

  #finishPack(): void {
    const pack = this.#pack;
    if (pack === undefined) return;
    this.#pack = undefined;
    const { body, ...rest } = pack.finish();
    this.#parts.host.store({ key: pack.key, memory: pack.buffer.buffer, length: body.length, ...rest });
  }
}

function shifted(blobs: readonly FramedBlob[], by: number): FramedBlob[] {
  return blobs.map(({ id, offset, length }) => ({ id, offset: offset + by, length }));
}

/** Random bytes for a thread, all from one seed of 32 bytes, which comes from where all randomness does. */
export function randomFrom(seed: Uint8Array): Random {
  const stream = createCipheriv('aes-256-ctr', seed, Buffer.alloc(16));
  return (n) => stream.update(Buffer.alloc(n));
}
