import { crc32 } from 'node:zlib';
import { DmaasError } from '../../errors.ts';
import { mapAhead } from '../../parallel.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import { damaged, isUnreadable } from '../format/damage.ts';
import type { Random } from '../format/derive.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { openRecord, sealRecord } from '../format/sealed-record.ts';
import { OBJECT_TYPE } from '../format/sealed.ts';
import { fenced, isFence } from '../protocol/fence.ts';
import { putOnce } from '../protocol/put-once.ts';
import { backupSchema, matchesFilter, type Backup, type BackupFilter, type NewBackup } from './backup-record.ts';

export const BACKUPS = 'backups/';
const BACKUP_KEY = /^backups\/\d{8}T\d{6}Z-([a-z0-9]+)$/;
const MAX_REQUESTS = 8;
const MAX_CANDIDATES = 5;

export interface BackupListOptions extends CallOptions {
  /** Takes records that cannot be read, so that the others are still listed. Without it the first one ends the listing. */
  readonly onUnreadable?: (id: string, error: DmaasError) => void;
}

/** A backup, and what its record says, if that is not damaged. */
export interface DeletableBackup {
  readonly id: string;
  readonly backup?: Backup;
}

/** The backup records of a repository: a backup exists when its record does. */
export class BackupRecords {
  readonly #store: ObjectStore;
  readonly #keys: RepositoryKeys;
  readonly #random: Random;
  readonly #now: () => Date;

  constructor(store: ObjectStore, keys: RepositoryKeys, opts: { readonly random: Random; readonly now: () => Date }) {
    this.#store = store;
    this.#keys = keys;
    this.#random = opts.random;
    this.#now = opts.now;
  }

  /** In order of time. */
  async *list(filter?: BackupFilter, opts: BackupListOptions = {}): AsyncGenerator<Backup> {
    const readAll = (ids: readonly string[]) => Promise.all(ids.map((id) => this.#read(id, opts)));
    for await (const sameSecond of mapAhead(bySecond(await this.#ids(opts)), MAX_REQUESTS, readAll)) {
      yield* matching(sameSecond, filter);
    }
  }

  /** Finds one backup by id, operation id, unique beginning of the id, name, or `latest`. */
  async find(which: string, filter?: BackupFilter, opts: CallOptions = {}): Promise<Backup> {
    const ids = await this.#ids(opts);
    if (which === 'latest') return this.#latest(ids, filter, opts);
    const exact = ids.filter((id) => id === which || operationOf(id) === which);
    const begun = exact.length > 0 ? exact : ids.filter((id) => id.startsWith(which));
    const matches: Backup[] = [];
    for (const id of begun.slice(0, MAX_CANDIDATES + 1)) {
      const backup = await this.#get(id, opts);
      if (backup !== undefined && matchesFilter(backup, filter)) matches.push(backup);
    }
    const unreadable: string[] = [];
    if (matches.length === 0) {
      const all = this.list(filter, { ...opts, onUnreadable: (id) => unreadable.push(id) });
      for await (const backup of all) if (backup.name === which) matches.push(backup);
    }
    const [only, ...others] = matches;
    if (only !== undefined && others.length === 0) return only;
    if (only !== undefined) {
      const candidates = matches.slice(-MAX_CANDIDATES).map((backup) => backup.id);
      throw new DmaasError('BACKUP_NOT_FOUND', `${matches.length} backups are called "${which}"`, {
        hint: `use one of ${candidates.join(', ')}`,
      });
    }
    throw notFound(which, ids, unreadable);
  }

  /** As `find`; by its whole id also a backup whose record is damaged. What is of the future, or sealed with keys that are not at hand, is not damaged. */
  async findDeletable(which: string, filter?: BackupFilter, opts: CallOptions = {}): Promise<DeletableBackup> {
    try {
      const backup = await this.find(which, filter, opts);
      return { id: backup.id, backup };
    } catch (e) {
      if (DmaasError.is(e, 'REPOSITORY_CORRUPT') && e.details['key'] === BACKUPS + which) return { id: which };
      throw e;
    }
  }

  async #latest(ids: readonly string[], filter: BackupFilter | undefined, opts: CallOptions): Promise<Backup> {
    const readAll = async (second: readonly string[]) => {
      const errors: DmaasError[] = [];
      const onUnreadable = (_: string, e: DmaasError) => errors.push(e);
      const backups = await Promise.all(second.map((id) => this.#read(id, { ...opts, onUnreadable })));
      return { backups, error: errors[0] };
    };
    let unreadable: DmaasError | undefined;
    for await (const { backups, error } of mapAhead(bySecond(ids).reverse(), filter === undefined ? 1 : MAX_REQUESTS, readAll)) {
      unreadable ??= error;
      const latest = matching(backups, filter).at(-1);
      if (latest === undefined) continue;
      if (unreadable === undefined) return latest;
      throw insteadOf(unreadable, latest);
    }
    throw unreadable ?? notFound('latest', ids, []);
  }

  /** By its whole id; undefined when it is not there. */
  read(id: string, opts: CallOptions = {}): Promise<Backup | undefined> {
    return this.#get(id, opts);
  }

  async ofOperation(operation: string, opts: CallOptions = {}): Promise<Backup | undefined> {
    const id = (await this.#ids(opts)).find((candidate) => operationOf(candidate) === operation);
    return id === undefined ? undefined : this.#get(id, opts);
  }

  /** Where its record goes. */
  keyOf(record: Pick<NewBackup, 'startedAt' | 'operation'>): string {
    return `${BACKUPS}${compactTime(new Date(record.startedAt))}-${record.operation}`;
  }

  /** Writes the record; when one of the same operation was first, returns that. REPOSITORY_FENCED when a collection has given this operation up. */
  async put(record: NewBackup, opts: CallOptions = {}): Promise<Backup> {
    const id = this.keyOf(record).slice(BACKUPS.length);
    const parsed = backupSchema.safeParse({ ...record, id, createdAt: this.#now().toISOString() });
    const key = BACKUPS + id;
    if (!parsed.success || !BACKUP_KEY.test(key)) {
      throw new DmaasError('INTERNAL', `the record of backup ${id} is not as the format says`, { cause: parsed.error });
    }
    const object = sealRecord(this.#keys, OBJECT_TYPE.backup, key, parsed.data, this.#random);
    // All of the backup hangs on these bytes: they are opened once more, and must not change until they are sent.
    const checksum = crc32(object);
    openRecord(this.#keys, OBJECT_TYPE.backup, key, object, backupSchema);
    if (await putOnce(this.#store, key, object, { ...opts, crc32: checksum })) return parsed.data;
    const present = await this.#get(id, opts);
    if (present === undefined) throw fenced(`the backup ${id}`);
    return present;
  }

  async delete(id: string, opts: CallOptions = {}): Promise<void> {
    await this.#store.delete(BACKUPS + id, opts);
  }

  async #ids(opts: CallOptions): Promise<string[]> {
    const ids: string[] = [];
    for await (const { key } of this.#store.list(BACKUPS, opts.signal === undefined ? {} : { signal: opts.signal })) {
      if (BACKUP_KEY.test(key)) ids.push(key.slice(BACKUPS.length));
    }
    return ids;
  }

  async #read(id: string, opts: BackupListOptions): Promise<Backup | undefined> {
    try {
      return await this.#get(id, opts);
    } catch (e) {
      if (!isUnreadable(e) || opts.onUnreadable === undefined) throw e;
      opts.onUnreadable(id, e);
      return undefined;
    }
  }

  /** Undefined when it is gone. */
  async #get(id: string, opts: CallOptions): Promise<Backup | undefined> {
    const key = BACKUPS + id;
    const object = await this.#store.get(key, opts.signal === undefined ? {} : { signal: opts.signal });
    if (object === undefined || isFence(object)) return undefined;
    const backup = await this.#keys.opening(() => openRecord(this.#keys, OBJECT_TYPE.backup, key, object, backupSchema));
    if (backup.id !== id) throw damaged(key, `it is the record of ${backup.id}`);
    return backup;
  }
}

/** Ids, which tell seconds, in groups of one second: their order within it says nothing. */
function bySecond(ids: readonly string[]): string[][] {
  return [...Map.groupBy(ids, secondOf).values()];
}

/** When the backup of this id was started: texts that compare as times do. */
export function secondOf(id: string): string {
  return id.slice(0, id.indexOf('-'));
}

/** Why the backup that is asked for cannot be had, when it is one that cannot be read. Which other one is used is for people to say. */
export function insteadOf(unreadable: DmaasError, next: Backup): DmaasError {
  const { code, message, details, hint } = unreadable;
  const other = `the newest that can be read is ${next.id} (${next.name} of ${next.startedAt}): name it by this id to use it`;
  return new DmaasError(code, message, { cause: unreadable, details, hint: hint === undefined ? other : `${other}; ${hint}` });
}

/** Those of one second that match, in order. */
function matching(backups: readonly (Backup | undefined)[], filter: BackupFilter | undefined): Backup[] {
  return backups
    .filter((backup) => backup !== undefined)
    .filter((backup) => matchesFilter(backup, filter))
    .sort(compareTimes);
}

/** For sorting by the time at which they were started. */
export function compareTimes(a: Backup, b: Backup): number {
  return Date.parse(a.startedAt) - Date.parse(b.startedAt) || (a.id < b.id ? -1 : 1);
}

export function operationOf(id: string): string | undefined {
  return BACKUP_KEY.exec(BACKUPS + id)?.[1];
}

/** `20261122T120311Z`: of one length, and in the order of time. */
function compactTime(time: Date): string {
  if (Number.isNaN(time.getTime())) throw new DmaasError('INTERNAL', 'a backup needs the time it was started');
  return `${time.toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z`;
}

function notFound(which: string, ids: readonly string[], unreadable: readonly string[]): DmaasError {
  const newest = ids.slice(-MAX_CANDIDATES).toReversed();
  const listed = newest.length === 0 ? 'there are no backups here yet' : `the newest are ${newest.join(', ')}`;
  const lost = unreadable.length === 0 ? '' : `; these could not be read: ${unreadable.slice(0, MAX_CANDIDATES).join(', ')}`;
  const message = which === 'latest' ? 'there is no backup that matches' : `no backup is called "${which}"`;
  return new DmaasError('BACKUP_NOT_FOUND', message, { hint: listed + lost });
}
