import { DmaasError } from '../errors.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import { BlobIndex } from './blob-index.ts';
import { LIMITS } from './blob.ts';
import { damaged } from './damage.ts';
import { forEachParallel } from './parallel.ts';
import { decodeSegment, type Segment } from './index-segment.ts';
import type { RepositoryKeys } from './key-set.ts';
import { openPackTable, packIdOf, packKey, PACKS } from './pack-reader.ts';
import { HEADER_BYTES, readTrailer, TRAILER_BYTES } from './sealed.ts';
import type { Table } from './table.ts';

const INDEX = 'index/';
const SEGMENT_KEY = /^index\/(\d{1,3})\/[0-9a-f]{32}$/;
const MAX_REQUESTS = 8;
/** A segment can vanish between the listing and the read, when it was merged; then there is a new one to list. */
const MAX_LISTINGS = 5;

/** Keeps a `BlobIndex` up with the segments in the store. This version loads them whole. */
export class IndexLoader {
  readonly index = new BlobIndex();
  readonly #store: ObjectStore;
  readonly #keys: RepositoryKeys;
  readonly #done = new Set<string>();
  readonly #damaged = new Map<string, DmaasError>();

  constructor(store: ObjectStore, keys: RepositoryKeys) {
    this.#store = store;
    this.#keys = keys;
  }

  /** Segments whose entries the index has. */
  get segments(): number {
    return this.#done.size;
  }

  /** Segments that could not be read when last tried. What they name is found in the packs' own tables, if need be. */
  get damaged(): ReadonlyMap<string, DmaasError> {
    return this.#damaged;
  }

  /** The index has this segment's entries already. */
  markDone(key: string): void {
    this.#done.add(key);
  }

  /** Loads what is new. A damaged segment is noted, not fatal: it costs no backup. */
  async refresh(opts: CallOptions = {}): Promise<void> {
    for (let listing = 0; listing < MAX_LISTINGS; listing++) {
      const fresh: { key: string; size: number; level: number }[] = [];
      for await (const { key, size } of this.#store.list(INDEX, opts)) {
        const level = SEGMENT_KEY.exec(key)?.[1];
        if (level !== undefined && !this.#done.has(key)) fresh.push({ key, size, level: Number(level) });
      }
      let vanished = 0;
      // Merged segments first: what they replace need not be read.
      for (const level of [...new Set(fresh.map((s) => s.level))].sort((a, b) => b - a)) {
        const keys = fresh.filter((s) => s.level === level && !this.#done.has(s.key));
        await forEachParallel(keys, MAX_REQUESTS, async ({ key, size }) => {
          if (!(await this.#load(key, size, opts))) vanished++;
        });
      }
      if (vanished === 0) return;
    }
  }

  async #load(key: string, size: number, opts: CallOptions): Promise<boolean> {
    let segment: Segment;
    try {
      if (size > LIMITS.segment) throw damaged(key, 'it is too large');
      const object = await this.#store.get(key, opts);
      if (object === undefined) return false;
      segment = decodeSegment(this.#keys, key, object);
      this.index.addTable(segment.table, key);
    } catch (e) {
      if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
      this.#damaged.set(key, e);
      return true;
    }
    this.#damaged.delete(key);
    this.#done.add(key);
    for (const replaced of segment.replaces) this.#done.add(replaced);
    return true;
  }

  /**
   * What lies in packs that the index does not name, from their own tables: left by a crash, or named by a segment that was lost. For reading
   * only: nothing may rely on it being there tomorrow.
   */
  async loadUnindexed(opts: CallOptions = {}): Promise<BlobIndex> {
    const index = new BlobIndex();
    const packs: { key: string; size: number }[] = [];
    for await (const { key, size } of this.#store.list(PACKS, opts)) {
      const id = packIdOf(key);
      if (id !== undefined && size <= LIMITS.pack && !this.index.hasPack(id)) packs.push({ key, size });
    }
    await forEachParallel(packs, MAX_REQUESTS, async ({ key, size }) => {
      try {
        index.addTable(await readPackTable(this.#store, this.#keys, key, size, opts), packKey(packIdOf(key) as string));
      } catch (e) {
        // Damaged, or gone since: then it is no help, and verifying says so.
        if (!DmaasError.is(e, 'REPOSITORY_CORRUPT') && !DmaasError.is(e, 'STORE_RANGE')) throw e;
      }
    });
    return index;
  }
}

/** A pack's own table, without reading its frames. */
async function readPackTable(store: ObjectStore, keys: RepositoryKeys, key: string, size: number, opts: CallOptions): Promise<Table> {
  const read = async (offset: number, length: number) => {
    if (offset < 0 || length < 1) throw damaged(key, 'it is cut short');
    const bytes = await store.get(key, { ...opts, range: { offset, length } });
    if (bytes?.length !== length) throw damaged(key, 'it is missing or cut short');
    return bytes;
  };
  const { lastSectionLength } = readTrailer(await read(size - TRAILER_BYTES, TRAILER_BYTES), size, key);
  const section = await read(size - TRAILER_BYTES - lastSectionLength, lastSectionLength);
  return openPackTable(keys, key, await read(0, HEADER_BYTES), section, size);
}
