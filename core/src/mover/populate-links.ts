import { closeSync, constants, copyFileSync, linkSync, lstatSync, openSync, readlinkSync, symlinkSync } from 'node:fs';
import { throwIfCancelled } from '../errors.ts';
import { ROOT } from './paths.ts';
import { errorCode, systemCode, type Posix } from './posix.ts';
import type { Problems } from './problems.ts';
import type { Target } from './target.ts';
import type { Entry } from './tree-format.ts';
import type { TreeReader } from './tree-reader.ts';

export interface LinksTask {
  readonly target: Target;
  readonly tree: Pick<TreeReader, 'leaves'>;
  readonly native: Posix | undefined;
  readonly problems: Problems;
  readonly allowDevices: boolean;
  readonly signal: AbortSignal | undefined;
}

const TYPE_BITS = {
  fifo: constants.S_IFIFO,
  socket: constants.S_IFSOCK,
  'character-device': constants.S_IFCHR,
  'block-device': constants.S_IFBLK,
} as const;

/**
 * Second part of filling a directory: everything but files, and their further names. No byte is written to a file once the first symlink is there. Attributes
 * of a directory are set when all in it is done, because every entry that is made changes its time.
 */
export async function populateLinks(task: LinksTask): Promise<void> {
  const { target, tree, problems, signal } = task;
  /** The first path of each inode with several. */
  const firsts = new Map<bigint, Buffer>();
  /** Directories from the root to the one at hand. Their paths are beginnings of `last`. */
  const open: { readonly length: number; readonly entry: Entry }[] = [];
  let last: Buffer = ROOT;
  const finish = (entry: Entry): void => {
    try {
      target.setAttributes(entry);
    } catch (error) {
      problems.add(entry.path, { reason: systemCode(error), isOfAttribute: true });
    }
  };
  const leave = (most: number): void => {
    for (let top = open.at(-1); top !== undefined && top.length > most; top = open.at(-1)) {
      finish({ ...top.entry, path: last.subarray(0, top.length) });
      open.pop();
    }
  };
  for await (const leaf of tree.leaves()) {
    throwIfCancelled(signal);
    for (const entry of leaf) {
      leave(Math.max(entry.path.lastIndexOf(0), 0));
      last = entry.path;
      if (entry.type === 'directory') {
        // The path is dropped: a deep tree must not cost a copy of each.
        open.push({ length: entry.path.length, entry: { ...entry, path: ROOT } });
        continue;
      }
      const first = entry.linkGroup === undefined ? undefined : firsts.get(entry.linkGroup);
      if (entry.linkGroup !== undefined && first === undefined) firsts.set(entry.linkGroup, entry.path);
      if (first !== undefined) {
        attempt(problems, entry.path, () => {
          link(target, first, entry.path, problems);
        });
      } else if (entry.type !== 'file' && attempt(problems, entry.path, () => make(entry, task))) finish(entry);
    }
  }
  leave(-1);
}

function attempt(problems: Problems, path: Buffer, change: () => unknown): boolean {
  try {
    return change() !== false;
  } catch (error) {
    problems.add(path, { reason: systemCode(error) });
    return false;
  }
}

/** Another name for what this run has made. A file system without hard links gets a copy. */
function link(target: Target, first: Buffer, path: Buffer, problems: Problems): void {
  const problem = problems.of(first);
  if (problem?.isOfContent === true) {
    problems.add(path, problem);
    return;
  }
  const to = target.at(path);
  const from = target.at(first);
  try {
    linkSync(from, to);
  } catch (error) {
    const code = errorCode(error);
    if (code === 'ENOENT' && problem !== undefined) {
      problems.add(path, problem);
      return;
    }
    if (code === 'EEXIST' && lstatSync(to, { bigint: true }).ino === lstatSync(from, { bigint: true }).ino) return;
    if (code !== 'EPERM' && code !== 'EMLINK' && code !== 'ENOTSUP') throw error;
    if (!lstatSync(from).isFile()) throw error;
    const fd = openSync(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      copyFileSync(`/proc/self/fd/${fd}`, to, constants.COPYFILE_EXCL);
    } finally {
      closeSync(fd);
    }
  }
}

function make(entry: Entry, { target, native, allowDevices, problems }: LinksTask): boolean {
  const at = target.at(entry.path);
  const { type, target: points } = entry;
  if (type === 'symlink' && points !== undefined) {
    return orThere(
      () => {
        symlinkSync(points, at);
      },
      () => readlinkSync(at, { encoding: 'buffer' }).equals(points),
    );
  }
  if (type !== 'fifo' && type !== 'socket' && type !== 'character-device' && type !== 'block-device') return false;
  if (entry.device !== undefined && !allowDevices) {
    problems.add(entry.path, { reason: 'it is a device node, and these are made only where it is allowed', isDeclined: true });
    return false;
  }
  if (native === undefined) {
    problems.add(entry.path, { reason: 'native calls are not available', isDeclined: true });
    return false;
  }
  return orThere(
    () => {
      native.makeNode(at, TYPE_BITS[type] | 0o600, entry.device);
    },
    () => (lstatSync(at).mode & constants.S_IFMT) === TYPE_BITS[type],
  );
}

/** Done as well when an earlier run has made the same. */
function orThere(create: () => void, isThere: () => boolean): boolean {
  try {
    create();
  } catch (error) {
    if (errorCode(error) !== 'EEXIST' || !isThere()) throw error;
  }
  return true;
}
