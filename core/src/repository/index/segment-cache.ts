import { closeSync, fstatSync, mkdirSync, mkdtempSync, openSync, readdirSync, readSync, renameSync, rmSync, statSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Random } from '../format/derive.ts';

export interface SegmentCacheOptions {
  /** Where copies outlive the process; several processes may share it. Without it they are in memory, and what is large in a temporary directory. */
  readonly directory?: string;
  /** Of all copies, in bytes. What does not fit is read from the store, piece by piece. */
  readonly limitBytes?: number;
}

const LIMIT_BYTES = 1 << 30;
/** Without a directory, copies are held in memory up to this size together. */
const MEMORY_BYTES = 8 << 20;
/** A part that a killed process left is removed after this long. */
const PART_MAX_AGE_MS = 24 * 3600 * 1000;
const COPY = /^[0-9a-f]{32}$/;
const PART = /^[0-9a-f]{32}\.[0-9a-f]{16}\.part$/;

/** The object of a segment, as it lies in the store: sealed, and for the reader to authenticate. */
export interface LocalCopy {
  /** At once, and perhaps into `scratch`, if it is large enough; undefined when these bytes are not there. */
  read(offset: number, length: number, scratch?: Buffer): Buffer | undefined;
  close(): void;
}

/** Gives bytes of the object that is copied; they are used until the next call. */
export type ReadRange = (offset: number, length: number) => Promise<Uint8Array>;

/** How much of an object is in memory while it is copied. */
const COPY_BYTES = 4 << 20;

/**
 * Copies of index segments on this machine. Nothing here is trusted, and no failure here is an error: a copy that cannot be kept or read is
 * no copy, and the segment is read from the store.
 */
export class SegmentCache {
  readonly #random: Random;
  readonly #limit: number;
  readonly #now: () => Date;
  #directory: string | undefined;
  readonly #isTemporary: boolean;
  #used = 0;
  #inMemory = 0;

  /** `scope`: tells the copies of this repository from those of others in one directory. */
  constructor(scope: string, opts: SegmentCacheOptions & { readonly random: Random; readonly now: () => Date }) {
    this.#random = opts.random;
    this.#now = opts.now;
    this.#limit = opts.limitBytes ?? LIMIT_BYTES;
    this.#isTemporary = opts.directory === undefined;
    if (opts.directory !== undefined) {
      this.#directory = join(opts.directory, scope);
    }
  }

  /** The copy of an object of this size, if there is one. */
  open(key: string, size: number): LocalCopy | undefined {
    if (this.#isTemporary) return undefined;
    return orNothing(() => {
      const path = this.#path(key);
      const file = openSync(path, 'r');
      if (fstatSync(file).size === size) return new FileCopy(file);
      closeSync(file);
      rmSync(path, { force: true });
      return undefined;
    });
  }

  /** Copies an object; undefined when there is no room for it. Failures of `read` pass through. */
  async add(key: string, size: number, read: ReadRange): Promise<LocalCopy | undefined> {
    if (this.#isTemporary && this.#inMemory + size <= MEMORY_BYTES) {
      this.#inMemory += size;
      const bytes = Buffer.allocUnsafeSlow(size);
      try {
        for (let at = 0; at < size; at += COPY_BYTES) bytes.set(await read(at, Math.min(COPY_BYTES, size - at)), at);
      } catch (e) {
        this.#inMemory -= size;
        throw e;
      }
      return new MemoryCopy(bytes, () => (this.#inMemory -= size));
    }
    if (this.#used + size > this.#limit) return undefined;
    this.#used += size;
    const copy = await this.#toFile(key, size, read);
    if (copy === undefined) this.#used -= size;
    return copy;
  }

  /** Forgets a copy that is not what it should be. */
  remove(key: string): void {
    if (!this.#isTemporary)
      orNothing(() => {
        rmSync(this.#path(key), { force: true });
      });
  }

  /** Removes the copies of all other segments, and parts that nobody completes any more. */
  retain(keys: ReadonlySet<string>): void {
    const directory = this.#directory;
    if (this.#isTemporary || directory === undefined) return;
    const names = new Set([...keys].map(nameOf));
    this.#used = 0;
    for (const name of orNothing(() => readdirSync(directory)) ?? []) {
      orNothing(() => {
        const path = join(directory, name);
        const { size, mtimeMs } = statSync(path);
        if (COPY.test(name) && !names.has(name)) rmSync(path, { force: true });
        else if (PART.test(name) && this.#now().getTime() - mtimeMs > PART_MAX_AGE_MS) rmSync(path, { force: true });
        else this.#used += size;
      });
    }
  }

  close(): void {
    const directory = this.#directory;
    if (this.#isTemporary && directory !== undefined)
      orNothing(() => {
        rmSync(directory, { recursive: true, force: true });
      });
  }

  /** Under another name until it is complete. */
  async #toFile(key: string, size: number, read: ReadRange): Promise<LocalCopy | undefined> {
    const part = orNothing(() => {
      if (this.#directory === undefined) this.#directory = mkdtempSync(join(tmpdir(), 'dmaas-index-'));
      else makeDirectory(this.#directory);
      return `${this.#path(key)}.${Buffer.from(this.#random(8)).toString('hex')}.part`;
    });
    const file = part === undefined ? undefined : await open(part, 'wx', 0o600).catch(() => undefined);
    if (part === undefined || file === undefined) return undefined;
    try {
      for (let at = 0; at < size; at += COPY_BYTES) {
        const bytes = await read(at, Math.min(COPY_BYTES, size - at));
        if (!(await isWritten(file, bytes, at))) return undefined;
      }
      return orNothing(() => {
        renameSync(part, this.#path(key));
        return new FileCopy(openSync(this.#path(key), 'r'));
      });
    } finally {
      await file.close().catch(() => undefined);
      orNothing(() => {
        rmSync(part, { force: true });
      });
    }
  }

  #path(key: string): string {
    return join(this.#directory as string, nameOf(key));
  }
}

/** With those it lies in. Node's own way to do this never ends below /proc. */
function makeDirectory(path: string): void {
  const make = (): unknown =>
    codeOf(() => {
      mkdirSync(path, { mode: 0o700 });
    });
  if (make() !== 'ENOENT' || dirname(path) === path) return;
  makeDirectory(dirname(path));
  make();
}

function codeOf(act: () => unknown): unknown {
  try {
    act();
    return undefined;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}

function nameOf(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1);
}

async function isWritten(file: FileHandle, bytes: Uint8Array, position: number): Promise<boolean> {
  try {
    for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
    return true;
  } catch {
    return false;
  }
}

function orNothing<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}

class MemoryCopy implements LocalCopy {
  #bytes: Buffer | undefined;
  readonly #onClose: () => void;

  constructor(bytes: Buffer, onClose: () => void) {
    this.#bytes = bytes;
    this.#onClose = onClose;
  }

  read(offset: number, length: number): Buffer | undefined {
    return this.#bytes?.subarray(offset, offset + length);
  }

  close(): void {
    if (this.#bytes !== undefined) this.#onClose();
    this.#bytes = undefined;
  }
}

class FileCopy implements LocalCopy {
  #file: number | undefined;

  constructor(file: number) {
    this.#file = file;
  }

  read(offset: number, length: number, scratch?: Buffer): Buffer | undefined {
    const file = this.#file;
    if (file === undefined) return undefined;
    return orNothing(() => {
      const bytes = scratch !== undefined && scratch.length >= length ? scratch.subarray(0, length) : Buffer.allocUnsafe(length);
      for (let at = 0; at < length;) {
        const count = readSync(file, bytes, at, length - at, offset + at);
        if (count === 0) return undefined;
        at += count;
      }
      return bytes;
    });
  }

  close(): void {
    const file = this.#file;
    this.#file = undefined;
    if (file !== undefined)
      orNothing(() => {
        closeSync(file);
      });
  }
}
