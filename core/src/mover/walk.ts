import { closeSync, constants, lstatSync, openSync } from 'node:fs';
import { DirectoryNames } from './directory-names.ts';
import { FileStat } from './file-stat.ts';
import { statOf } from './io.ts';
import { joinPath, MAX_PATH_BYTES, ROOT } from './paths.ts';
import type { Posix } from './posix.ts';

/** One path of a tree. */
export class Walked {
  readonly path: Buffer;
  /** Its directory, to be retained by whoever uses `at` later. Of the root, the root. */
  readonly directory: OpenDirectory;
  readonly stat: FileStat;
  /** Its inode, when that has other names too. */
  readonly linkGroup: bigint | undefined;
  readonly #name: Buffer;

  constructor(path: Buffer, directory: OpenDirectory, name: Buffer, stat: FileStat, hasOtherNames = hasSeveralNames(stat)) {
    this.path = path;
    this.directory = directory;
    this.stat = stat;
    this.linkGroup = hasOtherNames ? stat.inode : undefined;
    this.#name = name;
  }

  /** As if its inode had no other names. */
  alone(): Walked {
    return new Walked(this.path, this.directory, this.#name, this.stat, false);
  }

  /**
   * A path that reaches it through its open directory, however long its own path is and whatever is renamed above it. Valid until the
   * walk goes on, and while its directory is retained.
   */
  get at(): Buffer {
    return within(this.directory.fd, this.#name);
  }
}

function hasSeveralNames({ nlink, isDirectory }: FileStat): boolean {
  return nlink > 1 && !isDirectory;
}

export interface WalkOptions {
  readonly native: Posix | undefined;
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

interface Listed {
  readonly open: OpenDirectory;
  readonly names: DirectoryNames;
}

interface Directory extends Listed {
  /** How much of the walk's prefix is its path. */
  readonly length: number;
}

const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Everything in a directory tree, in the order of paths (see `paths.ts`), the root first. Follows no symlink and stays on one file system. Holds
 * the directories from the root to the current one open, and their names.
 */
export function* walk(root: string, { native, onError, onMount, skip = [] }: WalkOptions): Generator<Walked> {
  // The root is named by the caller, who may use a symlink.
  const rootFd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
  const rootDirectory = new OpenDirectory(rootFd);
  const stack: Directory[] = [];
  /** The path of the directory on top, and so of all below it: one buffer, so that deep trees cost no more than their depth. */
  const prefix = Buffer.allocUnsafe(MAX_PATH_BYTES);
  try {
    const stat = statOf(rootFd, native);
    yield new Walked(ROOT, rootDirectory, Buffer.from('.'), stat);
    const omitted = new Set(skip);
    const isOmitted = (name: string): boolean => omitted.has(name) || (name === 'lost+found' && isDirectory(rootFd, name));
    rootDirectory.retain();
    stack.push({ open: rootDirectory, length: 0, names: DirectoryNames.of(rootFd, native) });
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const named = top.names.next();
      if (named === undefined) {
        stack.pop()?.open.release();
        continue;
      }
      const name = named.subarray(0, -1);
      if (top.length === 0 && isOmitted(name.toString('latin1'))) continue;
      const path = joinPath(prefix.subarray(0, top.length), name);
      const found = attempt(() => inspect(top.open.fd, named, path, native), path, onError);
      if (found === undefined) continue;
      if (found.dev !== stat.dev) {
        onMount(path);
        continue;
      }
      const walked = new Walked(path, top.open, name, found);
      yield walked;
      if (!found.isDirectory) continue;
      const isFound = ({ dev, inode }: FileStat): boolean => dev === found.dev && inode === found.inode;
      const opened = attempt(() => openDirectory(walked.at, native, isFound), path, onError);
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

function inspect(directoryFd: number, named: Buffer, path: Buffer, native: Posix | undefined): FileStat {
  if (path.length > MAX_PATH_BYTES) throw Object.assign(new Error('too long'), { code: 'ENAMETOOLONG' });
  if (native !== undefined) return native.statAt(directoryFd, named);
  return FileStat.of(lstatSync(within(directoryFd, named.subarray(0, -1)), { bigint: true }));
}

/** Opens a directory, never through a symlink, and lists it. Throws as Node does, and ESTALE when it is not the one that is expected. */
export function openDirectory(at: Buffer, native: Posix | undefined, isExpected: (stat: FileStat) => boolean): Listed {
  const fd = openSync(at, OPEN_DIRECTORY);
  try {
    if (!isExpected(statOf(fd, native))) throw Object.assign(new Error('replaced'), { code: 'ESTALE' });
    return { open: new OpenDirectory(fd), names: DirectoryNames.of(fd, native) };
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
