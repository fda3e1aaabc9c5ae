import * as z from 'zod';
import { DmaasError } from '../errors.ts';
import type { BlobId } from '../repository/format/blob.ts';
import type { BlobWriter } from '../repository/blobs/blob-writer.ts';
import { decodeNode, encodeNode, NODE_TYPE } from '../repository/format/node.ts';
import type { Repository } from '../repository/repository.ts';
import type { CallOptions } from '../store/object-store.ts';

export type VolumeMode = 'filesystem' | 'block';

const count = z.number().int().nonnegative();
const payloadSchema = z.looseObject({ mode: z.enum(['filesystem', 'block']), bytes: count, files: count, entries: count });

/** What a volume's root says of it. */
export interface Volume {
  readonly mode: VolumeMode;
  /** The top node of the tree, or the content node of the device. */
  readonly top: BlobId;
  /** Sizes of all files, or of the device. */
  readonly bytes: number;
  /** Regular files; hard links count each. */
  readonly files: number;
  readonly entries: number;
}

export async function writeVolume(writer: BlobWriter, { top, ...payload }: Volume): Promise<BlobId> {
  const node = encodeNode({ type: NODE_TYPE.volume, references: [top], payload: Buffer.from(JSON.stringify(payload)) });
  return (await writer.put('node', node)).id;
}

/** Throws REPOSITORY_CORRUPT when `root` is no volume. */
export async function readVolume(repository: Pick<Repository, 'read'>, root: BlobId, opts: CallOptions = {}): Promise<Volume> {
  const node = decodeNode(await repository.read(root, opts), root);
  const top = node.references[0];
  const payload = payloadSchema.safeParse(parseJson(node.payload));
  if (node.type !== NODE_TYPE.volume || top === undefined || !payload.success) {
    throw new DmaasError('REPOSITORY_CORRUPT', `the node ${root} is no volume`);
  }
  const { mode, bytes, files, entries } = payload.data;
  return { mode, top, bytes, files, entries };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
  } catch {
    return undefined;
  }
}
