import { listRepositories, openLocationRepository } from '@dmaas/core';
import type { Args } from './args.ts';
import type { Flag } from './command.ts';
import { backupScope } from './commands/backup.ts';
import { LOCATION_FLAGS } from './location-flags.ts';
import { REPOSITORY_FLAGS } from './repository-flags.ts';
import type { Session } from './session.ts';
import { withRepository, type Repository } from './with-repository.ts';

/** Which repositories are meant: one by its URL, or those of a location. */
export const EACH_REPOSITORY_FLAGS: readonly Flag[] = [
  ...LOCATION_FLAGS,
  { name: 'all-namespaces', short: 'A', type: 'boolean', describe: 'Of all namespaces of this cluster' },
  { name: 'everywhere', type: 'boolean', describe: 'Of all clusters and namespaces that the location holds' },
  ...REPOSITORY_FLAGS,
];

export interface Named<T> {
  /** Whose it is: a namespace, or a URL. */
  readonly title: string;
  readonly result: T;
}

/** Uses each repository that the flags name, one after the other, and closes it. */
export async function eachRepository<T>(
  session: Session,
  args: Args,
  use: (repository: Repository, title: string) => Promise<T>,
): Promise<readonly Named<T>[]> {
  if (args.string('repository') !== undefined) {
    return withRepository(session, session.patientStores, async (repository) => {
      const title = repository.location;
      return [{ title, result: await use(repository, title) }];
    });
  }
  const access = await session.location();
  const scope = await backupScope(session, args);
  const call = { signal: session.signal };
  const { repositories } = await listRepositories(access, session.stores, call);
  const results: Named<T>[] = [];
  for (const source of repositories) {
    if (scope.namespace !== undefined && scope.namespace !== source.namespace) continue;
    if (scope.clusterId !== undefined && scope.clusterId !== source.clusterId) continue;
    const open = await openLocationRepository(access, source, session.patientStores, call);
    try {
      const title = `${source.context ?? source.clusterId}/${source.namespace}`;
      results.push({ title, result: await use(open.repository, title) });
    } finally {
      await open.close();
    }
  }
  return results;
}
