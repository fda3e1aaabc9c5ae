import { DmaasError } from '../errors.ts';
import type { BlobId } from '../repository/format/blob.ts';
import type { Repository } from '../repository/repository.ts';
import type { ContentItem } from './content-format.ts';
import { extentsOf } from './content.ts';
import type { FileStat } from './file-stat.ts';
import type { VolumeFindings } from './findings.ts';
import type { CutBefore } from './read-files.ts';
import type { Entry } from './tree-format.ts';
import type { LeafScanner } from './leaf-scanner.ts';
import { TreeCursor, TreeReader } from './tree-reader.ts';
import { readVolume } from './volume-node.ts';

/** The tree of the backup before. One that cannot be read must not stop all backups to come: then everything is read from the volume. */
export class Parent {
  readonly #findings: VolumeFindings;
  readonly #repository: Pick<Repository, 'read' | 'known'>;
  readonly #signal: AbortSignal | undefined;
  #cursor: TreeCursor | undefined;
  /** Of what the leaf at hand refers to, what is not there any more. Asked once for all of it. */
  #missing: ReadonlySet<BlobId> = new Set();

  constructor(repository: Pick<Repository, 'read' | 'known'>, findings: VolumeFindings, signal: AbortSignal | undefined) {
    this.#repository = repository;
    this.#findings = findings;
    this.#signal = signal;
  }

  /** Returns how many entries it has. */
  async open(root: BlobId | undefined): Promise<number> {
    if (root === undefined) return 0;
    const opts = this.#signal === undefined ? {} : { signal: this.#signal };
    const count = await this.#orNothing(async () => {
      const { mode, top, entries } = await readVolume(this.#repository, root, opts);
      if (mode !== 'filesystem') return 0;
      this.#cursor = new TreeCursor(new TreeReader(this.#repository, top, opts), async (references) => {
        const known = await this.#repository.known(references);
        this.#missing = new Set(references.filter((_, i) => known[i] !== true));
      });
      return entries;
    });
    return count ?? 0;
  }

  /** The entry of a path, if what it refers to is still there. Paths must ascend. */
  at(path: Buffer): LeafScanner | undefined | Promise<LeafScanner | undefined> {
    const cursor = this.#cursor;
    if (cursor === undefined) return undefined;
    try {
      const entry = cursor.at(path);
      return entry instanceof Promise ? this.#orNothing(async () => this.#sound(await entry)) : this.#sound(entry);
    } catch (error) {
      this.#giveUp(error);
      return undefined;
    }
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

  /** Nothing when what the entry refers to is not all there. Throws when it is not an entry. */
  #sound(known: LeafScanner | undefined): LeafScanner | undefined {
    if (known === undefined) return undefined;
    known.check();
    return this.#missing.size > 0 && known.references.some((id) => this.#missing.has(id)) ? undefined : known;
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
