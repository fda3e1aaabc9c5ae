import type { DmaasError } from '../errors.ts';
import type { BlobId } from '../repository/format/blob.ts';
import type { Repository } from '../repository/repository.ts';
import type { CallOptions } from '../store/object-store.ts';
import { decodeContentNode } from './content.ts';

/** Content nodes that are read together. */
const NODES_AT_ONCE = 256;
/** References that are looked up together, about. */
const REFERENCES_AT_ONCE = 1 << 15;

interface Below {
  readonly id: BlobId;
  /** Of those asked about. */
  readonly top: BlobId;
}

/**
 * Of content nodes, those below which not everything is stored (see `Repository.known`), or a content node cannot be read, which `onUnreadable` is told. Reads content
 * nodes, but no chunks.
 */
export async function incompleteOf(
  repository: Pick<Repository, 'known' | 'readMany'>,
  nodes: readonly BlobId[],
  onUnreadable: (error: DmaasError) => void,
  opts: CallOptions = {},
): Promise<ReadonlySet<BlobId>> {
  const incomplete = new Set<BlobId>();
  const toRead: Below[] = nodes.map((id) => ({ id, top: id }));
  let found: Below[] = [];
  const lookUp = async (): Promise<void> => {
    const asked = found;
    found = [];
    const ids = asked.map(({ id }) => id);
    const known = await repository.known(ids, opts);
    for (const [i, { top }] of asked.entries()) if (known[i] !== true) incomplete.add(top);
  };
  while (toRead.length > 0) {
    const batch = toRead.splice(-NODES_AT_ONCE).filter(({ top }) => !incomplete.has(top));
    const deliver = async (i: number, bytes: Uint8Array): Promise<void> => {
      const { id, top } = batch[i] as Below;
      const { level, items } = decodeContentNode(bytes, id);
      const below = items.flatMap((item) => (item.id === undefined ? [] : { id: item.id, top }));
      found.push(...below);
      if (level > 0) toRead.push(...below);
      if (found.length >= REFERENCES_AT_ONCE) await lookUp();
    };
    const fail = (i: number, error: DmaasError): void => {
      incomplete.add((batch[i] as Below).top);
      onUnreadable(error);
    };
    const ids = batch.map(({ id }) => id);
    await repository.readMany(ids, deliver, { ...opts, isLent: true, onUnreadable: fail });
    await lookUp();
  }
  return incomplete;
}
