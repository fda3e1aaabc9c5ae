import type { BlobId, BlobKind } from '../format/blob.ts';
import type { PackingHost } from './blob-packer.ts';

export interface StoredBlob {
  readonly id: BlobId;
  /** Whether the repository did not have it before. */
  readonly isNew: boolean;
  /** Bytes this put added, before compression (frames are compressed later, together): the blob's length, or 0 when it was there. */
  readonly storedBytes: number;
}

/** What a write has done so far; exact once it has resolved. */
export interface WriteTotals {
  /** Blobs handed over, and their bytes. */
  readonly blobs: number;
  readonly bytes: number;
  /** Of these, what the repository did not have. */
  readonly newBlobs: number;
  readonly newBytes: number;
}

/** Takes blobs for the duration of one `Repository.write`. Any number of puts may run at once. */
export interface BlobWriter {
  /**
   * Stores a blob unless the repository has it. The bytes are copied before this returns its promise, so the caller may use its
   * buffer again at once; awaiting the promise is what keeps memory bounded. That the blob is durable is known when
   * `Repository.write` resolves, not before.
   */
  put(kind: BlobKind, data: Uint8Array, opts?: { readonly signal?: AbortSignal }): Promise<StoredBlob>;
  totals(): WriteTotals;
  /** What so many threads need that pack data blobs on their own, with a `BlobPacker` each. They must have flushed it before the write ends. */
  packingHost(threads: number): PackingHost;
}
