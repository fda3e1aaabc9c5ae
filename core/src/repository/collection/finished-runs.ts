import { forEachParallel } from '../../parallel.ts';
import type { CallOptions } from '../../store/object-store.ts';
import type { ListedBackup } from '../records/backup-list.ts';
import { operationOf } from '../records/backups.ts';
import type { ListedRun, RunRecords } from '../records/runs.ts';
import { BEGAN } from './commit-rule.ts';

const MAX_DELETES = 8;
/** After so long nobody goes on with a backup that was stopped; who does begins it anew. */
const ABANDONED_MS = 30 * 24 * 60 * 60_000;

/**
 * Deletes the run records of backups that were made before `finishedBefore`, in milliseconds by the store's clock `now`, and of those that nobody has gone on with for a month. Those of restores stay: a restore can be looked
 * at, activated and taken back until it is deleted.
 */
export async function deleteFinishedRuns(
  runs: RunRecords,
  backups: Iterable<ListedBackup>,
  { finishedBefore, now }: { readonly finishedBefore: number; readonly now: number },
  opts: CallOptions,
): Promise<void> {
  const old = new Map<string, ListedRun>();
  const finished = new Set<ListedRun>();
  for await (const listed of runs.operations(opts)) {
    const writtenAt = listed.writtenAt.getTime();
    if (writtenAt <= finishedBefore) old.set(listed.operation, listed);
    if (listed.names.includes(BEGAN) && writtenAt <= now - ABANDONED_MS) finished.add(listed);
  }
  for (const { id } of backups) {
    const listed = old.get(operationOf(id) ?? '');
    if (listed !== undefined) finished.add(listed);
  }
  await forEachParallel(finished, MAX_DELETES, ({ operation, names }) => runs.delete(operation, opts, names));
}
