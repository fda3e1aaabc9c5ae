import { chooseRepositories, openLocationRepository, placeOf, plural } from '@dmaas/core';
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

export interface Each<T> {
  readonly results: readonly Named<T>[];
  /** For people: what was not looked at. */
  readonly notes: readonly string[];
}

/** Uses each repository that the flags name, one after the other, and closes it. Throws when there is none. */
export async function eachRepository<T>(session: Session, args: Args, use: (repository: Repository) => Promise<T>): Promise<Each<T>> {
  if (args.string('repository') !== undefined) {
    return withRepository(session, session.patientStores, async (repository) => ({
      results: [{ title: repository.location, result: await use(repository) }],
      notes: [],
    }));
  }
  const access = await session.location();
  const call = { signal: session.signal };
  const { repositories, others } = await chooseRepositories(access, await backupScope(session, args), session.stores, call);
  const results: Named<T>[] = [];
  for (const source of repositories) {
    const open = await openLocationRepository(access, source, session.patientStores, call);
    try {
      results.push({ title: placeOf(source), result: await use(open.repository) });
    } finally {
      await open.close();
    }
  }
  const notes =
    others === 0
      ? []
      : [`not looked at: ${plural(others, 'repository', 'repositories')} of other keys in bucket ${access.location.bucket}`];
  return { results, notes };
}
