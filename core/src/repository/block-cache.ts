/** Of 256 rows each, some 11 KiB: about 11 MiB together, and so all of an index of 262 144 entries. */
const MAX_BLOCKS = 1024;
/** More than a segment has blocks. */
const STRIDE = 2 ** 24;

/** Decoded blocks of index segments, least recently used first out. */
export class BlockCache {
  readonly #blocks = new Map<number, Buffer>();
  #segments = 0;

  /** For one segment. */
  newNumber(): number {
    return this.#segments++;
  }

  get(segment: number, block: number): Buffer | undefined {
    const key = segment * STRIDE + block;
    const rows = this.#blocks.get(key);
    if (rows !== undefined && this.#blocks.size >= MAX_BLOCKS) {
      this.#blocks.delete(key);
      this.#blocks.set(key, rows);
    }
    return rows;
  }

  set(segment: number, block: number, rows: Buffer): void {
    this.#blocks.set(segment * STRIDE + block, rows);
    if (this.#blocks.size <= MAX_BLOCKS) return;
    for (const [oldest, { buffer, byteLength }] of this.#blocks) {
      this.#blocks.delete(oldest);
      // Given back at once, for the collector would come late. What was found in it was copied.
      if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
      break;
    }
  }
}
