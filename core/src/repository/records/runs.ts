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
const RUN_KEY = /^runs\/([^/]+)\/([^/]+)$/;

/** An operation, and what it has recorded. */
export interface ListedRun {
  readonly operation: string;
  readonly names: readonly string[];
  /** When the last of them was, by the store's clock. */
  readonly writtenAt: Date;
}

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
    return object && this.#keys.opening(() => openRecord(this.#keys, OBJECT_TYPE.run, key, object, z.unknown()));
  }

  /** Names, sorted. */
  async list(operation: string, opts: CallOptions = {}): Promise<readonly string[]> {
    const prefix = `${RUNS}${checked(operation)}/`;
    const names: string[] = [];
    for await (const { key } of this.#store.list(prefix, opts)) names.push(key.slice(prefix.length));
    return names;
  }

  /** All operations that have run records, sorted. */
  async *operations(opts: CallOptions = {}): AsyncGenerator<ListedRun> {
    let listed: { operation: string; names: string[]; writtenAt: Date } | undefined;
    for await (const { key, modifiedAt } of this.#store.list(RUNS, opts)) {
      const [, operation = '', name = ''] = RUN_KEY.exec(key) ?? [];
      if (name === '') continue;
      if (listed?.operation !== operation) {
        if (listed !== undefined) yield listed;
        listed = { operation, names: [], writtenAt: modifiedAt };
      }
      listed.names.push(name);
      if (modifiedAt > listed.writtenAt) listed.writtenAt = modifiedAt;
    }
    if (listed !== undefined) yield listed;
  }

  /** Deletes an operation's records: all of them, or those of these names. */
  async delete(operation: string, opts: CallOptions = {}, names?: readonly string[]): Promise<void> {
    for (const name of names ?? (await this.list(operation, opts))) await this.#store.delete(runKey(operation, name), opts);
  }
}

function runKey(operation: string, name: string): string {
  return `${RUNS}${checked(operation)}/${checked(name)}`;
}

function checked(name: string): string {
  if (!NAME.test(name)) throw new DmaasError('INTERNAL', `"${name}" is not a valid name for a run record`);
  return name;
}
