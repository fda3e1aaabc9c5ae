import { DmaasError } from '../errors.ts';
import { plural } from '../format.ts';
import { formatKey, parseKey } from '../repository/keys/keys.ts';
import type { RepositorySource } from '../repository/keys/keys.ts';
import type { StoreConfig } from '../store/config.ts';
import type { CallOptions } from '../store/object-store.ts';
import { documentOf, type LocationDocument } from './document.ts';
import type { LocationAccess } from './location.ts';
import { checkedPlace, locationUrl } from './location.ts';
import { listRepositories, type OpenDeps } from './open.ts';
import { assertTitle } from './title.ts';

/** The document of a location from what is left when all clusters are gone: its bucket and its key. Access keys are left out. */
export function recoverDocument(name: string, store: StoreConfig, key: string): LocationDocument {
  assertTitle(name, 'name');
  if (store.provider === 'file') {
    throw new DmaasError('USAGE', 'a location is in a bucket and not in a directory', {
      hint: 'kubectl dmaas volume list --repository URL --key-file FILE opens one of its repositories in a directory',
    });
  }
  return documentOf({ name, ...checkedPlace(store), key: formatKey(parseKey(key)) }, { title: name, ...serverOf(store) });
}

function serverOf(store: Exclude<StoreConfig, { provider: 'file' }>) {
  const endpoint = store.endpoint === undefined ? {} : { endpoint: store.endpoint };
  if (store.provider === 'gcs') return { kind: 'gcp' as const, ...endpoint };
  const { pathStyle, caPem } = store;
  if (store.endpoint !== undefined) return { kind: 's3' as const, ...endpoint, pathStyle: pathStyle ?? true, ...(caPem && { caPem }) };
  if (pathStyle === undefined && caPem === undefined) return { kind: 'aws' as const };
  throw new DmaasError('USAGE', `${caPem === undefined ? 'pathStyle' : 'caPem'} means nothing without an endpoint`);
}

/** Whose backups the key of a location opens. Throws REPOSITORY_KEY when it opens none of those that are there, REPOSITORY_NOT_FOUND when there are none. */
export async function openedByKey(access: LocationAccess, deps: OpenDeps, opts: CallOptions = {}): Promise<readonly RepositorySource[]> {
  const { repositories, others } = await listRepositories(access, deps, opts);
  if (repositories.length > 0) return repositories;
  const place = locationUrl(access.location, access.credential.values.kind);
  if (others > 0) {
    const there = plural(others, 'repository', 'repositories');
    throw new DmaasError('REPOSITORY_KEY', `the key opens nothing at ${place}, which has ${there} of another key`);
  }
  throw new DmaasError('REPOSITORY_NOT_FOUND', `there is no repository of a location at ${place}`, {
    hint: 'name the folder above the one with RECOVERY.txt; what "repository init" made is opened by "kubectl dmaas volume list --repository URL --key-file FILE"',
  });
}
