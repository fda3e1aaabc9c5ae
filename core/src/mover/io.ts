import { constants, fstatSync, openSync, read, write } from 'node:fs';
import { promisify } from 'node:util';
import { FileStat } from './file-stat.ts';
import { errorCode, type Posix } from './posix.ts';

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

export function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}

const ITSELF = Buffer.of(0);

/** What an open file is. */
export function statOf(fd: number, native: Posix | undefined): FileStat {
  return native === undefined ? FileStat.of(fstatSync(fd, { bigint: true })) : native.statAt(fd, ITSELF);
}
