import { discard } from '../../discard.ts';
import { DmaasError } from '../../errors.ts';

const MIN_SLOTS = 1 << 10;
const MAX_LOAD = 0.9;
/** Of a slot: nine bytes of the id, and its mark. */
const SLOT_WORDS = 3;
const LAST = 2;
const ID_AT = 4;
const MARK_BITS = 24;
const MAX_MARK = 2 ** MARK_BITS - 1;

/**
 * Ids that are needed, each with a number below 2^24 - 1: 12 bytes a slot. A slot is found by the first four bytes of the id, so that going through sorted ids goes through the slots in order, and holds the nine after them.
 * So two ids are taken for one only if they agree in 72 bits and fall into one run of slots as well: they are outputs of HMAC, and of ten million no two do but once in 10^13 repositories.
 */
export class LiveSet {
  /** New ids go into the last; a further one is begun when it is full, so that nothing is moved, nor there twice for a moment. Of a slot that is free the mark is 0, else the number + 1. */
  readonly #tables: Uint32Array[];
  /** How many more ids the last table takes. */
  #room: number;
  #size = 0;

  /** `expected`: how many there may be; more are slower to find. */
  constructor(expected = 0) {
    const slots = Math.max(MIN_SLOTS, Math.ceil(expected / MAX_LOAD));
    this.#tables = [new Uint32Array(slots * SLOT_WORDS)];
    this.#room = roomOf(slots);
  }

  get size(): number {
    return this.#size;
  }

  /** The number of the id whose bytes begin at `at`, undefined when it is not in the set. */
  get(bytes: Buffer, at: number): number | undefined {
    for (const table of this.#tables) {
      const mark = (table[find(table, bytes, at) + LAST] as number) & MAX_MARK;
      if (mark !== 0) return mark - 1;
    }
    return undefined;
  }

  /** Adds the id, or gives it another number. */
  set(bytes: Buffer, at: number, number: number): void {
    if (number >= MAX_MARK) throw new DmaasError('INTERNAL', `more than ${MAX_MARK} backups or packs cannot be told apart`);
    for (const table of this.#tables) {
      const slot = find(table, bytes, at);
      if (table[slot + LAST] === 0) continue;
      put(table, slot, bytes, at, number);
      return;
    }
    if (this.#room === 0) this.#grow();
    const table = this.#tables.at(-1) as Uint32Array;
    put(table, find(table, bytes, at), bytes, at, number);
    this.#room--;
    this.#size++;
  }

  /** Gives every id the same number. */
  setAll(number: number): void {
    for (const table of this.#tables) {
      for (let at = LAST; at < table.length; at += SLOT_WORDS) {
        const last = table[at] as number;
        if (last !== 0) table[at] = last - (last & MAX_MARK) + number + 1;
      }
    }
  }

  /** Gives its memory back at once; it must not be used any more. */
  discard(): void {
    for (const { buffer } of this.#tables) discard(buffer);
  }

  /** As much again as there is. */
  #grow(): void {
    const words = this.#tables.reduce((sum, { length }) => sum + length, 0);
    this.#tables.push(new Uint32Array(words));
    this.#room = roomOf(words / SLOT_WORDS);
  }
}

function roomOf(slots: number): number {
  return Math.floor(slots * MAX_LOAD);
}

/** Where it is, or may be put. */
function find(table: Uint32Array, bytes: Buffer, at: number): number {
  const first = bytes.readUInt32BE(at + ID_AT);
  const second = bytes.readUInt32BE(at + ID_AT + 4);
  const third = bytes[at + ID_AT + 8];
  let slot = Math.floor((bytes.readUInt32BE(at) / 2 ** 32) * (table.length / SLOT_WORDS)) * SLOT_WORDS;
  for (let last = table[slot + LAST] as number; last !== 0; last = table[slot + LAST] as number) {
    if (table[slot] === first && table[slot + 1] === second && last >>> MARK_BITS === third) break;
    slot += SLOT_WORDS;
    if (slot === table.length) slot = 0;
  }
  return slot;
}

function put(table: Uint32Array, slot: number, bytes: Buffer, at: number, number: number): void {
  table[slot] = bytes.readUInt32BE(at + ID_AT);
  table[slot + 1] = bytes.readUInt32BE(at + ID_AT + 4);
  table[slot + LAST] = (bytes[at + ID_AT + 8] as number) * 2 ** MARK_BITS + number + 1;
}
