import { DmaasError } from '../../errors.ts';
import type { CallOptions } from '../../store/object-store.ts';
import { BLOB_ID_BYTES, type BlobId } from '../format/blob.ts';
import { IdBatch } from '../format/segment-filter.ts';
import { ROW_BYTES, type PackInfo, type Table } from '../format/table.ts';
import { BlobIndex, type BlobLookup } from './blob-index.ts';
import { SegmentVanished, type OpenSegment } from './open-segment.ts';
import type { OnRow } from './search-rows.ts';

/** A lookup begins anew when segments were merged under its hands, this many times. */
const MAX_TRIES = 5;

/** What a lookup meets that makes it begin anew. */
export interface IndexEvents {
  /** A segment cannot be read, because it is damaged or gone. */
  readonly putAside: (segment: OpenSegment, error: unknown) => void;
  /** A segment is gone from the store: what replaces it must be listed. */
  readonly onVanished: (opts: CallOptions) => Promise<void>;
}

/**
 * Where blobs lie: in the segments that are listed, and, of what this process has stored and not yet written into a segment, in memory. Memory
 * grows by about 1.4 bytes for each entry of the repository.
 */
export class RepositoryIndex implements BlobLookup {
  readonly #events: IndexEvents;
  /** Packs that nothing new may rely on, by id. */
  condemned: ReadonlyMap<string, unknown> = new Map();
  /** By key; a lookup asks the largest first. */
  #segments = new Map<string, OpenSegment>();
  /** Not in a segment yet; the last takes what is new. */
  #fresh: BlobIndex[] = [new BlobIndex()];

  constructor(events: IndexEvents) {
    this.#events = events;
  }

  get segments(): Iterable<OpenSegment> {
    return this.#segments.values();
  }

  get segmentCount(): number {
    return this.#segments.size;
  }

  /** Copies of blobs; those that concurrent mergers wrote twice count twice. */
  get size(): number {
    return [...this.#segments.values(), ...this.#fresh].reduce((sum, part) => sum + ('entries' in part ? part.entries : part.size), 0);
  }

  has(key: string): boolean {
    return this.#segments.has(key);
  }

  /** Each pack that is named, once. */
  packs(): ReadonlyMap<string, PackInfo> {
    const packs = new Map<string, PackInfo>();
    for (const part of [...this.#segments.values(), ...this.#fresh]) for (const pack of part.packs) packs.set(pack.id, pack);
    return packs;
  }

  addSegment(segment: OpenSegment): void {
    this.#segments.set(segment.key, segment);
    this.#segments = new Map([...this.#segments].sort(([, a], [, b]) => b.entries - a.entries));
  }

  removeSegment(key: string): void {
    this.#segments.get(key)?.close();
    this.#segments.delete(key);
  }

  /** The pack in this table is stored. `key` names it. */
  addTable(table: Table, key: string): void {
    (this.#fresh.at(-1) as BlobIndex).addTable(table, key);
  }

  /** Writes what was added so far into a segment; until that is done it stays in memory, and when it fails, too. */
  async writeFresh(write: () => Promise<OpenSegment>): Promise<void> {
    const sealed = [...this.#fresh];
    this.#fresh.push(new BlobIndex());
    this.addSegment(await write());
    this.#fresh = this.#fresh.filter((index) => !sealed.includes(index));
  }

  /** For each id, whether it is stored in a pack that is not condemned, and named by a listed segment or by this process: at once when memory and local copies can tell, which is nearly always in a backup. */
  known(ids: readonly BlobId[], opts: CallOptions = {}): readonly boolean[] | Promise<readonly boolean[]> {
    const fresh = this.#fresh.filter((index) => index.size > 0);
    const isKnown = ids.map((id) => fresh.some((index) => this.#hasSound(index, id)));
    if (this.#segments.size === 0 || !isKnown.includes(false)) return isKnown;
    const done = this.#search(
      new IdBatch(ids),
      (i) => !(isKnown[i] as boolean),
      (segment) => (i, rows, at) => {
        isKnown[i] ||= this.condemned.size === 0 || !this.condemned.has(segment.packs.at(rows.readUInt32LE(at + BLOB_ID_BYTES)).id);
      },
      opts,
    );
    return done === undefined ? isKnown : done.then(() => isKnown);
  }

  #hasSound(index: BlobIndex, id: BlobId): boolean {
    for (const entry of index.copies(id)) if (!this.condemned.has(index.pack(entry).id)) return true;
    return false;
  }

  /** Every entry of these ids, and no others, in an index of its own. */
  async locate(ids: readonly BlobId[], opts: CallOptions = {}): Promise<BlobIndex> {
    const found = new BlobIndex();
    const addRow = (segment: OpenSegment) => (_: number, rows: Buffer, at: number) => {
      found.addRow(segment.packs.at(rows.readUInt32LE(at + ROW_BYTES - 20)), rows, at, segment.key);
    };
    const batch = new IdBatch(ids);
    await this.#search(batch, () => true, addRow, opts);
    batch.discard();
    for (const index of this.#fresh) for (const id of ids) found.addFrom(index, id);
    return found;
  }

  /** What the index knows of one pack, as a table: a search through everything, for when the pack itself cannot say. */
  async tableOf(pack: PackInfo, opts: CallOptions = {}): Promise<Table> {
    const found = new BlobIndex();
    for (const segment of [...this.#segments.values()]) {
      const number = [...segment.packs].findIndex(({ id }) => id === pack.id);
      if (number < 0) continue;
      await this.#orPutAside(segment, async () => {
        for await (const rows of segment.rows(opts)) {
          for (let at = 0; at < rows.length; at += ROW_BYTES) {
            if (rows.readUInt32LE(at + ROW_BYTES - 20) === number) found.addRow(pack, rows, at, segment.key);
          }
        }
      });
    }
    for (const index of this.#fresh) found.addTable(index.tableOf(pack), 'the index');
    return found.tableOf(pack);
  }

  /** Gives back files. */
  close(): void {
    for (const segment of this.#segments.values()) segment.close();
  }

  /** Undefined when nothing had to be waited for. */
  #search(
    batch: IdBatch,
    isWanted: (i: number) => boolean,
    onRow: (segment: OpenSegment) => OnRow,
    opts: CallOptions,
  ): Promise<void> | undefined {
    const segments = [...this.#segments.values()];
    for (const [n, segment] of segments.entries()) {
      const waiting = attempt(() => segment.find(batch, isWanted, onRow(segment), opts));
      if (waiting !== undefined) return this.#searchOn(segments.slice(n), waiting, batch, isWanted, onRow, opts);
    }
    return undefined;
  }

  async #searchOn(
    segments: readonly OpenSegment[],
    begun: Promise<void>,
    batch: IdBatch,
    isWanted: (i: number) => boolean,
    onRow: (segment: OpenSegment) => OnRow,
    opts: CallOptions,
  ): Promise<void> {
    let queue = segments;
    let waiting: Promise<void> | undefined = begun;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      let hasVanished = false;
      for (const segment of queue) {
        const isThere = await this.#orPutAside(segment, () => waiting ?? segment.find(batch, isWanted, onRow(segment), opts));
        waiting = undefined;
        hasVanished ||= !isThere;
      }
      if (!hasVanished) return;
      await this.#events.onVanished(opts);
      queue = [...this.#segments.values()];
    }
  }

  /** Whether the segment was there to be read, whole or damaged. */
  async #orPutAside(segment: OpenSegment, read: () => Promise<void> | undefined): Promise<boolean> {
    try {
      await read();
      return true;
    } catch (e) {
      const isGone = e instanceof SegmentVanished;
      if (!isGone && !DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
      this.#events.putAside(segment, e);
      return !isGone;
    }
  }
}

/** What is thrown at once, as what is thrown later. */
function attempt(find: () => Promise<void> | undefined): Promise<void> | undefined {
  try {
    return find();
  } catch (e) {
    return Promise.reject(e instanceof Error ? e : new Error('no error was thrown', { cause: e }));
  }
}
