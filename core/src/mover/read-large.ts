import type { BlobWriter } from '../repository/blobs/blob-writer.ts';
import { STRETCH_BYTES } from '../repository/format/chunker.ts';
import { ContentWriter } from './content.ts';
import type { Chunking } from './chunking-rule.ts';
import { spansOf, type Span, type SpansResult } from './read-spans.ts';
import type { Posix } from './posix.ts';
import { AHEAD_BYTES } from './read-content.ts';
import type { MoverThreads } from './threads.ts';

/** Small spans of a file with many holes are read as one task. */
const TASK_BYTES = 16 << 20;

export interface LargeRead {
  readonly fd: number;
  readonly size: number;
  readonly chunking: Chunking;
  /** Where there is data, in order; the last ends at the end. */
  readonly ranges: Iterable<{ readonly start: number; readonly end: number }>;
  readonly dropZeros?: boolean;
  readonly blockBytes: number;
  readonly native: Posix | undefined;
  readonly threads: MoverThreads;
  readonly writer: BlobWriter;
  readonly onBytes: (bytes: number) => void;
}

/**
 * Stores a file or device with all threads. The pieces are put together in their order, as they come. Resolves with what there was, which is less
 * than `size` when it has shrunk; throws the system's error when it cannot be read.
 */
export async function readLarge(read: LargeRead): Promise<ContentWriter> {
  const { threads, onBytes } = read;
  const content = new ContentWriter(read.writer);
  const running: Promise<SpansResult>[] = [];
  /** Where what was read so far should end; before it when the file has shrunk. */
  let due = 0;
  const takeNext = async (): Promise<void> => {
    const { spans, error } = await (running.shift() as Promise<SpansResult>);
    for (const { start, end, items } of spans) {
      if (content.bytes < due) break;
      const before = content.bytes;
      await content.add({ length: start - content.bytes });
      for (const item of items) await content.addSoon(item);
      onBytes(content.bytes - before);
      due = end;
    }
    if (error !== undefined) throw Object.assign(new Error(error), { code: error });
  };
  try {
    for (const task of tasksOf(read)) {
      for (const span of task.spans) fetchFirst(read, span);
      const result = threads.run('spans', task);
      result.catch(() => undefined); // it is thrown when its turn comes
      running.push(result);
      while (running.length > threads.count * 2) await takeNext();
    }
    while (running.length > 0) await takeNext();
    if (content.bytes >= due) await content.add({ length: read.size - content.bytes }); // the hole at its end
  } finally {
    await Promise.allSettled(running);
  }
  return content;
}

/** Has the system fetch the first of a span while it waits for a thread: the thread, which looks ahead itself from then on, never waits for the disk. */
function fetchFirst({ fd, native }: LargeRead, { start, end, stretch }: Span): void {
  const from = start + stretch * STRETCH_BYTES;
  native?.willRead(fd, from, Math.min(AHEAD_BYTES, end - from));
}

function* tasksOf({ fd, chunking, ranges, dropZeros = false, blockBytes }: LargeRead) {
  let spans: Span[] = [];
  let bytes = 0;
  for (const range of ranges) {
    for (const span of spansOf(range.start, range.end, chunking, blockBytes)) {
      spans.push(span);
      bytes += span.end - span.start;
      if (bytes < TASK_BYTES) continue;
      yield { fd, chunking, spans, dropZeros };
      spans = [];
      bytes = 0;
    }
  }
  if (spans.length > 0) yield { fd, chunking, spans, dropZeros };
}
