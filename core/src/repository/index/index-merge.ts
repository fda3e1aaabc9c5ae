import { discard } from '../../discard.ts';
import { DmaasError } from '../../errors.ts';
import { forEachParallel } from '../../parallel.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import { BLOB_ID_BYTES } from '../format/blob.ts';
import type { Random } from '../format/derive.ts';
import { newSegmentKey, SegmentWriter } from '../format/index-segment.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { packKey } from '../format/pack-reader.ts';
import { prefixAt } from '../format/segment-filter.ts';
import { ROW_BYTES, type PackInfo } from '../format/table.ts';
import type { Session } from '../protocol/sessions.ts';
import type { Tombstones } from '../protocol/tombstones.ts';
import type { IndexLoader, ReplacedSegment } from './index-loader.ts';
import { SegmentVanished, type OpenSegment } from './open-segment.ts';

/** A merged segment is one put of one buffer: this many entries are 64 MiB. */
const MAX_ENTRIES = 1_400_000;
/** Two segments below this can always be merged; others are left alone. */
const FULL_ENTRIES = MAX_ENTRIES / 2;
/** So many small segments may be left: a reader without a local copy opens each. */
const MAX_SMALL = 4;
/** A segment stays while it is this many times as large as all smaller ones together. */
const RATIO = 2;
const MAX_INPUTS = 32;
const MAX_LEVEL = 999;
/** How long a replaced segment stays readable: longer than any listing takes, or the reading of what was listed. */
const GRACE_MS = 10 * 60_000;
/** More than an index of any size needs. */
const MAX_MERGES = 1000;
const MAX_REQUESTS = 8;
/** In the place of the number of a pack whose rows are left out. */
const GONE = 0xffff_ffff;

/** Reads which packs are condemned; what it returns says which of them that these segments name are gone. */
export type GoneOf = (opts: CallOptions) => Promise<(inputs: readonly OpenSegment[]) => Promise<ReadonlySet<string>>>;

/** The segments to merge into one; empty when there are few enough. */
export function planMerge<T extends { readonly entries: number }>(segments: Iterable<T>): readonly T[] {
  const small = [...segments].filter(({ entries }) => entries < FULL_ENTRIES).sort((a, b) => b.entries - a.entries);
  if (small.length <= MAX_SMALL) return [];
  const entriesFrom = (first: number) => small.slice(first).reduce((sum, { entries }) => sum + entries, 0);
  let first = MAX_SMALL - 1;
  while (first > 0 && (small[first - 1] as T).entries < RATIO * entriesFrom(first)) first--;
  // The smallest of these, as many as fit: two do.
  const chosen: T[] = [];
  let entries = 0;
  for (const segment of small.slice(first).reverse()) {
    entries += segment.entries;
    if (entries > MAX_ENTRIES || chosen.length === MAX_INPUTS) break;
    chosen.push(segment);
  }
  return chosen;
}

/** Packs that are condemned and not in the bucket any more: nothing needs their rows. */
export function condemnedAndGone(store: ObjectStore, tombstones: Tombstones): GoneOf {
  return async (opts) => {
    await tombstones.refresh(opts);
    return async (inputs) => {
      const gone = new Set<string>();
      const named = inputs.flatMap(({ packs }) => [...packs].map(({ id }) => id));
      await forEachParallel(new Set(named.filter((id) => tombstones.condemned.has(id))), MAX_REQUESTS, async (id) => {
        if ((await store.stat(packKey(id), opts)) === undefined) gone.add(id);
      });
      return gone;
    };
  };
}

export interface MergeParts {
  readonly store: ObjectStore;
  readonly keys: RepositoryKeys;
  readonly loader: IndexLoader;
  readonly random: Random;
  /** Announces the segment that is about to be written. It began before the inputs were listed. */
  readonly session: Session;
  /** Packs that are condemned and not in the bucket any more: their rows are left out. */
  readonly gone: ReadonlySet<string>;
}

/**
 * Merges segments until there are few enough, and deletes those that were replaced a while ago. What cannot be merged or deleted now is left for another time: only errors
 * that are none of the store's or of damage are thrown, and CANCELLED.
 */
export async function mergeIndex(
  { goneOf, ...rest }: Omit<MergeParts, 'gone'> & { readonly goneOf: GoneOf },
  opts: CallOptions,
): Promise<void> {
  const { loader } = rest;
  if (planMerge(loader.index.segments).length === 0) return;
  try {
    // Others may have merged since. What is condemned comes first: see core/DESIGN.md, 7.2.
    const goneFrom = await goneOf(opts);
    await loader.refresh(opts);
    for (let merges = 0; merges < MAX_MERGES; merges++) {
      const inputs = planMerge(loader.index.segments);
      if (inputs.length === 0) break;
      await mergeSegments(inputs, { ...rest, gone: await goneFrom(inputs) }, opts);
    }
    await deleteReplaced(rest, opts);
  } catch (e) {
    if (!(e instanceof SegmentVanished) && (!DmaasError.is(e) || DmaasError.is(e, 'CANCELLED'))) throw e;
  }
}

/** Writes one segment with all entries of `inputs`, which it replaces. */
export async function mergeSegments(inputs: readonly OpenSegment[], parts: MergeParts, opts: CallOptions): Promise<void> {
  const { store, keys, loader, random, session } = parts;
  const level = Math.min(Math.max(...inputs.map((input) => input.level)) + 1, MAX_LEVEL);
  const key = newSegmentKey(level, random);
  const packs = new Packs(parts.gone);
  const cursors = inputs.map((input) => new Cursor(input, packs.add(input.packs), opts));
  const entries = inputs.reduce((sum, input) => sum + input.entries, 0);
  // With what the inputs replace and nobody has deleted yet: a reader of the result opens none of the inputs, and would not know.
  const replaces = inputs.flatMap((input) => [input.key, ...input.replaces.filter((replaced) => loader.isListed(replaced))]);
  const writer = new SegmentWriter(keys, key, { entries, packs: packs.all, replaces: [...new Set(replaces)] }, random);
  try {
    await mergeRows(cursors, writer);
  } catch (e) {
    // Nothing is written; a damaged input is put aside by whoever looks something up in it, or by verifying.
    for (const cursor of cursors) if (cursor.isFailed) loader.putAside(cursor.segment, e);
    throw e;
  }
  const object = writer.finish();
  await session.create(key, () => store.put(key, object, { ...opts, ifAbsent: true }), opts);
  loader.index.addSegment(await loader.open(key, object));
  discard(object.buffer);
  for (const input of inputs) loader.index.removeSegment(input.key);
}

async function mergeRows(cursors: readonly Cursor[], writer: SegmentWriter): Promise<void> {
  const out = new DistinctRows(writer);
  for (const cursor of cursors) await cursor.fill();
  let open = cursors.filter((cursor) => !cursor.isDone);
  while (open.length > 0) {
    let least = open[0] as Cursor;
    for (const cursor of open) if (cursor.isBefore(least)) least = cursor;
    if (least.packNumber !== GONE) out.add(least.rows, least.at, least.packNumber);
    if (least.step()) continue;
    await least.fill();
    if (least.isDone) open = open.filter((cursor) => cursor !== least);
  }
}

/** The packs of all inputs, each once, but those that are gone. */
class Packs {
  readonly #gone: ReadonlySet<string>;
  readonly all: PackInfo[] = [];
  readonly #numbers = new Map<string, number>();

  constructor(gone: ReadonlySet<string>) {
    this.#gone = gone;
  }

  /** The numbers of these; GONE of those that are left out. */
  add(packs: Iterable<PackInfo>): Uint32Array {
    return Uint32Array.from(packs, (pack) => {
      if (this.#gone.has(pack.id)) return GONE;
      const known = this.#numbers.get(pack.id);
      if (known !== undefined) return known;
      this.#numbers.set(pack.id, this.all.length);
      return this.all.push(pack) - 1;
    });
  }
}

/** Goes through the rows of a segment, of which some are in memory. */
class Cursor {
  readonly segment: OpenSegment;
  rows: Buffer = Buffer.alloc(0);
  at = 0;
  isDone = false;
  isFailed = false;
  readonly #runs: AsyncGenerator<Buffer>;
  readonly #packs: Uint32Array;
  #prefix = 0;

  constructor(segment: OpenSegment, packs: Uint32Array, opts: CallOptions) {
    this.segment = segment;
    this.#runs = segment.rows(opts);
    this.#packs = packs;
  }

  /** Of this row's pack, among all packs. */
  get packNumber(): number {
    return this.#packs[this.rows.readUInt32LE(this.at + BLOB_ID_BYTES)] as number;
  }

  isBefore(other: Cursor): boolean {
    if (this.#prefix !== other.#prefix) return this.#prefix < other.#prefix;
    return this.rows.compare(other.rows, other.at, other.at + BLOB_ID_BYTES, this.at, this.at + BLOB_ID_BYTES) < 0;
  }

  /** Whether the next row is in memory. */
  step(): boolean {
    this.at += ROW_BYTES;
    if (this.at >= this.rows.length) return false;
    this.#prefix = prefixAt(this.rows, this.at);
    return true;
  }

  async fill(): Promise<void> {
    try {
      const next = await this.#runs.next();
      this.isDone = next.done === true;
      if (next.done === true) return;
      this.rows = next.value;
      this.at = 0;
      this.#prefix = prefixAt(this.rows, 0);
    } catch (e) {
      this.isFailed = true;
      throw e;
    }
  }
}

/** Leaves out rows that are the same in everything. They come together, as rows of one id. */
class DistinctRows {
  readonly #writer: SegmentWriter;
  readonly #row = Buffer.alloc(ROW_BYTES);
  /** Of the id that was added last. */
  #same: Buffer[] = [];

  constructor(writer: SegmentWriter) {
    this.#writer = writer;
  }

  add(rows: Buffer, at: number, packNumber: number): void {
    const row = this.#row;
    rows.copy(row, 0, at, at + ROW_BYTES);
    row.writeUInt32LE(packNumber, BLOB_ID_BYTES);
    if (this.#same[0]?.compare(row, 0, BLOB_ID_BYTES, 0, BLOB_ID_BYTES) !== 0) this.#same = [];
    else if (this.#same.some((other) => other.equals(row))) return;
    this.#same.push(Buffer.from(row));
    this.#writer.add(row, 0);
  }
}

/** `now`: by the store's clock, if it is known better than from a listing. */
export async function deleteReplaced(
  { store, loader }: Pick<MergeParts, 'store' | 'loader'>,
  opts: CallOptions & { readonly now?: number },
): Promise<void> {
  const due = Map.groupBy(
    loader.replaced.filter(
      ({ forMs, writtenAt }: ReplacedSegment) =>
        (opts.now === undefined ? forMs : opts.now - (writtenAt?.getTime() ?? opts.now)) >= GRACE_MS,
    ),
    ({ by }) => by,
  );
  for (const [by, replaced] of due) {
    // What is about to be all that is left is read once more, from the store.
    await loader.check(by, opts);
    for (const { key } of replaced) await store.delete(key, opts);
  }
}
