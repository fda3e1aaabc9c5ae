import { constants, openSync, read, write } from 'node:fs';
import { promisify } from 'node:util';
import { errorCode } from './posix.ts';

const readAsync = promisify(read);
const writeAsync = promisify(write);

/** Fills the buffer from `position`; less only at the end of the file. Returns the bytes read. */
export async function readFully(fd: number, buffer: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < buffer.length) {
    const { bytesRead } = await readAsync(fd, buffer, done, buffer.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

export async function writeFully(fd: number, data: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < data.length) done += (await writeAsync(fd, data, done, data.length - done, position + done)).bytesWritten;
}

/** Opens what lstat said is a file: a FIFO that took its place does not block, a symlink is refused, and reading leaves no trace if it may. */
export function openToRead(path: Buffer | string): number {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  try {
    return openSync(path, flags | constants.O_NOATIME);
  } catch (error) {
    // Only the owner may ask for O_NOATIME.
    if (errorCode(error) !== 'EPERM') throw error;
    return openSync(path, flags);
  }
}

/**
 * The bytes from `start` to `end` (or to the end of the file, if that comes first), in pieces that end at multiples of `pieceBytes`. Each is valid until
 * the next one is asked for; that one is being read meanwhile.
 */
export async function* piecesOf(fd: number, start: number, end: number, pieceBytes: number): AsyncGenerator<Uint8Array> {
  const lengthAt = (offset: number): number => Math.min(end - offset, pieceBytes - (offset % pieceBytes));
  const buffers: Buffer[] = [];
  const readAt = (offset: number, slot: number): Promise<number> => {
    const reading = readFully(
      fd,
      (buffers[slot] ??= Buffer.allocUnsafeSlow(Math.min(pieceBytes, end - start))).subarray(0, lengthAt(offset)),
      offset,
    );
    // Reported when its turn comes; unless the reader has stopped by then.
    reading.catch(() => undefined);
    return reading;
  };
  let slot = 0;
  let reading = start < end ? readAt(start, slot) : undefined;
  try {
    for (let offset = start; reading !== undefined;) {
      const bytes = await reading;
      const piece = (buffers[slot] as Buffer).subarray(0, bytes);
      const ended = bytes < lengthAt(offset);
      offset += bytes;
      slot = 1 - slot;
      reading = ended || offset >= end ? undefined : readAt(offset, slot);
      if (bytes > 0) yield piece;
    }
  } finally {
    // The descriptor must not be closed, and given to another file, while a read is under way.
    await reading?.catch(() => undefined);
  }
}
