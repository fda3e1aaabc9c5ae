import type { OpenBackup } from '@dmaas/core';
import { loadCore } from './core.ts';
import type { LocationFiles } from './locations.ts';
import type { Session } from './session.ts';
import type { BackupSubject } from './views/node.ts';

/** Each holds the index of its repository. */
const MAX_OPEN = 6;

/** The backups that are looked into, open: the one used longest ago is closed first. */
export class OpenBackups {
  readonly #session: Session;
  readonly #files: LocationFiles;
  readonly #open = new Map<string, Promise<OpenBackup>>();

  constructor(session: Session, files: LocationFiles) {
    this.#session = session;
    this.#files = files;
  }

  get({ location, located }: BackupSubject): Promise<OpenBackup> {
    const key = `${location.id}/${located.backup.id}`;
    const known = this.#open.get(key);
    const opening = known ?? this.fresh({ location, located });
    this.#open.delete(key);
    this.#open.set(key, opening);
    opening.catch(() => this.#open.delete(key));
    const [oldest] = this.#open.keys();
    if (this.#open.size > MAX_OPEN && oldest !== undefined) this.#close(oldest);
    return opening;
  }

  /** Opened now, whatever is open: it is sure to exist. The caller closes it. Throws BACKUP_NOT_FOUND. */
  async fresh({ location, located }: Pick<BackupSubject, 'location' | 'located'>): Promise<OpenBackup> {
    const { OpenBackup } = await loadCore();
    return OpenBackup.open(await this.#files.access(location), located, this.#session.stores);
  }

  /** What is opened next is read anew. */
  reset(): void {
    for (const key of [...this.#open.keys()]) this.#close(key);
  }

  #close(key: string): void {
    const open = this.#open.get(key);
    this.#open.delete(key);
    open?.then((backup) => backup.close()).catch(() => undefined);
  }
}
