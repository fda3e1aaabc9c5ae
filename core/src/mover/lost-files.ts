import * as z from 'zod';
import { DmaasError } from '../errors.ts';
import type { Backup } from '../repository/records/backup-record.ts';
import type { BlobId } from '../repository/format/blob.ts';
import { decodeNode, NODE_TYPE } from '../repository/format/node.ts';
import type { Repository } from '../repository/repository.ts';
import { parseStored } from '../repository/format/stored-json.ts';
import type { NameLost } from '../repository/verify.ts';
import type { CallOptions } from '../store/object-store.ts';
import type { Content } from './content-format.ts';
import { decodeContentNode } from './content.ts';
import { showPath } from './paths.ts';
import { readLeaf } from './tree-format.ts';
import { MAX_HEIGHT, readIndexNode } from './tree-reader.ts';
import { readVolume } from './volume-node.ts';

const manifestsSchema = z.looseObject({ members: z.array(z.looseObject({ ref: z.number(), kind: z.string(), name: z.string() })) });

type Reader = Pick<Repository, 'read'>;

/** Names what a backup loses by blobs that are lost: files by their paths, objects by kind and name, and where the names are lost, too, what lies between two paths. */
export function lostFilesOf(repository: Reader): NameLost {
  return async (backup, isLost, onLost, opts) => {
    await new Survey(repository, 'manifests', isLost, onLost, opts).manifests(backup.manifests);
    for (const { claim, root } of backup.volumes) await new Survey(repository, claim, isLost, onLost, opts).volume(root);
  };
}

class Survey {
  readonly #repository: Reader;
  readonly #title: string;
  readonly #isLost: (id: BlobId) => boolean;
  readonly #onLost: (name: string, ids: readonly BlobId[]) => void;
  readonly #opts: CallOptions;

  constructor(
    repository: Reader,
    title: string,
    isLost: (id: BlobId) => boolean,
    onLost: (name: string, ids: readonly BlobId[]) => void,
    opts: CallOptions,
  ) {
    this.#repository = repository;
    this.#title = title;
    this.#isLost = isLost;
    this.#onLost = onLost;
    this.#opts = opts;
  }

  async manifests(root: Backup['manifests']): Promise<void> {
    await this.#orWhole(root, 'all of them', async () => {
      const { references, payload } = await this.#node(root);
      const { members } = parseStored(payload, manifestsSchema, `the manifests node ${root}`);
      for (const { ref, kind, name } of members) this.#tell(`${kind}/${name}`, this.#lostOf([references[ref]]));
    });
  }

  async volume(root: BlobId): Promise<void> {
    await this.#orWhole(root, 'all of it', async () => {
      const { mode, top } = await readVolume(this.#repository, root, this.#opts);
      if (mode === 'block') this.#tell('parts of the device', await this.#lostIn({ node: top }));
      else await this.#orWhole(top, 'all files', () => this.#tree(top, undefined, 0));
    });
  }

  /** `next`: the first path after those below `id`. */
  async #tree(id: BlobId, next: Buffer | undefined, depth: number): Promise<void> {
    const node = await this.#node(id);
    if (node.type === NODE_TYPE.leaf) {
      for (const { path, content } of readLeaf(node)) this.#tell(showPath(path), await this.#lostIn(content));
      return;
    }
    if (depth === MAX_HEIGHT) return;
    const subtrees = readIndexNode(node);
    for (const [i, subtree] of subtrees.entries()) {
      const end = subtrees[i + 1]?.first ?? next;
      const range = `everything from ${showPath(subtree.first)} on${end === undefined ? '' : `, up to ${showPath(end)}`}`;
      await this.#orWhole(subtree.id, range, () => this.#tree(subtree.id, end, depth + 1));
    }
  }

  async #lostIn(content: Content): Promise<BlobId[]> {
    if ('items' in content) return this.#lostOf(content.items.map(({ id }) => id));
    if (this.#isLost(content.node)) return [content.node];
    const lost: BlobId[] = [];
    const walk = async (id: BlobId): Promise<void> => {
      const { level, items } = decodeContentNode(await this.#repository.read(id, this.#opts), id);
      lost.push(...this.#lostOf(items.map((item) => item.id)));
      if (level > 0) for (const item of items) if (item.id !== undefined && !this.#isLost(item.id)) await walk(item.id);
    };
    await walk(content.node);
    return lost;
  }

  /** What depends on a node as a whole is named as a whole when the node is lost, or is nothing that can be understood. */
  async #orWhole(id: BlobId, name: string, look: () => Promise<void>): Promise<void> {
    if (this.#isLost(id)) {
      this.#tell(name, [id]);
      return;
    }
    try {
      await look();
    } catch (e) {
      if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
    }
  }

  #lostOf(ids: readonly (BlobId | undefined)[]): BlobId[] {
    return ids.filter((id): id is BlobId => id !== undefined && this.#isLost(id));
  }

  #tell(name: string, ids: readonly BlobId[]): void {
    if (ids.length > 0) this.#onLost(`${this.#title}: ${name}`, ids);
  }

  async #node(id: BlobId) {
    return decodeNode(await this.#repository.read(id, this.#opts), id);
  }
}
