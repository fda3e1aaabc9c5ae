const NEWLINE = 0x0a;

export interface Line {
  readonly text: string;
  /** Whether the rest of the line was dropped because it is longer than the limit. */
  readonly isCut: boolean;
}

/** Splits bytes into lines, keeping no more than `maxBytes` of one in memory. The last line needs no newline. */
export async function* splitLines(chunks: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<Line> {
  let parts: Uint8Array[] = [];
  let size = 0;
  const add = (part: Uint8Array) => {
    const room = Math.max(0, maxBytes - size);
    if (room > 0 && part.length > 0) parts.push(part.subarray(0, room));
    size += part.length;
  };
  const take = (): Line => {
    const line = { text: Buffer.concat(parts).toString().replace(/\r$/, ''), isCut: size > maxBytes };
    parts = [];
    size = 0;
    return line;
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      add(chunk.subarray(start, end));
      yield take();
      start = end + 1;
    }
    add(chunk.subarray(start));
  }
  if (size > 0) yield take();
}
