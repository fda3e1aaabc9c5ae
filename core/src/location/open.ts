import { randomBytes } from 'node:crypto';
import { DmaasError } from '../errors.ts';
import { plural } from '../format.ts';
import type { Finding } from '../model.ts';
import type { Backup, BackupFilter } from '../repository/records/backup-record.ts';
import { compareTimes, insteadOf, operationOf, secondOf, type DeletableBackup } from '../repository/records/backups.ts';
import { deriveScope, formatKey, openSource, parseKey, sealSource } from '../repository/keys/keys.ts';
import type { RepositorySource } from '../repository/keys/keys.ts';
import { KeyRing } from '../repository/keys/key-ring.ts';
import { openOrCreateRepository, openRepository } from '../repository/repository.ts';
import type { Repository, SegmentCacheOptions } from '../repository/repository.ts';
import { runStoreChecks } from '../store/checks.ts';
import type { CheckResult } from '../store/checks.ts';
import type { StoreConfig } from '../store/config.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import type { LocationAccess } from './location.ts';
import { toStoreConfig } from './location.ts';

export interface OpenDeps {
  readonly openStore: (config: StoreConfig) => ObjectStore | Promise<ObjectStore>;
  /** Where repositories keep copies of their index, so that the next call need not fetch it again. */
  readonly cache?: SegmentCacheOptions;
}

/** One repository of a location, open. */
export interface LocationRepository {
  readonly repository: Repository;
  readonly directory: string;
  readonly source: RepositorySource;
  /** Its objects, e.g. to probe whether they can be written. */
  readonly objects: ObjectStore;
  /** What its movers get: a store that begins at the repository, and the text of the key that opens it and no other. */
  readonly store: StoreConfig;
  readonly unlock: string;
  close(): Promise<void>;
}

export interface OpenOptions extends CallOptions {
  /** Makes the repository when there is none. */
  readonly create?: boolean;
}

const MAX_PLACES = 10;
const SOURCE = /^([a-z2-7]{26})\/source$/;

/** Opens the repository of one namespace of one cluster. Without `create` throws REPOSITORY_NOT_FOUND when nothing was ever backed up. */
export async function openLocationRepository(
  access: LocationAccess,
  source: RepositorySource,
  deps: OpenDeps,
  opts: OpenOptions = {},
): Promise<LocationRepository> {
  if (source.clusterId === '') {
    throw new DmaasError(
      'CLUSTER_FORBIDDEN',
      'the cluster cannot be told from others: this identity may not get the namespace kube-system',
      {
        hint: 'kubectl auth can-i get namespaces/kube-system',
      },
    );
  }
  const locationKey = parseKey(access.location.key);
  const { directory, unlock } = deriveScope(locationKey, source);
  const store = toStoreConfig(access, directory);
  const objects = await deps.openStore(store);
  try {
    const call = { ...(opts.signal && { signal: opts.signal }), ...(deps.cache && { cache: deps.cache }) };
    const repository =
      opts.create === true
        ? await openOrCreateRepository(objects, unlock, { ...call, source: sealSource(locationKey, source) })
        : await openRepository(objects, unlock, call);
    const close = async () => {
      await repository.close();
      await objects.close();
    };
    return { repository, directory, source, objects, store, unlock: formatKey(unlock), close };
  } catch (e) {
    await objects.close();
    throw e;
  }
}

export interface RepositoryListing {
  readonly repositories: readonly (RepositorySource & { readonly directory: string })[];
  /** Directories that belong to another location key. */
  readonly others: number;
}

/** Whose backups the location holds, found in the bucket alone. */
export async function listRepositories(access: LocationAccess, deps: OpenDeps, opts: CallOptions = {}): Promise<RepositoryListing> {
  const locationKey = parseKey(access.location.key);
  const objects = await deps.openStore(toStoreConfig(access));
  try {
    const repositories: (RepositorySource & { directory: string })[] = [];
    let others = 0;
    for await (const { key } of objects.list('', opts)) {
      const directory = SOURCE.exec(key)?.[1];
      const sealed = directory === undefined ? undefined : await objects.get(key, opts);
      if (directory === undefined || sealed === undefined) continue;
      const source = openSource(locationKey, directory, sealed);
      if (source === undefined) others++;
      else repositories.push({ ...source, directory });
    }
    return { repositories, others };
  } finally {
    await objects.close();
  }
}

/** The repositories of a location that are meant. Throws REPOSITORY_KEY or REPOSITORY_NOT_FOUND when there are none: nothing looked at is nothing found. */
export async function chooseRepositories(
  access: LocationAccess,
  filter: Pick<BackupFilter, 'namespace' | 'clusterId'>,
  deps: OpenDeps,
  opts: CallOptions = {},
): Promise<RepositoryListing> {
  const { repositories, others } = await listRepositories(access, deps, opts);
  const chosen = repositories.filter((source) => mayMatch(source, filter));
  if (chosen.length > 0) return { repositories: chosen, others };
  if (repositories.length === 0 && others > 0) throw keyOpensNothing(access, others);
  const of = filter.namespace === undefined ? '' : ` of namespace ${filter.namespace}`;
  const where = filter.clusterId === undefined ? '' : ' in this cluster';
  throw new DmaasError('REPOSITORY_NOT_FOUND', `location ${access.location.name} holds no repository${of}${where}`, {
    hint: repositories.length === 0 ? 'kubectl dmaas backup create makes the first' : `it holds those of ${placesOf(repositories)}`,
  });
}

/** `cluster/namespace`, as people know them. */
export function placeOf({ context, clusterId, namespace }: RepositorySource): string {
  return `${context ?? clusterId}/${namespace}`;
}

function placesOf(repositories: readonly RepositorySource[]): string {
  const shown = repositories.slice(0, MAX_PLACES).map(placeOf).join(', ');
  return repositories.length <= MAX_PLACES ? shown : `${shown} and ${repositories.length - MAX_PLACES} more`;
}

export interface LocatedBackup {
  readonly backup: Backup;
  readonly source: RepositorySource;
}

/** A backup whose record cannot be read; without an id, any backup of a repository that cannot. */
interface UnreadableBackup {
  readonly source: RepositorySource;
  readonly id?: string;
  readonly error: DmaasError;
}

interface BackupListing {
  readonly backups: readonly LocatedBackup[];
  readonly unreadable: readonly UnreadableBackup[];
  readonly findings: readonly Finding[];
}

/** Every backup of the location that the filter matches, in order of time, and what could not be read. */
export async function listBackups(
  access: LocationAccess,
  filter: BackupFilter,
  deps: OpenDeps,
  opts: CallOptions = {},
): Promise<BackupListing> {
  const { repositories, others } = await listRepositories(access, deps, opts);
  const backups: LocatedBackup[] = [];
  const unreadable: UnreadableBackup[] = [];
  for (const source of repositories.filter((repository) => mayMatch(repository, filter))) {
    try {
      const open = await openLocationRepository(access, source, deps, opts);
      try {
        const onUnreadable = (id: string, error: DmaasError) => {
          unreadable.push({ source, id, error: about(error, `backup ${id} of namespace ${source.namespace}`) });
        };
        for await (const backup of open.repository.backups(filter, { ...opts, onUnreadable })) backups.push({ backup, source });
      } finally {
        await open.close();
      }
    } catch (e) {
      // A store that does not answer is no property of this one repository.
      if (!DmaasError.is(e) || !e.code.startsWith('REPOSITORY_')) throw e;
      unreadable.push({ source, error: about(e, `backups of namespace ${source.namespace}`) });
    }
  }
  backups.sort((a, b) => compareTimes(a.backup, b.backup));
  const isForeign = repositories.length === 0 && others > 0;
  const findings = isForeign
    ? [warningOf('key-opens-nothing', keyOpensNothing(access, others))]
    : unreadable.map(({ error }) => warningOf('backup-unreadable', error));
  return { backups, unreadable, findings };
}

/** The same of something that has a name. */
function about(error: DmaasError, what: string): DmaasError {
  const { code, message, hint, details } = error;
  return new DmaasError(code, `${what}: ${message}`, { cause: error, details, ...(hint !== undefined && { hint }) });
}

/** Right for one who shares a bucket and has no backups yet; else the location has the wrong key. */
export function keyOpensNothing({ location }: LocationAccess, others: number): DmaasError {
  const fact = `the key of location ${location.name} opens none of ${plural(others, 'repository', 'repositories')} in bucket ${location.bucket}`;
  return new DmaasError('REPOSITORY_KEY', `${fact}: they belong to another key`, {
    hint: 'import the location from the file that "kubectl dmaas location export" wrote for these backups',
  });
}

/** What could not be read, for a result that has the rest. */
export function warningOf(code: string, { message, hint }: DmaasError): Finding {
  return { level: 'warning', code, message, ...(hint !== undefined && { hint }) };
}

function mayMatch(source: RepositorySource, filter: BackupFilter): boolean {
  return (
    (filter.namespace === undefined || filter.namespace === source.namespace) &&
    (filter.clusterId === undefined || filter.clusterId === source.clusterId)
  );
}

/**
 * One backup by id, operation id, unique beginning of the id, name, or `latest` (which needs a filter that leaves one
 * application). Throws BACKUP_NOT_FOUND with the candidates when there is none or more than one, and what is wrong with its record
 * when that cannot be read, or, for `latest`, may be a newer one's.
 */
export async function findBackup(
  access: LocationAccess,
  which: string,
  filter: BackupFilter,
  deps: OpenDeps,
  opts: CallOptions = {},
): Promise<LocatedBackup> {
  return chooseBackup(await listBackups(access, filter, deps, opts), which, access.location.name);
}

function chooseBackup(listing: BackupListing, which: string, locationName: string): LocatedBackup {
  const { backups, findings } = listing;
  const matches = matching(listing, which);
  const readable = matches.filter((match) => 'backup' in match);
  const [match, ...more] = readable;
  const unreadable = matches.findLast((found) => 'error' in found);
  if (unreadable !== undefined) {
    const next = readable.at(-1) ?? backups.at(-1);
    throw next === undefined ? unreadable.error : insteadOf(unreadable.error, next.backup);
  }
  const list = 'kubectl dmaas backup list';
  if (match === undefined) {
    const last = backups.at(-1);
    const hint = last === undefined ? list : `the last one is ${last.backup.id} (${last.backup.name}); ${list} shows all`;
    const unread = findings.flatMap((finding) => [finding.message, ...(finding.hint === undefined ? [] : [finding.hint])]);
    throw new DmaasError('BACKUP_NOT_FOUND', `no backup ${which} in location ${locationName}`, {
      hint: [...new Set(unread), hint].join('; '),
    });
  }
  if (more.length === 0) return match;
  const candidates = readable.map(({ backup, source }) => `${backup.id} (${backup.app.name} in ${placeOf(source)})`);
  const shown = candidates.slice(-5).join(', ');
  throw new DmaasError('BACKUP_NOT_FOUND', `${candidates.length} backups in location ${locationName} match ${which}`, {
    hint: `name one by its id: ${shown}${candidates.length > 5 ? `, or see ${list}` : ''}`,
  });
}

/** By the most exact rule that matches any: a name that looks like the beginning of an id is still found. */
function matching({ backups, unreadable }: BackupListing, which: string): readonly (LocatedBackup | UnreadableBackup)[] {
  if (which === 'latest') return latestOf(backups, unreadable);
  const rules: readonly ((id: string, name?: string) => boolean)[] = [
    (id) => id === which || operationOf(id) === which,
    (_, name) => name === which,
    (id) => which !== '' && id.startsWith(which),
  ];
  const matches = rules.map((rule) => [
    ...unreadable.filter(({ id }) => id !== undefined && rule(id)),
    ...backups.filter(({ backup }) => rule(backup.id, backup.name)),
  ]);
  return matches.find((found) => found.length > 0) ?? [];
}

/** Of each application, and what may be newer and cannot be read. */
function latestOf(
  backups: readonly LocatedBackup[],
  unreadable: readonly UnreadableBackup[],
): readonly (LocatedBackup | UnreadableBackup)[] {
  const apps = new Map(
    backups.map((found) => [`${found.source.clusterId}/${found.source.namespace}/${found.backup.app.name}`, found]),
  ).values();
  const [latest, ...others] = [...apps];
  if (latest !== undefined && others.length > 0) return [latest, ...others];
  const newer = unreadable.filter(({ id, error }) =>
    // A repository that nobody completed holds no backups.
    id === undefined ? error.code !== 'REPOSITORY_NOT_FOUND' : latest === undefined || secondOf(id) >= secondOf(latest.backup.id),
  );
  return latest === undefined ? newer : [...newer, latest];
}

/** Runs the store checks in the location's bucket, in a folder that is removed again. A failing check is a result. */
export async function checkLocation(access: LocationAccess, deps: OpenDeps, opts: CallOptions = {}): Promise<readonly CheckResult[]> {
  const objects = await deps.openStore(toStoreConfig(access));
  try {
    return await runStoreChecks(objects, { prefix: `check-${randomBytes(6).toString('hex')}/`, ...opts });
  } finally {
    await objects.close();
  }
}

/** The keys of one namespace's repository, and who has them. */
export async function withLocationKeyRing<T>(
  access: LocationAccess,
  source: RepositorySource,
  deps: OpenDeps,
  use: (ring: KeyRing) => Promise<T>,
  opts: CallOptions = {},
): Promise<T> {
  const { directory, unlock } = deriveScope(parseKey(access.location.key), source);
  const objects = await deps.openStore(toStoreConfig(access, directory));
  try {
    return await use(await KeyRing.open(objects, unlock, randomBytes, opts));
  } finally {
    await objects.close();
  }
}

/** Backups to be deleted: as `findBackup`, and by their whole ids also those whose records are damaged. */
export async function findDeletable(
  access: LocationAccess,
  which: readonly string[],
  filter: BackupFilter,
  deps: OpenDeps,
  opts: CallOptions = {},
): Promise<readonly (DeletableBackup & Pick<LocatedBackup, 'source'>)[]> {
  const listing = await listBackups(access, filter, deps, opts);
  return which.map((wanted) => {
    const damaged = listing.unreadable.find(({ id, error }) => id === wanted && error.code === 'REPOSITORY_CORRUPT');
    if (damaged !== undefined) return { id: wanted, source: damaged.source };
    const { backup, source } = chooseBackup(listing, wanted, access.location.name);
    return { id: backup.id, backup, source };
  });
}

/** Deletes a backup. The space that only it used comes back with garbage collection. */
export async function deleteBackup(
  access: LocationAccess,
  { id, source }: { readonly id: string; readonly source: RepositorySource },
  deps: OpenDeps,
  opts: CallOptions = {},
): Promise<void> {
  const open = await openLocationRepository(access, source, deps, opts);
  try {
    await open.repository.deleteBackup(id, opts);
  } finally {
    await open.close();
  }
}
