import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  futimesSync,
  openSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { O_PATH, systemCode, type Posix } from './posix.ts';
import { setXattrs, type XattrCalls } from './restored-xattrs.ts';
import type { Entry, ExtendedAttribute } from './tree-format.ts';

/** Attributes of a file, as they pass between threads. */
export interface FileAttributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  readonly xattrs: readonly { readonly name: Uint8Array; readonly value: Uint8Array }[];
}

/** A file to be made whole, of a single piece. */
export interface NewFile extends FileAttributes {
  /** A path that reaches it, one byte a character. */
  readonly at: string;
  /** An earlier run may have left it. */
  readonly mayExist: boolean;
}

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;

export function attributesOf({ mode, uid, gid, mtimeNs, xattrs }: Entry): FileAttributes {
  // Copies: each of them would take its whole leaf along to another thread.
  const copy = ({ name, value }: ExtendedAttribute) => ({ name: Uint8Array.from(name), value: Uint8Array.from(value) });
  return { mode, uid, gid, mtimeNs, xattrs: xattrs.map(copy) };
}

/** Opens a new file, for this user only; or the one that an earlier run left, in place: it may have other names already. */
export function createFile(at: Buffer, mayExist: boolean): number {
  if (!mayExist) return openSync(at, CREATE | constants.O_EXCL, 0o600);
  let fd: number;
  try {
    fd = openSync(at, CREATE, 0o600);
  } catch (error) {
    if (systemCode(error) !== 'EACCES') throw error;
    letIn(at); // it may have its final mode
    fd = openSync(at, CREATE, 0o600);
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw Object.assign(new Error('in the way'), { code: 'EEXIST' });
}

/** Lets this user, and nobody else, into what is there, if it is no symlink. */
export function letIn(at: Buffer, mode = 0o600, flags = 0): void {
  const fd = openSync(at, O_PATH | constants.O_NOFOLLOW | flags);
  try {
    chmodSync(`/proc/self/fd/${fd}`, mode);
  } finally {
    closeSync(fd);
  }
}

/** Makes a file of one piece. Throws the system's error when there is no such file then; returns the code of one that cost an attribute. */
export function writeNewFile(file: NewFile, data: Uint8Array, native: Posix | undefined): string | undefined {
  const at = Buffer.from(file.at, 'latin1');
  const fd = createFile(at, file.mayExist);
  try {
    try {
      writeFullySync(fd, data, 0);
      if (file.mayExist) ftruncateSync(fd, data.length);
      if (native === undefined) fsyncSync(fd);
    } catch (error) {
      unlinkSync(at);
      throw error;
    }
    return setFileAttributes(fd, file, native);
  } finally {
    closeSync(fd);
  }
}

export function writeFullySync(fd: number, data: Uint8Array, position: number): void {
  let done = 0;
  while (done < data.length) done += writeSync(fd, data, done, data.length - done, position + done);
}

/** Gives an open file its attributes, in the order in which none undoes another. Tries all; returns the code of the first error. */
export function setFileAttributes(
  fd: number,
  { mode, uid, gid, mtimeNs, xattrs }: FileAttributes,
  native: Posix | undefined,
): string | undefined {
  let first: string | undefined;
  const attempt = (set: () => void): boolean => {
    try {
      set();
      return true;
    } catch (error) {
      first ??= systemCode(error);
      return false;
    }
  };
  const { uid: isUid, gid: isGid } = fstatSync(fd);
  const hasOwner =
    (isUid === uid && isGid === gid) ||
    attempt(() => {
      fchownSync(fd, uid, gid);
    });
  const setOthers = native === undefined ? undefined : setXattrs(xattrs, xattrsOf(fd, native), attempt);
  attempt(() => {
    // After chown, which clears setuid and setgid. Without the owner, these two would give rights to somebody else.
    fchmodSync(fd, hasOwner ? mode : mode & 0o1777);
  });
  setOthers?.();
  attempt(() => {
    if (native !== undefined) native.setMtimeOf(fd, mtimeNs);
    else futimesSync(fd, new Date(), Number(mtimeNs) / 1e9);
  });
  return first;
}

function xattrsOf(fd: number, native: Posix): XattrCalls {
  return {
    list: () => native.listXattrsOf(fd),
    set: (name, value) => {
      native.setXattrOf(fd, name, value);
    },
    remove: (name) => {
      native.removeXattrOf(fd, name);
    },
  };
}
