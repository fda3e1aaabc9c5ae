import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { deviceNumber, FileStat, STATX_BYTES } from './file-stat.ts';

/**
 * What Linux offers and Node does not, called in libc through koffi. The one module with native calls. Paths are bytes, symlinks are
 * never followed at the end of a path, and failures are thrown as Node throws its own: an Error with `code`, e.g. `ENOSPC`.
 *
 * koffi is a package whose native half is one file, `koffi.node`. A bundle has no packages: there, the file of the image's
 * C library (`@koromix/koffi-linux-<arch>/linux_<arch>/koffi.node`; `musl_<arch>` on musl) must lie beside the bundle.
 */
export interface Posix {
  /** What a name in an open directory is; of the open file itself when the name is empty. `name` ends with a NUL. */
  statAt(directoryFd: number, name: Buffer): FileStat;
  /** Puts the next entries of an open directory into `to`, as getdents64(2) does; returns how many bytes they are, 0 after the last. */
  readDirectory(fd: number, to: Buffer): number;
  /** Names of the extended attributes; none where the file system keeps none. */
  listXattrs(path: Buffer): Buffer[];
  /** Undefined when it is gone, or larger than 64 KiB. */
  getXattr(path: Buffer, name: Buffer): Buffer | undefined;
  setXattr(path: Buffer, name: Buffer, value: Buffer): void;
  removeXattr(path: Buffer, name: Buffer): void;
  /** Sets the time of modification, exactly; the time of access stays. */
  setMtime(path: Buffer, mtimeNs: bigint): void;
  /** `mode` with the type of the file in it. */
  makeNode(path: Buffer, mode: number, device?: { readonly major: number; readonly minor: number }): void;
  /** The next offset at or after `offset` that holds data; -1 when there is none. */
  seekData(fd: number, offset: number): number;
  /** The next offset at or after `offset` that lies in a hole; the end of the file counts as one. */
  seekHole(fd: number, offset: number): number;
  /** Size of a file or a block device. */
  seekEnd(fd: number): number;
  /** chattr(1)'s flags, or undefined where the file system has none. */
  inodeFlags(fd: number): number | undefined;
  /** Tells the system that a range will be read soon. */
  willRead(fd: number, offset: number, length: number): void;
  /** Sets the time of modification of an open file, exactly; the time of access stays. */
  setMtimeOf(fd: number, mtimeNs: bigint): void;
  listXattrsOf(fd: number): Buffer[];
  setXattrOf(fd: number, name: Buffer, value: Buffer): void;
  removeXattrOf(fd: number, name: Buffer): void;
  /** Makes a range read as zeros, without writing them if that is possible. */
  punchHole(fd: number, offset: number, length: number): void;
  /** Has freed memory of up to 8 MiB used again, by all threads. Otherwise libc gives it back and takes new, which costs more than what is done in it. */
  keepFreedMemory(): void;
  /** Makes everything written to the file system of this file durable. */
  syncFileSystem(fd: number): Promise<void>;
}

/** Opens what a path names without access to it. Not among Node's constants. */
export const O_PATH = 0x20_0000;

/** `reduced` does without native calls, as happens by itself where they cannot be had. */
export type Fidelity = 'full' | 'reduced';

/** What is then lost, as a finding says it. */
export const REDUCED = {
  fact: 'native calls are not available here: extended attributes, ACLs, holes of files, FIFOs, sockets and device nodes are not kept, times to the microsecond only',
  hint: 'use the mover image, whose koffi.node fits its C library',
} as const;

let loaded: { readonly posix: Posix | undefined } | undefined;

/** The native calls, or undefined where they cannot be had (no koffi for this platform, no libc). */
export function loadPosix(): Posix | undefined {
  if (loaded === undefined) {
    const koffi = process.platform === 'linux' ? loadKoffi() : undefined;
    loaded = { posix: koffi === undefined ? undefined : bind(koffi) };
  }
  return loaded.posix;
}

interface NativeFunction {
  (...args: readonly (number | bigint | Buffer | null)[]): number;
  /** On another thread; the callback finds the call's errno. */
  async(...args: readonly [number, (error: Error | null, result: number) => void]): void;
}

interface Library {
  func(name: string, result: string, parameters: readonly string[]): NativeFunction;
}

/** The two of koffi's functions that are used. */
interface Koffi {
  load(library: null): Library;
  errno(): number;
}

function loadKoffi(): Koffi | undefined {
  // Not an import: a bundler would take the package in, and lose its native half.
  const require = createRequire(import.meta.url);
  const beside = new URL('koffi.node', import.meta.url).pathname;
  try {
    return (existsSync(beside) ? require(beside) : require('koffi')) as Koffi;
  } catch {
    return undefined;
  }
}

const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_AND_BIRTH = 0xfff;
const AT_SYMLINK_NOFOLLOW = 0x100;
const UTIME_OMIT = (1n << 30n) - 2n;
const SEEK = { end: 2, data: 3, hole: 4 } as const;
const POSIX_FADV_WILLNEED = 3;
const FS_IOC_GETFLAGS = 0x8008_6601;
const FALLOC_FL_KEEP_SIZE_PUNCH_HOLE = 0x01 | 0x02;
const MAX_XATTR_BYTES = 64 << 10;
/** glibc's M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX. */
const MALLOPT = [
  [-3, 8 << 20],
  [-1, 16 << 20],
  [-8, 2],
] as const;
const NS = 1_000_000_000n;

function bind(koffi: Koffi): Posix {
  const libc = koffi.load(null);
  const bytes = 'uint8 *';
  const llistxattr = libc.func('llistxattr', 'int64', [bytes, bytes, 'uint64']);
  const lgetxattr = libc.func('lgetxattr', 'int64', [bytes, bytes, bytes, 'uint64']);
  const lsetxattr = libc.func('lsetxattr', 'int', [bytes, bytes, bytes, 'uint64', 'int']);
  const lremovexattr = libc.func('lremovexattr', 'int', [bytes, bytes]);
  const utimensat = libc.func('utimensat', 'int', ['int', bytes, bytes, 'int']);
  const mknodat = libc.func('mknodat', 'int', ['int', bytes, 'uint32', 'uint64']);
  const lseek = libc.func('lseek', 'int64', ['int', 'int64', 'int']);
  const ioctl = libc.func('ioctl', 'int', ['int', 'uint64', bytes]);
  const fallocate = libc.func('fallocate', 'int', ['int', 'int', 'int64', 'int64']);
  const posixFadvise = libc.func('posix_fadvise', 'int', ['int', 'int64', 'int64', 'int']);
  const futimens = libc.func('futimens', 'int', ['int', bytes]);
  const flistxattr = libc.func('flistxattr', 'int64', ['int', bytes, 'uint64']);
  const fsetxattr = libc.func('fsetxattr', 'int', ['int', bytes, bytes, 'uint64', 'int']);
  const fremovexattr = libc.func('fremovexattr', 'int', ['int', bytes]);
  const names = Buffer.alloc(MAX_XATTR_BYTES);
  const value = Buffer.alloc(MAX_XATTR_BYTES);
  const failed = (call: string): string => errorName(koffi.errno(), call);
  const check = (result: number, call: string): void => {
    if (result < 0) throw systemError(failed(call), call);
  };
  const seek = (fd: number, offset: number, whence: number): number => {
    const at = lseek(fd, offset, whence);
    if (at >= 0) return at;
    const code = failed('lseek');
    if (code === 'ENXIO') return -1;
    // A file system that knows no holes: everything is data.
    if (code === 'EINVAL' && whence === SEEK.data) return offset;
    if (code === 'EINVAL' && whence === SEEK.hole) return Number.MAX_SAFE_INTEGER;
    throw systemError(code, 'lseek');
  };

  const namesOf = (length: number, call: string): Buffer[] => {
    if (length < 0) {
      const code = failed(call);
      if (isUnsupported(code)) return [];
      throw systemError(code, call);
    }
    const list: Buffer[] = [];
    for (let start = 0, end = names.indexOf(0); start < length; start = end + 1, end = names.indexOf(0, start)) {
      list.push(Buffer.from(names.subarray(start, end)));
    }
    return list;
  };

  return {
    ...bindDirectories(libc, check),
    listXattrs: (path) => namesOf(llistxattr(cString(path), names, names.length), 'llistxattr'),
    listXattrsOf: (fd) => namesOf(flistxattr(fd, names, names.length), 'flistxattr'),
    getXattr(path, name) {
      const length = lgetxattr(cString(path), cString(name), value, value.length);
      if (length >= 0) return Buffer.from(value.subarray(0, length));
      const code = failed('lgetxattr');
      if (code === 'ENODATA' || code === 'ERANGE' || code === 'E2BIG' || isUnsupported(code)) return undefined;
      throw systemError(code, 'lgetxattr');
    },
    setXattr(path, name, to) {
      check(lsetxattr(cString(path), cString(name), to, to.length, 0), 'lsetxattr');
    },
    removeXattr(path, name) {
      check(lremovexattr(cString(path), cString(name)), 'lremovexattr');
    },
    setXattrOf(fd, name, to) {
      check(fsetxattr(fd, cString(name), to, to.length, 0), 'fsetxattr');
    },
    removeXattrOf(fd, name) {
      check(fremovexattr(fd, cString(name)), 'fremovexattr');
    },
    setMtime(path, mtimeNs) {
      check(utimensat(AT_FDCWD, cString(path), timesOf(mtimeNs), AT_SYMLINK_NOFOLLOW), 'utimensat');
    },
    setMtimeOf(fd, mtimeNs) {
      check(futimens(fd, timesOf(mtimeNs)), 'futimens');
    },
    willRead(fd, offset, length) {
      // Advice only: where it is not taken, nothing is lost.
      posixFadvise(fd, offset, length, POSIX_FADV_WILLNEED);
    },
    makeNode(path, mode, device) {
      check(mknodat(AT_FDCWD, cString(path), mode, device === undefined ? 0n : deviceNumber(device.major, device.minor)), 'mknodat');
    },
    seekData: (fd, offset) => seek(fd, offset, SEEK.data),
    seekHole: (fd, offset) => seek(fd, offset, SEEK.hole),
    seekEnd: (fd) => seek(fd, 0, SEEK.end),
    inodeFlags(fd) {
      const flags = Buffer.alloc(8);
      return ioctl(fd, FS_IOC_GETFLAGS, flags) < 0 ? undefined : flags.readUInt32LE(0);
    },
    punchHole(fd, offset, length) {
      check(fallocate(fd, FALLOC_FL_KEEP_SIZE_PUNCH_HOLE, offset, length), 'fallocate');
    },
    keepFreedMemory: () => {
      setMallopt(libc);
    },
    syncFileSystem: bindSync(libc, (call) => systemError(failed(call), call)),
  };
}

/** On another thread, for it takes as long as the disk takes. */
function bindSync(libc: Library, failure: (call: string) => Error): Posix['syncFileSystem'] {
  const syncfs = libc.func('syncfs', 'int', ['int']);
  return (fd) =>
    new Promise((resolve, reject) => {
      syncfs.async(fd, (error, result) => {
        if (error === null && result === 0) resolve();
        else reject(error ?? failure('syncfs'));
      });
    });
}

/** What a walk calls for each name. */
function bindDirectories(libc: Library, check: (result: number, call: string) => void): Pick<Posix, 'statAt' | 'readDirectory'> {
  const statx = libc.func('statx', 'int', ['int', 'uint8 *', 'int', 'uint32', 'uint8 *']);
  const getdents64 = libc.func('getdents64', 'int64', ['int', 'uint8 *', 'uint64']);
  const found = Buffer.alloc(STATX_BYTES);
  return {
    statAt(directoryFd, name) {
      check(statx(directoryFd, name, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, STATX_BASIC_AND_BIRTH, found), 'statx');
      return new FileStat(found);
    },
    readDirectory(fd, to) {
      const length = getdents64(fd, to, to.length);
      check(length, 'getdents64');
      return length;
    },
  };
}

/** Two timespecs: the time of access is left as it is. */
function timesOf(mtimeNs: bigint): Buffer {
  const times = Buffer.alloc(32);
  times.writeBigInt64LE(UTIME_OMIT, 8);
  const ns = ((mtimeNs % NS) + NS) % NS;
  times.writeBigInt64LE((mtimeNs - ns) / NS, 16);
  times.writeBigInt64LE(ns, 24);
  return times;
}

function setMallopt(libc: Library): void {
  let mallopt: NativeFunction;
  try {
    mallopt = libc.func('mallopt', 'int', ['int', 'int']);
  } catch {
    return; // musl has none, and does not need it
  }
  for (const [parameter, value] of MALLOPT) mallopt(parameter, value);
}

function cString(bytes: Buffer): Buffer {
  const terminated = Buffer.allocUnsafe(bytes.length + 1);
  terminated.set(bytes);
  terminated[bytes.length] = 0;
  return terminated;
}

export function isUnsupported(code: string | undefined): boolean {
  return code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOSYS' || code === 'ENOTTY';
}

/** The code of an error of the operating system, e.g. `ENOENT`; undefined when it is no such error. */
export function errorCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return code !== undefined && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** As `errorCode`, but whatever is no error of the operating system is thrown on: it is nobody's fault here. */
export function systemCode(error: unknown): string {
  const code = errorCode(error);
  if (code === undefined) throw error;
  return code;
}

function errorName(errno: number, call: string): string {
  const name = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0];
  return name ?? `E${call.toUpperCase()}${errno}`;
}

function systemError(code: string, syscall: string): Error {
  return Object.assign(new Error(`${code}: ${syscall}`), { code, syscall });
}
