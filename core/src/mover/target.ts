import { chmodSync, closeSync, constants, fstatSync, lchownSync, lutimesSync, openSync, type BigIntStats } from 'node:fs';
import { nameOf, parentOf } from './paths.ts';
import { letIn } from './new-file.ts';
import { O_PATH, type Posix } from './posix.ts';
import { setXattrs, type XattrCalls } from './restored-xattrs.ts';
import type { Entry } from './tree-format.ts';
import { OpenDirectory, within } from './walk.ts';

const OPEN_DIRECTORY = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** Directories that are kept open for the next entry in them. */
const MAX_OPEN = 256;

/**
 * The directory that a restore fills. Everything in it is reached from its root through one open directory after the other, each opened by its
 * name in the one before and never through a symlink. So nothing outside can be touched, whatever the names are, whoever
 * plants symlinks meanwhile, and however long the paths.
 */
export class Target {
  readonly #root: OpenDirectory;
  readonly #native: Posix | undefined;
  /** By path, the longest unused first. */
  readonly #open = new Map<string, OpenDirectory>();

  constructor(root: string, native: Posix | undefined) {
    this.#root = new OpenDirectory(openSync(root, constants.O_RDONLY | constants.O_DIRECTORY));
    this.#native = native;
  }

  get rootFd(): number {
    return this.#root.fd;
  }

  /** A path by which the operating system reaches an entry. Valid until `at` has been called twice more. */
  at(path: Buffer): Buffer {
    if (path.length === 0) return within(this.#root.fd, '.');
    return within(this.#directory(parentOf(path)).fd, nameOf(path));
  }

  /** As `at`; valid until the directory is released. */
  retain(path: Buffer): { readonly at: Buffer; readonly directory: OpenDirectory } {
    const directory = this.#directory(parentOf(path));
    directory.retain();
    return { at: within(directory.fd, nameOf(path)), directory };
  }

  /** Lets this user, and nobody else, into a directory that is there. */
  openDirectory(path: Buffer): void {
    letIn(this.at(path), 0o700, constants.O_DIRECTORY);
  }

  /** Gives an entry the attributes that it has in the backup, in the order in which none undoes another. Throws the first error after trying all. */
  setAttributes(entry: Entry): void {
    const at = this.at(entry.path);
    const errors: unknown[] = [];
    const attempt = (set: () => void): void => {
      try {
        set();
      } catch (error) {
        errors.push(error);
      }
    };
    let setOthers: (() => void) | undefined;
    attempt(() => {
      this.#setOwnerAndMode(at, entry, () => {
        setOthers = this.#setXattrs(at, entry, attempt);
      });
    });
    setOthers?.();
    attempt(() => {
      this.setMtime(entry);
    });
    if (errors.length > 0) throw errors[0];
  }

  setMtime({ path, mtimeNs }: Pick<Entry, 'path' | 'mtimeNs'>): void {
    const at = this.at(path);
    if (this.#native !== undefined) this.#native.setMtime(at, mtimeNs);
    else lutimesSync(at, new Date(), Number(mtimeNs) / 1e9);
  }

  close(): void {
    for (const directory of this.#open.values()) directory.release();
    this.#open.clear();
    this.#root.release();
  }

  #directory(path: Buffer): OpenDirectory {
    for (const [key, directory] of this.#open) {
      // Here and not when opening: what the call before gave out is the last in the map, and stays.
      if (this.#open.size <= MAX_OPEN) break;
      this.#open.delete(key);
      directory.release();
    }
    const key = path.toString('latin1');
    let length = key.length;
    while (length > 0 && !this.#open.has(key.slice(0, length))) length = Math.max(key.lastIndexOf('\0', length - 1), 0);
    let directory = length === 0 ? this.#root : this.#touch(key.slice(0, length));
    while (length < key.length) {
      const start = length === 0 ? 0 : length + 1;
      const end = key.indexOf('\0', start);
      length = end < 0 ? key.length : end;
      directory = new OpenDirectory(openSync(within(directory.fd, key.slice(start, length)), OPEN_DIRECTORY));
      this.#open.set(key.slice(0, length), directory);
    }
    return directory;
  }

  #touch(key: string): OpenDirectory {
    const directory = this.#open.get(key) as OpenDirectory;
    this.#open.delete(key);
    this.#open.set(key, directory);
    return directory;
  }

  #setOwnerAndMode(at: Buffer, { type, uid, gid, mode }: Entry, between: () => void): void {
    if (type === 'symlink') {
      between(); // it has no mode
      lchownSync(at, uid, gid);
      return;
    }
    // Through the inode itself: chmod by name would follow a symlink that took its place.
    const fd = openSync(at, O_PATH | constants.O_NOFOLLOW);
    try {
      const stat: BigIntStats = fstatSync(fd, { bigint: true });
      if (stat.isSymbolicLink()) throw Object.assign(new Error('replaced'), { code: 'ELOOP' });
      const isOwned = Number(stat.uid) === uid && Number(stat.gid) === gid;
      let hasOwner = isOwned;
      try {
        if (!isOwned) lchownSync(at, uid, gid);
        hasOwner = true;
      } finally {
        between();
        // After chown, which clears setuid and setgid. Without the owner, these two would give rights to somebody else.
        chmodSync(`/proc/self/fd/${fd}`, hasOwner ? mode : mode & 0o1777);
      }
    } finally {
      closeSync(fd);
    }
  }

  /** Returns what sets those that come after the mode. */
  #setXattrs(at: Buffer, { xattrs }: Entry, attempt: (set: () => void) => void): (() => void) | undefined {
    const native = this.#native;
    if (native === undefined) return undefined;
    const calls: XattrCalls = {
      list: () => native.listXattrs(at),
      set: (name, value) => {
        native.setXattr(at, name, value);
      },
      remove: (name) => {
        native.removeXattr(at, name);
      },
    };
    return setXattrs(xattrs, calls, attempt);
  }
}
