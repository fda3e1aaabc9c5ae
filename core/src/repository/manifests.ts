import * as z from 'zod';
import { DmaasError } from '../errors.ts';
import { parseJson, stringifyJson } from '../json.ts';
import { refOf, type KubeObject } from '../model.ts';
import type { CallOptions } from '../store/object-store.ts';
import type { BlobWriter } from './blobs/blob-writer.ts';
import type { BlobId } from './format/blob.ts';
import { decodeNode, encodeNode, NODE_TYPE } from './format/node.ts';
import { parseStored } from './format/stored-json.ts';
import type { Repository } from './repository.ts';

/** One object of an application, and why it belongs: JSON, as discovery says it. */
export interface StoredMember {
  readonly object: KubeObject;
  readonly because: unknown;
}

const payloadSchema = z.looseObject({
  members: z.array(z.looseObject({ ref: z.number().int().nonnegative(), because: z.unknown() })),
});
const objectSchema = z.looseObject({ apiVersion: z.string(), kind: z.string(), metadata: z.looseObject({ name: z.string() }) });

/** Stores each object as a blob, so that one that did not change is not stored again; returns the manifests node. */
export async function writeManifests(writer: BlobWriter, members: readonly StoredMember[]): Promise<BlobId> {
  const references: BlobId[] = [];
  const entries: unknown[] = [];
  for (const { object, because } of members) {
    const { id } = await writer.put('data', Buffer.from(stringifyJson(object)));
    entries.push({ ref: references.length, ...refOf(object), because });
    references.push(id);
  }
  const payload = Buffer.from(stringifyJson({ members: entries }));
  const { id } = await writer.put('node', encodeNode({ type: NODE_TYPE.manifests, references, payload }));
  return id;
}

/** The members in the order in which they were written. */
export async function readManifests(repository: Repository, root: BlobId, opts: CallOptions = {}): Promise<StoredMember[]> {
  const node = decodeNode(await repository.read(root, opts), root);
  if (node.type !== NODE_TYPE.manifests) throw malformed(root);
  const { members } = parseStored(node.payload, payloadSchema, `the manifests node ${root}`);
  const objects = new Map<number, KubeObject>();
  await repository.readMany(
    node.references,
    (i, data) => {
      const parsed = objectSchema.safeParse(parseJson(Buffer.from(data).toString()));
      if (!parsed.success) throw malformed(root);
      objects.set(i, parsed.data);
    },
    opts,
  );
  return members.map(({ ref, because }) => {
    const object = objects.get(ref);
    if (object === undefined) throw malformed(root);
    return { object, because };
  });
}

function malformed(root: BlobId): DmaasError {
  return new DmaasError('REPOSITORY_CORRUPT', `the node ${root} holds no manifests`);
}
