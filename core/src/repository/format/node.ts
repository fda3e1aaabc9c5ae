import { DmaasError } from '../../errors.ts';
import { BLOB_ID_BYTES, blobIdAt, LIMITS, type BlobId } from './blob.ts';

export const NODE_TYPE = { volume: 1, leaf: 2, index: 3, content: 4, manifests: 5 } as const;

const NODE_VERSION = 1;
const HEADER_BYTES = 8;

/** A blob that names other blobs. The references stand in front, so what is reachable is known without knowing what the node means. */
export interface Node {
  readonly type: number;
  readonly references: readonly BlobId[];
  readonly payload: Uint8Array;
}

/** `u8 type ‖ u8 version ‖ u16 0 ‖ u32 count ‖ ids ‖ payload`. */
export function encodeNode({ type, references, payload }: Node): Buffer {
  const node = Buffer.alloc(HEADER_BYTES + references.length * BLOB_ID_BYTES + payload.length);
  if (node.length > LIMITS.blob) {
    throw new DmaasError('INTERNAL', `a node of ${node.length} bytes is larger than a blob may be`);
  }
  node.writeUInt8(type, 0);
  node.writeUInt8(NODE_VERSION, 1);
  node.writeUInt32LE(references.length, 4);
  references.forEach((id, i) => node.write(id, HEADER_BYTES + i * BLOB_ID_BYTES, BLOB_ID_BYTES, 'hex'));
  node.set(payload, HEADER_BYTES + references.length * BLOB_ID_BYTES);
  return node;
}

/** `id` is for messages. Throws REPOSITORY_CORRUPT, or REPOSITORY_VERSION when the node is of the future. `payload` is a view of `bytes`. */
export function decodeNode(bytes: Uint8Array, id: BlobId): Node {
  const ids = referencesOf(bytes, id);
  const references: BlobId[] = [];
  for (let at = 0; at < ids.length; at += BLOB_ID_BYTES) references.push(blobIdAt(ids, at));
  const start = HEADER_BYTES + ids.length;
  return { type: bytes[0] as number, references, payload: Buffer.from(bytes.buffer, bytes.byteOffset + start, bytes.length - start) };
}

/** The ids that a node names, one after the other, as a view of `bytes`. Throws as `decodeNode`. */
export function referencesOf(bytes: Uint8Array, id: BlobId): Buffer {
  const node = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (node.length < HEADER_BYTES) throw new DmaasError('REPOSITORY_CORRUPT', `the node ${id} is cut short`);
  if (node.readUInt8(1) > NODE_VERSION) {
    throw new DmaasError('REPOSITORY_VERSION', `the node ${id} needs a newer DMaaS`, { hint: 'update DMaaS' });
  }
  const payloadAt = HEADER_BYTES + node.readUInt32LE(4) * BLOB_ID_BYTES;
  if (node.readUInt8(1) !== NODE_VERSION || node.readUInt16LE(2) !== 0 || payloadAt > node.length) {
    throw new DmaasError('REPOSITORY_CORRUPT', `the node ${id} is malformed`);
  }
  return node.subarray(HEADER_BYTES, payloadAt);
}
