import type { Readable } from 'node:stream';
import { discardView } from '../discard.ts';

/** Larger than anything that is read whole: memory is taken for what an answer says. */
const MAX_BODY_BYTES = 1 << 30;

/**
 * The body of an answer in one piece of memory of its length, `most` bytes. The pieces that it came in are given back at once: left to the collector,
 * they cost more than receiving them. Undefined when it is not as long as it should be; rejects when it breaks off.
 */
export async function readBody(body: Readable, length: number, most = MAX_BODY_BYTES): Promise<Uint8Array | undefined> {
  if (length > most) {
    body.on('error', () => undefined); // that it was not read
    body.destroy();
    return undefined;
  }
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
