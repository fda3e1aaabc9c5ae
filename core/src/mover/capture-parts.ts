import type { BlobWriter } from '../repository/blobs/blob-writer.ts';
import type { Repository } from '../repository/repository.ts';
import type { Posix } from './posix.ts';
import type { MoverThreads } from './threads.ts';
import type { EncodedEntry } from './tree-format.ts';

/** What all parts of a capture use. */
export interface CaptureTools {
  readonly repository: Pick<Repository, 'read' | 'readMany' | 'known' | 'parameters' | 'treeSeed' | 'forThread'>;
  readonly writer: BlobWriter;
  readonly threads: MoverThreads;
  readonly native: Posix | undefined;
  readonly signal: AbortSignal | undefined;
  /** Told of every piece of the source that has been dealt with. */
  readonly onBytes: (bytes: number) => void;
}

/** What is known of an entry once nothing is left to read of it. */
export interface Kept {
  readonly entry: EncodedEntry;
  readonly isFile: boolean;
  /** Bytes of a file's content. */
  readonly size: number;
}

/** An entry of the tree to be. While `reading`, its file is being read; if then there is no `kept`, nothing of it can be kept. */
export interface Slot {
  readonly path: Buffer;
  kept: Kept | undefined;
  reading: Reading | undefined;
  /** Another name of an inode that came before. */
  readonly isLink: boolean;
}

/** A file that is being read, perhaps with others. */
export interface Reading {
  readonly done: Promise<void>;
}
