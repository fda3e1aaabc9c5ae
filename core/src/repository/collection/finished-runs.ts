import { forEachParallel } from '../../parallel.ts';
import type { CallOptions } from '../../store/object-store.ts';
import type { ListedBackup } from '../records/backup-list.ts';
import { operationOf } from '../records/backups.ts';
import type { RunRecords } from '../records/runs.ts';
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
  const old = new Set<string>();
  const finished = new Set<string>();
  for await (const { operation, names, writtenAt } of runs.operations(opts)) {
    if (writtenAt.getTime() <= finishedBefore) old.add(operation);
    if (names.includes(BEGAN) && writtenAt.getTime() <= now - ABANDONED_MS) finished.add(operation);
  }
  for (const { id } of backups) {
    const operation = operationOf(id);
    if (operation !== undefined && old.has(operation)) finished.add(operation);
  }
  await forEachParallel(finished, MAX_DELETES, (operation) => runs.delete(operation, opts));
}
