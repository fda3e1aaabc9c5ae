import { throwIfCancelled } from '../errors.ts';
import { assertIntact, assertKey, assertKeyPrefix, assertRange, existsError, rangeError } from './keys.ts';
import type { ByteRange } from './keys.ts';
import type { CallOptions, ObjectInfo, ObjectStore, PutOptions } from './object-store.ts';

/** Objects in this process's memory, for tests. */
export class MemoryStore implements ObjectStore {
  readonly location: string;
  readonly #objects = new Map<string, { readonly body: Uint8Array; readonly modifiedAt: Date }>();
  readonly #now: () => Date;

  constructor(opts: { readonly location?: string; readonly now?: () => Date } = {}) {
    this.location = opts.location ?? 'memory://test';
    this.#now = opts.now ?? (() => new Date());
  }

  async put(key: string, body: Uint8Array, opts: PutOptions = {}): Promise<void> {
    assertKey(key);
    await turn(opts.signal);
    assertIntact(this.location, key, body, opts);
    if (opts.ifAbsent === true && this.#objects.has(key)) throw existsError(this.location, key);
    this.#objects.set(key, { body: Uint8Array.from(body), modifiedAt: this.#now() });
  }

  async get(key: string, opts: CallOptions & { readonly range?: ByteRange } = {}): Promise<Uint8Array | undefined> {
    assertKey(key);
    if (opts.range !== undefined) assertRange(opts.range);
    await turn(opts.signal);
    const body = this.#objects.get(key)?.body;
    if (body === undefined || opts.range === undefined) return body?.slice();
    const end = opts.range.offset + opts.range.length;
    if (end > body.length) throw rangeError(this.location, key, opts.range, body.length);
    return body.slice(opts.range.offset, end);
  }

  async stat(key: string, opts: CallOptions = {}): Promise<ObjectInfo | undefined> {
    assertKey(key);
    await turn(opts.signal);
    return this.#info(key);
  }

  async *list(prefix: string, opts: CallOptions = {}): AsyncIterable<ObjectInfo> {
    assertKeyPrefix(prefix);
    await turn(opts.signal);
    const keys = [...this.#objects.keys()].filter((key) => key.startsWith(prefix)).sort();
    for (const key of keys) {
      throwIfCancelled(opts.signal);
      const info = this.#info(key);
      if (info !== undefined) yield info;
    }
  }

  async delete(key: string, opts: CallOptions = {}): Promise<void> {
    assertKey(key);
    await turn(opts.signal);
    this.#objects.delete(key);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #info(key: string): ObjectInfo | undefined {
    const object = this.#objects.get(key);
    return object && { key, size: object.body.length, modifiedAt: object.modifiedAt };
  }
}

/** Lets other callers run, as a call over a network would, so that tests meet the same interleavings. */
async function turn(signal: AbortSignal | undefined): Promise<void> {
  throwIfCancelled(signal);
  await Promise.resolve();
}
