import { chooseRepositories, DmaasError, openLocationRepository, placeOf, plural, type Finding } from '@dmaas/core';
import type { Args } from './args.ts';
import type { Flag } from './command.ts';
import { backupScope } from './commands/backup.ts';
import { findingLines } from './findings.ts';
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

/** A repository that could not be used, as JSON has it: the others were. */
interface Unusable {
  readonly repository: string;
  readonly findings: readonly Finding[];
}

export interface Each<T> {
  readonly results: readonly Named<T>[];
  readonly unusable: readonly Unusable[];
  /** The worst of those that could not be used, else 0. */
  readonly exitCode: number;
  /** For people: what was not looked at. */
  readonly notes: readonly string[];
}

/** Uses each repository that the flags name, one after the other, and closes it. Throws when there is none. */
export async function eachRepository<T>(session: Session, args: Args, use: (repository: Repository) => Promise<T>): Promise<Each<T>> {
  if (args.string('repository') !== undefined) {
    return withRepository(session, session.patientStores, async (repository) => ({
      results: [{ title: repository.location, result: await use(repository) }],
      unusable: [],
      exitCode: 0,
      notes: [],
    }));
  }
  const access = await session.location();
  const call = { signal: session.signal };
  const { repositories, others } = await chooseRepositories(access, await backupScope(session, args), session.stores, call);
  const results: Named<T>[] = [];
  const unusable: Unusable[] = [];
  let exitCode = 0;
  for (const source of repositories) {
    const title = placeOf(source);
    try {
      const open = await openLocationRepository(access, source, session.patientStores, call);
      try {
        results.push({ title, result: await use(open.repository) });
      } finally {
        await open.close();
      }
    } catch (e) {
      // A store that does not answer is no property of this one repository.
      if (!DmaasError.is(e) || !e.code.startsWith('REPOSITORY_')) throw e;
      unusable.push({ repository: title, findings: [blockerOf(e)] });
      exitCode = Math.max(exitCode, e.exitCode);
    }
  }
  const notes =
    others === 0
      ? []
      : [`not looked at: ${plural(others, 'repository', 'repositories')} of other keys in bucket ${access.location.bucket}`];
  return { results, unusable, exitCode, notes };
}

function blockerOf({ code, message, hint }: DmaasError): Finding {
  return { level: 'blocker', code: code.toLowerCase().replaceAll('_', '-'), message, ...(hint !== undefined && { hint }) };
}

/** For people: a block for each. */
export function describeUnusable({ repository, findings }: Unusable): string {
  return [`repository ${repository}`, ...findings.flatMap(findingLines)].join('\n');
}
