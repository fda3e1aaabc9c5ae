import { closeSync, type BigIntStats } from 'node:fs';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { BlobId } from '../repository/blob.ts';
import { Slots } from '../repository/slots.ts';
import { entryOf, statAttributes, typeOf, userFlags } from './attributes.ts';
import { readFile, type ReadTools } from './capture-file.ts';
import type { VolumeFindings } from './findings.ts';
import { openToRead } from './io.ts';
import { systemCode } from './posix.ts';
import type { Entry } from './tree-format.ts';
import { TreeCursor, TreeReader } from './tree-reader.ts';
import { TreeWriter } from './tree-writer.ts';
import { readVolume, type Volume } from './volume-node.ts';
import { walk, type Walked } from './walk.ts';

export interface TreeSource {
  readonly path: string;
  readonly parent: BlobId | undefined;
  readonly skip: readonly string[];
  readonly now: () => number;
}

/** Files that are read at the same time. Large ones hold buffers, so that one counts for several. */
const FILES_IN_FLIGHT = 12;
const LARGE_FILE = { bytes: 4 << 20, counts: 4 } as const;
/** Entries that wait for one before them to be read. */
const MAX_WAITING = 4096;
/** A change within this time after another may not show in a time stamp. */
const RACY_NS = 2_000_000_000n;

/** An entry of the tree to be. While `reading`, its file is being read; without an entry then, nothing of it can be kept. */
interface Slot {
  entry: Entry | undefined;
  reading: Promise<void> | undefined;
  /** Another name of an inode that came before. */
  readonly isLink: boolean;
}

/**
 * Stores a directory tree. Walks it beside the tree of the backup before, so that an unchanged file costs one lstat; reads several changed files at
 * a time, and writes the entries in the order of the walk.
 */
export async function captureTree(source: TreeSource, findings: VolumeFindings, tools: ReadTools): Promise<Omit<Volume, 'mode'>> {
  const parent = new Parent(findings, tools);
  await parent.open(source.parent);
  const tree = new TreeWriter(tools.writer, tools.repository.treeSeed);
  const counts = { files: 0, entries: 0, bytes: 0 };
  const files = new FilesInFlight(source.now, findings, tools);
  const waiting: Slot[] = [];
  const write = async (most: number): Promise<void> => {
    let next = 0;
    for (; waiting.length - next > most || waiting[next]?.reading === undefined; next++) {
      const slot = waiting[next];
      if (slot === undefined) break;
      await slot.reading;
      if (slot.entry === undefined) continue;
      counts.entries += 1;
      if (slot.entry.type === 'file') counts.files += 1;
      if (!slot.isLink) counts.bytes += slot.entry.size;
      await tree.add(slot.entry);
    }
    waiting.splice(0, next);
  };
  try {
    for (const found of walkSource(source, findings)) {
      throwIfCancelled(tools.signal);
      const known = parent.at(found.path);
      waiting.push(await files.begin(found, known instanceof Promise ? await known : known));
      await write(MAX_WAITING);
    }
    await write(0);
  } finally {
    await Promise.allSettled([files.end(), parent.close()]);
  }
  return { ...counts, top: (await tree.finish()).top };
}

/** The tree of the backup before. One that cannot be read must not stop all backups to come: then everything is read from the volume. */
class Parent {
  readonly #findings: VolumeFindings;
  readonly #tools: ReadTools;
  #cursor: TreeCursor | undefined;

  constructor(findings: VolumeFindings, tools: ReadTools) {
    this.#findings = findings;
    this.#tools = tools;
  }

  async open(root: BlobId | undefined): Promise<void> {
    if (root === undefined) return;
    const { repository, signal } = this.#tools;
    const opts = signal === undefined ? {} : { signal };
    await this.#orNothing(async () => {
      const { mode, top } = await readVolume(repository, root, opts);
      if (mode === 'filesystem') this.#cursor = new TreeCursor(new TreeReader(repository, top, opts));
      return undefined;
    });
  }

  /** The entry of a path, if what it refers to is still there. Paths must ascend. */
  at(path: Buffer): Entry | undefined | Promise<Entry | undefined> {
    const cursor = this.#cursor;
    if (cursor === undefined) return undefined;
    try {
      const entry = cursor.at(path);
      return entry instanceof Promise ? this.#orNothing(async () => this.#present(await entry)) : this.#present(entry);
    } catch (error) {
      this.#giveUp(error);
      return undefined;
    }
  }

  async close(): Promise<void> {
    await this.#cursor?.close();
  }

  #present(entry: Entry | undefined): Entry | undefined | Promise<Entry | undefined> {
    if (entry === undefined) return undefined;
    const { content } = entry;
    const ids = 'node' in content ? [content.node] : content.items.flatMap(({ id }) => id ?? []);
    const ifThere = (known: readonly boolean[]) => (known.includes(false) ? undefined : entry);
    const known = this.#tools.repository.known(ids);
    return known instanceof Promise ? known.then(ifThere) : ifThere(known);
  }

  async #orNothing(read: () => Promise<Entry | undefined>): Promise<Entry | undefined> {
    try {
      return await read();
    } catch (error) {
      this.#giveUp(error);
      return undefined;
    }
  }

  #giveUp(error: unknown): void {
    if (!DmaasError.is(error, 'REPOSITORY_CORRUPT') && !DmaasError.is(error, 'REPOSITORY_VERSION')) throw error;
    this.#cursor = undefined;
    this.#findings.add('parent-unreadable', `the backup before cannot be compared with, so every file is read: ${error.message}`);
  }
}

function walkSource({ path, skip }: TreeSource, findings: VolumeFindings): Generator<Walked> {
  return walk(path, {
    onError: (at, error) => {
      const code = systemCode(error);
      if (code === 'ENOENT') findings.addFor('file-vanished', at, 'vanished before it was read', 'info');
      else findings.addFor('directory-unreadable', at, `cannot be read (${code})`);
    },
    onMount: (at) => {
      findings.addFor('other-file-system', at, 'is on another file system and not in the backup');
    },
    skip,
  });
}

/** Turns what the walk finds into entries. */
class FilesInFlight {
  readonly #now: () => number;
  readonly #findings: VolumeFindings;
  readonly #tools: ReadTools;
  readonly #slots = new Slots(FILES_IN_FLIGHT);
  readonly #reading = new Set<Promise<void>>();
  /** Inodes with several names, and how many of these are still to come. A number is given again when its file is gone; then it was born later. */
  readonly #links = new Map<bigint, { left: bigint; readonly first: Slot; readonly bornNs: bigint }>();

  constructor(now: () => number, findings: VolumeFindings, tools: ReadTools) {
    this.#now = now;
    this.#findings = findings;
    this.#tools = tools;
  }

  /** Opens what must be read before it returns, because `found` is reachable only until then; waits for a place among the files in flight. */
  async begin(found: Walked, before: Entry | undefined): Promise<Slot> {
    const { ino, nlink, birthtimeNs: bornNs } = found.stat;
    if (nlink < 2n || found.stat.isDirectory()) return this.#begin(found, before);
    const known = this.#links.get(ino);
    if (known === undefined) {
      const first = await this.#begin(found, before);
      this.#links.set(ino, { left: nlink - 1n, first, bornNs });
      return first;
    }
    // Another file by now: on its own, for its number stands for the one before.
    if (known.bornNs !== bornNs) return this.#begin({ ...found, stat: withOneName(found.stat) }, undefined);
    known.left -= 1n;
    if (known.left === 0n) this.#links.delete(ino);
    return this.#linkTo(known.first, found.path);
  }

  /** Waits until nothing is being read any more. */
  async end(): Promise<void> {
    await Promise.allSettled(this.#reading);
  }

  #linkTo(first: Slot, path: Buffer): Slot {
    const slot: Slot = { entry: undefined, reading: undefined, isLink: true };
    const take = (): void => {
      if (first.entry === undefined) this.#findings.addFor('file-unreadable', path, 'is a hard link to a file that cannot be read');
      else slot.entry = { ...first.entry, path };
    };
    if (first.reading === undefined) take();
    else this.#track(slot, first.reading.then(take));
    return slot;
  }

  async #begin(found: Walked, before: Entry | undefined): Promise<Slot> {
    const { path, stat, at } = found;
    if (before !== undefined && isUnchanged(before, found)) {
      this.#tools.onBytes(before.size);
      return { entry: before, reading: undefined, isLink: false };
    }
    const slot: Slot = { entry: undefined, reading: undefined, isLink: false };
    try {
      const entry = entryOf(found, this.#tools.native, this.#findings);
      if (!stat.isFile() || stat.size === 0n) return { ...slot, entry: this.#dated(entry) };
      await this.#slots.acquire(weightOf(entry));
      let fd: number;
      try {
        fd = openToRead(at);
      } catch (error) {
        this.#slots.release(weightOf(entry));
        throw error;
      }
      this.#track(slot, this.#read(slot, fd, entry, before));
    } catch (error) {
      this.#skip(path, error);
    }
    return slot;
  }

  async #read(slot: Slot, fd: number, entry: Entry, before: Entry | undefined): Promise<void> {
    const { path } = entry;
    try {
      const flags = userFlags(fd, this.#tools.native);
      const { content, size, stat, changed } = await readFile(fd, path, before, this.#tools);
      if (changed) this.#findings.addFor('file-changed', path, 'changed while it was read: the backup may hold a mix of its states');
      const read = { ...entry, ...statAttributes(stat), size, content, ...(flags === undefined ? {} : { inodeFlags: flags }) };
      slot.entry = changed || entry.ctimeNs === 0n ? { ...read, ctimeNs: 0n } : this.#dated(read);
    } catch (error) {
      this.#skip(path, error);
    } finally {
      closeSync(fd);
      this.#slots.release(weightOf(entry));
    }
  }

  #track(slot: Slot, work: Promise<void>): void {
    const reading = work.finally(() => {
      slot.reading = undefined;
      this.#reading.delete(reading);
    });
    // Whoever writes the entry gets the error; until then nobody waits for it.
    reading.catch(() => undefined);
    slot.reading = reading;
    this.#reading.add(reading);
  }

  #skip(path: Buffer, error: unknown): void {
    const code = systemCode(error);
    if (code === 'ENOENT') this.#findings.addFor('file-vanished', path, 'vanished before it was read', 'info');
    else this.#findings.addFor('file-unreadable', path, `cannot be read (${code})`);
  }

  /** An entry that may yet change without a sign in its times is given none, so that the next backup looks again. */
  #dated(entry: Entry): Entry {
    const now = BigInt(Math.floor(this.#now())) * 1_000_000n;
    return entry.ctimeNs > now - RACY_NS ? { ...entry, ctimeNs: 0n } : entry;
  }
}

function weightOf({ size }: Entry): number {
  return size > LARGE_FILE.bytes ? LARGE_FILE.counts : 1;
}

function withOneName(stat: BigIntStats): BigIntStats {
  return Object.assign(Object.create(stat) as BigIntStats, { nlink: 1n });
}

function isUnchanged(before: Entry, { stat }: Walked): boolean {
  return (
    before.ctimeNs === stat.ctimeNs &&
    before.mtimeNs === stat.mtimeNs &&
    before.inode === stat.ino &&
    before.type === typeOf(stat) &&
    (before.type !== 'file' || before.size === Number(stat.size))
  );
}
