import * as z from 'zod';
import { DmaasError } from '../../errors.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import { damaged, isUnreadable, needsNewer } from '../format/damage.ts';
import type { Random } from '../format/derive.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { openRecord, sealRecord } from '../format/sealed-record.ts';
import { OBJECT_TYPE } from '../format/sealed.ts';

export const LISTS = 'gc/';
const LIST_KEY = /^gc\/(\d{8})\/(packs|sessions)$/;

const packsSchema = z.looseObject({ packs: z.array(z.tuple([z.string().regex(/^[0-9a-f]{32}$/), z.number().int().positive()])) });
const sessionsSchema = z.looseObject({ sessions: z.array(z.string()), packs: packsSchema.shape.packs.optional() });

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
  /** Undefined before the first reading. */
  #read: number | undefined;
  #problem: DmaasError | undefined;

  constructor(store: ObjectStore, keys: RepositoryKeys, random: Random) {
    this.#store = store;
    this.#keys = keys;
    this.#random = random;
  }

  /** Of the newest list; 0 when there is none. */
  get number(): number {
    return this.#read ?? 0;
  }

  /** As last listed, in order. */
  get lists(): readonly ListedTombstones[] {
    return this.#lists;
  }

  /** What the newest list has: a pack that is not on it any more is nowhere, and no segment names it. */
  get newest(): ReadonlyMap<string, number> {
    return this.#newest;
  }

  /** What kept `refresh` from knowing what is condemned. It does not keep anybody from reading. */
  get problem(): DmaasError | undefined {
    return this.#problem;
  }

  /** Throws it. */
  requireKnown(): void {
    if (this.#problem !== undefined) throw this.#problem;
  }

  /** Reads the newest list, and all that are newer than the one read before. */
  async refresh(opts: CallOptions = {}): Promise<void> {
    this.#problem = undefined;
    try {
      await this.#refresh(opts);
    } catch (e) {
      if (!isUnreadable(e)) throw e;
      // What is loaded from here on may be about packs that only an older list has.
      this.#read ??= 0;
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
    // Whoever listed sessions for a list has seen it.
    const listed = [...lists].map(([number, { createdAt, witnessedAt }]) => ({
      number,
      createdAt: (createdAt ?? witnessedAt) as Date,
      witnessedAt,
    }));
    const newest = listed.at(-1)?.number ?? 0;
    const read = this.#read;
    if (newest < (read ?? 0)) throw damaged(LISTS, 'a list of what is condemned is missing');
    this.#lists = listed;
    // Who has just opened the repository knows no row of a pack that only an older list had.
    for (let number = read === undefined ? Math.max(newest, 1) : read + 1; number <= newest; number++) {
      const packs = await this.#packs(number, opts);
      for (const [id, since] of packs) this.condemned.set(id, since);
      this.#newest = packs;
    }
    this.#read = newest;
  }

  /** Writes the next list; false when another collector was first. */
  async add(packs: ReadonlyMap<string, number>, opts: CallOptions = {}): Promise<boolean> {
    const key = packsKey(this.number + 1);
    const body = sealRecord(this.#keys, OBJECT_TYPE.tombstones, key, { packs: [...packs] }, this.#random);
    return this.#create(key, body, opts);
  }

  /** Says which sessions were there when the list was, and once more what is on it, if that is known. The first to say so counts. */
  async witness(
    number: number,
    sessions: readonly string[],
    packs: ReadonlyMap<string, number> | undefined,
    opts: CallOptions = {},
  ): Promise<void> {
    const key = sessionsKey(number);
    const said = { sessions, ...(packs !== undefined && { packs: [...packs] }) };
    await this.#create(key, sealRecord(this.#keys, OBJECT_TYPE.tombstones, key, said, this.#random), opts);
  }

  /** Undefined when that can no longer be read. */
  async witnessed(number: number, opts: CallOptions = {}): Promise<readonly string[] | undefined> {
    return (await this.#openIfSound(sessionsKey(number), sessionsSchema, opts))?.sessions;
  }

  /** What is wrong with the objects of the newest list, by key. */
  async faults(opts: CallOptions = {}): Promise<ReadonlyMap<string, DmaasError>> {
    const faults = new Map<string, DmaasError>();
    const newest = this.#lists.at(-1);
    const check = async (key: string, schema: z.ZodType) => {
      try {
        await this.#open(key, schema, opts);
      } catch (e) {
        if (!DmaasError.is(e, 'REPOSITORY_CORRUPT') && !DmaasError.is(e, 'REPOSITORY_VERSION')) throw e;
        faults.set(key, e);
      }
    };
    if (newest !== undefined) await check(packsKey(newest.number), packsSchema);
    if (newest?.witnessedAt !== undefined) await check(sessionsKey(newest.number), sessionsSchema);
    return faults;
  }

  /** From the list, or from the copy beside it. */
  async #packs(number: number, opts: CallOptions): Promise<Map<string, number>> {
    try {
      return new Map((await this.#open(packsKey(number), packsSchema, opts)).packs);
    } catch (e) {
      if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
      const copy = await this.#openIfSound(sessionsKey(number), sessionsSchema, opts);
      if (copy?.packs === undefined) throw e;
      return new Map(copy.packs);
    }
  }

  /** Undefined when it is damaged or missing. */
  async #openIfSound<T>(key: string, schema: z.ZodType<T>, opts: CallOptions): Promise<T | undefined> {
    try {
      return await this.#open(key, schema, opts);
    } catch (e) {
      if (DmaasError.is(e, 'REPOSITORY_CORRUPT')) return undefined;
      throw e;
    }
  }

  async #open<T>(key: string, schema: z.ZodType<T>, opts: CallOptions): Promise<T> {
    const object = await this.#store.get(key, opts);
    if (object === undefined) throw damaged(key, 'it is missing');
    return this.#keys.opening(() => openRecord(this.#keys, OBJECT_TYPE.tombstones, key, object, schema));
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
