import type { ContentItem } from './content-format.ts';

/**
 * How a file is cut. By content, so that what is inserted moves no other cut; or in fixed blocks, where a page that is overwritten
 * in place costs one small block instead of a large chunk.
 */
export type Chunking = 'by-content' | 'fixed-blocks';

/** Below this, nothing is won. */
export const MIN_FIXED_BYTES = 1 << 20;

/** Leading bytes that the rule looks at. */
export const HEAD_BYTES = 32;

export interface ChunkingFacts {
  readonly name: Buffer;
  readonly size: number;
  /** The first `HEAD_BYTES` of the file. */
  readonly head: Uint8Array;
  /** The same path in the backup before; its size when the file is known to have changed since. */
  readonly before?: { readonly size?: number; readonly first: ContentItem | undefined };
  /** Size of a fixed block. */
  readonly blockBytes: number;
}

/** Fixed blocks for files that are rewritten in place: seen by what happened since the last backup, or known by their type. */
export function chunkingOf({ name, size, head, before, blockBytes }: ChunkingFacts): Chunking {
  if (size < MIN_FIXED_BYTES) return 'by-content';
  // Changed, and not a byte longer or shorter.
  if (before?.size === size) return 'fixed-blocks';
  // Chosen at an earlier backup: a change of mind would store the file again. No chunk cut by content is as short as a block but a last one.
  if (before?.first?.length === blockBytes) return 'fixed-blocks';
  return isRewrittenInPlace(name.toString('latin1').toLowerCase(), Buffer.from(head)) ? 'fixed-blocks' : 'by-content';
}

// Among them segments of PostgreSQL's write-ahead log: 24 hex digits, made whole and then overwritten.
const NAMES =
  /^([0-9a-f]{24}|ibdata\d+|undo_\d+|ib_logfile\d+|data\.mdb|.*\.(ibd|myd|myi|wt|mdf|ldf|dbf|sqlite3?|db|qcow2|vmdk|vdi|vhdx?|img|raw))$/;

function isRewrittenInPlace(name: string, head: Buffer): boolean {
  if (NAMES.test(name)) return true;
  if (head.toString('latin1').startsWith('SQLite format 3\0') || head.toString('latin1').startsWith('QFI\xfb')) return true;
  // A page of PostgreSQL: relations are named by number (and `.1`, `_fsm`, ...), and say their page size and layout version (bufpage.h).
  return /^\d+(\.\d+)?(_fsm|_vm|_init)?$/.test(name) && head.length >= 20 && (head.readUInt16LE(18) & 0xff00) === 0x2000;
}
