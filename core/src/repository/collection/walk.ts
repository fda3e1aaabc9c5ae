import { throwIfCancelled } from '../../errors.ts';
import type { CallOptions } from '../../store/object-store.ts';
import { BLOB_ID_BYTES, blobIdAt, type BlobId } from '../format/blob.ts';
import { referencesOf } from '../format/node.ts';

/** Nodes that are read together, at most: what lies near in time lies in one frame, and each frame is opened once for all of them. */
const NODES_AT_ONCE = 1 << 14;
/** References that are looked up together: so many that each block of the index serves several. */
const REFERENCES_AT_ONCE = 1 << 15;
/** Groups of roots that are begun together, at most. */
const GROUPS_AT_ONCE = 1024;

/** What is done with what is reached. `by`: the number of the group of roots from which. */
export interface Visitor {
  /** Whether to look at the blob whose id begins at `at`, or not any more. */
  readonly follow: (ids: Buffer, at: number, by: number) => boolean;
  /** Looks at blobs; resolves with the places of those that are nodes and shall be read. Several calls may run at once. */
  readonly visit: (ids: readonly BlobId[], by: readonly number[]) => Promise<readonly number[]>;
  /** Reads nodes, each of which it delivers once, or not at all. They are good only until `deliver` resolves. */
  readonly read: (nodes: readonly BlobId[], deliver: (i: number, node: Uint8Array) => Promise<void>) => Promise<void>;
}

/**
 * Reaches every blob from groups of roots (ids end to end), the roots of a backup being one, as far as `follow` lets it. Earlier groups come first as a rule, but not strictly: many are under way
 * at once, since each alone would wait for one node after the other. The first is reached alone, then two, four and so on: most of what groups share is then reached from the first. Memory grows by 28 bytes
 * for each node that waits to be read, of one group nearly all at worst.
 */
export async function walk(groups: Iterable<string>, visitor: Visitor, opts: CallOptions = {}): Promise<void> {
  const nodes = new ReachedNodes();
  const waiting = new References();
  const visitWaiting = async () => {
    const { ids, by } = waiting.takeFollowed(visitor);
    // The first of them are to be read first.
    const found = await visitor.visit(ids, by);
    for (const i of found.toReversed()) nodes.push(ids[i] as BlobId, by[i] as number);
  };
  const queue = groups[Symbol.iterator]();
  let begun = 0;
  let isAllBegun = false;
  while (!isAllBegun || nodes.count + waiting.count > 0) {
    throwIfCancelled(opts.signal);
    if (nodes.count > 0 && waiting.count < REFERENCES_AT_ONCE) {
      const { ids, by } = nodes.take(NODES_AT_ONCE);
      await visitor.read(ids, async (i, node) => {
        waiting.add(referencesOf(node, ids[i] as BlobId), by[i] as number);
        if (waiting.count >= REFERENCES_AT_ONCE) await visitWaiting();
      });
    } else if (waiting.count > 0) {
      await visitWaiting();
    } else {
      for (let n = Math.min(begun + 1, GROUPS_AT_ONCE); n > 0 && !isAllBegun; n--) {
        const group = queue.next();
        isAllBegun = group.done === true;
        if (group.done !== true) waiting.add(Buffer.from(group.value, 'hex'), begun++);
      }
    }
  }
}

/** Nodes to be read, the last ones first. */
class ReachedNodes {
  #ids = Buffer.alloc(BLOB_ID_BYTES << 10);
  #by = new Uint32Array(1 << 10);
  count = 0;

  push(id: BlobId, by: number): void {
    if (this.count === this.#by.length) this.#grow();
    this.#ids.write(id, this.count * BLOB_ID_BYTES, 'hex');
    this.#by[this.count++] = by;
  }

  take(most: number): { readonly ids: readonly BlobId[]; readonly by: Uint32Array } {
    const end = this.count;
    this.count = Math.max(0, end - most);
    const ids = Array.from({ length: end - this.count }, (_, i) => blobIdAt(this.#ids, (this.count + i) * BLOB_ID_BYTES));
    return { ids, by: this.#by.slice(this.count, end) };
  }

  #grow(): void {
    const [ids, by] = [this.#ids, this.#by];
    this.#ids = Buffer.alloc(ids.length * 2);
    this.#ids.set(ids);
    this.#by = new Uint32Array(by.length * 2);
    this.#by.set(by);
  }
}

/** Ids that nodes refer to, as they stand in them: in one piece of memory, for as many small ones come and go as there are nodes. */
class References {
  #ids = Buffer.allocUnsafeSlow(2 * REFERENCES_AT_ONCE * BLOB_ID_BYTES);
  #lists: { readonly from: number; readonly to: number; readonly by: number }[] = [];
  #end = 0;

  get count(): number {
    return this.#end / BLOB_ID_BYTES;
  }

  /** Copies them. */
  add(ids: Buffer, by: number): void {
    const from = this.#end;
    this.#end += ids.length;
    if (this.#end > this.#ids.length) this.#grow(from);
    this.#ids.set(ids, from);
    this.#lists.push({ from, to: this.#end, by });
  }

  /** Those that the visitor follows; none is left. It is asked for the first groups first: nodes are delivered in the order in which they lie in packs. */
  takeFollowed({ follow }: Visitor): { readonly ids: BlobId[]; readonly by: number[] } {
    const followed = { ids: [] as BlobId[], by: [] as number[] };
    for (const { from, to, by } of this.#lists.sort((a, b) => a.by - b.by)) {
      for (let at = from; at < to; at += BLOB_ID_BYTES) {
        if (!follow(this.#ids, at, by)) continue;
        followed.ids.push(blobIdAt(this.#ids, at));
        followed.by.push(by);
      }
    }
    this.#lists = [];
    this.#end = 0;
    return followed;
  }

  #grow(used: number): void {
    const ids = Buffer.allocUnsafeSlow(2 * this.#end);
    ids.set(this.#ids.subarray(0, used));
    this.#ids = ids;
  }
}
