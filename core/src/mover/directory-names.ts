import { opendirSync } from 'node:fs';
import type { Posix } from './posix.ts';

/** How many entries are fetched at once; natively, so many bytes of them. */
const BATCH = 512;
const BATCH_BYTES = 32 << 10;
/** Of a struct linux_dirent64 (getdents64(2)): where its own length, its type and its name are. */
const DIRENT = { length: 16, type: 18, name: 19 } as const;
const DT_DIR = 4;
const DT_UNKNOWN = 0;
/** Longer than Linux looks a name up: some file systems list such. */
const MAX_LISTED_BYTES = 1024;
/** In our memory, behind a name's length. */
const TYPE_AT = 2;
const NAME_AT = 3;
const DOT = 0x2e;

/**
 * The names in a directory, in the order of their bytes, without `.` and `..`. They lie in one piece of memory, each behind its length and type: a
 * million names of 12 bytes take 20 MiB, where as many strings take 80.
 */
export class DirectoryNames {
  #bytes = Buffer.allocUnsafe(4096);
  #used = 0;
  /** Where each name is in `bytes`, in order. */
  #order = new Uint32Array(64);
  #count = 0;
  #next = 0;
  #type = DT_UNKNOWN;

  /** Of an open directory, of which nothing has been read yet. Throws as Node does. */
  static of(fd: number, native: Posix | undefined): DirectoryNames {
    const names = new DirectoryNames();
    if (native === undefined) names.#readByNode(fd);
    else names.#read(fd, native);
    const bytes = names.#bytes;
    names.#order = names.#order.subarray(0, names.#count).sort((a, b) => compareNames(bytes, a, b));
    return names;
  }

  /** The next name, with a NUL behind it as the system takes it, valid as long as this is; undefined after the last. */
  next(): Buffer | undefined {
    const start = this.#order[this.#next++];
    if (start === undefined) return undefined;
    this.#type = this.#bytes[start + TYPE_AT] as number;
    return this.#bytes.subarray(start + NAME_AT, start + NAME_AT + lengthAt(this.#bytes, start) + 1);
  }

  /** Whether the name that was given last is known to be that of a directory: file systems need not say. */
  get isDirectory(): boolean {
    return this.#type === DT_DIR;
  }

  #read(fd: number, native: Posix): void {
    const batch = Buffer.allocUnsafe(BATCH_BYTES);
    for (let length = native.readDirectory(fd, batch); length > 0; length = native.readDirectory(fd, batch)) {
      for (let at = 0; at < length; at += lengthAt(batch, at + DIRENT.length)) {
        const start = at + DIRENT.name;
        const end = batch.indexOf(0, start);
        const dots = batch[start] === DOT ? end - start : 0;
        if (dots === 1 || (dots === 2 && batch[start + 1] === DOT)) continue;
        this.#reserve(end - start);
        this.#end(batch.copy(this.#bytes, this.#used + NAME_AT, start, end), batch[at + DIRENT.type] as number);
      }
    }
  }

  #readByNode(fd: number): void {
    // One byte a character.
    const directory = opendirSync(`/proc/self/fd/${fd}`, { encoding: 'latin1', bufferSize: BATCH });
    try {
      for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
        this.#reserve(MAX_LISTED_BYTES);
        this.#end(this.#bytes.write(entry.name, this.#used + NAME_AT, MAX_LISTED_BYTES, 'latin1'), DT_UNKNOWN);
      }
    } finally {
      directory.closeSync();
    }
  }

  /** Makes room for a name. */
  #reserve(bytes: number): void {
    if (this.#bytes.length - this.#used < bytes + NAME_AT + 1) this.#bytes = Buffer.concat([this.#bytes], 2 * (this.#bytes.length + bytes));
    if (this.#count < this.#order.length) return;
    const more = new Uint32Array(2 * this.#count);
    more.set(this.#order);
    this.#order = more;
  }

  /** A name of this length has been put behind `used`. */
  #end(length: number, type: number): void {
    this.#order[this.#count++] = this.#used;
    this.#bytes.writeUInt16LE(length, this.#used);
    this.#bytes[this.#used + TYPE_AT] = type;
    this.#bytes[this.#used + NAME_AT + length] = 0;
    this.#used += NAME_AT + length + 1;
  }
}

function lengthAt(bytes: Buffer, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}

function compareNames(bytes: Buffer, a: number, b: number): number {
  const lengthOfA = lengthAt(bytes, a);
  const lengthOfB = lengthAt(bytes, b);
  for (let i = 0; i < lengthOfA && i < lengthOfB; i++) {
    const difference = (bytes[a + NAME_AT + i] as number) - (bytes[b + NAME_AT + i] as number);
    if (difference !== 0) return difference;
  }
  return lengthOfA - lengthOfB;
}
