import { discard } from '../../discard.ts';
import type { CallOptions } from '../../store/object-store.ts';
import { BLOB_ID_BYTES, type BlobId } from '../format/blob.ts';
import { damaged } from '../format/damage.ts';
import { packKey } from '../format/pack-reader.ts';
import { ROW_BYTES, type PackInfo, type Row, type Table } from '../format/table.ts';

/** Entries lie in pages, so that growing moves none of them but those of a first page that is not full. */
const PAGE_ENTRIES = 1 << 16;
const MIN_PAGE_ENTRIES = 1 << 5;
const ENTRY_WORDS = ROW_BYTES / 4;
const ID_WORDS = BLOB_ID_BYTES / 4;
const FIELD = { pack: ID_WORDS, offset: ID_WORDS + 1, length: ID_WORDS + 2, innerOffset: ID_WORDS + 3, innerLength: ID_WORDS + 4 } as const;
const MIN_SLOTS = 1 << 6;
const NONE = 0;

/** Number of an entry, for as long as the index lives. */
export type Entry = number & { readonly __brand: 'Entry' };

/** Says where blobs lie. */
export interface BlobLookup {
  /** For each id, whether it has an entry: at once when memory can tell. */
  known(ids: readonly BlobId[], opts?: CallOptions): readonly boolean[] | Promise<readonly boolean[]>;
  /** Every entry of these ids, and perhaps some of others. */
  locate(ids: readonly BlobId[], opts?: CallOptions): BlobIndex | Promise<BlobIndex>;
}

/**
 * Where some blobs lie, in memory: 44 bytes for each entry and about 8 for the hash table, outside of the JavaScript heap. An id may have several
 * entries, copies of the blob in several packs. Nothing is ever removed.
 */
export class BlobIndex implements BlobLookup {
  readonly #pages: Uint32Array[] = [];
  /** Open addressing, linear probing; holds entry + 1. */
  #slots = new Uint32Array(MIN_SLOTS);
  #count = 0;
  readonly #packs: PackInfo[] = [];
  readonly #packNumbers = new Map<string, number>();
  readonly #scratch = Buffer.alloc(BLOB_ID_BYTES);
  readonly #words = new Uint32Array(ENTRY_WORDS);

  get size(): number {
    return this.#count;
  }

  get packs(): readonly PackInfo[] {
    return this.#packs;
  }

  hasPack(id: string): boolean {
    return this.#packNumbers.has(id);
  }

  /** Adds what the index does not have yet. `key` names the object the table came from. */
  addTable({ packs, rows }: Table, key: string): void {
    const numbers = packs.map((pack) => this.#packNumber(pack, key));
    const view = new DataView(rows.buffer, rows.byteOffset, rows.length);
    const words = this.#words;
    for (let at = 0; at < rows.length; at += ROW_BYTES) {
      for (let i = 0; i < ENTRY_WORDS; i++) words[i] = view.getUint32(at + i * 4, true);
      words[FIELD.pack] = numbers[words[FIELD.pack] as number] as number;
      this.#add();
    }
  }

  /** Adds one row, which begins at `at`. */
  addRow(pack: PackInfo, rows: Buffer, at: number, key: string): void {
    const words = this.#words;
    for (let i = 0; i < ENTRY_WORDS; i++) words[i] = rows.readUInt32LE(at + i * 4);
    words[FIELD.pack] = this.#packNumber(pack, key);
    this.#add();
  }

  /** Adds what another index has of an id. */
  addFrom(other: BlobIndex, id: BlobId): void {
    for (const entry of other.copies(id)) {
      for (let i = 0; i < ENTRY_WORDS; i++) this.#words[i] = other.#field(entry, i);
      this.#words[FIELD.pack] = this.#packNumber(other.pack(entry), 'the index');
      this.#add();
    }
  }

  known(ids: readonly BlobId[]): readonly boolean[] {
    return ids.map((id) => this.has(id));
  }

  locate(): this {
    return this;
  }

  has(id: BlobId): boolean {
    return this.find(id) !== undefined;
  }

  /** The first entry for an id. */
  find(id: BlobId): Entry | undefined {
    for (const entry of this.copies(id)) return entry;
    return undefined;
  }

  /** Every entry for an id. */
  *copies(id: BlobId): Generator<Entry> {
    const bytes = this.#scratch;
    bytes.write(id, 'hex');
    const words = Array.from({ length: ID_WORDS }, (_, i) => bytes.readUInt32LE(i * 4));
    const mask = this.#slots.length - 1;
    for (let slot = (words[0] as number) & mask; ; slot = (slot + 1) & mask) {
      const held = this.#slots[slot] as number;
      if (held === NONE) return;
      if (this.#hasId(held - 1, words)) yield (held - 1) as Entry;
    }
  }

  pack(entry: Entry): PackInfo {
    return this.#packs[this.#field(entry, FIELD.pack)] as PackInfo;
  }

  /** Of the frame, in its pack. */
  offset(entry: Entry): number {
    return this.#field(entry, FIELD.offset);
  }

  /** Of the frame. */
  length(entry: Entry): number {
    return this.#field(entry, FIELD.length);
  }

  /** Where the blob lies in its frame's payload. */
  inner(entry: Entry, id: BlobId): Pick<Row, 'id' | 'innerOffset' | 'innerLength'> {
    return { id, innerOffset: this.#field(entry, FIELD.innerOffset), innerLength: this.#field(entry, FIELD.innerLength) };
  }

  /** Orders entries as they lie in packs. */
  compare(a: Entry, b: Entry): number {
    return (
      this.#field(a, FIELD.pack) - this.#field(b, FIELD.pack) ||
      this.#field(a, FIELD.offset) - this.#field(b, FIELD.offset) ||
      this.#field(a, FIELD.innerOffset) - this.#field(b, FIELD.innerOffset)
    );
  }

  /** Whether both lie in the same frame. */
  sameFrame(a: Entry, b: Entry): boolean {
    return this.#field(a, FIELD.pack) === this.#field(b, FIELD.pack) && this.#field(a, FIELD.offset) === this.#field(b, FIELD.offset);
  }

  /** What the index knows of one pack, as a table: a search through everything, for when the pack itself cannot say. */
  tableOf(pack: PackInfo): Table {
    const number = this.#packNumbers.get(pack.id);
    const rows: Buffer[] = [];
    for (let entry = 0; entry < this.#count; entry++) {
      if (this.#field(entry as Entry, FIELD.pack) !== number) continue;
      const row = Buffer.alloc(ROW_BYTES);
      for (let i = 0; i < ENTRY_WORDS; i++) row.writeUInt32LE(i === FIELD.pack ? 0 : this.#field(entry as Entry, i), i * 4);
      rows.push(row);
    }
    return { packs: [pack], rows: Buffer.concat(rows) };
  }

  /** Gives its memory back at once; it must not be used any more. */
  discard(): void {
    for (const { buffer } of [...this.#pages, this.#slots]) discard(buffer);
  }

  #packNumber(pack: PackInfo, key: string): number {
    const known = this.#packNumbers.get(pack.id);
    if (known === undefined) {
      this.#packNumbers.set(pack.id, this.#packs.length);
      return this.#packs.push(pack) - 1;
    }
    const { kind, size } = this.#packs[known] as PackInfo;
    if (kind !== pack.kind || size !== pack.size) throw damaged(key, `it contradicts others about ${packKey(pack.id)}`);
    return known;
  }

  /** Adds the entry in `#words`. */
  #add(): void {
    const words = this.#words;
    if (this.#count * 2 >= this.#slots.length) this.#grow();
    const mask = this.#slots.length - 1;
    let slot = (words[0] as number) & mask;
    for (let held = this.#slots[slot] as number; held !== NONE; held = this.#slots[slot] as number) {
      if (this.#isSame(held - 1)) return;
      slot = (slot + 1) & mask;
    }
    const inPage = this.#count % PAGE_ENTRIES;
    this.#pageFor(inPage).set(words, inPage * ENTRY_WORDS);
    this.#slots[slot] = ++this.#count;
  }

  /** The last page, with room for the entry at this place of it. */
  #pageFor(inPage: number): Uint32Array {
    const page = inPage === 0 ? undefined : this.#pages.at(-1);
    if (page !== undefined && inPage * ENTRY_WORDS < page.length) return page;
    const isFirst = this.#count < PAGE_ENTRIES;
    const entries = isFirst ? Math.min(Math.max(inPage * 4, MIN_PAGE_ENTRIES), PAGE_ENTRIES) : PAGE_ENTRIES;
    const grown = new Uint32Array(entries * ENTRY_WORDS);
    if (page !== undefined) {
      grown.set(page);
      this.#pages.pop();
    }
    this.#pages.push(grown);
    return grown;
  }

  #grow(): void {
    const slots = new Uint32Array(this.#slots.length * 2);
    const mask = slots.length - 1;
    for (let entry = 0; entry < this.#count; entry++) {
      let slot = this.#field(entry as Entry, 0) & mask;
      while (slots[slot] !== NONE) slot = (slot + 1) & mask;
      slots[slot] = entry + 1;
    }
    discard(this.#slots.buffer);
    this.#slots = slots;
  }

  #field(entry: Entry, field: number): number {
    return (this.#pages[Math.floor(entry / PAGE_ENTRIES)] as Uint32Array)[(entry % PAGE_ENTRIES) * ENTRY_WORDS + field] as number;
  }

  #hasId(entry: number, words: ArrayLike<number>): boolean {
    const page = this.#pages[Math.floor(entry / PAGE_ENTRIES)] as Uint32Array;
    const at = (entry % PAGE_ENTRIES) * ENTRY_WORDS;
    for (let i = 0; i < ID_WORDS; i++) if (page[at + i] !== words[i]) return false;
    return true;
  }

  #isSame(entry: number): boolean {
    return (
      this.#hasId(entry, this.#words) &&
      [FIELD.pack, FIELD.offset, FIELD.innerOffset].every((f) => this.#field(entry as Entry, f) === this.#words[f])
    );
  }
}
