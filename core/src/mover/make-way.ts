import { closeSync, constants, openSync, readlinkSync, rmdirSync, unlinkSync } from 'node:fs';
import { throwIfCancelled } from '../errors.ts';
import { errorCode, systemCode, type Posix } from './posix.ts';
import type { Problems } from './problems.ts';
import type { Target } from './target.ts';
import type { Entry } from './tree-format.ts';
import type { TreeReader } from './tree-reader.ts';
import { walk, type Walked } from './walk.ts';

export interface MakeWayTask {
  readonly target: Target;
  /** Of the target's root. */
  readonly path: string;
  readonly tree: Pick<TreeReader, 'leaves'>;
  readonly native: Posix | undefined;
  readonly problems: Problems;
  /** Names in the root that are not the volume's. */
  readonly skip: readonly string[];
  readonly signal: AbortSignal | undefined;
}

/**
 * Removes from a directory what the backup does not have, or has as something else. What stays are directories, equal symlinks, and files with one
 * name that can be written to: these are compared, and written where they differ. A file with several names goes, because writing to it would
 * write to all of them.
 */
export async function makeWay(task: MakeWayTask): Promise<void> {
  const { target, tree, problems, native, skip, signal } = task;
  const onError = (path: Buffer, error: unknown): void => {
    problems.add(path, { reason: systemCode(error) });
  };
  const directories: Buffer[] = [];
  const remove = ({ path, stat, at }: Walked): void => {
    if (stat.isDirectory) directories.push(path);
    else
      tolerate(path, problems, () => {
        unlinkSync(at);
      });
  };
  const actual = walk(task.path, {
    native,
    skip,
    onError,
    onMount: (path) => {
      problems.add(path, { reason: 'it is on another file system' });
    },
  });
  try {
    let found = take(actual, target);
    for await (const leaf of tree.leaves()) {
      throwIfCancelled(signal);
      for (const entry of leaf) {
        for (; found !== undefined && Buffer.compare(found.path, entry.path) < 0; found = take(actual, target)) remove(found);
        if (found?.path.equals(entry.path) !== true) continue;
        if (!canStay(found, entry)) remove(found);
        found = take(actual, target);
      }
    }
    for (; found !== undefined; found = take(actual, target)) remove(found);
  } finally {
    actual.return(undefined);
  }
  // What was in them is gone by now: the deepest come last.
  for (const path of directories.reverse())
    tolerate(path, problems, () => {
      rmdirSync(target.at(path));
    });
}

/** The next entry. A directory is made one that can be looked into and emptied; it gets its mode back with its other attributes. */
function take(walked: Generator<Walked>, target: Target): Walked | undefined {
  const next = walked.next();
  if (next.done === true) return undefined;
  const { path, stat } = next.value;
  if (stat.isDirectory && path.length > 0) {
    try {
      target.openDirectory(path);
    } catch (error) {
      systemCode(error); // it is told when it matters
    }
  }
  return next.value;
}

function canStay({ stat, at }: Walked, entry: Entry): boolean {
  if (entry.type === 'directory') return stat.isDirectory;
  if (entry.type === 'symlink') return stat.type === 'symlink' && entry.target?.equals(readlinkSync(at, { encoding: 'buffer' })) === true;
  if (entry.type !== 'file' || !stat.isFile || stat.nlink !== 1 || entry.linkGroup !== undefined) return false;
  try {
    closeSync(openSync(at, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK));
    return true;
  } catch (error) {
    if (errorCode(error) === undefined) throw error;
    return false;
  }
}

function tolerate(path: Buffer, problems: Problems, change: () => void): void {
  try {
    change();
  } catch (error) {
    problems.add(path, { reason: systemCode(error) });
  }
}
