import { rootsOf, type Backup } from './backup-record.ts';

/** What walking needs of a backup. */
export interface ListedBackup {
  readonly id: string;
  readonly name: string;
  /** Ids of blobs, end to end. */
  readonly roots: string;
}

const FIRST_BYTES = 1 << 12;
const SEPARATOR = '\0';

/** What walking needs of many backups, some hundred bytes each outside of the JavaScript heap: of a heap that lives long the collector leaves as much again for what does not. */
export class BackupList {
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  /** Where each begins, and the last ends. */
  readonly #places = [0];

  get length(): number {
    return this.#places.length - 1;
  }

  add(backup: Pick<Backup, 'id' | 'name' | 'manifests' | 'volumes'>): void {
    const text = [backup.id, rootsOf(backup).join(''), backup.name].join(SEPARATOR);
    const at = this.#places.at(-1) as number;
    const end = at + Buffer.byteLength(text);
    if (end > this.#bytes.length) {
      const bytes = Buffer.allocUnsafeSlow(end * 2);
      bytes.set(this.#bytes.subarray(0, at));
      this.#bytes = bytes;
    }
    this.#bytes.write(text, at);
    this.#places.push(end);
  }

  at(i: number): ListedBackup {
    const [id, roots, ...name] = this.#bytes.toString('utf8', this.#places[i], this.#places[i + 1]).split(SEPARATOR) as [string, string];
    return { id, roots, name: name.join(SEPARATOR) };
  }

  *[Symbol.iterator](): Generator<ListedBackup> {
    for (let i = 0; i < this.length; i++) yield this.at(i);
  }

  /** The newest first, when they were added in order of time. */
  *reversed(): Generator<ListedBackup> {
    for (let i = this.length - 1; i >= 0; i--) yield this.at(i);
  }
}

/** Of each, its roots. */
export function* rootsOfEach(backups: Iterable<ListedBackup>): Generator<string> {
  for (const { roots } of backups) yield roots;
}
