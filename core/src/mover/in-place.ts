import { LIMITS } from '../repository/format/blob.ts';
import type { Repository } from '../repository/repository.ts';
import type { Extent } from './content.ts';
import { isZero, readFully, writeFully } from './io.ts';
import { errorCode, isUnsupported, type Posix } from './posix.ts';

/** Tells whether a file or device holds already what the backup has of it there. One call at a time: calls share a buffer. */
export function comparer(repository: Pick<Repository, 'dataId'>): (fd: number, extent: Extent) => Promise<boolean> {
  let buffer = Buffer.alloc(0);
  return async (fd, { offset, length, id }) => {
    if (buffer.length < length) buffer = Buffer.allocUnsafeSlow(length);
    const piece = buffer.subarray(0, length);
    return (await readFully(fd, piece, offset)) === length && repository.dataId(piece) === id;
  };
}

/** Makes a range of a device or file read as zeros: by telling it, or where it does not listen, by writing to what is not zero yet. */
export async function clear(fd: number, offset: number, length: number, native: Posix | undefined): Promise<void> {
  if (length === 0) return;
  try {
    if (native !== undefined) {
      native.punchHole(fd, offset, length);
      return;
    }
  } catch (error) {
    const code = errorCode(error);
    // EINVAL: a range that is not aligned to the device's sectors.
    if (!isUnsupported(code) && code !== 'EINVAL') throw error;
  }
  const zeros = Buffer.alloc(Math.min(length, LIMITS.blob));
  const actual = Buffer.allocUnsafeSlow(zeros.length);
  for (let at = 0; at < length; at += zeros.length) {
    const count = await readFully(fd, actual.subarray(0, Math.min(zeros.length, length - at)), offset + at);
    if (!isZero(actual.subarray(0, count))) await writeFully(fd, zeros.subarray(0, count), offset + at);
  }
}
