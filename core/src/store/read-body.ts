import type { Readable } from 'node:stream';
import { discardView } from '../discard.ts';

/**
 * The body of an answer in one piece of memory of its length. The pieces that it came in are given back at once: left to the collector, they cost
 * more than receiving them. Undefined when it is shorter or longer; rejects when it breaks off.
 */
export function readBody(body: Readable, length: number): Promise<Uint8Array | undefined> {
  const bytes = Buffer.allocUnsafeSlow(length);
  let used = 0;
  return new Promise((resolve, reject) => {
    body.on('data', (piece: Buffer) => {
      const end = used + piece.length;
      if (end <= length) bytes.set(piece, used);
      used = end;
      discardView(piece);
    });
    const end = (): void => {
      resolve(used === length ? new Uint8Array(bytes.buffer) : undefined);
    };
    body.once('error', reject);
    body.once('end', end);
    body.once('close', end);
  });
}
