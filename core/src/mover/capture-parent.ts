import { DmaasError } from '../errors.ts';
import type { BlobId } from '../repository/format/blob.ts';
import type { Node } from '../repository/format/node.ts';
import type { Repository } from '../repository/repository.ts';
import type { CallOptions } from '../store/object-store.ts';
import type { ContentItem } from './content-format.ts';
import { extentsOf } from './content.ts';
import type { FileStat } from './file-stat.ts';
import type { VolumeFindings } from './findings.ts';
import { incompleteOf } from './incomplete-content.ts';
import type { CutBefore } from './read-files.ts';
import type { Entry } from './tree-format.ts';
import { contentNodesOf, type LeafScanner } from './leaf-scanner.ts';
import { TreeCursor, TreeReader } from './tree-reader.ts';
import { readVolume } from './volume-node.ts';

/** The tree of the backup before. One that cannot be read must not stop all backups to come: then everything is read from the volume. */
export class Parent {
  readonly #findings: VolumeFindings;
  readonly #repository: Pick<Repository, 'read' | 'readMany' | 'known'>;
  readonly #opts: CallOptions;
  #cursor: TreeCursor | undefined;
  /** Of what the leaf at hand refers to, what is not there any more, or not with all that lies below it. Asked once for all of it. */
  #missing = new Set<BlobId>();
  /** The leaf at hand, until somebody has looked below its content nodes: most leaves have none. */
  #toLookBelow: Node | undefined;

  constructor(repository: Pick<Repository, 'read' | 'readMany' | 'known'>, findings: VolumeFindings, signal: AbortSignal | undefined) {
    this.#repository = repository;
    this.#findings = findings;
    this.#opts = signal === undefined ? {} : { signal };
  }

  /** Returns how many entries it has. */
  async open(root: BlobId | undefined): Promise<number> {
    if (root === undefined) return 0;
    const count = await this.#orNothing(async () => {
      const { mode, top, entries } = await readVolume(this.#repository, root, this.#opts);
      if (mode !== 'filesystem') return 0;
      this.#cursor = new TreeCursor(new TreeReader(this.#repository, top, this.#opts), async (leaf) => {
        const known = await this.#repository.known(leaf.references, this.#opts);
        this.#missing = new Set(leaf.references.filter((_, i) => known[i] !== true));
        this.#toLookBelow = leaf;
      });
      return entries;
    });
    return count ?? 0;
  }

  /** The entry of a path. Paths must ascend. */
  at(path: Buffer): LeafScanner | undefined | Promise<LeafScanner | undefined> {
    const cursor = this.#cursor;
    if (cursor === undefined) return undefined;
    try {
      const entry = cursor.at(path);
      const checked = entry instanceof Promise ? entry.then((found) => this.#checked(found)) : this.#checked(entry);
      return checked instanceof Promise ? this.#orNothing(() => checked) : checked;
    } catch (error) {
      this.#giveUp(error);
      return undefined;
    }
  }

  /** Whether all is still there that the entry, the one at hand, refers to. */
  isStored(known: LeafScanner): boolean {
    return this.#missing.size === 0 || !known.references.some((id) => this.#missing.has(id));
  }

  /** The entry, or nothing when it is none. */
  entry(known: LeafScanner): Entry | undefined {
    try {
      return known.entry();
    } catch (error) {
      this.#giveUp(error);
      return undefined;
    }
  }

  /** How a file was cut that is now like `stat`. */
  async cutOf(entry: Entry, { mtimeNs }: FileStat): Promise<CutBefore> {
    const hasChanged = entry.mtimeNs !== mtimeNs; // otherwise it is read again only in case it has
    return { first: await this.#firstPiece(entry), ...(hasChanged ? { size: entry.size } : {}) };
  }

  async close(): Promise<void> {
    await this.#cursor?.close();
  }

  async #firstPiece(entry: Entry): Promise<ContentItem | undefined> {
    try {
      for await (const { id, length } of extentsOf(this.#repository, entry.content, entry.size))
        if (id !== undefined) return { id, length };
    } catch (error) {
      // The file is read in any case; only a hint of how to cut it is lost.
      if (!DmaasError.is(error, 'REPOSITORY_CORRUPT')) throw error;
    }
    return undefined;
  }

  /** Throws when it is not an entry. */
  #checked(known: LeafScanner | undefined): LeafScanner | undefined | Promise<LeafScanner> {
    known?.check();
    const leaf = this.#toLookBelow;
    return known?.contentNode === undefined || leaf === undefined ? known : this.#lookBelow(leaf).then(() => known);
  }

  async #lookBelow(leaf: Node): Promise<void> {
    this.#toLookBelow = undefined;
    const nodes = contentNodesOf(leaf).filter((id) => !this.#missing.has(id));
    const onUnreadable = ({ message }: DmaasError): void => {
      this.#findings.add('parent-unreadable', `a file of the backup before cannot be compared with, so it is read: ${message}`);
    };
    for (const id of await incompleteOf(this.#repository, nodes, onUnreadable, this.#opts)) this.#missing.add(id);
  }

  async #orNothing<T>(read: () => Promise<T | undefined>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      this.#giveUp(error);
      return undefined;
    }
  }

  #giveUp(error: unknown): void {
    if (!DmaasError.is(error, 'REPOSITORY_CORRUPT') && !DmaasError.is(error, 'REPOSITORY_VERSION')) throw error;
    this.#cursor = undefined;
    this.#findings.add('parent-unreadable', `the backup before cannot be compared with, so every file is read: ${error.message}`);
  }
}
