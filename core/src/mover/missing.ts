import { isLinkToEarlier } from './populate-files.ts';
import { showPath } from './paths.ts';
import type { Entry } from './tree-format.ts';

/** What the backup has and the target has not, or with other content. */
export interface Missing {
  readonly entries: number;
  /** Of the entries: those that were not to be made. */
  readonly declined: number;
  /** Of the entries. */
  readonly files: number;
  readonly bytes: number;
  /** The first of the entries that were to be made, as messages show them. */
  readonly names: readonly string[];
}

export const NOTHING_MISSING: Missing = { entries: 0, declined: 0, files: 0, bytes: 0, names: [] };

const MAX_NAMES = 5;

/** Sums up what is missing while a tree is compared from its beginning to its end. */
export class MissingEntries {
  readonly #groups = new Set<bigint>();
  readonly #names: string[] = [];
  #entries = 0;
  #declined = 0;
  #files = 0;
  #bytes = 0;

  /** To be told of every entry: the content of a file with several names is missing once, or not at all. */
  count(entry: Entry, isMissing: boolean, isDeclined = false): void {
    const isFurtherName = isLinkToEarlier(entry, this.#groups);
    if (!isMissing) return;
    this.#entries += 1;
    if (isDeclined) this.#declined += 1;
    else if (this.#names.length < MAX_NAMES) this.#names.push(showPath(entry.path));
    if (entry.type === 'file') this.#files += 1;
    if (!isFurtherName) this.#bytes += entry.size;
  }

  /** There are more, nobody knows which. */
  countUnnamed(): void {
    this.#entries += 1;
  }

  sums(): Missing {
    return { entries: this.#entries, declined: this.#declined, files: this.#files, bytes: this.#bytes, names: this.#names };
  }
}
