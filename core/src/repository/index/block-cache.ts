import { BLOCK_ROWS } from '../format/index-segment.ts';
import { ROW_BYTES } from '../format/table.ts';

/** Of 256 rows each, 11 KiB: 11 MiB together, and so all of an index of 262 144 entries. */
const MAX_BLOCKS = 1024;
const BLOCK_BYTES = BLOCK_ROWS * ROW_BYTES;
/** More than a segment has blocks. */
const STRIDE = 2 ** 24;

interface Place {
  readonly at: number;
  readonly length: number;
}

/**
 * Decoded blocks of index segments, least recently used first out. They lie in one piece of memory: among what comes and goes, a thousand small pieces that stay would keep the allocator from giving any of it back.
 */
export class BlockCache {
  /** Where each lies in the memory, and how long it is; oldest first. */
  readonly #places = new Map<number, Place>();
  #memory: Buffer | undefined;
  #segments = 0;

  /** For one segment. */
  newNumber(): number {
    return this.#segments++;
  }

  /** Good until the next block is added. */
  get(segment: number, block: number): Buffer | undefined {
    const key = segment * STRIDE + block;
    const place = this.#places.get(key);
    if (place === undefined) return undefined;
    if (this.#places.size >= MAX_BLOCKS) {
      this.#places.delete(key);
      this.#places.set(key, place);
    }
    return this.#memory?.subarray(place.at, place.at + place.length);
  }

  /** Returns the copy that it keeps, which is as good. */
  set(segment: number, block: number, rows: Buffer): Buffer {
    const key = segment * STRIDE + block;
    const at = this.#places.get(key)?.at ?? this.#free();
    this.#places.set(key, { at, length: rows.length });
    this.#memory ??= Buffer.allocUnsafeSlow(MAX_BLOCKS * BLOCK_BYTES);
    this.#memory.set(rows, at);
    return this.#memory.subarray(at, at + rows.length);
  }

  /** A place that nothing has, or that of the oldest. */
  #free(): number {
    if (this.#places.size < MAX_BLOCKS) return this.#places.size * BLOCK_BYTES;
    const [oldest, { at }] = this.#places.entries().next().value as [number, Place];
    this.#places.delete(oldest);
    return at;
  }
}
