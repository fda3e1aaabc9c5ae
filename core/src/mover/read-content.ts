import { readSync } from 'node:fs';
import type { BlobPacker } from '../repository/blobs/blob-packer.ts';
import type { BlobId } from '../repository/format/blob.ts';
import { Chunker, STRETCH_BYTES, stretchStart, type ChunkerParameters } from '../repository/format/chunker.ts';
import type { Chunking } from './chunking-rule.ts';
import type { ContentItem } from './content-format.ts';
import type { Posix } from './posix.ts';

/** What a thread reads with. */
export interface ReadTools {
  readonly packer: BlobPacker;
  readonly native: Posix | undefined;
  readonly chunker: ChunkerParameters;
  readonly gear: Uint32Array;
  readonly putNode: (bytes: Uint8Array) => Promise<BlobId>;
}

/** Bytes asked for with one read. */
const READ_BYTES = 1 << 20;
/** Bytes that the system is told will be read next. */
export const AHEAD_BYTES = 4 << 20;

export type Add = (item: ContentItem) => void | Promise<void>;

/** Called for each position: has the system fetch what comes `AHEAD_BYTES` later, up to the end. */
function fetchNext(fd: number, at: number, start: number, end: number, native: Posix | undefined): void {
  const from = at + AHEAD_BYTES;
  if ((at - start) % AHEAD_BYTES === 0 && from < end) native?.willRead(fd, from, Math.min(AHEAD_BYTES, end - from));
}

/** Fills the buffer from `position`; less only at the end of the file. Returns the bytes read. */
export function readFullySync(fd: number, buffer: Uint8Array, position: number): number {
  let done = 0;
  while (done < buffer.length) {
    const count = readSync(fd, buffer, done, buffer.length - done, position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** Stores one piece of a file as a single chunk, which must fit into one. Returns the bytes there were. */
export async function readWhole(fd: number, size: number, { packer }: ReadTools, add: Add): Promise<number> {
  const space = packer.reserve(size);
  const length = readFullySync(fd, space instanceof Promise ? await space : space, 0);
  packer.fill(length);
  if (length > 0) await add({ length, id: packer.take(length) });
  return length;
}

/** Stores the bytes from `start` to `end`, or to the end of the file if that comes first. Returns where it ended. */
export async function readRange(fd: number, start: number, end: number, chunking: Chunking, tools: ReadTools, add: Add): Promise<number> {
  if (chunking === 'fixed-blocks') return readBlocks(fd, start, end, tools, add);
  let from = start;
  for (let n = 0; from < end; n++) {
    const until = startOfStretch(fd, start, n + 1, end, tools);
    const reached = await readStretch(fd, from, until, tools, add);
    if (reached < until) return reached;
    from = until;
  }
  return end;
}

/** Where stretch `n` of a stream begins, and the one before ends: see `stretchStart`. */
export function startOfStretch(
  fd: number,
  start: number,
  n: number,
  end: number,
  { gear, chunker }: Pick<ReadTools, 'gear' | 'chunker'>,
): number {
  const multiple = n * STRETCH_BYTES;
  if (n === 0) return start;
  if (start + multiple >= end) return end;
  return start + stretchStart(multiple, end - start, gear, chunker, (into, position) => readFullySync(fd, into, start + position));
}

/** Stores a stretch in chunks cut by content. */
export async function readStretch(fd: number, start: number, end: number, tools: ReadTools, add: Add): Promise<number> {
  const { packer, native } = tools;
  const chunker = new Chunker(tools.gear, tools.chunker);
  let length = 0; // of the chunk at hand, so far
  let at = start;
  while (at < end) {
    fetchNext(fd, at, start, end, native);
    const space = packer.reserve(Math.min(READ_BYTES, end - at));
    const view = space instanceof Promise ? await space : space;
    const count = readFullySync(fd, view, at);
    packer.fill(count);
    const data = view.subarray(0, count);
    let from = 0;
    for (let cut = chunker.next(data, from); from < count && cut >= 0; cut = chunker.next(data, from)) {
      length += cut - from;
      await add({ length, id: packer.take(length) });
      length = 0;
      from = cut;
    }
    length += count - from;
    at += count;
    if (count < view.length) break;
  }
  if (length > 0) await add({ length, id: packer.take(length) });
  return at;
}

/** Stores blocks that end at multiples of the block size in the file. */
export async function readBlocks(
  fd: number,
  start: number,
  end: number,
  { packer, native, chunker: { block } }: ReadTools,
  add: Add,
  zeros?: Buffer,
): Promise<number> {
  let at = start;
  const step = Math.max(Math.floor(READ_BYTES / block), 1) * block;
  while (at < end) {
    fetchNext(fd, at, start, end, native);
    const space = packer.reserve(Math.min(step - (at % block), end - at));
    const view = space instanceof Promise ? await space : space;
    const count = readFullySync(fd, view, at);
    packer.fill(count);
    for (let from = 0; from < count;) {
      const length = Math.min(block - ((at + from) % block), count - from);
      const isHole = zeros !== undefined && view.subarray(from, from + length).equals(zeros.subarray(0, length));
      if (isHole) packer.skip(length);
      await add(isHole ? { length } : { length, id: packer.take(length) });
      from += length;
    }
    at += count;
    if (count < view.length) break;
  }
  return at;
}
