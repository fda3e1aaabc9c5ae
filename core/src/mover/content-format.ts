import { BLOB_ID_BYTES, LIMITS, type BlobId } from '../repository/format/blob.ts';
import type { ByteReader, ByteWriter } from './bytes.ts';

/** A piece of a file or device, in order. Without an id it is a hole: zeros that nothing is stored for. */
export interface ContentItem {
  /** Bytes of the file. */
  readonly length: number;
  readonly id?: BlobId;
}

/** Where the bytes of a file are: listed with its entry when they are few, else below a content node. */
export type Content = { readonly items: readonly ContentItem[] } | { readonly node: BlobId };

/** The most items that stand in a tree leaf itself. */
export const MAX_INLINE_ITEMS = 64;

export const NO_CONTENT: Content = { items: [] };

/** Takes the ids that entries refer to, one after the other. */
export class References {
  readonly #ids: readonly BlobId[];
  #used = 0;

  constructor(ids: readonly BlobId[]) {
    this.#ids = ids;
  }

  get done(): boolean {
    return this.#used === this.#ids.length;
  }

  take(reader: ByteReader): BlobId {
    const id = this.#ids[this.#used++];
    return id ?? reader.fail('it uses more references than it has');
  }
}

export function writeItem(to: ByteWriter, references: BlobId[], { length, id }: ContentItem): void {
  to.varint(length * 2 + (id === undefined ? 1 : 0));
  if (id !== undefined) references.push(id);
}

/** `node`: whether the item stands for a content node, which may be as long as it likes, but is no hole. */
export function readItem(from: ByteReader, references: References, node = false): ContentItem {
  const coded = from.varint();
  const length = lengthOf(coded);
  if (length === 0) from.fail('a piece of content has no length');
  if (isHole(coded)) return node ? from.fail('a hole stands where a content node must be') : { length };
  if (!node && length > LIMITS.blob) from.fail('a piece of content is longer than a blob may be');
  return { length, id: references.take(from) };
}

/** Of an item as it is coded: its bytes. */
export function lengthOf(coded: number): number {
  return Math.floor(coded / 2);
}

/** Of an item as it is coded: whether it refers to nothing. */
export function isHole(coded: number): boolean {
  return coded % 2 === 1;
}

/** The length of a list of items. */
export function itemsLength(items: readonly ContentItem[]): number {
  return items.reduce((sum, item) => sum + item.length, 0);
}

/** Whether a list is cut after something with this id: its last `bits` bits are zero. Ids are random, so this is content-defined. */
export function endsInZeros(id: BlobId, bits: number): boolean {
  const tail = Number.parseInt(id.slice(BLOB_ID_BYTES * 2 - 8), 16);
  return tail % 2 ** bits === 0;
}
