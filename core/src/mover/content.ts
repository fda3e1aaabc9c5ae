import { DmaasError } from '../errors.ts';
import { LIMITS, type BlobId } from '../repository/format/blob.ts';
import { decodeNode, encodeNode, NODE_TYPE } from '../repository/format/node.ts';
import type { Repository } from '../repository/repository.ts';
import type { CallOptions } from '../store/object-store.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import {
  endsInZeros,
  itemsLength,
  MAX_INLINE_ITEMS,
  readItem,
  References,
  writeItem,
  type Content,
  type ContentItem,
} from './content-format.ts';

/** Content nodes and index nodes are cut after an id that ends in so many zero bits, within these bounds. */
export const NODE_CUT = { bits: 9, minItems: 128, maxItems: 4096 } as const;

const MAX_HEIGHT = 8;

/** The part of a `BlobWriter` that stores nodes. */
export interface NodeWriter {
  put(kind: 'node', data: Uint8Array): Promise<{ readonly id: BlobId }>;
}

/** Builds the list of a file's pieces as they come, and moves it out into content nodes when it gets long. */
export class ContentWriter {
  readonly #writer: NodeWriter;
  /** Lists that are not yet a node, by level. */
  readonly #levels: ContentItem[][] = [[]];
  #bytes = 0;

  constructor(writer: NodeWriter) {
    this.#writer = writer;
  }

  /** Length of what was added. */
  get bytes(): number {
    return this.#bytes;
  }

  async add(item: ContentItem): Promise<void> {
    await this.addSoon(item);
  }

  /** As `add`; a promise only when a node must be stored. */
  addSoon(item: ContentItem): void | Promise<void> {
    if (item.length === 0) return undefined;
    this.#bytes += item.length;
    const list = this.#levels[0] as ContentItem[];
    const last = list.at(-1);
    if (item.id === undefined && last?.id === undefined && last !== undefined) {
      list[list.length - 1] = { length: last.length + item.length };
      return undefined;
    }
    // A list is only cut when more follows: a hole that goes on is one item, and a short list may yet stand in the leaf.
    if (isFull(list)) return this.#flush(0).then(() => void (this.#levels[0] as ContentItem[]).push(item));
    list.push(item);
    return undefined;
  }

  async finish(): Promise<Content> {
    const first = this.#levels[0] as ContentItem[];
    if (this.#levels.length === 1 && first.length <= MAX_INLINE_ITEMS) return { items: first };
    return { node: await this.finishAsNode() };
  }

  /** For what has no leaf: the content of a device. */
  async finishAsNode(): Promise<BlobId> {
    for (let level = 0; ; level++) {
      const list = this.#levels[level] as ContentItem[];
      const top = level === this.#levels.length - 1;
      if (top && level > 0 && list.length === 1) return (list[0] as { id: BlobId }).id;
      if (list.length > 0 || top) await this.#flush(level);
    }
  }

  async #flush(level: number): Promise<void> {
    const list = this.#levels[level] as ContentItem[];
    this.#levels[level] = [];
    const { id } = await this.#writer.put('node', encodeContentNode(level, list));
    const above = (this.#levels[level + 1] ??= []);
    if (isFull(above)) await this.#flush(level + 1);
    (this.#levels[level + 1] as ContentItem[]).push({ length: itemsLength(list), id });
  }
}

function isFull(list: readonly ContentItem[]): boolean {
  const id = list.at(-1)?.id;
  if (list.length >= NODE_CUT.maxItems) return true;
  return list.length >= NODE_CUT.minItems && id !== undefined && endsInZeros(id, NODE_CUT.bits);
}

export function encodeContentNode(level: number, items: readonly ContentItem[]): Buffer {
  const payload = new ByteWriter(items.length * 4 + 8);
  const references: BlobId[] = [];
  payload.varint(level);
  for (const item of items) writeItem(payload, references, item);
  return encodeNode({ type: NODE_TYPE.content, references, payload: payload.bytes });
}

/** `level`: the one it must have. Absent for the top node of a content, whose level is not known before. */
export function decodeContentNode(bytes: Uint8Array, id: BlobId, level?: number): { level: number; items: ContentItem[] } {
  const node = decodeNode(bytes, id);
  const reader = new ByteReader(node.payload, 'content node');
  if (node.type !== NODE_TYPE.content) reader.fail(`it is a node of type ${node.type}`);
  const found = reader.varint();
  if (found >= MAX_HEIGHT || (level !== undefined && found !== level)) reader.fail(`its level is ${found}`);
  const references = new References(node.references);
  const items: ContentItem[] = [];
  while (!reader.done) {
    if (items.length === NODE_CUT.maxItems) reader.fail('it has too many items');
    items.push(readItem(reader, references, found > 0));
  }
  if (!references.done) reader.fail('it has references that no item uses');
  return { level: found, items };
}

/** A piece of a file, and where in the file it begins. */
export interface Extent extends ContentItem {
  readonly offset: number;
}

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * The pieces of a file of `size` bytes, in order; of a range, those that touch it. Reads content nodes as it goes, and only those that the range
 * needs. Throws REPOSITORY_CORRUPT when the pieces are not exactly the file.
 */
export async function* extentsOf(
  repository: Pick<Repository, 'read'>,
  content: Content,
  size: number,
  range: ByteRange = { offset: 0, length: size },
  opts: CallOptions = {},
): AsyncGenerator<Extent> {
  const end = range.offset + range.length;
  const walk = async function* (items: readonly ContentItem[], level: number, start: number, length: number): AsyncGenerator<Extent> {
    if (itemsLength(items) !== length) throw wrongSize();
    let offset = start;
    for (const item of items) {
      const next = offset + item.length;
      if (next > range.offset && offset < end) {
        if (level === 0) yield { offset, ...item };
        else {
          const below = item.id as BlobId;
          yield* walk(decodeContentNode(await repository.read(below, opts), below, level - 1).items, level - 1, offset, item.length);
        }
      }
      offset = next;
    }
  };
  if ('items' in content) yield* walk(content.items, 0, 0, size);
  else {
    const top = decodeContentNode(await repository.read(content.node, opts), content.node);
    yield* walk(top.items, top.level, 0, size);
  }
}

/** Up to this many chunks are fetched with one call, so that neighbours in a pack come together. Bounded by bytes as well. */
const READ_AHEAD = { chunks: 64, bytes: 2 * LIMITS.blob } as const;

/** The bytes of a file, or of a range of it, as a stream of buffers. */
export async function* bytesOf(
  repository: Pick<Repository, 'read' | 'readMany'>,
  content: Content,
  size: number,
  range: ByteRange = { offset: 0, length: size },
  opts: CallOptions = {},
): AsyncGenerator<Uint8Array> {
  const end = Math.min(size, range.offset + range.length);
  const clip = ({ offset }: Extent, data: Uint8Array): Uint8Array => data.subarray(Math.max(0, range.offset - offset), end - offset);
  let held: Extent[] = [];
  let heldBytes = 0;
  const deliver = async function* (): AsyncGenerator<Uint8Array> {
    const chunks = await readExtents(repository, held, opts);
    for (const [i, extent] of held.entries()) yield clip(extent, chunks[i] as Uint8Array);
    held = [];
    heldBytes = 0;
  };
  for await (const extent of extentsOf(repository, content, size, range, opts)) {
    if (extent.id === undefined) {
      yield* deliver();
      yield* zeros(Math.max(extent.offset, range.offset), Math.min(extent.offset + extent.length, end));
      continue;
    }
    if (held.length === READ_AHEAD.chunks || heldBytes + extent.length > READ_AHEAD.bytes) yield* deliver();
    held.push(extent);
    heldBytes += extent.length;
  }
  yield* deliver();
}

const ZEROS = Buffer.alloc(1 << 20);

function* zeros(from: number, to: number): Generator<Uint8Array> {
  for (let left = to - from; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, left);
}

async function readExtents(repository: Pick<Repository, 'readMany'>, extents: readonly Extent[], opts: CallOptions): Promise<Uint8Array[]> {
  const chunks = new Array<Uint8Array>(extents.length);
  await repository.readMany(
    extents.map(({ id }) => id as BlobId),
    (i, data) => {
      checkChunk(extents[i] as Extent, data);
      chunks[i] = Buffer.from(data);
    },
    opts,
  );
  return chunks;
}

/** A chunk must be as long as its place. Throws REPOSITORY_CORRUPT. */
export function checkChunk(item: ContentItem, data: Uint8Array): void {
  if (data.length !== item.length) throw wrongSize();
}

function wrongSize(): DmaasError {
  return new DmaasError('REPOSITORY_CORRUPT', 'a content list is malformed: the sizes of its pieces do not add up');
}
