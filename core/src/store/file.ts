import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import type { Dirent } from 'node:fs';
import { link, mkdir, open, readdir, rename, rm, rmdir, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import { assertIntact, assertKey, assertKeyPrefix, assertRange, existsError, isKey, isKeyPrefix, rangeError } from './keys.ts';
import type { ByteRange } from './keys.ts';
import type { CallOptions, ObjectInfo, ObjectStore, PutOptions } from './object-store.ts';

/** Bodies are written here first. No key begins with a dot, so it is never taken for an object. */
const STAGING = '.staging';
/** What a killed process left in STAGING is removed by a later one after this long; no put takes a day. */
const STAGING_MAX_AGE_MS = 24 * 3600 * 1000;
/** A put whose folder is removed under its hands, because a delete emptied it, makes it again this many times. */
/** Bodies from this size on are written past the page cache. */
const MIN_DIRECT_BYTES = 1 << 20;
/** Of any disk, or a multiple of it. */
const BLOCK_BYTES = 4096;
const WRITE_BYTES = 8 << 20;
/** Linux has it; Node's types say that all have. */
const O_DIRECT = (constants as { readonly O_DIRECT?: number }).O_DIRECT;
const FOLDER_RACES = 20;

/**
 * Objects as files of a directory, which must exist: a directory that is missing may be one whose disk is not mounted. A body is
 * written and fsynced under another name, then linked (fails if the name is taken) or renamed (replaces) to its own, and the
 * folder is fsynced: after a power cut an object is there entirely or not at all.
 */
export class FileStore implements ObjectStore {
  readonly location: string;
  readonly #root: string;
  readonly #now: () => number;
  #swept: Promise<void> | undefined;

  constructor(path: string, opts: { readonly now?: () => number } = {}) {
    this.#root = resolve(path);
    this.location = pathToFileURL(this.#root).href;
    this.#now = opts.now ?? Date.now;
  }

  async put(key: string, body: Uint8Array, opts: PutOptions = {}): Promise<void> {
    assertKey(key);
    assertIntact(this.location, key, body, opts);
    await this.#guard(key, opts.signal, async () => {
      await (this.#swept ??= this.#sweepStaging());
      const staged = join(this.#root, STAGING, randomBytes(12).toString('hex'));
      try {
        await writeDurably(staged, body, opts.signal);
        await this.#publish(staged, key, opts.ifAbsent === true);
      } finally {
        await rm(staged, { force: true });
      }
    });
  }

  async get(key: string, opts: CallOptions & { readonly range?: ByteRange } = {}): Promise<Uint8Array | undefined> {
    assertKey(key);
    const range = opts.range;
    if (range !== undefined) assertRange(range);
    return this.#orAbsent(key, opts.signal, async () => {
      await using file = await open(this.#path(key), constants.O_RDONLY);
      const info = await file.stat();
      if (!info.isFile()) return undefined;
      const { offset, length } = range ?? { offset: 0, length: info.size };
      if (offset + length > info.size) throw rangeError(this.location, key, { offset, length }, info.size);
      const body = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer); // not cleared, for all of it is read
      for (let at = 0; at < length;) {
        throwIfCancelled(opts.signal);
        const { bytesRead } = await file.read(body, at, length - at, offset + at);
        if (bytesRead === 0) throw rangeError(this.location, key, { offset, length }, offset + at);
        at += bytesRead;
      }
      return body;
    });
  }

  async stat(key: string, opts: CallOptions = {}): Promise<ObjectInfo | undefined> {
    assertKey(key);
    return this.#orAbsent(key, opts.signal, async () => {
      const info = await stat(this.#path(key));
      return info.isFile() ? { key, size: info.size, modifiedAt: info.mtime } : undefined;
    });
  }

  async *list(prefix: string, opts: CallOptions = {}): AsyncIterable<ObjectInfo> {
    assertKeyPrefix(prefix);
    yield* this.#walk(prefix.slice(0, prefix.lastIndexOf('/') + 1), prefix, opts);
  }

  async delete(key: string, opts: CallOptions = {}): Promise<void> {
    assertKey(key);
    await this.#orAbsent(key, opts.signal, async () => {
      await unlink(this.#path(key));
      await syncFolder(dirname(this.#path(key)));
      return undefined;
    });
    await this.#removeEmptyFolders(dirname(this.#path(key)));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #path(key: string): string {
    return join(this.#root, ...key.split('/'));
  }

  async #publish(staged: string, key: string, ifAbsent: boolean): Promise<void> {
    const path = this.#path(key);
    for (let race = 0; ; race++) {
      try {
        await this.#makeFolders(key);
        if (ifAbsent) await link(staged, path);
        else await rename(staged, path);
        await syncFolder(dirname(path));
        return;
      } catch (e) {
        if (ifAbsent && errno(e) === 'EEXIST') throw existsError(this.location, key);
        if (errno(e) !== 'ENOENT' || race >= FOLDER_RACES) throw e;
        await this.#requireRoot();
      }
    }
  }

  /**
   * One level at a time: the root is never made. Each name is made durable in the folder above it, old ones too: whoever made
   * them may not have come to that yet.
   */
  async #makeFolders(key: string): Promise<void> {
    let path = this.#root;
    for (const segment of key.split('/').slice(0, -1)) {
      const parent = path;
      path = join(path, segment);
      await makeFolder(path);
      await syncFolder(parent);
    }
  }

  async #removeEmptyFolders(path: string): Promise<void> {
    for (let folder = path; folder !== this.#root; folder = dirname(folder)) {
      try {
        await rmdir(folder);
      } catch {
        return; // not empty, gone already, or not ours to remove: an empty folder is invisible anyway
      }
    }
  }

  async *#walk(folder: string, prefix: string, opts: CallOptions): AsyncIterable<ObjectInfo> {
    const entries = await this.#orAbsent(folder, opts.signal, () => readdir(this.#path(folder), { withFileTypes: true }));
    for (const name of sortedNames(entries ?? [])) {
      const key = folder + name;
      if (name.endsWith('/')) {
        if (isKeyPrefix(key) && (key.startsWith(prefix) || prefix.startsWith(key))) yield* this.#walk(key, prefix, opts);
      } else if (isKey(key) && key.startsWith(prefix)) {
        const info = await this.stat(key, opts);
        if (info !== undefined) yield info;
      }
    }
  }

  async #sweepStaging(): Promise<void> {
    const staging = join(this.#root, STAGING);
    await makeFolder(staging);
    for (const name of await readdir(staging)) {
      const path = join(staging, name);
      const info = await stat(path).catch(() => undefined);
      if (info !== undefined && this.#now() - info.mtimeMs > STAGING_MAX_AGE_MS) await rm(path, { force: true });
    }
  }

  /** Absence of an object is an answer; absence of the whole directory is an error. */
  async #orAbsent<T>(key: string, signal: AbortSignal | undefined, call: () => Promise<T>): Promise<T | undefined> {
    return this.#guard(key, signal, async () => {
      try {
        return await call();
      } catch (e) {
        if (errno(e) !== 'ENOENT' && errno(e) !== 'ENOTDIR') throw e;
        await this.#requireRoot();
        return undefined;
      }
    });
  }

  async #requireRoot(): Promise<void> {
    const info = await stat(this.#root).catch((e: unknown) => {
      if (errno(e) !== 'ENOENT' && errno(e) !== 'ENOTDIR') throw e;
      return undefined;
    });
    if (info?.isDirectory() !== true) throw noDirectory(this.#root);
  }

  async #guard<T>(key: string, signal: AbortSignal | undefined, call: () => Promise<T>): Promise<T> {
    throwIfCancelled(signal);
    try {
      return await call();
    } catch (e) {
      throw fileError(e, this.#root, key);
    }
  }
}

/** Folders count with their final slash, which puts `a-b` before `a/c`, as the bytes of the keys do. */
function sortedNames(entries: readonly Dirent[]): string[] {
  return entries
    .filter((entry) => entry.isFile() || entry.isDirectory())
    .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
    .sort();
}

async function writeDurably(path: string, body: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
  await using file = await open(path, 'wx', 0o600);
  const begun = body.length < MIN_DIRECT_BYTES || O_DIRECT === undefined ? 0 : await writeDirect(path, O_DIRECT, body, signal);
  for (let at = begun; at < body.length;) {
    throwIfCancelled(signal);
    at += (await file.write(body, at, Math.min(body.length - at, WRITE_BYTES), at)).bytesWritten;
  }
  await file.sync();
}

/**
 * Writes whole blocks past the page cache: several times as fast as through it where memory is limited, and nothing is pushed out of it that
 * somebody reads. Returns how many bytes; few or none where the file system, or where the body lies in memory, does not allow it.
 */
async function writeDirect(path: string, flag: number, body: Uint8Array, signal: AbortSignal | undefined): Promise<number> {
  const whole = body.length - (body.length % BLOCK_BYTES);
  let done = 0;
  try {
    await using file = await open(path, constants.O_WRONLY | flag);
    while (done < whole) {
      throwIfCancelled(signal);
      done += (await file.write(body, done, Math.min(whole - done, WRITE_BYTES), done)).bytesWritten;
    }
  } catch (e) {
    if (errno(e) !== 'EINVAL') throw e;
  }
  return done;
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (e) {
    if (errno(e) !== 'EEXIST') throw e;
  }
}

async function syncFolder(path: string): Promise<void> {
  try {
    await using folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    await folder.sync();
  } catch (e) {
    // A delete emptied the folder meanwhile and removed it, and with it nothing of ours; some network file systems cannot sync folders.
    if (!['ENOENT', 'EINVAL', 'ENOTSUP'].includes(errno(e) ?? '')) throw e;
  }
}

function errno(e: unknown): string | undefined {
  return e instanceof Error && 'code' in e && typeof e.code === 'string' ? e.code : undefined;
}

function noDirectory(root: string): DmaasError {
  return new DmaasError('STORE_NOT_FOUND', `the directory ${root} does not exist`, { hint: `mkdir -p ${root}` });
}

const ACCESS = new Set(['EACCES', 'EPERM', 'EROFS']);

function fileError(e: unknown, root: string, key: string): Error {
  if (DmaasError.is(e)) return e;
  const code = errno(e);
  if (e instanceof Error && e.name === 'AbortError') return new DmaasError('CANCELLED', 'stopped', { cause: e });
  const path = join(root, key);
  if (code === 'ENOENT' || code === 'ENOTDIR') return noDirectory(root);
  if (code !== undefined && ACCESS.has(code)) {
    return new DmaasError('STORE_ACCESS', `${path} may not be read or written (${code})`, { cause: e, hint: `ls -ld ${dirname(path)}` });
  }
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new DmaasError('STORE_UNAVAILABLE', `no space is left for ${path}`, { cause: e, hint: `df -h ${root}` });
  }
  return new DmaasError('STORE_UNAVAILABLE', `${path} cannot be read or written (${code ?? 'unknown error'})`, { cause: e });
}
