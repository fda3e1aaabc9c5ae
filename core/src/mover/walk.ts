import { closeSync, constants, fstatSync, lstatSync, openSync, type BigIntStats } from 'node:fs';
import { DirectoryNames } from './directory-names.ts';
import { joinPath, MAX_PATH_BYTES, ROOT } from './paths.ts';

export interface Walked {
  readonly path: Buffer;
  /** Its directory, to be retained by whoever uses `at` later. Of the root, the root. */
  readonly directory: OpenDirectory;
  readonly stat: BigIntStats;
  /**
   * A path that reaches it through its open directory, however long its own path is and whatever is renamed above it. Valid until the
   * walk goes on, and while its directory is retained.
   */
  readonly at: Buffer;
}

export interface WalkOptions {
  /** What cannot be looked at or into is told here, and the walk goes on. A directory that cannot be opened has been walked itself. */
  readonly onError: (path: Buffer, error: unknown) => void;
  /** Another file system is mounted there: it is not entered. */
  readonly onMount: (path: Buffer) => void;
  /** Names in the root to leave out. `lost+found` always is. */
  readonly skip?: readonly string[];
}

/** An open directory, closed when nobody uses it any more. */
export class OpenDirectory {
  readonly fd: number;
  #users = 1;

  constructor(fd: number) {
    this.fd = fd;
  }

  retain(): void {
    this.#users += 1;
  }

  release(): void {
    this.#users -= 1;
    if (this.#users === 0) closeSync(this.fd);
  }
}

interface Directory {
  readonly open: OpenDirectory;
  /** How much of the walk's prefix is its path. */
  readonly length: number;
  readonly names: DirectoryNames;
}

const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Everything in a directory tree, in the order of paths (see `paths.ts`), the root first. Follows no symlink and stays on one file system. Holds
 * the directories from the root to the current one open, and their names.
 */
export function* walk(root: string, { onError, onMount, skip = [] }: WalkOptions): Generator<Walked> {
  // The root is named by the caller, who may use a symlink.
  const rootFd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  const rootDirectory = new OpenDirectory(rootFd);
  const stack: Directory[] = [];
  /** The path of the directory on top, and so of all below it: one buffer, so that deep trees cost no more than their depth. */
  const prefix = Buffer.allocUnsafe(MAX_PATH_BYTES);
  try {
    const stat = fstatSync(rootFd, { bigint: true });
    yield { path: ROOT, directory: rootDirectory, stat, at: within(rootFd, '.') };
    const omitted = new Set(skip);
    const isOmitted = (name: string): boolean => omitted.has(name) || (name === 'lost+found' && isDirectory(rootFd, name));
    rootDirectory.retain();
    stack.push({ open: rootDirectory, length: 0, names: DirectoryNames.of(rootFd) });
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const name = top.names.next();
      if (name === undefined) {
        stack.pop()?.open.release();
        continue;
      }
      if (top.length === 0 && isOmitted(name.toString('latin1'))) continue;
      // A copy: the prefix changes under way.
      const path = Buffer.from(joinPath(prefix.subarray(0, top.length), name));
      const at = within(top.open.fd, name);
      const found = attempt(() => inspect(at, path), path, onError);
      if (found === undefined) continue;
      if (found.dev !== stat.dev) {
        onMount(path);
        continue;
      }
      yield { path, directory: top.open, stat: found, at };
      if (!found.isDirectory()) continue;
      const opened = attempt(() => openDirectory(at, found), path, onError);
      if (opened === undefined) continue;
      prefix.set(path);
      stack.push({ ...opened, length: path.length });
    }
  } finally {
    for (const { open } of stack) open.release();
    rootDirectory.release();
  }
}

/** The path of a name in an open directory. */
export function within(directoryFd: number, name: Buffer | string): Buffer {
  const bytes = typeof name === 'string' ? Buffer.from(name, 'latin1') : name;
  return Buffer.concat([Buffer.from(`/proc/self/fd/${directoryFd}/`), bytes]);
}

function inspect(at: Buffer, path: Buffer): BigIntStats {
  if (path.length > MAX_PATH_BYTES) throw Object.assign(new Error('too long'), { code: 'ENAMETOOLONG' });
  return lstatSync(at, { bigint: true });
}

function openDirectory(at: Buffer, expected: BigIntStats): Pick<Directory, 'open' | 'names'> {
  const fd = openSync(at, OPEN_DIRECTORY);
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    if (dev !== expected.dev || ino !== expected.ino) throw Object.assign(new Error('replaced'), { code: 'ESTALE' });
    return { open: new OpenDirectory(fd), names: DirectoryNames.of(fd) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function isDirectory(fd: number, name: string): boolean {
  return lstatSync(within(fd, name), { throwIfNoEntry: false })?.isDirectory() === true;
}

function attempt<T>(look: () => T, path: Buffer, onError: (path: Buffer, error: unknown) => void): T | undefined {
  try {
    return look();
  } catch (error) {
    onError(path, error);
    return undefined;
  }
}
