import { chmodSync, closeSync, constants, fstatSync, lchownSync, lutimesSync, openSync, type BigIntStats } from 'node:fs';
import { nameOf, parentOf } from './paths.ts';
import type { Posix } from './posix.ts';
import type { Entry } from './tree-format.ts';
import { within } from './walk.ts';

/** Not among Node's constants. */
const O_PATH = 0x20_0000;
const OPEN_DIRECTORY = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** Directories that are kept open for the next entry in them. */
const MAX_OPEN = 256;

/** Set only where it is asked for, by whoever labels the machine. */
export const NOT_RESTORED_XATTRS = new Set(['security.selinux']);

/**
 * The directory that a restore fills. Everything in it is reached from its root through one open directory after the other, each opened by its
 * name in the one before and never through a symlink. So nothing outside can be touched, whatever the names are, whoever
 * plants symlinks meanwhile, and however long the paths.
 */
export class Target {
  readonly #rootFd: number;
  readonly #native: Posix | undefined;
  /** By path, the longest unused first. */
  readonly #open = new Map<string, number>();

  constructor(root: string, native: Posix | undefined) {
    this.#rootFd = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
    this.#native = native;
  }

  get rootFd(): number {
    return this.#rootFd;
  }

  /** A path by which the operating system reaches an entry. Valid until `at` has been called twice more. */
  at(path: Buffer): Buffer {
    if (path.length === 0) return within(this.#rootFd, '.');
    return within(this.#directory(parentOf(path)), nameOf(path));
  }

  /** Lets this user, and nobody else, into a directory that is there. */
  openDirectory(path: Buffer): void {
    const fd = openSync(this.at(path), OPEN_DIRECTORY);
    try {
      chmodSync(`/proc/self/fd/${fd}`, 0o700);
    } finally {
      closeSync(fd);
    }
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
    attempt(() => {
      this.#setOwnerAndMode(at, entry);
    });
    this.#setXattrs(at, entry, attempt);
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
    for (const fd of this.#open.values()) closeSync(fd);
    this.#open.clear();
    closeSync(this.#rootFd);
  }

  #directory(path: Buffer): number {
    for (const [key, fd] of this.#open) {
      // Here and not when opening: what the call before gave out is the last in the map, and stays.
      if (this.#open.size <= MAX_OPEN) break;
      this.#open.delete(key);
      closeSync(fd);
    }
    const key = path.toString('latin1');
    let length = key.length;
    while (length > 0 && !this.#open.has(key.slice(0, length))) length = Math.max(key.lastIndexOf('\0', length - 1), 0);
    let fd = length === 0 ? this.#rootFd : this.#touch(key.slice(0, length));
    while (length < key.length) {
      const start = length === 0 ? 0 : length + 1;
      const end = key.indexOf('\0', start);
      length = end < 0 ? key.length : end;
      fd = openSync(within(fd, key.slice(start, length)), OPEN_DIRECTORY);
      this.#open.set(key.slice(0, length), fd);
    }
    return fd;
  }

  #touch(key: string): number {
    const fd = this.#open.get(key) as number;
    this.#open.delete(key);
    this.#open.set(key, fd);
    return fd;
  }

  #setOwnerAndMode(at: Buffer, { type, uid, gid, mode }: Entry): void {
    if (type === 'symlink') {
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
        // After chown, which clears setuid and setgid. Without the owner, these two would give rights to somebody else.
        chmodSync(`/proc/self/fd/${fd}`, hasOwner ? mode : mode & 0o1777);
      }
    } finally {
      closeSync(fd);
    }
  }

  #setXattrs(at: Buffer, { xattrs }: Entry, attempt: (set: () => void) => void): void {
    const native = this.#native;
    if (native === undefined) return;
    const wanted = new Set(xattrs.map(({ name }) => name.toString('latin1')));
    attempt(() => {
      // Such as an ACL that was inherited when the entry was made.
      const extra = native.listXattrs(at).filter((name) => isRestored(name) && !wanted.has(name.toString('latin1')));
      for (const name of extra) native.removeXattr(at, name);
    });
    for (const { name, value } of xattrs) {
      if (!isRestored(name)) continue;
      attempt(() => {
        native.setXattr(at, name, value);
      });
    }
  }
}

export function isRestored(xattr: Buffer): boolean {
  return !NOT_RESTORED_XATTRS.has(xattr.toString('latin1'));
}
