import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import * as z from 'zod';
import { DmaasError } from '../errors.ts';
import { isOperationId, type OperationId } from '../operation.ts';
import { isBlobId, type BlobId } from '../repository/format/blob.ts';
import { errorCode, systemCode } from './posix.ts';
import { within } from './walk.ts';

const PREFIX = '.dmaas-restore-';

/** The operation that began to fill this directory and did not end, or undefined. Run under the same id it goes on. */
export function unfinishedRestore(directory: string): OperationId | undefined {
  const marker = readdirSync(directory).find((name) => name.startsWith(PREFIX));
  const operation = marker?.slice(PREFIX.length) ?? '';
  return isOperationId(operation) ? operation : undefined;
}

/** Everything before this has been written and made durable. */
export interface Checkpoint {
  readonly path: Buffer;
  /** Of the file at `path`. */
  readonly bytes: number;
}

const markerSchema = z.object({
  root: z.custom<BlobId>((value) => typeof value === 'string' && isBlobId(value)),
  path: z.base64(),
  bytes: z.number().int().nonnegative(),
});

/**
 * A file in the root of a volume that is being filled. It tells an unfinished restore from somebody's data, and how far it
 * has come; it is removed when all is done.
 */
export class RestoreMarker {
  readonly #rootFd: number;
  readonly #root: BlobId;
  readonly #operation: OperationId;
  /** Where an earlier run of the same operation stopped; undefined when there was none. */
  readonly resumed: Checkpoint | undefined;

  /**
   * Throws PREFLIGHT_FAILED when the target is not empty and does not hold an unfinished run of the same restore. One that is rewritten in place is not
   * empty, and an interrupted run of it begins again: that what is there is compared is how it goes on.
   */
  constructor(rootFd: number, operation: OperationId, root: BlobId, name: string, isInPlace = false) {
    this.#rootFd = rootFd;
    this.#root = root;
    this.#operation = operation;
    const found = readdirSync(`/proc/self/fd/${rootFd}`, { encoding: 'latin1' }).filter((entry) => entry !== 'lost+found');
    if (isInPlace) {
      this.resumed = undefined;
      if (!found.includes(this.name)) this.#create(name);
      return;
    }
    this.resumed = found.includes(this.name) ? this.#read(name) : undefined;
    if (this.resumed === undefined && found.length > 0) throw notEmpty(found, name);
    if (this.resumed === undefined) this.#create(name);
  }

  get name(): string {
    return PREFIX + this.#operation;
  }

  /** Removes what a run of the operation left that is done but for this. */
  static removeLeft(rootFd: number, operation: OperationId): void {
    removeFrom(rootFd, PREFIX + operation);
  }

  /** The marker is overwritten in place: torn by a crash it is not readable, and the restore begins again. */
  save({ path, bytes }: Checkpoint): void {
    const fd = openSync(this.#at, constants.O_WRONLY | constants.O_NOFOLLOW);
    try {
      const text = JSON.stringify({ root: this.#root, path: path.toString('base64'), bytes });
      writeSync(fd, text, 0);
      ftruncateSync(fd, text.length);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  remove(): void {
    removeFrom(this.#rootFd, this.name);
  }

  get #at(): Buffer {
    return within(this.#rootFd, this.name);
  }

  #create(name: string): void {
    try {
      closeSync(openSync(this.#at, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600));
      this.save({ path: Buffer.alloc(0), bytes: 0 });
    } catch (error) {
      const code = errorCode(error);
      if (code === undefined) throw error;
      const reason = REASONS[code] ?? `nothing can be written to it (${code})`;
      throw new DmaasError('PREFLIGHT_FAILED', `${name}: ${reason}`, { cause: error });
    }
  }

  #read(name: string): Checkpoint {
    const stored = markerSchema.safeParse(parseJson(this.#content()));
    if (!stored.success) return { path: Buffer.alloc(0), bytes: 0 };
    if (stored.data.root !== this.#root) {
      throw new DmaasError('PREFLIGHT_FAILED', `${name}: the volume holds an unfinished restore of another backup`, { hint: HINT });
    }
    return { path: Buffer.from(stored.data.path, 'base64'), bytes: stored.data.bytes };
  }

  #content(): Buffer {
    const fd = openSync(this.#at, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const content = Buffer.alloc(MAX_MARKER_BYTES);
      return content.subarray(0, readSync(fd, content));
    } finally {
      closeSync(fd);
    }
  }
}

/** The root has its final mode by then, which may keep even its owner from changing what is in it. */
function removeFrom(rootFd: number, name: string): void {
  try {
    unlinkSync(within(rootFd, name));
  } catch (error) {
    if (systemCode(error) !== 'EACCES') throw error;
    const mode = fstatSync(rootFd).mode & 0o7777;
    fchmodSync(rootFd, mode | 0o300);
    try {
      unlinkSync(within(rootFd, name));
    } finally {
      fchmodSync(rootFd, mode);
    }
  }
}

/** A path may be 1 MiB, and base64 adds a third. */
const MAX_MARKER_BYTES = 2 << 20;

const HINT = 'restore into a new volume, or empty this one first';

const REASONS: Readonly<Record<string, string>> = {
  EROFS: 'the volume is mounted read-only',
  ENOSPC: 'the volume is full',
  EDQUOT: 'the quota of the volume is used up',
  EACCES: 'this user may not write to the volume',
  EPERM: 'this user may not write to the volume',
};

function notEmpty(found: readonly string[], name: string): DmaasError {
  const other = found.find((entry) => entry.startsWith(PREFIX));
  if (other !== undefined) {
    const operation = other.slice(PREFIX.length);
    return new DmaasError('PREFLIGHT_FAILED', `${name}: the volume holds an unfinished restore of the operation ${operation}`, {
      hint: HINT,
    });
  }
  return new DmaasError('PREFLIGHT_FAILED', `${name}: the volume is not empty`, { hint: HINT });
}

function parseJson(text: Buffer): unknown {
  try {
    return JSON.parse(text.toString('utf8'));
  } catch {
    return undefined;
  }
}
