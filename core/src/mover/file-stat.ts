import type { BigIntStats } from 'node:fs';
import type { EntryType } from './tree-format.ts';

const NS = 1_000_000_000n;
const HIGH = 2 ** 32;

/** The upper four bits of a mode (inode(7)). */
const TYPES: Readonly<Record<number, EntryType>> = {
  0o01: 'fifo',
  0o02: 'character-device',
  0o04: 'directory',
  0o06: 'block-device',
  0o10: 'file',
  0o12: 'symlink',
  0o14: 'socket',
};

/** Of a struct statx (statx(2)), and where its fields are. */
export const STATX_BYTES = 256;
const AT = {
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  inode: 32,
  size: 40,
  blocks: 48,
  born: 80,
  ctime: 96,
  mtime: 112,
  rdev: 128,
  dev: 136,
} as const;

/** What the system says of a file. Numbers, for there is one of these for each file of a volume, and most are only compared. */
export class FileStat {
  readonly type: EntryType;
  /** The lower 12 bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  /** The file system, as one number. */
  readonly dev: number;
  readonly rdev: { readonly major: number; readonly minor: number } | undefined;
  /** Since 1970, rounded down; may be negative. */
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly ctimeSeconds: number;
  readonly ctimeNanoseconds: number;
  readonly #bornSeconds: number;
  readonly #bornNanoseconds: number;
  readonly #inodeLow: number;
  readonly #inodeHigh: number;

  /** `statx`: a struct statx, little-endian. It may be used again afterwards. */
  constructor(statx: Buffer) {
    const mode = statx.readUInt16LE(AT.mode);
    this.type = TYPES[mode >> 12] as EntryType; // Linux has no others
    this.mode = mode & 0o7777;
    this.nlink = statx.readUInt32LE(AT.nlink);
    this.uid = statx.readUInt32LE(AT.uid);
    this.gid = statx.readUInt32LE(AT.gid);
    this.size = number64(statx, AT.size);
    this.blocks = number64(statx, AT.blocks);
    this.dev = statx.readUInt32LE(AT.dev) * HIGH + statx.readUInt32LE(AT.dev + 4);
    const isDevice = this.type === 'character-device' || this.type === 'block-device';
    this.rdev = isDevice ? { major: statx.readUInt32LE(AT.rdev), minor: statx.readUInt32LE(AT.rdev + 4) } : undefined;
    this.mtimeSeconds = seconds(statx, AT.mtime);
    this.mtimeNanoseconds = statx.readUInt32LE(AT.mtime + 8);
    this.ctimeSeconds = seconds(statx, AT.ctime);
    this.ctimeNanoseconds = statx.readUInt32LE(AT.ctime + 8);
    this.#bornSeconds = seconds(statx, AT.born);
    this.#bornNanoseconds = statx.readUInt32LE(AT.born + 8);
    this.#inodeLow = statx.readUInt32LE(AT.inode);
    this.#inodeHigh = statx.readUInt32LE(AT.inode + 4);
  }

  /** Of what Node says. */
  static of(stats: BigIntStats): FileStat {
    const statx = Buffer.alloc(STATX_BYTES);
    statx.writeUInt32LE(Number(stats.nlink), AT.nlink);
    statx.writeUInt32LE(Number(stats.uid), AT.uid);
    statx.writeUInt32LE(Number(stats.gid), AT.gid);
    statx.writeUInt16LE(Number(stats.mode), AT.mode);
    statx.writeBigUInt64LE(stats.ino, AT.inode);
    statx.writeBigUInt64LE(stats.size, AT.size);
    statx.writeBigUInt64LE(stats.blocks, AT.blocks);
    for (const [at, ns] of [
      [AT.born, stats.birthtimeNs],
      [AT.ctime, stats.ctimeNs],
      [AT.mtime, stats.mtimeNs],
    ] as const) {
      const rest = ((ns % NS) + NS) % NS;
      statx.writeBigInt64LE((ns - rest) / NS, at);
      statx.writeUInt32LE(Number(rest), at + 8);
    }
    for (const [at, number] of [
      [AT.rdev, splitDeviceNumber(stats.rdev)],
      [AT.dev, splitDeviceNumber(stats.dev)],
    ] as const) {
      statx.writeUInt32LE(number.major, at);
      statx.writeUInt32LE(number.minor, at + 4);
    }
    return new FileStat(statx);
  }

  get isFile(): boolean {
    return this.type === 'file';
  }

  get isDirectory(): boolean {
    return this.type === 'directory';
  }

  get inode(): bigint {
    return BigInt(this.#inodeHigh) * BigInt(HIGH) + BigInt(this.#inodeLow);
  }

  /** The same, where a number can hold it. */
  get inodeNumber(): number | undefined {
    return this.#inodeHigh < 2 ** 21 ? this.#inodeHigh * HIGH + this.#inodeLow : undefined;
  }

  get mtimeNs(): bigint {
    return BigInt(this.mtimeSeconds) * NS + BigInt(this.mtimeNanoseconds);
  }

  get ctimeNs(): bigint {
    return BigInt(this.ctimeSeconds) * NS + BigInt(this.ctimeNanoseconds);
  }

  /** When the inode was made; 0 where the file system does not say. */
  get bornNs(): bigint {
    return BigInt(this.#bornSeconds) * NS + BigInt(this.#bornNanoseconds);
  }

  /** Whether nothing tells that the content has changed in between. */
  isSameContent(other: FileStat): boolean {
    return (
      this.mtimeSeconds === other.mtimeSeconds &&
      this.mtimeNanoseconds === other.mtimeNanoseconds &&
      this.ctimeSeconds === other.ctimeSeconds &&
      this.ctimeNanoseconds === other.ctimeNanoseconds &&
      this.size === other.size
    );
  }
}

/** Sizes and counts: below 2^53. */
function number64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + 4) * HIGH + bytes.readUInt32LE(at);
}

function seconds(bytes: Buffer, at: number): number {
  return bytes.readInt32LE(at + 4) * HIGH + bytes.readUInt32LE(at);
}

/** A device number as Linux packs it: minor's low byte, major's low 12 bits, then the rest of both. */
export function deviceNumber(major: number, minor: number): bigint {
  const [a, b] = [BigInt(major), BigInt(minor)];
  return (b & 0xffn) | ((a & 0xfffn) << 8n) | ((b & ~0xffn) << 12n) | ((a & ~0xfffn) << 32n);
}

export function splitDeviceNumber(number: bigint): { readonly major: number; readonly minor: number } {
  return {
    major: Number(((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xffff_f000n)),
    minor: Number((number & 0xffn) | ((number >> 12n) & 0xffff_ff00n)),
  };
}
