import { closeSync } from 'node:fs';
import { entryOf, statAttributes, userFlags } from './attributes.ts';
import { chunkingOf, HEAD_BYTES, MIN_FIXED_BYTES, type Chunking } from './chunking-rule.ts';
import type { Content, ContentItem } from './content-format.ts';
import { ContentWriter } from './content.ts';
import type { FileStat } from './file-stat.ts';
import type { VolumeFindings } from './findings.ts';
import { openToRead, statOf } from './io.ts';
import { ROOT } from './paths.ts';
import { systemCode, type Posix } from './posix.ts';
import { readFullySync, readRange, readWhole, type ReadTools } from './read-content.ts';
import { encodeEntry } from './tree-format.ts';

/** What the backup before says of how a file was cut. */
export interface CutBefore {
  /** When its content is known to have changed since. */
  readonly size?: number;
  readonly first: ContentItem | undefined;
}

export interface FileToRead {
  /** A path that reaches it, one byte a character. */
  readonly at: string;
  /** When its inode has other names, too. */
  readonly linkGroup?: bigint;
  readonly before?: CutBefore;
}

export interface FilesTask {
  readonly files: readonly FileToRead[];
  /** Times of change at or after this may not show a later change. */
  readonly racyNs: bigint;
}

export interface FileFinding {
  readonly code: Parameters<VolumeFindings['addFor']>[0];
  readonly fact: string;
  readonly level: Parameters<VolumeFindings['addFor']>[3];
}

export interface ReadFile {
  /** In the bytes of all, where its entry ends. Without an entry it could not be read. */
  readonly end: number;
  readonly references: readonly string[];
  /** Bytes of its content. */
  readonly size: number;
  /** Of the system, when it could not be read. */
  readonly error?: string;
  readonly findings?: readonly FileFinding[];
}

export interface FilesResult {
  /** The encoded entries, one after the other. */
  readonly bytes: Uint8Array;
  readonly files: readonly ReadFile[];
}

/** What is fetched of a file before its turn. */
const AHEAD_BYTES = 1 << 20;

/** Stores the content of files, and gives their entries as they stand in a leaf. Files that change under way are read once more. */
export async function readFiles({ files, racyNs }: FilesTask, tools: ReadTools): Promise<FilesResult> {
  const parts: Uint8Array[] = [];
  const results: ReadFile[] = [];
  let end = 0;
  const opened = files.map((file) => open(file, tools.native));
  try {
    for (const file of opened) {
      const findings: FileFinding[] = [];
      const told = (): Pick<ReadFile, 'findings'> => (findings.length === 0 ? {} : { findings });
      try {
        const { bytes, references, size } = await readFile(file, racyNs, tools, findings);
        parts.push(bytes);
        end += bytes.length;
        results.push({ end, references, size, ...told() });
      } catch (error) {
        results.push({ end, references: [], size: 0, error: systemCode(error), ...told() });
      }
    }
  } finally {
    for (const { fd } of opened) if (fd !== undefined) closeSync(fd);
  }
  return { bytes: Buffer.concat(parts), files: results };
}

interface OpenedFile extends FileToRead {
  readonly fd: number | undefined;
  /** Why it could not be opened. */
  readonly failure?: unknown;
}

/** Opens a file and has the system fetch what will be read first: the disk then serves many files at once. */
function open(file: FileToRead, native: Posix | undefined): OpenedFile {
  try {
    const fd = openToRead(Buffer.from(file.at, 'latin1'));
    native?.willRead(fd, 0, AHEAD_BYTES);
    return { ...file, fd };
  } catch (failure) {
    return { ...file, fd: undefined, failure };
  }
}

async function readFile({ fd, failure, ...file }: OpenedFile, racyNs: bigint, tools: ReadTools, findings: FileFinding[]) {
  if (fd === undefined) throw failure;
  const at = Buffer.from(file.at, 'latin1');
  const told = {
    addFor: (code: FileFinding['code'], _path: Buffer, fact: string, level?: FileFinding['level']) => {
      findings.push({ code, fact, level });
    },
  };
  const start = statOf(fd, tools.native);
  if (!start.isFile) throw Object.assign(new Error('replaced'), { code: 'ESTALE' });
  const entry = entryOf({ path: ROOT, stat: start, at, linkGroup: file.linkGroup }, tools.native, told);
  const flags = userFlags(fd, tools.native);
  const read = await readUnchanged({ fd, first: start, native: tools.native }, (stat) => storeContent(fd, at, stat, file.before, tools));
  if (read.changed) told.addFor('file-changed', ROOT, 'changed while it was read: the backup may hold a mix of its states');
  const mayChangeUnseen = read.changed || entry.ctimeNs === 0n || read.stat.ctimeNs > racyNs;
  const { bytes, references } = encodeEntry({
    ...entry,
    ...statAttributes(read.stat),
    ...(mayChangeUnseen ? { ctimeNs: 0n } : {}),
    size: read.size,
    content: read.content,
    ...(flags === undefined ? {} : { inodeFlags: flags }),
  });
  return { bytes, references, size: read.size };
}

/** Two would do for a single change, but for one: a file that is being cut short has its new size before its new time. */
const MAX_READS = 3;

export interface StoredContent {
  readonly content: Content;
  readonly size: number;
}

/**
 * Reads a file that may change meanwhile, up to three times: what is stored was the content at one moment, or `changed` says that it may not have been.
 * `stat` is as it was when reading ended.
 */
export async function readUnchanged(
  { fd, first, native }: { readonly fd: number; readonly first: FileStat; readonly native: Posix | undefined },
  read: (stat: FileStat, isFirst: boolean) => Promise<StoredContent>,
): Promise<StoredContent & { readonly stat: FileStat; readonly changed: boolean }> {
  let start = first;
  for (let attempt = 1; ; attempt++) {
    const { content, size } = await read(start, attempt === 1);
    const stat = statOf(fd, native);
    const changed = !stat.isSameContent(start) || stat.size !== size;
    if (!changed || attempt === MAX_READS) return { content, size, stat, changed };
    start = stat;
  }
}

async function storeContent(
  fd: number,
  at: Buffer,
  { size }: FileStat,
  before: CutBefore | undefined,
  tools: ReadTools,
): Promise<StoredContent> {
  const content = new ContentWriter({ put: async (_kind, bytes) => ({ id: await tools.putNode(bytes) }) });
  const add = (item: ContentItem): void | Promise<void> => content.addSoon(item);
  // Not by its blocks: those that hold extended attributes count too.
  const isSparse = tools.native !== undefined && size > 0 && tools.native.seekHole(fd, 0) < size;
  if (size <= tools.chunker.min && !isSparse) {
    await readWhole(fd, size, tools, add);
    return { content: await content.finish(), size: content.bytes };
  }
  const chunking = chooseChunking(fd, at.subarray(at.lastIndexOf(0x2f) + 1), size, before, tools);
  for (const { start, end } of isSparse ? dataRanges(fd, size, tools.native) : [{ start: 0, end: size }]) {
    await content.add({ length: start - content.bytes });
    if ((await readRange(fd, start, end, chunking, tools, add)) < end) break; // it shrank
  }
  return { content: await content.finish(), size: content.bytes };
}

export function chooseChunking(
  fd: number,
  name: Buffer,
  size: number,
  before: CutBefore | undefined,
  { chunker }: Pick<ReadTools, 'chunker'>,
): Chunking {
  if (size < MIN_FIXED_BYTES) return 'by-content';
  const head = Buffer.alloc(HEAD_BYTES);
  const headBytes = readFullySync(fd, head, 0);
  return chunkingOf({
    name,
    size,
    head: head.subarray(0, headBytes),
    blockBytes: chunker.block,
    ...(before === undefined ? {} : { before }),
  });
}

/** The ranges of a sparse file that are no holes. The last one ends at its end, also when that is a hole. */
export function* dataRanges(fd: number, size: number, native: Posix | undefined): Generator<{ start: number; end: number }> {
  let at = 0;
  while (native !== undefined && at < size) {
    const start = native.seekData(fd, at);
    if (start < 0 || start >= size) break;
    at = Math.min(native.seekHole(fd, start), size);
    yield { start, end: at };
  }
  if (at < size) yield { start: size, end: size };
}
