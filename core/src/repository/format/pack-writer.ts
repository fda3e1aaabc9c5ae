import { crc32 } from 'node:zlib';
import type { BlobId, BlobKind } from './blob.ts';
import type { Random } from './derive.ts';
import type { RepositoryKeys } from './key-set.ts';
import { packKey } from './pack-reader.ts';
import { encodeHeader, encodeTrailer, HEADER_BYTES, OBJECT_TYPE, SECTION_OVERHEAD, TRAILER_BYTES } from './sealed.ts';
import { encodeTable, PACK_ID_BYTES, PACK_TABLE_BYTES, ROW_BYTES, sortRows, writeRow, type Table } from './table.ts';

/** What every pack holds besides frames and rows. */
const FIXED_BYTES = HEADER_BYTES + SECTION_OVERHEAD + PACK_TABLE_BYTES + TRAILER_BYTES;

/** A blob in a frame that is to be added. */
export interface FramedBlob {
  readonly id: BlobId;
  /** In the frame's payload. */
  readonly offset: number;
  readonly length: number;
}

/** Builds one pack in a buffer that is given, so that buffers can be used again. */
export class PackWriter {
  readonly key: string;
  readonly blobs: FramedBlob[] = [];
  readonly #id: string;
  readonly #kind: BlobKind;
  readonly #keys: RepositoryKeys;
  readonly #frames: { readonly offset: number; readonly length: number; readonly blobs: readonly FramedBlob[] }[] = [];
  readonly #random: Random;
  readonly buffer: Buffer;
  #size = HEADER_BYTES;
  /** Of what is in the buffer, computed from what was put into it: what changes there later shows. */
  #crc: number;

  constructor(kind: BlobKind, keys: RepositoryKeys, random: Random, buffer: Buffer) {
    this.#id = Buffer.from(random(PACK_ID_BYTES)).toString('hex');
    this.key = packKey(this.#id);
    this.#kind = kind;
    this.#keys = keys;
    this.#random = random;
    this.buffer = buffer;
    const header = encodeHeader(OBJECT_TYPE.pack, keys.epoch);
    buffer.set(header);
    this.#crc = crc32(header);
  }

  /** The size of a pack that holds one frame of `frameBytes` with `blobs` blobs. */
  static sizeFor(frameBytes: number, blobs: number): number {
    return FIXED_BYTES + frameBytes + blobs * ROW_BYTES;
  }

  get isEmpty(): boolean {
    return this.#frames.length === 0;
  }

  /** Whether the frame and its rows leave the pack within its buffer. */
  fits(frameBytes: number, blobs: number): boolean {
    return this.#size - HEADER_BYTES + PackWriter.sizeFor(frameBytes, this.blobs.length + blobs) <= this.buffer.length;
  }

  /** `pieces`: the sealed frame. It must fit. */
  add(pieces: readonly Uint8Array[], blobs: readonly FramedBlob[]): void {
    const offset = this.#size;
    for (const piece of pieces) {
      this.#crc = crc32(piece, this.#crc);
      this.buffer.set(piece, this.#size);
      this.#size += piece.length;
    }
    this.#frames.push({ offset, length: this.#size - offset, blobs });
    for (const blob of blobs) this.blobs.push(blob);
  }

  /** The whole object, a view of the buffer, its checksum, and its table. */
  finish(): { readonly body: Buffer; readonly crc32: number; readonly table: Table } {
    const size = this.#size - HEADER_BYTES + PackWriter.sizeFor(0, this.blobs.length);
    const rows = Buffer.allocUnsafe(this.blobs.length * ROW_BYTES);
    let index = 0;
    for (const frame of this.#frames) {
      for (const { id, offset: innerOffset, length: innerLength } of frame.blobs) {
        writeRow(rows, index++, { id, pack: 0, offset: frame.offset, length: frame.length, innerOffset, innerLength });
      }
    }
    const table: Table = { packs: [{ id: this.#id, kind: this.#kind, size }], rows: sortRows(rows) };
    const cipher = this.#keys.sections(this.buffer.subarray(0, HEADER_BYTES), this.key);
    const section = cipher.seal(0, encodeTable(table), this.#random);
    this.buffer.set(section, this.#size);
    const end = this.#size + section.length;
    const crc = crc32(section, this.#crc);
    const trailer = encodeTrailer(section.length, crc);
    this.buffer.set(trailer, end);
    return { body: this.buffer.subarray(0, end + TRAILER_BYTES), crc32: crc32(trailer, crc), table };
  }
}
