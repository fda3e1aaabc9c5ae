import type { Catalog } from './catalog.ts';
import type { LocationFiles } from './locations.ts';
import type { OpenBackups } from './open-backups.ts';
import type { Operations } from './operations.ts';
import type { Reporter } from './reporter.ts';
import type { Session } from './session.ts';

export type ViewName = 'applications' | 'backups' | 'locations' | 'activity';

/** What commands work with. */
export interface Services {
  readonly session: Session;
  readonly files: LocationFiles;
  readonly catalog: Catalog;
  readonly open: OpenBackups;
  readonly operations: Operations;
  readonly reporter: Reporter;
  /** Runs work with progress shown in a view; what fails is reported, with that action when one is given. */
  readonly inView: <T>(view: ViewName, work: () => Promise<T>) => Promise<T | undefined>;
  /** Asks the clusters and locations again. */
  readonly refresh: () => Promise<void>;
}
