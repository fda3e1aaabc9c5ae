import type { AppSummary } from '../discovery/applications.ts';
import type { LocatedBackup } from './open.ts';

/** Names one application everywhere: `cluster id/namespace/name`. */
export type ApplicationKey = string;

/** How well an application is protected: by nothing, by a backup in which something is missing, or by a whole one. */
export interface Protection {
  readonly state: 'none' | 'partial' | 'complete';
  /** The newest backup. */
  readonly latest?: LocatedBackup;
  readonly backups: number;
}

export function applicationKey(clusterId: string, namespace: string, name: string): ApplicationKey {
  return `${clusterId}/${namespace}/${name}`;
}

export function applicationKeyOf({ backup }: LocatedBackup): ApplicationKey {
  return applicationKey(backup.cluster.id, backup.app.namespace, backup.app.name);
}

/** Whether something is missing in a backup, or not as it should be: it says what. */
export function isPartial({ backup }: LocatedBackup): boolean {
  return backup.findings.some(({ level }) => level === 'warning');
}

/** Backups by application, each application's newest first; applications in the order of their newest backup. */
export function groupByApplication(backups: readonly LocatedBackup[]): ReadonlyMap<ApplicationKey, readonly LocatedBackup[]> {
  const newestFirst = backups.toSorted((a, b) => (a.backup.createdAt > b.backup.createdAt ? -1 : 1));
  return Map.groupBy(newestFirst, applicationKeyOf);
}

export function protectionOf(
  app: Pick<AppSummary, 'namespace' | 'name'>,
  clusterId: string,
  backups: readonly LocatedBackup[],
): Protection {
  const own = groupByApplication(backups).get(applicationKey(clusterId, app.namespace, app.name)) ?? [];
  const latest = own[0];
  if (latest === undefined) return { state: 'none', backups: 0 };
  return { state: isPartial(latest) ? 'partial' : 'complete', latest, backups: own.length };
}
