import { fstatSync, type BigIntStats } from 'node:fs';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { BlobWriter } from '../repository/blob.ts';
import { chunksOf } from '../repository/chunker.ts';
import type { Repository } from '../repository/repository.ts';
import { chunkingOf, HEAD_BYTES, MIN_FIXED_BYTES, type Chunking } from './chunking-rule.ts';
import type { Content, ContentItem } from './content-format.ts';
import { ContentWriter, extentsOf } from './content.ts';
import { piecesOf, readFully } from './io.ts';
import { nameOf } from './paths.ts';
import type { Posix } from './posix.ts';
import type { Entry } from './tree-format.ts';

/** Bytes asked for with one read; made a multiple of the fixed block. */
const READ_BYTES = 1 << 20;

export interface ReadTools {
  readonly repository: Pick<Repository, 'read' | 'known' | 'chunker' | 'parameters' | 'treeSeed'>;
  readonly writer: BlobWriter;
  readonly native: Posix | undefined;
  readonly signal: AbortSignal | undefined;
  /** Told of every piece of the source that has been dealt with. */
  readonly onBytes: (bytes: number) => void;
}

export interface FileRead {
  readonly content: Content;
  /** Bytes of the content. */
  readonly size: number;
  /** As it was when reading ended. */
  readonly stat: BigIntStats;
  /** It changed during both attempts: the content need not be what the file ever held. */
  readonly changed: boolean;
}

/**
 * Stores a file's content. A file that changes meanwhile is read once more; so what is stored was the content at one moment, or `changed`
 * says that it may not have been.
 */
export async function readFile(fd: number, path: Buffer, before: Entry | undefined, tools: ReadTools): Promise<FileRead> {
  for (let attempt = 1; ; attempt++) {
    const start = fstatSync(fd, { bigint: true });
    if (!start.isFile()) throw Object.assign(new Error('replaced'), { code: 'ESTALE' });
    const { content, size } = await storeContent(fd, path, start, before, tools, attempt === 1);
    const stat = fstatSync(fd, { bigint: true });
    const changed =
      stat.mtimeNs !== start.mtimeNs || stat.ctimeNs !== start.ctimeNs || stat.size !== start.size || Number(stat.size) !== size;
    if (!changed || attempt === 2) return { content, size, stat, changed };
  }
}

async function storeContent(
  fd: number,
  path: Buffer,
  stat: BigIntStats,
  before: Entry | undefined,
  tools: ReadTools,
  isFirst: boolean,
): Promise<{ content: Content; size: number }> {
  const size = Number(stat.size);
  const content = new ContentWriter(tools.writer);
  const { min } = tools.repository.parameters.chunker;
  // Not by its blocks: those that hold extended attributes count too.
  const isSparse = tools.native !== undefined && tools.native.seekHole(fd, 0) < size;
  const onBytes = isFirst ? tools.onBytes : (): void => undefined;
  if (size <= min && !isSparse) {
    const data = Buffer.allocUnsafe(size);
    const length = await readFully(fd, data, 0);
    await content.add(await stored(data.subarray(0, length), tools.writer));
    onBytes(length);
    return { content: await content.finish(), size: content.bytes };
  }
  const chunking = size < MIN_FIXED_BYTES ? 'by-content' : await chooseChunking(fd, path, size, before, tools);
  for (const { start, end } of isSparse ? dataRanges(fd, size, tools.native) : [{ start: 0, end: size }]) {
    await content.add({ length: start - content.bytes });
    onBytes(start - content.bytes);
    for await (const chunk of chunks(fd, start, end, chunking, tools)) {
      throwIfCancelled(tools.signal);
      await content.add(await stored(chunk, tools.writer));
      onBytes(chunk.length);
    }
    if (content.bytes < end) break; // it shrank
  }
  return { content: await content.finish(), size: content.bytes };
}

async function stored(data: Uint8Array, writer: BlobWriter): Promise<ContentItem> {
  if (data.length === 0) return { length: 0 };
  const { id } = await writer.put('data', data);
  return { length: data.length, id };
}

async function chooseChunking(fd: number, path: Buffer, size: number, before: Entry | undefined, tools: ReadTools): Promise<Chunking> {
  const head = Buffer.alloc(HEAD_BYTES);
  const headBytes = await readFully(fd, head, 0);
  const facts = { name: nameOf(path), size, head: head.subarray(0, headBytes), blockBytes: tools.repository.parameters.chunker.block };
  if (before?.type !== 'file') return chunkingOf(facts);
  return chunkingOf({ ...facts, before: { size: before.size, first: await firstPiece(before, tools) } });
}

async function firstPiece(before: Entry, { repository }: ReadTools): Promise<ContentItem | undefined> {
  try {
    for await (const extent of extentsOf(repository, before.content, before.size)) if (extent.id !== undefined) return extent;
  } catch (error) {
    // The file is read in any case; only a hint of how to cut it is lost.
    if (!DmaasError.is(error, 'REPOSITORY_CORRUPT')) throw error;
  }
  return undefined;
}

/** The ranges of a sparse file that are no holes. The last one ends at its end, also when that is a hole. */
function* dataRanges(fd: number, size: number, native: Posix | undefined): Generator<{ start: number; end: number }> {
  let at = 0;
  while (native !== undefined && at < size) {
    const start = native.seekData(fd, at);
    if (start < 0 || start >= size) break;
    at = Math.min(native.seekHole(fd, start), size);
    yield { start, end: at };
  }
  if (at < size) yield { start: size, end: size };
}

async function* chunks(fd: number, start: number, end: number, chunking: Chunking, { repository }: ReadTools): AsyncGenerator<Uint8Array> {
  if (chunking === 'fixed-blocks') yield* fixedBlocks(fd, start, end, repository.parameters.chunker.block);
  else yield* chunksOf(repository.chunker(), piecesOf(fd, start, end, READ_BYTES));
}

/** Blocks that end at multiples of `blockBytes` in the file. Each is valid until the next one is asked for. */
export async function* fixedBlocks(fd: number, start: number, end: number, blockBytes: number): AsyncGenerator<Uint8Array> {
  let offset = start;
  for await (const piece of piecesOf(fd, start, end, Math.ceil(READ_BYTES / blockBytes) * blockBytes)) {
    for (let from = 0; from < piece.length;) {
      const block = piece.subarray(from, from + blockBytes - (offset % blockBytes));
      yield block;
      from += block.length;
      offset += block.length;
    }
  }
}
