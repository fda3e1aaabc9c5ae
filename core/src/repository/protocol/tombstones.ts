import * as z from 'zod';
import { DmaasError } from '../../errors.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import { damaged, needsNewer } from '../format/damage.ts';
import type { Random } from '../format/derive.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { openRecord, sealRecord } from '../format/sealed-record.ts';
import { OBJECT_TYPE } from '../format/sealed.ts';

export const LISTS = 'gc/';
const LIST_KEY = /^gc\/(\d{8})\/(packs|sessions)$/;

const packsSchema = z.looseObject({ packs: z.array(z.tuple([z.string().regex(/^[0-9a-f]{32}$/), z.number().int().positive()])) });
const sessionsSchema = z.looseObject({ sessions: z.array(z.string()) });

/** When a list was created and its sessions were listed, by the store's clock. */
export interface ListedTombstones {
  readonly number: number;
  readonly createdAt: Date;
  readonly witnessedAt: Date | undefined;
}

/** The packs that nothing new may rely on: `gc/`. */
export class Tombstones {
  readonly #store: ObjectStore;
  readonly #keys: RepositoryKeys;
  readonly #random: Random;
  /** All that this process ever learned of, with the number of the list that first had it. */
  readonly condemned = new Map<string, number>();
  #lists: readonly ListedTombstones[] = [];
  #newest: ReadonlyMap<string, number> = new Map();
  #read = 0;
  #problem: DmaasError | undefined;

  constructor(store: ObjectStore, keys: RepositoryKeys, random: Random) {
    this.#store = store;
    this.#keys = keys;
    this.#random = random;
  }

  /** Of the newest list; 0 when there is none. */
  get number(): number {
    return this.#read;
  }

  /** As last listed, in order. */
  get lists(): readonly ListedTombstones[] {
    return this.#lists;
  }

  /** What the newest list has: a pack that is not on it any more is nowhere, and no segment names it. */
  get newest(): ReadonlyMap<string, number> {
    return this.#newest;
  }

  /** Throws what kept `refresh` from knowing what is condemned. It does not keep anybody from reading. */
  requireKnown(): void {
    if (this.#problem !== undefined) throw this.#problem;
  }

  /** Reads the newest list, and all that are newer than the one read before. */
  async refresh(opts: CallOptions = {}): Promise<void> {
    this.#problem = undefined;
    try {
      await this.#refresh(opts);
    } catch (e) {
      if (!DmaasError.is(e, 'REPOSITORY_CORRUPT') && !DmaasError.is(e, 'REPOSITORY_VERSION')) throw e;
      this.#problem = e;
    }
  }

  async #refresh(opts: CallOptions): Promise<void> {
    const lists = new Map<number, { createdAt?: Date; witnessedAt?: Date }>();
    for await (const { key, modifiedAt } of this.#store.list(LISTS, opts)) {
      const [, number, what] = LIST_KEY.exec(key) ?? [];
      if (number === undefined) throw needsNewer(key);
      const list = lists.get(Number(number)) ?? {};
      lists.set(Number(number), { ...list, ...(what === 'packs' ? { createdAt: modifiedAt } : { witnessedAt: modifiedAt }) });
    }
    const listed = [...lists].map(([number, { createdAt, witnessedAt }]) => {
      // Whoever lists sessions for it has seen it.
      if (createdAt === undefined) throw damaged(packsKey(number), 'it is missing');
      return { number, createdAt, witnessedAt };
    });
    const newest = listed.length;
    if (listed.some(({ number }, i) => number !== i + 1) || newest < this.#read)
      throw damaged(LISTS, 'a list of what is condemned is missing');
    for (let number = this.#read === 0 ? Math.max(newest, 1) : this.#read + 1; number <= newest; number++) {
      const packs = await this.#packs(number, opts);
      for (const [id, since] of packs) this.condemned.set(id, since);
      this.#newest = packs;
    }
    this.#read = newest;
    this.#lists = listed;
  }

  /** Writes the next list; false when another collector was first. */
  async add(packs: ReadonlyMap<string, number>, opts: CallOptions = {}): Promise<boolean> {
    const key = packsKey(this.#read + 1);
    const body = sealRecord(this.#keys, OBJECT_TYPE.tombstones, key, { packs: [...packs] }, this.#random);
    return this.#create(key, body, opts);
  }

  /** Says which sessions were there when the list was. The first to say so counts. */
  async witness(number: number, sessions: readonly string[], opts: CallOptions = {}): Promise<void> {
    const key = sessionsKey(number);
    await this.#create(key, sealRecord(this.#keys, OBJECT_TYPE.tombstones, key, { sessions }, this.#random), opts);
  }

  async witnessed(number: number, opts: CallOptions = {}): Promise<readonly string[]> {
    const key = sessionsKey(number);
    const object = await this.#store.get(key, opts);
    if (object === undefined) throw damaged(key, 'it is missing');
    return openRecord(this.#keys, OBJECT_TYPE.tombstones, key, object, sessionsSchema).sessions;
  }

  async #packs(number: number, opts: CallOptions): Promise<Map<string, number>> {
    const key = packsKey(number);
    const object = await this.#store.get(key, opts);
    if (object === undefined) throw damaged(key, 'it is missing');
    return new Map(openRecord(this.#keys, OBJECT_TYPE.tombstones, key, object, packsSchema).packs);
  }

  async #create(key: string, body: Uint8Array, opts: CallOptions): Promise<boolean> {
    try {
      await this.#store.put(key, body, { ...opts, ifAbsent: true });
      return true;
    } catch (e) {
      if (DmaasError.is(e, 'STORE_EXISTS')) return false;
      throw e;
    }
  }
}

function packsKey(number: number): string {
  return `${LISTS}${String(number).padStart(8, '0')}/packs`;
}

function sessionsKey(number: number): string {
  return `${LISTS}${String(number).padStart(8, '0')}/sessions`;
}
