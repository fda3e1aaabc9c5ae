import type { Chunking } from './chunking-rule.ts';
import { STRETCH_BYTES } from '../repository/format/chunker.ts';
import type { ContentItem } from './content-format.ts';
import { systemCode } from './posix.ts';
import { readBlocks, readStretch, startOfStretch, type ReadTools } from './read-content.ts';

/** A part of a stream of bytes, which is a file, or what lies between two of its holes. */
export interface Span {
  /** Of the stream, in the file. */
  readonly start: number;
  readonly end: number;
  /** Which stretch of the stream it is. */
  readonly stretch: number;
}

export interface SpansTask {
  readonly fd: number;
  readonly chunking: Chunking;
  readonly spans: readonly Span[];
  /** Leaves blocks of zeros out. */
  readonly dropZeros?: boolean;
}

export interface SpanRead {
  readonly start: number;
  /** Where it should end; its items end earlier when the file did. */
  readonly end: number;
  readonly items: readonly ContentItem[];
}

export interface SpansResult {
  /** Of each span, as far as there were bytes. */
  readonly spans: readonly SpanRead[];
  /** Of the system, when reading failed; then what follows is missing. */
  readonly error?: string;
}

/** Stores parts of a file. What it ends or fails before is missing in the result. */
export async function readSpans({ fd, chunking, spans, dropZeros = false }: SpansTask, tools: ReadTools): Promise<SpansResult> {
  const zeros = dropZeros ? Buffer.alloc(tools.chunker.block) : undefined;
  const results: SpanRead[] = [];
  try {
    for (const { start, end, stretch } of spans) {
      const from = chunking === 'fixed-blocks' ? start : startOfStretch(fd, start, stretch, end, tools);
      const until = chunking === 'fixed-blocks' ? end : startOfStretch(fd, start, stretch + 1, end, tools);
      const items: ContentItem[] = [];
      results.push({ start: from, end: until, items });
      const add = (item: ContentItem): void => {
        items.push(item);
      };
      if (chunking === 'fixed-blocks') await readBlocks(fd, from, until, tools, add, zeros);
      else await readStretch(fd, from, until, tools, add);
    }
    return { spans: results };
  } catch (error) {
    return { spans: results, error: systemCode(error) };
  }
}

/** A stream in the parts that threads can read at the same time. */
export function* spansOf(start: number, end: number, chunking: Chunking, blockBytes: number): Generator<Span> {
  if (chunking === 'by-content') {
    for (let stretch = 0; start + stretch * STRETCH_BYTES < end; stretch++) yield { start, end, stretch };
    return;
  }
  const step = Math.ceil(STRETCH_BYTES / blockBytes) * blockBytes;
  for (let from = start; from < end;) {
    const until = Math.min(from - (from % step) + step, end);
    yield { start: from, end: until, stretch: 0 };
    from = until;
  }
}
