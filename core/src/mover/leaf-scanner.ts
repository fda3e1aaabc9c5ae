import { LIMITS, type BlobId } from '../repository/format/blob.ts';
import { NODE_TYPE, type Node } from '../repository/format/node.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { isHole, lengthOf, MAX_INLINE_ITEMS } from './content-format.ts';
import type { FileStat } from './file-stat.ts';
import { MAX_PATH_BYTES } from './paths.ts';
import { decodeEntry, ENTRY_TYPES, skipHead, TAG, writeHead, type EncodedEntry, type Entry } from './tree-format.ts';

/** As they are coded. Others must have fields of their own. */
const PLAIN_TYPES = new Set([ENTRY_TYPES.indexOf('file') + 1, ENTRY_TYPES.indexOf('directory') + 1]);

/**
 * Goes through a leaf's entries as they are stored: of those of the backup before, nearly all are only compared with what is on the disk, and
 * copied. Paths are not checked, for they are looked for and never used.
 */
export class LeafScanner {
  readonly #payload: Buffer;
  readonly #reader: ByteReader;
  readonly #ids: readonly BlobId[];
  readonly #scratch = new ByteWriter(64);
  #path: Buffer = Buffer.allocUnsafe(512);
  #pathLength = 0;
  // Of the entry at hand: where it and what follows its head begin, and where it ends; the same of its references.
  #start = 0;
  #headEnd = 0;
  #end = 0;
  #firstId = 0;
  #endId = 0;
  #contentNode: BlobId | undefined;
  /** A directory or file of which nothing is kept but its head and its pieces, which have been checked. */
  #isPlain = false;

  constructor(node: Node) {
    const { buffer, byteOffset, length } = node.payload;
    this.#payload = Buffer.from(buffer, byteOffset, length);
    this.#reader = new ByteReader(node.payload, 'tree leaf');
    if (node.type !== NODE_TYPE.leaf) this.#reader.fail(`it is a node of type ${node.type}`);
    this.#ids = node.references;
  }

  /** Goes to the next entry; false after the last. Throws REPOSITORY_CORRUPT when it cannot be told where it is. */
  next(): boolean {
    const reader = this.#reader;
    if (reader.done) return false;
    const length = reader.varint();
    this.#end = reader.position + length;
    const shared = reader.varint();
    if (shared > this.#pathLength) reader.fail('a path shares more than there is');
    this.#setPath(shared, reader.sized(MAX_PATH_BYTES - shared));
    this.#start = reader.position;
    this.#firstId = this.#endId;
    const size = skipHead(reader);
    this.#headEnd = reader.position;
    this.#scanFields(size);
    if (reader.position !== this.#end || this.#endId > this.#ids.length) reader.fail('an entry is not as long as it says');
    return true;
  }

  /** As Buffer.compare, the path of the entry with another. */
  comparePath(path: Buffer): number {
    return this.#path.compare(path, 0, path.length, 0, this.#pathLength);
  }

  /** Whether the entry is what would be written of a file that is like this and has the same content. */
  isUnchanged(stat: FileStat): boolean {
    const head = this.#scratch;
    head.clear();
    writeHead(head, stat);
    return head.matches(this.#payload, this.#start, this.#headEnd);
  }

  /** The ids that the entry uses. */
  get references(): readonly BlobId[] {
    return this.#ids.slice(this.#firstId, this.#endId);
  }

  /** That of a large file: more of what it uses lies below. */
  get contentNode(): BlobId | undefined {
    return this.#contentNode;
  }

  /** Of an entry that is unchanged: throws REPOSITORY_CORRUPT when it cannot be one. */
  check(): void {
    if (!this.#isPlain) this.entry();
  }

  /** The entry as it is stored. */
  get encoded(): EncodedEntry {
    return { bytes: this.#payload.subarray(this.#start, this.#end), references: this.references };
  }

  /** Throws REPOSITORY_CORRUPT. */
  entry(): Entry {
    const path = Buffer.from(this.#path.subarray(0, this.#pathLength));
    return decodeEntry(path, this.#payload.subarray(this.#start, this.#end), this.references);
  }

  #scanFields(size: number): void {
    const reader = this.#reader;
    let length = 0;
    let pieces = 0;
    let fields = 0;
    let isPlain = PLAIN_TYPES.has(this.#payload[this.#start] as number);
    this.#contentNode = undefined;
    while (reader.position < this.#end) {
      const tag = reader.varint();
      const end = reader.varint() + reader.position;
      if (tag === TAG.content) {
        while (reader.position < end) {
          const item = reader.varint();
          length += lengthOf(item);
          pieces++;
          isPlain &&= item > 1 && (isHole(item) || lengthOf(item) <= LIMITS.blob);
          if (!isHole(item)) this.#endId++;
        }
      } else {
        isPlain = false;
        if (tag === TAG.contentNode) this.#contentNode = this.#ids[this.#endId++];
      }
      reader.skip(end - reader.position);
      fields++;
    }
    this.#isPlain = isPlain && length === size && fields < 2 && pieces <= MAX_INLINE_ITEMS;
  }

  #setPath(shared: number, rest: Buffer): void {
    this.#pathLength = shared + rest.length;
    if (this.#pathLength > this.#path.length) this.#path = Buffer.concat([this.#path], 2 * this.#pathLength);
    this.#path.set(rest, shared);
  }
}

/** The content nodes that the entries of a leaf use, each once. Throws REPOSITORY_CORRUPT. */
export function contentNodesOf(leaf: Node): readonly BlobId[] {
  const nodes = new Set<BlobId>();
  const scanner = new LeafScanner(leaf);
  while (scanner.next()) if (scanner.contentNode !== undefined) nodes.add(scanner.contentNode);
  return [...nodes];
}
