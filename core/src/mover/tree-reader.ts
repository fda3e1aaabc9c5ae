import { DmaasError } from '../errors.ts';
import type { BlobId } from '../repository/format/blob.ts';
import { decodeNode, NODE_TYPE, type Node } from '../repository/format/node.ts';
import type { Repository } from '../repository/repository.ts';
import type { CallOptions } from '../store/object-store.ts';
import { ByteReader } from './bytes.ts';
import { isBelow } from './paths.ts';
import { LeafScanner } from './leaf-scanner.ts';
import { readLeaf, readPath, TreeOrder, type Entry } from './tree-format.ts';

export const MAX_HEIGHT = 8;
/** Leaves fetched before they are needed. */
const READ_AHEAD = 4;

interface Subtree {
  readonly id: BlobId;
  readonly first: Buffer;
}

/** Reads a tree: all of it in order, or the few nodes that lead to one path. Every entry it gives has been checked as `readLeaf` says. */
export class TreeReader {
  readonly #repository: Pick<Repository, 'read'>;
  readonly #top: BlobId;
  readonly #opts: CallOptions;

  constructor(repository: Pick<Repository, 'read'>, top: BlobId, opts: CallOptions = {}) {
    this.#repository = repository;
    this.#top = top;
    this.#opts = opts;
  }

  /** Every entry, in order; the tree as a whole is checked as well (see `TreeOrder`). */
  async *entries(): AsyncGenerator<Entry> {
    for await (const leaf of this.leaves()) yield* leaf;
  }

  /** As `entries`, a leaf at a time: no promise for each of millions of entries. */
  async *leaves(): AsyncGenerator<Iterable<Entry>> {
    const order = new TreeOrder();
    for await (const leaf of this.#leaves(undefined)) yield checked(leaf, order);
  }

  /** The leaves as they are stored, in order. */
  leafNodes(): AsyncGenerator<Node> {
    return this.#leaves(undefined);
  }

  /** The entries at and after `path`, in order. */
  async *entriesFrom(path: Buffer): AsyncGenerator<Entry> {
    let before: Buffer | undefined;
    for await (const leaf of this.#leaves(path)) {
      for (const entry of readLeaf(leaf)) {
        if (before !== undefined && Buffer.compare(before, entry.path) >= 0) throw malformed('its leaves do not ascend');
        before = entry.path;
        if (Buffer.compare(entry.path, path) >= 0) yield entry;
      }
    }
  }

  /** The entry of one path, or undefined. */
  async find(path: Buffer): Promise<Entry | undefined> {
    for await (const entry of this.entriesFrom(path)) return entry.path.equals(path) ? entry : undefined;
    return undefined;
  }

  /** The entries in a directory, in order. Subtrees between them are jumped over, not read. */
  async *list(directory: Buffer): AsyncGenerator<Entry> {
    let from: Buffer | undefined = directory.length === 0 ? Buffer.of(1) : Buffer.concat([directory, Buffer.of(0)]);
    while (from !== undefined) {
      let skipped = 0;
      const start: Buffer = from;
      from = undefined;
      for await (const entry of this.entriesFrom(start)) {
        if (!isBelow(entry.path, directory)) return;
        const child = childOf(entry.path, directory);
        if (child.length === entry.path.length) {
          skipped = 0;
          yield entry;
        } else if (++skipped === MAX_SKIPPED) {
          // 0x01 comes right after the 0x00 that all paths below the child go on with.
          from = Buffer.concat([child, Buffer.of(1)]);
          break;
        }
      }
    }
  }

  async *#leaves(from: Buffer | undefined): AsyncGenerator<Node> {
    yield* this.#below(await this.#node(this.#top), from, 0);
  }

  async *#below(node: Node, from: Buffer | undefined, depth: number): AsyncGenerator<Node> {
    if (node.type === NODE_TYPE.leaf) {
      yield node;
      return;
    }
    if (depth === MAX_HEIGHT) throw malformed('it is too high');
    const subtrees = readIndexNode(node);
    // The last subtree that begins at or before the path is the first that can hold it.
    let next = 0;
    while (from !== undefined && next + 1 < subtrees.length && Buffer.compare((subtrees[next + 1] as Subtree).first, from) <= 0) next++;
    // A seek mostly needs one leaf; a walk needs them all, soon.
    let ahead = from === undefined ? READ_AHEAD : 1;
    const fetched: Promise<Node>[] = [];
    for (let i = next; i < subtrees.length; i++) {
      for (; next < subtrees.length && fetched.length < ahead; next++) {
        const fetching = this.#node((subtrees[next] as Subtree).id);
        // Reported when its turn comes; unless the reader has stopped by then.
        fetching.catch(() => undefined);
        fetched.push(fetching);
      }
      const child = await (fetched.shift() as Promise<Node>);
      checkFirst(child, (subtrees[i] as Subtree).first);
      yield* this.#below(child, from, depth + 1);
      ahead = READ_AHEAD;
    }
  }

  async #node(id: BlobId): Promise<Node> {
    return decodeNode(await this.#repository.read(id, this.#opts), id);
  }
}

/** After so many entries of a child's subtree, a new search is cheaper than to go on. */
const MAX_SKIPPED = 256;

/** The path of the child of `directory` on the way to `path`. */
function childOf(path: Buffer, directory: Buffer): Buffer {
  const end = path.indexOf(0, directory.length === 0 ? 0 : directory.length + 1);
  return end < 0 ? path : path.subarray(0, end);
}

function* checked(leaf: Node, order: TreeOrder): Generator<Entry> {
  for (const entry of readLeaf(leaf)) {
    order.check(entry);
    yield entry;
  }
}

/** What an index node of a tree has below it. */
export function readIndexNode(node: Node): Subtree[] {
  const reader = new ByteReader(node.payload, 'tree index node');
  if (node.type !== NODE_TYPE.index) reader.fail(`it is a node of type ${node.type}`);
  let before: Buffer | undefined;
  const subtrees = node.references.map((id) => {
    const first = readPath(reader, before);
    reader.varint(); // how many entries are below it
    before = first;
    return { id, first };
  });
  if (!reader.done || subtrees.length === 0) reader.fail('it does not match its references');
  return subtrees;
}

/** An index that names a wrong first path would hide entries from a search that a walk shows. */
function checkFirst(child: Node, first: Buffer): void {
  const reader = new ByteReader(child.payload, child.type === NODE_TYPE.leaf ? 'tree leaf' : 'tree index node');
  if (child.type === NODE_TYPE.leaf) reader.varint();
  if (!readPath(reader, undefined).equals(first)) throw malformed('an index node names a wrong path');
}

function malformed(fact: string): DmaasError {
  return new DmaasError('REPOSITORY_CORRUPT', `the backed-up tree is malformed: ${fact}`);
}

/** Goes through a tree beside a walk, as a merge does: `at(path)` must be asked for ascending paths. */
export class TreeCursor {
  readonly #leaves: AsyncGenerator<Node>;
  readonly #onLeaf: (leaf: Node) => Promise<void>;
  #leaf: LeafScanner | undefined;
  #ended = false;

  /** `onLeaf` is told of each leaf before any of its entries is given. */
  constructor(reader: TreeReader, onLeaf: (leaf: Node) => Promise<void>) {
    this.#leaves = reader.leafNodes();
    this.#onLeaf = onLeaf;
  }

  /** The entry of this path, valid until the next call, or undefined. Only now and then a promise: most entries lie in the leaf at hand. */
  at(path: Buffer): LeafScanner | undefined | Promise<LeafScanner | undefined> {
    for (;;) {
      const order = this.#leaf?.comparePath(path) ?? -1;
      if (order >= 0) return order === 0 ? this.#leaf : undefined;
      if (this.#leaf?.next() !== true) return this.#ended ? undefined : this.#nextLeaf(path);
    }
  }

  async close(): Promise<void> {
    await this.#leaves.return(undefined);
  }

  async #nextLeaf(path: Buffer): Promise<LeafScanner | undefined> {
    const next = await this.#leaves.next();
    this.#leaf = undefined;
    if (next.done === true) {
      this.#ended = true;
      return undefined;
    }
    await this.#onLeaf(next.value);
    this.#leaf = new LeafScanner(next.value);
    this.#leaf.next();
    return this.at(path);
  }
}
