import { DmaasError } from '../../errors.ts';
import { damaged } from '../format/damage.ts';
import { segmentHeader, SegmentReader, type SegmentDirectory } from '../format/index-segment.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { HEADER_BYTES, readTrailer, TRAILER_BYTES } from '../format/sealed.ts';

/** What the directory and the filter of a segment take, for its size: with some to spare, so that one request is enough. */
const TAIL_SHARE = 24;
const TAIL_BYTES = 64 << 10;

/** What comes after the blocks of a segment. */
export interface SegmentEnd {
  readonly reader: SegmentReader;
  readonly directory: SegmentDirectory;
  readonly filter: Uint8Array | undefined;
  readonly nodes: Buffer | undefined;
}

/** Where its bytes come from: a copy, the store, or the whole object. */
export interface SegmentSource {
  readonly size: number;
  readonly read: (offset: number, length: number) => Uint8Array | Promise<Uint8Array>;
  /** How much to read first. */
  readonly tailBytes: number;
  /** When it is at hand. */
  readonly header?: Uint8Array;
}

/** How much of a segment of this size to read first, so that its end needs no second request. */
export function tailBytes(size: number): number {
  return Math.min(size, Math.ceil(size / TAIL_SHARE) + TAIL_BYTES);
}

/** Reads what comes after the blocks. The header is guessed, for the directory opens only under the one it was sealed with. */
export async function readEnd(keys: RepositoryKeys, key: string, source: SegmentSource): Promise<SegmentEnd> {
  const { size, read } = source;
  if (size < HEADER_BYTES + TRAILER_BYTES) throw damaged(key, 'it is cut short');
  const tailAt = size - source.tailBytes;
  const tail = await read(tailAt, size - tailAt);
  if (tail.length !== size - tailAt) throw damaged(key, 'it is cut short');
  const section = (offset: number, length: number) => {
    if (offset + length > size) throw damaged(key, 'it points outside of itself');
    return offset >= tailAt ? tail.subarray(offset - tailAt, offset - tailAt + length) : read(offset, length);
  };
  const { lastSectionLength } = readTrailer(tail.subarray(tail.length - TRAILER_BYTES), size, key);
  const last = await section(size - TRAILER_BYTES - lastSectionLength, lastSectionLength);
  const { reader, directory } = await openDirectory(keys, key, source, last);
  const { filter, nodes } = directory;
  return {
    reader,
    directory,
    filter: filter && reader.filter(directory, await section(filter.offset, filter.length)),
    nodes: nodes && reader.nodes(directory, await section(nodes.offset, nodes.length)),
  };
}

async function openDirectory(
  keys: RepositoryKeys,
  key: string,
  source: SegmentSource,
  section: Uint8Array,
): Promise<Pick<SegmentEnd, 'reader' | 'directory'>> {
  const openWith = (header: Uint8Array) => {
    const reader = new SegmentReader(keys, key, header);
    return { reader, directory: reader.directory(section) };
  };
  if (source.header !== undefined) return openWith(source.header);
  try {
    return openWith(segmentHeader(keys));
  } catch (e) {
    if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
    return openWith(await source.read(0, HEADER_BYTES));
  }
}
