import { throwIfCancelled } from '../errors.ts';
import type { BlobId } from '../repository/format/blob.ts';
import { entryOf } from './attributes.ts';
import { Parent } from './capture-parent.ts';
import { FileReads } from './capture-files.ts';
import type { CaptureTools, Slot } from './capture-parts.ts';
import { LookAhead } from './look-ahead.ts';
import type { VolumeFindings } from './findings.ts';
import { systemCode } from './posix.ts';
import type { LeafScanner } from './leaf-scanner.ts';
import { encodeEntry } from './tree-format.ts';
import { TreeWriter } from './tree-writer.ts';
import type { Volume } from './volume-node.ts';
import { walk, type Walked } from './walk.ts';

export interface TreeSource {
  readonly path: string;
  readonly parent: BlobId | undefined;
  readonly skip: readonly string[];
  readonly now: () => number;
}

/** Entries that wait for one before them to be read. */
const MAX_WAITING = 2048;
/** Below so many entries, another thread is not worth its start. */
const MIN_LOOK_AHEAD = 10_000;
/** A change within this time after another may not show in a time stamp. */
const RACY_NS = 2_000_000_000n;

/**
 * Stores a directory tree. Walks it beside the tree of the backup before, so that an unchanged file costs one lstat; has threads read what
 * changed, and writes the entries in the order of the walk.
 */
export async function captureTree(source: TreeSource, findings: VolumeFindings, tools: CaptureTools): Promise<Omit<Volume, 'mode'>> {
  const { repository, writer, signal } = tools;
  const parent = new Parent(repository, findings, signal);
  const expected = await parent.open(source.parent);
  const tree = new TreeWriter(writer, repository.treeSeed);
  const counts = { files: 0, entries: 0, bytes: 0 };
  const racyNs = (): bigint => BigInt(Math.floor(source.now())) * 1_000_000n - RACY_NS;
  const reads = new FileReads(parent, racyNs, findings, tools);
  const entries = new Entries(parent, reads, racyNs, findings, tools);
  const waiting: Slot[] = [];
  const write = async (most: number): Promise<void> => {
    let next = 0;
    for (let slot = waiting[0]; slot !== undefined; slot = waiting[++next]) {
      if (slot.reading !== undefined) {
        if (waiting.length - next <= most) break;
        reads.send(); // it may be waiting for others to be read with
        await slot.reading.done;
      }
      if (slot.kept === undefined) continue;
      const { entry, isFile, size } = slot.kept;
      counts.entries += 1;
      if (isFile) counts.files += 1;
      if (!slot.isLink) counts.bytes += size;
      const cut = tree.add(slot.path, entry);
      if (cut !== undefined) await cut;
    }
    waiting.splice(0, next);
  };
  const isLarge = tools.native !== undefined && expected >= MIN_LOOK_AHEAD;
  const ahead = isLarge ? new LookAhead(source.path, { repository, fidelity: 'full', signal }) : undefined;
  try {
    for (const found of walkSource(source, findings, tools)) {
      throwIfCancelled(signal);
      ahead?.pass();
      const known = parent.at(found.path);
      const slot = entries.of(found, known instanceof Promise ? await known : known);
      waiting.push(slot instanceof Promise ? await slot : slot);
      if (waiting.length >= MAX_WAITING || waiting.length % WRITE_EVERY === 0) await write(MAX_WAITING - 1);
    }
    await write(0);
  } finally {
    await Promise.allSettled([reads.end(), parent.close(), ahead?.stop()]);
  }
  return { ...counts, top: (await tree.finish()).top };
}

const WRITE_EVERY = 64;

function walkSource({ path, skip }: TreeSource, findings: VolumeFindings, { native }: CaptureTools): Generator<Walked> {
  return walk(path, {
    native,
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
class Entries {
  readonly #parent: Parent;
  readonly #reads: FileReads;
  readonly #racyNs: () => bigint;
  readonly #findings: VolumeFindings;
  readonly #tools: CaptureTools;
  /** Inodes with several names, and how many of these are still to come. A number is given again when its file is gone; then it was born later. */
  readonly #links = new Map<bigint, { left: number; readonly first: Slot; readonly bornNs: bigint }>();

  constructor(parent: Parent, reads: FileReads, racyNs: () => bigint, findings: VolumeFindings, tools: CaptureTools) {
    this.#parent = parent;
    this.#reads = reads;
    this.#racyNs = racyNs;
    this.#findings = findings;
    this.#tools = tools;
  }

  /** A promise only when what is being read must get less first. */
  of(found: Walked, before: LeafScanner | undefined): Slot | Promise<Slot> {
    return found.linkGroup === undefined ? this.#of(found, before) : this.#ofSeveral(found, before);
  }

  /** One name of an inode that has several. */
  async #ofSeveral(found: Walked, before: LeafScanner | undefined): Promise<Slot> {
    const { inode, nlink, bornNs } = found.stat;
    const known = this.#links.get(inode);
    if (known === undefined) {
      const first = await this.#of(found, before);
      this.#links.set(inode, { left: nlink - 1, first, bornNs });
      return first;
    }
    // Another file by now: on its own, for its number stands for the one before.
    if (known.bornNs !== bornNs) return this.#of(found.alone(), undefined);
    known.left -= 1;
    if (known.left === 0) this.#links.delete(inode);
    return this.#linkTo(known.first, found.path);
  }

  #linkTo(first: Slot, path: Buffer): Slot {
    const slot: Slot = { path, kept: undefined, reading: undefined, isLink: true };
    const take = (): void => {
      slot.reading = undefined;
      slot.kept = first.kept;
      if (first.kept === undefined) this.#findings.addFor('file-unreadable', path, 'is a hard link to a file that cannot be read');
    };
    if (first.reading === undefined) take();
    else {
      const done = first.reading.done.then(take);
      done.catch(() => undefined); // whoever writes the entry gets the error
      slot.reading = { done };
    }
    return slot;
  }

  #of(found: Walked, known: LeafScanner | undefined): Slot | Promise<Slot> {
    const { path, stat } = found;
    const slot: Slot = { path, kept: undefined, reading: undefined, isLink: false };
    const { isFile } = stat;
    // Where some of it is gone, what is known says how it was cut: cut so again, it is what older backups lack, too.
    if (known?.isUnchanged(stat) === true && this.#parent.isStored(known)) {
      const size = isFile ? stat.size : 0;
      this.#tools.onBytes(size);
      slot.kept = { entry: known.encoded, isFile, size };
      return slot;
    }
    if (isFile && stat.size > 0) return this.#reads.begin(slot, found, known) ?? slot;
    try {
      const entry = entryOf(found, this.#tools.native, this.#findings);
      // What may yet change without a sign in its times is given none, so that the next backup looks again.
      const isRacy = entry.ctimeNs > this.#racyNs();
      slot.kept = { entry: encodeEntry(isRacy ? { ...entry, ctimeNs: 0n } : entry), isFile, size: 0 };
    } catch (error) {
      this.#reads.skip(path, systemCode(error));
    }
    return slot;
  }
}
