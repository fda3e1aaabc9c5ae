import { createHmac } from 'node:crypto';

/** Sizes in bytes. `average` is a power of two; `block` is the size of the fixed blocks of devices, which are not cut by content. */
export interface ChunkerParameters {
  readonly min: number;
  readonly average: number;
  readonly max: number;
  readonly block: number;
}

/** A cut depends on this many bytes before it: each step shifts the 32-bit hash by one bit. */
const WINDOW = 32;
/** Normalised chunking: this many bits harder to cut before the average, and easier after it. */
const NORMALISATION = 2;

/** The secret table of a repository: 256 values of 32 bits, sixteen from each HMAC. */
export function gearTable(chunkerKey: Uint8Array): Uint32Array {
  const table = new Uint32Array(256);
  for (let i = 0; i < 16; i++) {
    const values = createHmac('sha512', chunkerKey).update('gear').update(Uint8Array.of(i)).digest();
    for (let j = 0; j < 16; j++) table[i * 16 + j] = values.readUInt32LE(j * 4);
  }
  return table;
}

/**
 * Finds where a stream of bytes is to be cut: after a byte where the hash of the 32 bytes before has enough leading zeros (FastCDC with
 * normalised chunking; Xia et al., USENIX ATC 2016). Where the cuts are depends on the bytes only, never on the buffers they arrive in.
 * One chunker serves one stream at a time.
 */
export class Chunker {
  readonly parameters: ChunkerParameters;
  readonly #gear: Uint32Array;
  readonly #hardMask: number;
  readonly #easyMask: number;
  #length = 0;
  #hash = 0;

  constructor(gear: Uint32Array, parameters: ChunkerParameters) {
    const bits = Math.log2(parameters.average);
    this.parameters = parameters;
    this.#gear = gear;
    this.#hardMask = leadingBits(bits + NORMALISATION);
    this.#easyMask = leadingBits(bits - NORMALISATION);
  }

  /** Forgets the current chunk: the next byte begins a stream. */
  reset(): void {
    this.#length = 0;
    this.#hash = 0;
  }

  /**
   * Goes on through `data` from `from`. Returns the position after the current chunk's last byte, where the next chunk begins; or -1 when
   * the chunk goes on beyond `data`. The end of the stream ends the last chunk.
   */
  next(data: Uint8Array, from = 0): number {
    const { min, average, max } = this.parameters;
    const gear = this.#gear;
    const start = from - this.#length; // where the current chunk began, in terms of this buffer; may be negative
    let at = Math.min(Math.max(from, start + min - WINDOW), data.length);
    let hash = this.#hash;
    // No cut is looked for below the minimum: the hash only warms up, so that it covers a whole window at the first place for a cut.
    for (const end = Math.min(start + min - 1, data.length); at < end; at++)
      hash = ((hash << 1) + (gear[data[at] as number] as number)) | 0;
    for (const mask of [this.#hardMask, this.#easyMask]) {
      const end = Math.min(start + Math.min(mask === this.#hardMask ? average : max, max - 1), data.length);
      for (; at < end; at++) {
        hash = ((hash << 1) + (gear[data[at] as number] as number)) | 0;
        if ((hash & mask) === 0) return this.#cut(at + 1);
      }
    }
    if (at === start + max - 1 && at < data.length) return this.#cut(at + 1);
    this.#length = data.length - start;
    this.#hash = hash;
    return -1;
  }

  #cut(at: number): number {
    this.reset();
    return at;
  }
}

/** So many bytes of a stream are cut by one thread. */
export const STRETCH_BYTES = 64 << 20;

/**
 * Long streams are cut in stretches, each on its own, so that several threads can share one. Where a stretch begins depends on the content, as a cut does:
 * at the first easy cut at or after each multiple of `STRETCH_BYTES`, or `max` bytes after it. `read` fills a buffer from a position of the stream, as
 * far as there are bytes. Returns the position, or `end` when the stream has no further stretch.
 */
export function stretchStart(
  multiple: number,
  end: number,
  gear: Uint32Array,
  { average, max }: ChunkerParameters,
  read: (into: Uint8Array, position: number) => number,
): number {
  const mask = leadingBits(Math.log2(average) - NORMALISATION);
  const limit = Math.min(multiple + max, end);
  const buffer = Buffer.allocUnsafeSlow(Math.min(64 << 10, WINDOW + max));
  let hash = 0;
  for (let at = multiple - WINDOW; at < limit;) {
    const count = read(buffer.subarray(0, Math.min(buffer.length, limit - at)), at);
    for (let i = 0; i < count; i++) {
      hash = ((hash << 1) + (gear[buffer[i] as number] as number)) | 0;
      if (at + i >= multiple && (hash & mask) === 0) return Math.min(at + i + 1, end);
    }
    if (count === 0) return end;
    at += count;
  }
  return limit;
}

function leadingBits(count: number): number {
  return (-1 << (32 - count)) | 0;
}

/** The chunks of a stream, each one buffer. A chunk may be a view of what `source` gave, valid until the next one is asked for. */
export async function* chunksOf(chunker: Chunker, source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  chunker.reset();
  let held: Uint8Array[] = [];
  for await (const data of source) {
    let from = 0;
    for (let cut = chunker.next(data, from); cut >= 0; cut = chunker.next(data, from)) {
      const tail = data.subarray(from, cut);
      yield held.length === 0 ? tail : Buffer.concat([...held, tail]);
      held = [];
      from = cut;
      if (from === data.length) break;
    }
    // Copied: whoever reads may fill the same buffer again. (A Buffer's own `slice` is a view.)
    if (from < data.length) held.push(Uint8Array.prototype.slice.call(data, from));
  }
  if (held.length > 0) yield Buffer.concat(held);
}
