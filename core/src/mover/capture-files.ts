import { closeSync } from 'node:fs';
import type { BlobId } from '../repository/format/blob.ts';
import { STRETCH_BYTES } from '../repository/format/chunker.ts';
import { Slots } from '../slots.ts';
import { entryOf, statAttributes, userFlags } from './attributes.ts';
import type { Parent } from './capture-parent.ts';
import type { CaptureTools, Reading, Slot } from './capture-parts.ts';
import { MIN_FIXED_BYTES } from './chunking-rule.ts';
import type { VolumeFindings } from './findings.ts';
import { openToRead, statOf } from './io.ts';
import type { LeafScanner } from './leaf-scanner.ts';
import { nameOf } from './paths.ts';
import { systemCode } from './posix.ts';
import { chooseChunking, dataRanges, readUnchanged, type CutBefore, type FilesResult, type FileToRead } from './read-files.ts';
import { readLarge } from './read-large.ts';
import { encodeEntry, type Entry } from './tree-format.ts';
import type { OpenDirectory, Walked } from './walk.ts';

/** Files that a thread reads with one task. */
const BATCH = { files: 64, bytes: 4 << 20, directories: 32 } as const;
/** Larger files are read by all threads together, so many at a time. */
const LARGE_FILES = 2;

interface Batch {
  readonly files: FileToRead[];
  readonly slots: Slot[];
  readonly directories: Set<OpenDirectory>;
  bytes: number;
  readonly reading: Reading;
  readonly resolve: (result: Promise<void>) => void;
}

/** Has the content of files read and stored by threads: small ones in batches, large ones in parts. */
export class FileReads {
  readonly #parent: Parent;
  readonly #racyNs: () => bigint;
  readonly #findings: VolumeFindings;
  readonly #tools: CaptureTools;
  readonly #large = new Slots(LARGE_FILES);
  readonly #running = new Set<Promise<void>>();
  #batch: Batch | undefined;

  /** `racyNs`: times of change after this may not show a later change. */
  constructor(parent: Parent, racyNs: () => bigint, findings: VolumeFindings, tools: CaptureTools) {
    this.#parent = parent;
    this.#racyNs = racyNs;
    this.#findings = findings;
    this.#tools = tools;
  }

  /** Takes a file up, whose entry will be in `slot`. A promise when this must wait for others to be read. */
  begin(slot: Slot, found: Walked, known: LeafScanner | undefined): Promise<Slot> | undefined {
    const before = known === undefined ? undefined : this.#parent.entry(known);
    if (found.stat.size > STRETCH_BYTES) return this.#beginLarge(slot, found, before);
    if (found.stat.size >= MIN_FIXED_BYTES && before?.type === 'file') return this.#beginKnown(slot, found, before);
    return this.#add(slot, found, undefined);
  }

  /** Sends off what waits for others to be read with. */
  send(): void {
    const batch = this.#batch;
    if (batch === undefined) return;
    this.#batch = undefined;
    batch.resolve(this.#track(this.#read(batch)));
  }

  /** Waits until nothing is being read any more. */
  async end(): Promise<void> {
    this.#batch?.directories.forEach((directory) => {
      directory.release();
    });
    this.#batch = undefined;
    await Promise.allSettled(this.#running);
  }

  skip(path: Buffer, code: string): void {
    if (code === 'ENOENT') this.#findings.addFor('file-vanished', path, 'vanished before it was read', 'info');
    else this.#findings.addFor('file-unreadable', path, `cannot be read (${code})`);
  }

  /** A file that may have been cut in blocks before. */
  async #beginKnown(slot: Slot, found: Walked, before: Entry): Promise<Slot> {
    found.directory.retain();
    try {
      await this.#add(slot, found, await this.#parent.cutOf(before, found.stat));
      return slot;
    } finally {
      found.directory.release();
    }
  }

  #add(slot: Slot, { at, stat, directory, linkGroup }: Walked, before: CutBefore | undefined): Promise<Slot> | undefined {
    const batch = (this.#batch ??= newBatch());
    if (!batch.directories.has(directory)) {
      directory.retain();
      batch.directories.add(directory);
    }
    batch.files.push({
      at: at.toString('latin1'),
      ...(linkGroup === undefined ? {} : { linkGroup }),
      ...(before === undefined ? {} : { before }),
    });
    batch.slots.push(slot);
    batch.bytes += stat.size;
    slot.reading = batch.reading;
    if (batch.files.length < BATCH.files && batch.bytes < BATCH.bytes && batch.directories.size < BATCH.directories) return undefined;
    this.send();
    return this.#tools.threads.isBusy ? this.#tools.threads.whenFree().then(() => slot) : undefined;
  }

  async #read({ files, slots, directories }: Batch): Promise<void> {
    let result: FilesResult;
    try {
      result = await this.#tools.threads.run('files', { files, racyNs: this.#racyNs() });
    } finally {
      for (const directory of directories) directory.release();
    }
    let start = 0;
    for (const [i, slot] of slots.entries()) {
      const { end, references, size, error, findings = [] } = result.files[i] as FilesResult['files'][number];
      for (const { code, fact, level } of findings) this.#findings.addFor(code, slot.path, fact, level);
      slot.reading = undefined;
      if (error === undefined) {
        slot.kept = {
          entry: { bytes: result.bytes.subarray(start, end), references: references as readonly BlobId[] },
          isFile: true,
          size,
        };
        this.#tools.onBytes(size);
      } else this.skip(slot.path, error);
      start = end;
    }
  }

  async #beginLarge(slot: Slot, found: Walked, before: Entry | undefined): Promise<Slot> {
    found.directory.retain();
    await this.#large.acquire();
    const done = this.#track(this.#readLarge(slot, found, before));
    slot.reading = { done };
    return slot;
  }

  async #readLarge(slot: Slot, found: Walked, before: Entry | undefined): Promise<void> {
    let fd: number | undefined;
    try {
      const cut = before?.type === 'file' ? await this.#parent.cutOf(before, found.stat) : undefined;
      fd = openToRead(found.at);
      await this.#readOpen(slot, found, fd, cut);
    } catch (error) {
      this.skip(slot.path, systemCode(error));
    } finally {
      if (fd !== undefined) closeSync(fd);
      slot.reading = undefined;
      found.directory.release();
      this.#large.release();
    }
  }

  async #readOpen(slot: Slot, found: Walked, fd: number, before: CutBefore | undefined): Promise<void> {
    const { native, threads, writer, repository, onBytes } = this.#tools;
    const start = statOf(fd, native);
    if (!start.isFile) throw Object.assign(new Error('replaced'), { code: 'ESTALE' });
    const { path } = slot;
    const entry = entryOf(found, native, this.#findings);
    const flags = userFlags(fd, native);
    const { chunker } = repository.parameters;
    const chunking = chooseChunking(fd, nameOf(path), start.size, before, { chunker });
    const read = await readUnchanged({ fd, first: start, native }, async ({ size }, isFirst) => {
      const isSparse = native !== undefined && native.seekHole(fd, 0) < size;
      const ranges = isSparse ? dataRanges(fd, size, native) : [{ start: 0, end: size }];
      const told = isFirst ? onBytes : (): void => undefined;
      const content = await readLarge({ fd, size, chunking, ranges, blockBytes: chunker.block, native, threads, writer, onBytes: told });
      return { content: await content.finish(), size: content.bytes };
    });
    if (read.changed) this.#findings.addFor('file-changed', path, 'changed while it was read: the backup may hold a mix of its states');
    const mayChangeUnseen = read.changed || entry.ctimeNs === 0n || read.stat.ctimeNs > this.#racyNs();
    const encoded = encodeEntry({
      ...entry,
      ...statAttributes(read.stat),
      ...(mayChangeUnseen ? { ctimeNs: 0n } : {}),
      size: read.size,
      content: read.content,
      ...(flags === undefined ? {} : { inodeFlags: flags }),
    });
    slot.kept = { entry: encoded, isFile: true, size: read.size };
  }

  #track(work: Promise<void>): Promise<void> {
    const done = work.finally(() => {
      this.#running.delete(done);
    });
    // Whoever writes the entry gets the error; until then nobody waits for it.
    done.catch(() => undefined);
    this.#running.add(done);
    return done;
  }
}

function newBatch(): Batch {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  promise.catch(() => undefined);
  return {
    files: [],
    slots: [],
    directories: new Set(),
    bytes: 0,
    reading: { done: promise },
    resolve: (result) => {
      resolve(result as Promise<undefined>);
    },
  };
}
