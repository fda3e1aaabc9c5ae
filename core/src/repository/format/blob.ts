import { DmaasError } from '../../errors.ts';

/** Names a blob: 24 bytes as 48 hex digits. Ids of data and of nodes are computed with different keys, so no blob can pass for the other kind. */
export type BlobId = string & { readonly __brand: 'BlobId' };

export const BLOB_ID_BYTES = 24;

/** `data`: bytes of files, devices and manifests. `node`: names other blobs. */
export type BlobKind = 'data' | 'node';

/** What is refused before memory is taken for it. Bytes, unless the name says otherwise. */
export const LIMITS = {
  blob: 16 << 20,
  /** Of a frame before compression. */
  frame: 16 << 20,
  pack: 256 << 20,
  segment: 256 << 20,
  /** Of a segment's directory, and of a record, after decompression. */
  json: 64 << 20,
  /** Of `dmaas.json`, `source` and wrapped keys. */
  config: 1 << 20,
} as const;

const ID = /^[0-9a-f]{48}$/;

export function isBlobId(text: string): text is BlobId {
  return ID.test(text);
}

/** Reads an id that came from outside. Throws REPOSITORY_CORRUPT; `what` names where it stood. */
export function parseBlobId(text: string, what: string): BlobId {
  if (!isBlobId(text)) throw new DmaasError('REPOSITORY_CORRUPT', `${what} names a blob by something that is no blob id`);
  return text;
}

/** The id whose 24 bytes begin at `offset`. */
export function blobIdAt(bytes: Uint8Array, offset = 0): BlobId {
  return Buffer.from(bytes.buffer, bytes.byteOffset + offset, BLOB_ID_BYTES).toString('hex') as BlobId;
}
