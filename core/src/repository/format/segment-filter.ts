import { discard } from '../../discard.ts';
import { BLOB_ID_BYTES } from './blob.ts';

const BLOCK_BYTES = 512;
const BLOCK_BITS = BLOCK_BYTES * 8;
const BITS_PER_ENTRY = 10;
/** Where in an id the numbers of its bits lie, and that of its block. */
const PROBES_AT = 4;
const PROBES_END = 18;
const BLOCK_AT = 18;

/** An empty filter for this many ids: one in a hundred of those that were not added passes. */
export function newFilter(entries: number): Uint8Array {
  return new Uint8Array(Math.ceil((entries * BITS_PER_ENTRY) / BLOCK_BITS) * BLOCK_BYTES);
}

export function isFilter(bytes: Uint8Array): boolean {
  return bytes.length > 0 && bytes.length % BLOCK_BYTES === 0;
}

/** `at`: where the id begins in `ids`. */
export function addToFilter(filter: Uint8Array, ids: Uint8Array, at: number): void {
  const base = blockOf(filter, ids, at);
  for (let probe = at + PROBES_AT; probe < at + PROBES_END; probe += 2) {
    const bit = ((ids[probe] as number) | ((ids[probe + 1] as number) << 8)) & (BLOCK_BITS - 1);
    filter[base + (bit >> 3)] = (filter[base + (bit >> 3)] as number) | (1 << (bit & 7));
  }
}

/** False only when the id was never added. */
export function mayHave(filter: Uint8Array, ids: Uint8Array, at: number): boolean {
  const base = blockOf(filter, ids, at);
  for (let probe = at + PROBES_AT; probe < at + PROBES_END; probe += 2) {
    const bit = ((ids[probe] as number) | ((ids[probe + 1] as number) << 8)) & (BLOCK_BITS - 1);
    if (((filter[base + (bit >> 3)] as number) & (1 << (bit & 7))) === 0) return false;
  }
  return true;
}

function blockOf(filter: Uint8Array, ids: Uint8Array, at: number): number {
  const from = at + BLOCK_AT;
  const high = (ids[from + 2] as number) + (ids[from + 3] as number) * 2 ** 8;
  const word = (ids[from] as number) + (ids[from + 1] as number) * 2 ** 8 + high * 2 ** 16;
  return Math.floor((word * (filter.length / BLOCK_BYTES)) / 2 ** 32) * BLOCK_BYTES;
}

/** Ids to be looked up together, in an order in which each block of a segment is needed once. */
export class IdBatch {
  /** The ids, end to end. */
  readonly bytes: Buffer;
  /** Of each, the first six bytes as a number: they decide nearly always, and numbers compare faster than buffers. */
  readonly prefixes: Float64Array;
  /** Places in the batch, ascending by prefix. */
  readonly order: Uint32Array;

  constructor(ids: readonly string[]) {
    this.bytes = Buffer.allocUnsafe(ids.length * BLOB_ID_BYTES);
    ids.forEach((id, i) => this.bytes.write(id, i * BLOB_ID_BYTES, BLOB_ID_BYTES, 'hex'));
    this.prefixes = Float64Array.from(ids, (_, i) => prefixAt(this.bytes, i * BLOB_ID_BYTES));
    this.order = Uint32Array.from(ids.keys());
    if (ids.length > 1) this.order.sort((a, b) => (this.prefixes[a] as number) - (this.prefixes[b] as number));
  }

  /** Gives its memory back at once; it must not be used any more. */
  discard(): void {
    for (const { buffer } of [this.bytes, this.prefixes, this.order]) discard(buffer);
  }
}

export function prefixAt(bytes: Buffer, at: number): number {
  return bytes.readUIntBE(at, 6);
}
