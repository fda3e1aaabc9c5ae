import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import { DmaasError } from '../../errors.ts';
import { parseJson, stringifyJson } from '../../json.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import type { Random } from '../format/derive.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { openRecord, sealRecord } from '../format/sealed-record.ts';
import { OBJECT_TYPE } from '../format/sealed.ts';
import { putOnce } from '../protocol/put-once.ts';

const RUNS = 'runs/';
const NAME = /^[a-z0-9][a-z0-9.-]{0,127}$/;

/** Sealed JSON of operations: progress, results, plans. Deleting them loses no backup. Operations and names: lower-case letters, digits, `.` and `-`. */
export class RunRecords {
  readonly #store: ObjectStore;
  readonly #keys: RepositoryKeys;
  readonly #random: Random;

  constructor(store: ObjectStore, keys: RepositoryKeys, random: Random) {
    this.#store = store;
    this.#keys = keys;
    this.#random = random;
  }

  /** Writes once: the same value again is no error, another one under the same name is STORE_EXISTS. */
  async put(operation: string, name: string, value: unknown, opts: CallOptions = {}): Promise<void> {
    const key = runKey(operation, name);
    const record = sealRecord(this.#keys, OBJECT_TYPE.run, key, value, this.#random);
    if (await putOnce(this.#store, key, record, opts)) return;
    // Sealed twice, equal values differ in their bytes.
    const present = await this.get(operation, name, opts);
    if (isDeepStrictEqual(present, parseJson(stringifyJson(value)))) return;
    throw new DmaasError('STORE_EXISTS', `the run record ${name} of operation ${operation} exists with another content`, {
      details: { key },
    });
  }

  /** Undefined when there is none. */
  async get(operation: string, name: string, opts: CallOptions = {}): Promise<unknown> {
    const key = runKey(operation, name);
    const object = await this.#store.get(key, opts);
    return object === undefined ? undefined : openRecord(this.#keys, OBJECT_TYPE.run, key, object, z.unknown());
  }

  /** Names, sorted. */
  async list(operation: string, opts: CallOptions = {}): Promise<readonly string[]> {
    const prefix = `${RUNS}${checked(operation)}/`;
    const names: string[] = [];
    for await (const { key } of this.#store.list(prefix, opts)) names.push(key.slice(prefix.length));
    return names;
  }

  /** Ids of all operations that have run records, sorted. */
  async operations(opts: CallOptions = {}): Promise<readonly string[]> {
    const ids = new Set<string>();
    for await (const { key } of this.#store.list(RUNS, opts)) {
      const end = key.indexOf('/', RUNS.length);
      if (end > 0) ids.add(key.slice(RUNS.length, end));
    }
    return [...ids].sort();
  }

  /** Deletes all of an operation's records. */
  async delete(operation: string, opts: CallOptions = {}): Promise<void> {
    for (const name of await this.list(operation, opts)) await this.#store.delete(runKey(operation, name), opts);
  }
}

function runKey(operation: string, name: string): string {
  return `${RUNS}${checked(operation)}/${checked(name)}`;
}

function checked(name: string): string {
  if (!NAME.test(name)) throw new DmaasError('INTERNAL', `"${name}" is not a valid name for a run record`);
  return name;
}
