import type { BlobId } from './blob.ts';

const MIN_SLOTS = 1 << 10;
const MAX_LOAD = 0.7;

/**
 * Ids that are needed, and for each the number of the pack that is to keep it: 12 bytes a slot. Ids are told apart by their first 64 bits; that two share these is as good as
 * impossible, and would keep one blob too many.
 */
export class LiveSet {
  #high = new Uint32Array(MIN_SLOTS);
  #low = new Uint32Array(MIN_SLOTS);
  /** 0: the slot is free; 1: no pack keeps it yet; else the pack's number + 2. */
  #owner = new Uint32Array(MIN_SLOTS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Whether it is new. */
  add(id: BlobId): boolean {
    if (this.#size >= this.#owner.length * MAX_LOAD) this.#grow();
    const high = Number.parseInt(id.slice(0, 8), 16);
    const low = Number.parseInt(id.slice(8, 16), 16);
    const slot = this.#slotOf(high, low);
    if (this.#owner[slot] !== 0) return false;
    this.#high[slot] = high;
    this.#low[slot] = low;
    this.#owner[slot] = 1;
    this.#size++;
    return true;
  }

  /** Whether the id that begins at `at` is needed and this pack is the one to keep it: the first that asks is. */
  claim(rows: Buffer, at: number, pack: number): boolean {
    const slot = this.#slotAt(rows, at);
    if (this.#owner[slot] === 1) this.#owner[slot] = pack + 2;
    return this.#owner[slot] === pack + 2;
  }

  /** Whether it is needed and no pack keeps it yet. */
  isOrphan(rows: Buffer, at: number): boolean {
    return this.#owner[this.#slotAt(rows, at)] === 1;
  }

  /** Whether this pack is the one to keep it. */
  isOwner(rows: Buffer, at: number, pack: number): boolean {
    return this.#owner[this.#slotAt(rows, at)] === pack + 2;
  }

  #slotAt(rows: Buffer, at: number): number {
    return this.#slotOf(rows.readUInt32BE(at), rows.readUInt32BE(at + 4));
  }

  /** Where it is, or may be put. */
  #slotOf(high: number, low: number): number {
    const mask = this.#owner.length - 1;
    let slot = low & mask;
    while (this.#owner[slot] !== 0 && (this.#high[slot] !== high || this.#low[slot] !== low)) slot = (slot + 1) & mask;
    return slot;
  }

  #grow(): void {
    const [high, low, owner] = [this.#high, this.#low, this.#owner];
    const slots = owner.length * 2;
    this.#high = new Uint32Array(slots);
    this.#low = new Uint32Array(slots);
    this.#owner = new Uint32Array(slots);
    for (let i = 0; i < owner.length; i++) {
      if (owner[i] === 0) continue;
      const slot = this.#slotOf(high[i] as number, low[i] as number);
      this.#high[slot] = high[i] as number;
      this.#low[slot] = low[i] as number;
      this.#owner[slot] = owner[i] as number;
    }
  }
}
