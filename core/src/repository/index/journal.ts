import { discard } from '../../discard.ts';
import type { ObjectStore } from '../../store/object-store.ts';
import type { Random } from '../format/derive.ts';
import { encodeSegment, newSegmentKey } from '../format/index-segment.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { joinTables, rowCount, type Table } from '../format/table.ts';
import type { Session } from '../protocol/sessions.ts';
import type { IndexLoader } from './index-loader.ts';

/** A segment is due when any of these is reached; what it names is not sent again after a crash. */
const MAX_AGE_MS = 30_000;
const MAX_BYTES = 1 << 30;
const MAX_ROWS = 1 << 16;

/** What is stored but not yet in the index for others to see. Outlives the writes of this process: what one could not flush, the next does. */
export class Journal {
  readonly #store: ObjectStore;
  readonly #keys: RepositoryKeys;
  readonly #random: Random;
  readonly #now: () => Date;
  readonly #loader: IndexLoader;
  readonly #session: () => Promise<Session>;
  #tables: Table[] = [];
  #since = 0;
  #flushing: Promise<void> = Promise.resolve();
  #flushes = 0;

  constructor(
    store: ObjectStore,
    keys: RepositoryKeys,
    loader: IndexLoader,
    opts: { random: Random; now: () => Date; session: () => Promise<Session> },
  ) {
    this.#store = store;
    this.#keys = keys;
    this.#random = opts.random;
    this.#now = opts.now;
    this.#loader = loader;
    this.#session = opts.session;
  }

  /** The pack in this table is acknowledged. */
  add(table: Table): void {
    if (this.#tables.length === 0) this.#since = this.#now().getTime();
    this.#tables.push(table);
  }

  get isEmpty(): boolean {
    return this.#tables.length === 0;
  }

  /** Not while a segment is being written: what has come since waits for the next. */
  get isDue(): boolean {
    if (this.#tables.length === 0 || this.#flushes > 0) return false;
    const bytes = this.#tables.reduce((sum, { packs }) => sum + (packs[0]?.size ?? 0), 0);
    const rows = this.#tables.reduce((sum, table) => sum + rowCount(table.rows), 0);
    return this.#now().getTime() - this.#since >= MAX_AGE_MS || bytes >= MAX_BYTES || rows >= MAX_ROWS;
  }

  /** When this resolves, everything added before is in a segment. */
  flush(): Promise<void> {
    this.#flushes++;
    this.#flushing = this.#flushing
      .catch(() => undefined)
      .then(() => this.#write())
      .finally(() => this.#flushes--);
    return this.#flushing;
  }

  async #write(): Promise<void> {
    const tables = this.#tables;
    if (tables.length === 0) return;
    this.#tables = [];
    const since = this.#since;
    try {
      await this.#loader.index.writeFresh(async () => {
        const key = newSegmentKey(0, this.#random);
        const segment = encodeSegment(this.#keys, key, { table: joinTables(tables), replaces: [] }, this.#random);
        const session = await this.#session();
        await session.create(key, () => this.#store.put(key, segment, { ifAbsent: true }));
        const opened = await this.#loader.open(key, segment);
        discard(segment.buffer);
        return opened;
      });
    } catch (e) {
      this.#tables = [...tables, ...this.#tables];
      this.#since = since;
      throw e;
    }
  }
}
