const MIN_SLOTS = 1 << 10;
const MAX_LOAD = 0.85;
const GROWTH = 1.5;
/** Of a slot: three of the id, and its mark. */
const SLOT_WORDS = 4;
const MARK = 3;

/**
 * Ids that are needed, each with a number below 2^32 - 1: 16 bytes a slot. Ids are told apart by their first 96 bits: they are outputs of HMAC, and of ten million no two share these but once in 10^15 repositories.
 * A slot is found by the beginning of the id, so that going through sorted ids goes through the slots in order.
 */
export class LiveSet {
  /** Mark 0: the slot is free; else the number + 1. */
  #words: Uint32Array;
  #slots: number;
  #size = 0;

  /** `expected`: how many there may be; with more it grows, which takes both sizes for a moment. */
  constructor(expected = 0) {
    this.#slots = Math.max(MIN_SLOTS, Math.ceil(expected / MAX_LOAD));
    this.#words = new Uint32Array(this.#slots * SLOT_WORDS);
  }

  get size(): number {
    return this.#size;
  }

  /** The number of the id whose bytes begin at `at`, undefined when it is not in the set. */
  get(bytes: Buffer, at: number): number | undefined {
    const mark = this.#words[this.#find(bytes, at) + MARK] as number;
    return mark === 0 ? undefined : mark - 1;
  }

  /** Adds the id, or gives it another number. */
  set(bytes: Buffer, at: number, number: number): void {
    let slot = this.#find(bytes, at);
    if (this.#words[slot + MARK] === 0) {
      if (this.#size >= this.#slots * MAX_LOAD) {
        this.#grow();
        slot = this.#find(bytes, at);
      }
      for (let i = 0; i < MARK; i++) this.#words[slot + i] = bytes.readUInt32BE(at + i * 4);
      this.#size++;
    }
    this.#words[slot + MARK] = number + 1;
  }

  /** Gives every id the same number. */
  setAll(number: number): void {
    for (let at = MARK; at < this.#words.length; at += SLOT_WORDS) if (this.#words[at] !== 0) this.#words[at] = number + 1;
  }

  /** Where it is, or may be put. */
  #find(bytes: Buffer, at: number): number {
    return this.#slotOf(bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4), bytes.readUInt32BE(at + 8));
  }

  #slotOf(first: number, second: number, third: number): number {
    const words = this.#words;
    let slot = Math.floor((first / 2 ** 32) * this.#slots) * SLOT_WORDS;
    while (words[slot + MARK] !== 0 && (words[slot] !== first || words[slot + 1] !== second || words[slot + 2] !== third)) {
      slot += SLOT_WORDS;
      if (slot === words.length) slot = 0;
    }
    return slot;
  }

  #grow(): void {
    const old = this.#words;
    this.#slots = Math.ceil(this.#slots * GROWTH);
    this.#words = new Uint32Array(this.#slots * SLOT_WORDS);
    for (let at = 0; at < old.length; at += SLOT_WORDS) {
      if (old[at + MARK] === 0) continue;
      const slot = this.#slotOf(old[at] as number, old[at + 1] as number, old[at + 2] as number);
      this.#words.set(old.subarray(at, at + SLOT_WORDS), slot);
    }
  }
}
