import { throwIfCancelled } from '../errors.ts';
import type { CallOptions } from '../store/object-store.ts';
import type { BlobIndex } from './blob-index.ts';
import type { BlobReader } from './blob-reader.ts';
import type { BlobId } from './blob.ts';
import { damaged } from './damage.ts';
import { decodeNode } from './node.ts';
import type { RepositoryIndex } from './repository-index.ts';

const NODES_AT_ONCE = 64;
/** References that are looked up together: so many that each block of the index serves several. */
const REFERENCES_AT_ONCE = 1 << 18;

export interface WalkParts {
  readonly index: RepositoryIndex;
  readonly reader: BlobReader;
}

/** Some blobs that were reached, each once in a batch, and where they lie. */
export type OnReached = (ids: readonly BlobId[], found: BlobIndex) => void;

/**
 * Reaches every blob from `roots`, but not what lies below nodes in `visited`, which it adds to. Throws REPOSITORY_CORRUPT when it is not known what a blob refers to: it is in no segment, or it is
 * a node that cannot be read.
 */
export async function walk(
  roots: readonly BlobId[],
  visited: Set<BlobId>,
  parts: WalkParts,
  onReached: OnReached,
  opts: CallOptions = {},
): Promise<void> {
  const nodes: BlobId[] = [];
  let references: BlobId[] = [...roots];
  while (nodes.length + references.length > 0) {
    throwIfCancelled(opts.signal);
    if (nodes.length > 0 && references.length < REFERENCES_AT_ONCE) {
      const batch = nodes.splice(-NODES_AT_ONCE);
      await parts.reader.readMany(
        batch,
        (i, data) => {
          for (const reference of decodeNode(data, batch[i] as BlobId).references) references.push(reference);
        },
        opts,
      );
    } else {
      const fresh = [...new Set(references)].filter((id) => !visited.has(id));
      references = [];
      const found = await parts.index.locate(fresh, opts);
      for (const id of fresh) {
        const entry = found.find(id);
        if (entry === undefined) throw damaged('index/', `no segment of it names the blob ${id}, which a backup needs`);
        if (found.pack(entry).kind !== 'node') continue;
        visited.add(id);
        nodes.push(id);
      }
      onReached(fresh, found);
    }
  }
}
