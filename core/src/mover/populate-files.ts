import { closeSync, constants, fstatSync, ftruncateSync, fsyncSync, lstatSync, mkdirSync, openSync, unlinkSync } from 'node:fs';
import type { DmaasError } from '../errors.ts';
import { throwIfCancelled } from '../errors.ts';
import type { Repository } from '../repository/repository.ts';
import { PieceBatches, type Piece, type PieceFault, type PieceSink } from './batches.ts';
import type { ContentItem } from './content-format.ts';
import { extentsOf, type Extent } from './content.ts';
import { clear, comparer } from './in-place.ts';
import { attributesOf, createFile, setFileAttributes, type NewFile } from './new-file.ts';
import { ROOT } from './paths.ts';
import { errorCode, systemCode, type Posix } from './posix.ts';
import type { Problems } from './problems.ts';
import type { Checkpoint } from './restore-marker.ts';
import type { Target } from './target.ts';
import type { Entry } from './tree-format.ts';
import type { MoverThreads } from './threads.ts';
import type { TreeReader } from './tree-reader.ts';
import type { OpenDirectory } from './walk.ts';
import type { Destination } from './write-frames.ts';

export interface FilesTask {
  readonly target: Target;
  readonly tree: Pick<TreeReader, 'leaves'>;
  readonly repository: Pick<Repository, 'read' | 'fetchMany' | 'dataId'>;
  readonly threads: MoverThreads;
  readonly native: Posix | undefined;
  readonly problems: Problems;
  /** Where an earlier run stopped; undefined in an empty target. */
  readonly resumed: Checkpoint | undefined;
  /** What is there is compared, and written where it differs. `makeWay` has left nothing else there. */
  readonly isInPlace: boolean;
  /** Of content. */
  readonly onWritten: (bytes: number) => void;
  /** Told now and then how far everything is written. */
  readonly onCheckpoint: (checkpoint: Checkpoint) => void;
  readonly onBytes: (bytes: number) => void;
  readonly onEntry: (entry: Entry) => void;
  readonly signal: AbortSignal | undefined;
}

/** A file that is being written. */
interface OutFile {
  readonly entry: Entry;
  /** Its bytes that an earlier run has written. */
  readonly done: number;
  /** It is one piece, and so made at once by the thread that has it. */
  readonly isWhole: boolean;
  fd: number | undefined;
  /** Of a file that is being made at once. */
  directory: OpenDirectory | undefined;
  /** Pieces that have been planned but not written. */
  pending: number;
  /** Pieces that are being written at this moment. */
  writing: number;
  /** All its pieces have been planned. */
  isPlanned: boolean;
  hasFailed: boolean;
}

/** First part of filling a directory: makes the directories, with access for nobody else, and the files with their content. */
export async function populateFiles(task: FilesTask): Promise<void> {
  const files = new FileWriter(task);
  try {
    const groups = new Set<bigint>();
    for await (const leaf of task.tree.leaves()) {
      throwIfCancelled(task.signal);
      for (const entry of leaf) {
        task.onEntry(entry);
        if (entry.type === 'directory') makeDirectory(entry, task);
        if (entry.type !== 'file' || isLinkToEarlier(entry, groups)) continue;
        await files.add(entry);
      }
    }
    await files.finish();
  } finally {
    await files.end();
  }
}

/** Whether an entry of the same inode came before. Remembers the group. */
export function isLinkToEarlier({ linkGroup }: Entry, groups: Set<bigint>): boolean {
  if (linkGroup === undefined) return false;
  if (groups.has(linkGroup)) return true;
  groups.add(linkGroup);
  return false;
}

function makeDirectory({ path }: Entry, { target, problems, resumed, isInPlace }: FilesTask): void {
  if (path.length === 0) return;
  try {
    try {
      mkdirSync(target.at(path), 0o700);
    } catch (error) {
      if ((resumed === undefined && !isInPlace) || errorCode(error) !== 'EEXIST') throw error;
      // It may have got its final mode already.
      target.openDirectory(path);
    }
  } catch (error) {
    problems.add(path, { reason: systemCode(error) });
  }
}

/** Makes the files, each with its content and attributes. */
class FileWriter implements PieceSink<OutFile> {
  readonly #task: FilesTask;
  readonly #batches: PieceBatches<OutFile>;
  readonly #open = new Set<OutFile>();
  readonly #holds: ReturnType<typeof comparer>;
  /** The beginning of the volume that is planned. */
  #planned: Checkpoint = { path: ROOT, bytes: 0 };

  constructor(task: FilesTask) {
    this.#task = task;
    this.#holds = comparer(task.repository);
    this.#batches = new PieceBatches({ ...task, sink: this });
  }

  async add(entry: Entry): Promise<void> {
    const { repository, signal, onBytes } = this.#task;
    const done = this.#doneBefore(entry);
    if (done === entry.size && done > 0) {
      onBytes(done);
      return;
    }
    const { content, size } = entry;
    const there = this.#openThere(entry);
    const isWhole =
      there === undefined && done === 0 && 'items' in content && content.items.length === 1 && content.items[0]?.id !== undefined;
    const file: OutFile = {
      entry,
      done,
      isWhole,
      fd: undefined,
      directory: undefined,
      pending: 0,
      writing: 0,
      isPlanned: false,
      hasFailed: false,
    };
    const opts = signal === undefined ? {} : { signal };
    const extents =
      'items' in content ? inlineExtents(content.items) : extentsOf(repository, content, size, { offset: 0, length: size }, opts);
    try {
      for await (const extent of extents) {
        const { offset, length, id } = extent;
        const isThere = there !== undefined && (await this.#isThere(there, extent));
        if (id === undefined || isThere || offset + length <= done) {
          onBytes(length);
          continue;
        }
        file.pending += 1;
        const isFull = this.#batches.add({ file, offset, length, id });
        this.#planned = { path: entry.path, bytes: offset + length };
        if (isFull) await this.#send();
      }
    } finally {
      if (there !== undefined) closeSync(there);
    }
    file.isPlanned = true;
    this.#planned = { path: entry.path, bytes: size };
    if (file.pending === 0 && !isWhole && !file.hasFailed) this.#finishFile(file);
  }

  async finish(): Promise<void> {
    await this.#send();
    await this.#batches.finish();
  }

  async end(): Promise<void> {
    await this.#batches.abandon();
    for (const file of this.#open) {
      file.directory?.release();
      try {
        this.#close(file);
      } catch (error) {
        systemCode(error); // it was not complete anyway
      }
    }
    this.#open.clear();
  }

  destination({ file, offset, length }: Piece<OutFile>): Destination | undefined {
    if (file.hasFailed) return undefined;
    try {
      const to = file.isWhole ? { file: this.#newFile(file) } : { fd: this.#descriptor(file), offset };
      file.writing += 1;
      return { length, ...to };
    } catch (error) {
      this.#fail(file, systemCode(error));
      return undefined;
    }
  }

  withdraw({ file }: Piece<OutFile>): void {
    file.writing -= 1;
    if (file.isWhole) this.#releaseDirectory(file);
  }

  settle(piece: Piece<OutFile>, fault: PieceFault | undefined): void {
    const { file, length } = piece;
    this.withdraw(piece);
    if (fault?.what === 'attribute') this.#task.problems.add(file.entry.path, { reason: fault.reason, isOfAttribute: true });
    else if (fault !== undefined) this.#fail(file, fault.reason);
    if (fault === undefined || fault.what === 'attribute') this.#task.onWritten(length);
    this.#count(file, length);
  }

  giveUp({ file, length }: Piece<OutFile>, error: DmaasError | undefined): void {
    if (error !== undefined) this.#fail(file, error.message);
    this.#count(file, length);
  }

  async #send(): Promise<void> {
    const checkpoint = this.#planned;
    await this.#batches.send(() => {
      this.#task.onCheckpoint(checkpoint);
    });
  }

  /** The file that is written over; undefined when there is none, or it has nothing to keep. */
  #openThere({ path }: Entry): number | undefined {
    if (!this.#task.isInPlace) return undefined;
    try {
      return openSync(this.#task.target.at(path), constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      systemCode(error); // writing it anew will tell
      return undefined;
    }
  }

  /** Whether a piece of a file is what the backup has there. Makes it a hole where the backup has one. */
  async #isThere(fd: number, extent: Extent): Promise<boolean> {
    const { offset, length, id } = extent;
    if (id !== undefined) return this.#holds(fd, extent);
    await clear(fd, offset, Math.min(length, Math.max(0, fstatSync(fd).size - offset)), this.#task.native);
    return true;
  }

  /** How many bytes of a file an earlier run has written for sure. */
  #doneBefore({ path, size }: Entry): number {
    const { resumed, target } = this.#task;
    const order = resumed === undefined ? 1 : Buffer.compare(path, resumed.path);
    if (resumed === undefined || order > 0) return 0;
    try {
      const stat = lstatSync(target.at(path));
      if (stat.isFile() && stat.size === size) return order < 0 ? size : resumed.bytes;
    } catch (error) {
      systemCode(error);
    }
    return 0;
  }

  #newFile(file: OutFile): NewFile {
    const { target, resumed, isInPlace } = this.#task;
    const { at, directory } = target.retain(file.entry.path);
    file.directory = directory;
    this.#open.add(file);
    return { ...attributesOf(file.entry), at: at.toString('latin1'), mayExist: resumed !== undefined || isInPlace };
  }

  #releaseDirectory(file: OutFile): void {
    file.directory?.release();
    file.directory = undefined;
    this.#open.delete(file);
  }

  #descriptor(file: OutFile): number {
    if (file.fd !== undefined) return file.fd;
    const { target, resumed, isInPlace } = this.#task;
    const { path, size } = file.entry;
    const fd = createFile(target.at(path), resumed !== undefined || isInPlace);
    file.fd = fd;
    this.#open.add(file);
    // Holes are what is never written.
    ftruncateSync(fd, size);
    return fd;
  }

  #count(file: OutFile, length: number): void {
    this.#task.onBytes(length);
    file.pending -= 1;
    if (file.isWhole) return;
    if (file.hasFailed) this.#discard(file);
    else if (file.pending === 0 && file.isPlanned) this.#finishFile(file);
  }

  #finishFile(file: OutFile): void {
    const { native, problems } = this.#task;
    try {
      // Whoever has no pieces has not been opened: an empty file, or one that is all hole.
      const fd = this.#descriptor(file);
      const reason = setFileAttributes(fd, attributesOf(file.entry), native);
      if (reason !== undefined) problems.add(file.entry.path, { reason, isOfAttribute: true });
      if (native === undefined) fsyncSync(fd);
      this.#close(file);
    } catch (error) {
      this.#fail(file, systemCode(error));
      this.#discard(file);
    }
  }

  #fail(file: OutFile, reason: string): void {
    file.hasFailed = true;
    this.#task.problems.add(file.entry.path, { reason, isOfContent: true });
  }

  /** A file that is not complete is not left lying about. It is closed only when no write to it is under way: its descriptor may be another file's then. */
  #discard(file: OutFile): void {
    if (file.writing > 0 || file.fd === undefined) return;
    try {
      this.#close(file);
      unlinkSync(this.#task.target.at(file.entry.path));
    } catch (error) {
      systemCode(error);
    }
  }

  #close(file: OutFile): void {
    const { fd } = file;
    file.fd = undefined;
    this.#open.delete(file);
    if (fd !== undefined) closeSync(fd);
  }
}

function* inlineExtents(items: readonly ContentItem[]): Generator<Extent> {
  let offset = 0;
  for (const item of items) {
    yield { offset, ...item };
    offset += item.length;
  }
}
