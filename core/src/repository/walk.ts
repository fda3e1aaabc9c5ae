import { throwIfCancelled } from '../errors.ts';
import type { CallOptions } from '../store/object-store.ts';
import { BLOB_ID_BYTES, blobIdAt, type BlobId } from './blob.ts';
import { referencesOf } from './node.ts';

/** Nodes that are read together: many of them lie in one frame. When many wait, fewer, so that what they refer to does not pile up. */
const NODES_AT_ONCE = 512;
const MANY_NODES = 1 << 15;
const FEW_NODES = 64;
/** References that are looked up together: so many that each block of the index serves several. */
const REFERENCES_AT_ONCE = 1 << 16;
/** Groups of roots that are begun together. */
const GROUPS_AT_ONCE = 1024;

/** What is done with what is reached. `by`: the number of the group of roots from which. */
export interface Visitor {
  /** Whether to look at the blob whose id begins at `at`, or not any more. */
  readonly follow: (ids: Buffer, at: number, by: number) => boolean;
  /** Looks at blobs; resolves with the places of those that are nodes and shall be read. Several calls may run at once. */
  readonly visit: (ids: readonly BlobId[], by: readonly number[]) => Promise<readonly number[]>;
  /** Reads nodes, each of which it delivers once, or not at all. */
  readonly read: (nodes: readonly BlobId[], deliver: (i: number, node: Uint8Array) => Promise<void>) => Promise<void>;
}

/**
 * Reaches every blob from groups of roots, the roots of a backup being one, as far as `follow` lets it. Earlier groups come first as a rule, but not strictly: many are under way
 * at once, since each alone would wait for one node after the other. Memory does not grow with the number of groups or blobs.
 */
export async function walk(groups: Iterable<readonly BlobId[]>, visitor: Visitor, opts: CallOptions = {}): Promise<void> {
  const nodes: ReachedNode[] = [];
  let waiting = new References();
  const visitWaiting = async () => {
    const { ids, by } = waiting.followed(visitor);
    waiting = new References();
    // The first of them are to be read first.
    const found = await visitor.visit(ids, by);
    for (const i of found.toReversed()) nodes.push({ id: ids[i] as BlobId, by: by[i] as number });
  };
  const queue = groups[Symbol.iterator]();
  let begun = 0;
  let isAllBegun = false;
  while (!isAllBegun || nodes.length + waiting.count > 0) {
    throwIfCancelled(opts.signal);
    if (nodes.length > 0 && waiting.count < REFERENCES_AT_ONCE) {
      const batch = nodes.splice(nodes.length > MANY_NODES ? -FEW_NODES : -NODES_AT_ONCE);
      await visitor.read(
        batch.map(({ id }) => id),
        async (i, node) => {
          const { id, by } = batch[i] as ReachedNode;
          waiting.add(Buffer.from(referencesOf(node, id)), by);
          if (waiting.count >= REFERENCES_AT_ONCE) await visitWaiting();
        },
      );
    } else if (waiting.count > 0) {
      await visitWaiting();
    } else {
      for (let n = 0; n < GROUPS_AT_ONCE && !isAllBegun; n++) {
        const group = queue.next();
        isAllBegun = group.done === true;
        if (group.done !== true) waiting.add(Buffer.from(group.value.join(''), 'hex'), begun++);
      }
    }
  }
}

interface ReachedNode {
  readonly id: BlobId;
  readonly by: number;
}

/** Ids that nodes refer to, as they stand in them. */
class References {
  readonly #lists: { readonly ids: Buffer; readonly by: number }[] = [];
  count = 0;

  add(ids: Buffer, by: number): void {
    this.#lists.push({ ids, by });
    this.count += ids.length / BLOB_ID_BYTES;
  }

  /** Those that the visitor follows. It is asked for the first groups first: nodes are delivered in the order in which they lie in packs. */
  followed({ follow }: Visitor): { readonly ids: BlobId[]; readonly by: number[] } {
    const followed = { ids: [] as BlobId[], by: [] as number[] };
    for (const { ids, by } of this.#lists.sort((a, b) => a.by - b.by)) {
      for (let at = 0; at < ids.length; at += BLOB_ID_BYTES) {
        if (!follow(ids, at, by)) continue;
        followed.ids.push(blobIdAt(ids, at));
        followed.by.push(by);
      }
    }
    return followed;
  }
}
