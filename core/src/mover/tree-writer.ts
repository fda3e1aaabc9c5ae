import { DmaasError } from '../errors.ts';
import type { BlobId } from '../repository/format/blob.ts';
import type { BlobWriter } from '../repository/blobs/blob-writer.ts';
import { encodeNode, NODE_TYPE } from '../repository/format/node.ts';
import { ByteWriter } from './bytes.ts';
import { endsInZeros } from './content-format.ts';
import { NODE_CUT } from './content.ts';
import { ROOT, sharedBytes, showPath } from './paths.ts';
import { MAX_LEAF_PATH_BYTES, writeEntry, type EncodedEntry } from './tree-format.ts';

/** Leaves are cut after a path whose hash ends in so many zero bits, within these bounds of the payload. */
export const LEAF_CUT = { bits: 10, minBytes: 32 << 10, maxBytes: 512 << 10, maxPathBytes: MAX_LEAF_PATH_BYTES / 2 } as const;

interface Subtree {
  readonly id: BlobId;
  /** The path of its first entry. */
  readonly first: Buffer;
  readonly entries: number;
}

/**
 * Writes a tree from its entries, which must come in order. Holds one leaf and, for each level above, the references of one index
 * node, however many entries there are.
 */
export class TreeWriter {
  readonly #writer: BlobWriter;
  readonly #seed: number;
  readonly #levels: Subtree[][] = [];
  readonly #payload = new ByteWriter(LEAF_CUT.maxBytes);
  #references: BlobId[] = [];
  #first: Buffer | undefined;
  #before: Buffer = ROOT;
  #leafEntries = 0;
  #pathBytes = 0;
  #entries = 0;

  /** `seed`: the repository's secret for where leaves are cut. */
  constructor(writer: BlobWriter, seed: number) {
    this.#writer = writer;
    this.#seed = seed;
  }

  /** A promise when a leaf is complete, until it is stored. */
  add(path: Buffer, entry: EncodedEntry): Promise<void> | undefined {
    if (this.#entries > 0 && Buffer.compare(this.#before, path) >= 0) {
      throw new DmaasError('INTERNAL', `the tree got ${showPath(path)} after ${showPath(this.#before)}`);
    }
    const leafBefore = this.#payload.length;
    const referencesBefore = this.#references.length;
    this.#append(path, entry);
    let cut: Promise<void> | undefined;
    if (this.#leafEntries > 1 && (this.#payload.length > LEAF_CUT.maxBytes || this.#pathBytes > LEAF_CUT.maxPathBytes)) {
      // Too much: this entry begins the next leaf instead, where its path is written in full.
      cut = this.#cutLeaf(leafBefore, referencesBefore, 1);
      this.#append(path, entry);
    }
    if (this.#payload.length >= LEAF_CUT.minBytes && pathHash(path, this.#seed) % 2 ** LEAF_CUT.bits === 0) {
      const full = (): Promise<void> => this.#cutLeaf(this.#payload.length, this.#references.length, 0);
      return cut === undefined ? full() : cut.then(full);
    }
    return cut;
  }

  /** The top node of the tree. */
  async finish(): Promise<{ readonly top: BlobId; readonly entries: number }> {
    if (this.#leafEntries > 0) await this.#cutLeaf(this.#payload.length, this.#references.length, 0);
    for (let level = 0; level < this.#levels.length; level++) {
      const list = this.#levels[level] as Subtree[];
      if (level === this.#levels.length - 1 && list.length === 1) return { top: (list[0] as Subtree).id, entries: this.#entries };
      await this.#cutIndex(level);
    }
    throw new DmaasError('INTERNAL', 'a tree has at least its root');
  }

  #append(path: Buffer, entry: EncodedEntry): void {
    writeEntry(this.#payload, this.#references, this.#first === undefined ? ROOT : this.#before, path, entry);
    this.#first ??= path;
    this.#before = path;
    this.#pathBytes += path.length;
    this.#leafEntries += 1;
    this.#entries += 1;
  }

  /** Stores the leaf up to the given lengths; the last `dropped` entries are taken back. */
  async #cutLeaf(payloadBytes: number, references: number, dropped: number): Promise<void> {
    this.#entries -= dropped;
    const leaf = encodeNode({
      type: NODE_TYPE.leaf,
      references: this.#references.slice(0, references),
      payload: this.#payload.bytes.subarray(0, payloadBytes),
    });
    const subtree = { first: this.#first as Buffer, entries: this.#leafEntries - dropped };
    this.#payload.clear();
    this.#references = [];
    this.#first = undefined;
    this.#leafEntries = 0;
    this.#pathBytes = 0;
    const { id } = await this.#writer.put('node', leaf);
    await this.#push(0, { id, ...subtree });
  }

  async #push(level: number, subtree: Subtree): Promise<void> {
    const list = (this.#levels[level] ??= []);
    // Cut only when more follows, so that there is no index node above a single subtree but by chance.
    if (isFull(list)) await this.#cutIndex(level);
    this.#levels[level].push(subtree);
  }

  async #cutIndex(level: number): Promise<void> {
    const list = this.#levels[level] as Subtree[];
    this.#levels[level] = [];
    const { id } = await this.#writer.put('node', encodeIndexNode(list));
    const entries = list.reduce((sum, subtree) => sum + subtree.entries, 0);
    await this.#push(level + 1, { id, first: (list[0] as Subtree).first, entries });
  }
}

function isFull(list: readonly Subtree[]): boolean {
  const last = list.at(-1);
  if (last === undefined) return false;
  const payloadBytes = list.reduce((sum, subtree) => sum + subtree.first.length, 0);
  if (list.length >= NODE_CUT.maxItems || payloadBytes >= LEAF_CUT.maxBytes) return true;
  return list.length >= NODE_CUT.minItems && endsInZeros(last.id, NODE_CUT.bits);
}

export function encodeIndexNode(subtrees: readonly Subtree[]): Buffer {
  const payload = new ByteWriter(4096);
  let before: Buffer = ROOT;
  for (const { first, entries } of subtrees) {
    const shared = sharedBytes(before, first);
    payload.varint(shared);
    payload.sized(first.subarray(shared));
    payload.varint(entries);
    before = first;
  }
  return encodeNode({ type: NODE_TYPE.index, references: subtrees.map(({ id }) => id), payload: payload.bytes });
}

/** FNV-1a with 32 bits; the seed takes the place of the offset basis. */
export function pathHash(path: Uint8Array, seed: number): number {
  let hash = seed;
  for (const byte of path) hash = Math.imul(hash ^ byte, 0x0100_0193);
  return hash >>> 0;
}
