import { createHash } from 'node:crypto';
import { DmaasError } from '../errors.ts';
import { parseBlobId, type BlobId } from '../repository/format/blob.ts';
import { isBelow, nameOf, parentOf, ROOT, showPath } from './paths.ts';
import { TreeOrder, type Entry } from './tree-format.ts';
import type { TreeReader } from './tree-reader.ts';

/** Entries handed on at once. */
const BATCH = 1024;

/**
 * A directory of a tree as if it were the root, or one entry that is no directory as if nothing else were in its directory. Reads no more
 * nodes than those that hold it.
 */
export class PartOfTree implements Pick<TreeReader, 'leaves'> {
  readonly #tree: TreeReader;
  /** Becomes the root. */
  readonly #directory: Entry;
  /** When it is no directory. */
  readonly #only: Entry | undefined;

  private constructor(tree: TreeReader, directory: Entry, only: Entry | undefined) {
    this.#tree = tree;
    this.#directory = directory;
    this.#only = only;
  }

  /** Throws USAGE when there is no such path. */
  static async open(tree: TreeReader, path: Buffer): Promise<PartOfTree> {
    const entry = await tree.find(path);
    if (entry === undefined) throw new DmaasError('USAGE', `${showPath(path)} is not in the volume`);
    if (entry.type === 'directory') return new PartOfTree(tree, entry, undefined);
    const directory = await tree.find(parentOf(path));
    if (directory?.type !== 'directory') {
      throw new DmaasError('REPOSITORY_CORRUPT', `the backed-up tree is malformed: ${showPath(path)} lies in no directory`);
    }
    return new PartOfTree(tree, directory, entry);
  }

  async *leaves(): AsyncGenerator<Iterable<Entry>> {
    const root = { ...this.#directory, path: ROOT };
    if (this.#only !== undefined) {
      yield [root, { ...this.#only, path: nameOf(this.#only.path) }];
      return;
    }
    const { path } = this.#directory;
    const order = new TreeOrder();
    order.check(root);
    let batch: Entry[] = [root];
    for await (const entry of this.#tree.entriesFrom(path)) {
      if (entry.path.equals(path)) continue;
      if (!isBelow(entry.path, path)) break;
      const moved = { ...entry, path: entry.path.subarray(path.length === 0 ? 0 : path.length + 1) };
      order.check(moved);
      batch.push(moved);
      if (batch.length < BATCH) continue;
      yield batch;
      batch = [];
    }
    yield batch;
  }
}

/** Tells an unfinished restore of a part from one of the whole, or of another part. */
export function idOfPart(root: BlobId, part: Buffer): BlobId {
  return parseBlobId(createHash('sha256').update(root).update(part).digest('hex').slice(0, root.length), 'a part of a volume');
}
