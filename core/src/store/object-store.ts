export interface ObjectInfo {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** By the store's clock. */
  readonly modifiedAt: Date;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
}

export interface PutOptions extends CallOptions {
  /**
   * Throws STORE_EXISTS when the key exists, even with the same bytes; check and write are one operation. Only when an
   * earlier try of this same call may have been carried out do its own bytes, found there, count as done.
   */
  readonly ifAbsent?: boolean;
  /** CRC-32 (IEEE) of the body when it was made: MACHINE_FAULT when it has another now. */
  readonly crc32?: number;
}

/** Object Lock: nobody can delete what is locked, nor make its lock shorter. */
export interface ObjectLocks {
  /** For how many days the store's own rule locks whatever is written to it; undefined when it has no such rule, or these credentials may not ask. */
  days(opts?: CallOptions): Promise<number | undefined>;
  /** Locks an object until `until` if it is not locked until `enough`; whether it did. Of an object that is not there: false. What has no lock gets one of the rule's kind, as `days` found it last. */
  extend(key: string, time: { readonly until: Date; readonly enough: Date }, opts?: CallOptions): Promise<boolean>;
}

/**
 * A flat map from '/'-separated keys to bytes, in one bucket under one prefix (keys never contain the prefix).
 *
 * Every implementation provides, and the contract suite verifies:
 * - atomic put: no reader ever sees a partial object;
 * - read-after-write: a completed put is visible to get, stat and list;
 * - absence is an answer (`undefined`), not an error, for get and stat;
 * - a ranged get returns exactly the bytes asked for, or throws STORE_RANGE;
 * - every error is a DmaasError with a STORE_* code (or CANCELLED, or MACHINE_FAULT).
 *
 * Keys are as `isKey` in keys.ts has them, and no key is the folder of another (`a` beside `a/b`): a file system has no room for both.
 * Objects that others gave other names are not listed. Bodies are whole buffers: nothing DMaaS stores is larger than one pack. When a put has resolved, its body may be filled anew;
 * what a get returns is the caller's own.
 */
export interface ObjectStore {
  /** For messages, e.g. `s3://bucket/prefix`. Never carries credentials. */
  readonly location: string;
  /** Of stores that can lock objects. */
  readonly locks?: ObjectLocks;
  put(key: string, body: Uint8Array, opts?: PutOptions): Promise<void>;
  get(
    key: string,
    opts?: CallOptions & { readonly range?: { readonly offset: number; readonly length: number } },
  ): Promise<Uint8Array | undefined>;
  stat(key: string, opts?: CallOptions): Promise<ObjectInfo | undefined>;
  /** Every object whose key starts with `prefix`, in the byte order of the keys. */
  list(prefix: string, opts?: CallOptions): AsyncIterable<ObjectInfo>;
  /** Deleting an absent key succeeds. */
  delete(key: string, opts?: CallOptions): Promise<void>;
  close(): Promise<void>;
}
