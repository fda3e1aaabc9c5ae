import { assertKeyPrefix } from './keys.ts';
import type { ByteRange } from './keys.ts';
import type { CallOptions, ObjectInfo, ObjectLocks, ObjectStore, PutOptions } from './object-store.ts';

/**
 * A view of the objects of `store` under `prefix` (with or without a final slash). Closing the view closes nothing, unless told
 * so: `store` belongs to whoever opened it.
 */
export function withPrefix(store: ObjectStore, prefix: string, close: () => Promise<void> = () => Promise.resolve()): ObjectStore {
  const folder = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
  assertKeyPrefix(folder);
  return new PrefixView(store, folder, close);
}

class PrefixView implements ObjectStore {
  readonly location: string;
  readonly locks?: ObjectLocks;
  readonly #store: ObjectStore;
  readonly #prefix: string;
  readonly #close: () => Promise<void>;

  constructor(store: ObjectStore, prefix: string, close: () => Promise<void>) {
    this.#close = close;
    this.#store = store;
    this.#prefix = prefix;
    const { locks } = store;
    if (locks !== undefined) {
      this.locks = {
        days: (opts) => locks.days(opts),
        extend: (key, time, opts) => locks.extend(prefix + key, time, opts),
      };
    }
    this.location = prefix === '' ? store.location : `${store.location}/${prefix.slice(0, -1)}`;
  }

  put(key: string, body: Uint8Array, opts?: PutOptions): Promise<void> {
    return this.#store.put(this.#prefix + key, body, opts);
  }

  get(key: string, opts?: CallOptions & { readonly range?: ByteRange }): Promise<Uint8Array | undefined> {
    return this.#store.get(this.#prefix + key, opts);
  }

  async stat(key: string, opts?: CallOptions): Promise<ObjectInfo | undefined> {
    const info = await this.#store.stat(this.#prefix + key, opts);
    return info && { ...info, key };
  }

  async *list(prefix: string, opts?: CallOptions): AsyncIterable<ObjectInfo> {
    for await (const info of this.#store.list(this.#prefix + prefix, opts)) yield { ...info, key: info.key.slice(this.#prefix.length) };
  }

  delete(key: string, opts?: CallOptions): Promise<void> {
    return this.#store.delete(this.#prefix + key, opts);
  }

  close(): Promise<void> {
    return this.#close();
  }
}
