import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { DmaasError } from '../errors.ts';
import type { CaptureTools } from './capture-parts.ts';
import { splitDeviceNumber } from './file-stat.ts';
import { errorCode, type Posix } from './posix.ts';
import { readLarge } from './read-large.ts';
import type { Volume } from './volume-node.ts';

/** Stores a block device (or the image of one, a file) in fixed blocks; blocks of zeros are left out. */
export async function captureDevice(path: string, name: string, tools: CaptureTools): Promise<Omit<Volume, 'mode'>> {
  const { threads, writer, native } = tools;
  let done = 0;
  let fd: number | undefined;
  try {
    fd = openSync(path, 'r');
    const bytes = deviceBytes(fd, native);
    const content = await readLarge({
      fd,
      size: bytes,
      chunking: 'fixed-blocks',
      ranges: [{ start: 0, end: bytes }],
      dropZeros: true,
      blockBytes: tools.repository.parameters.chunker.block,
      native,
      threads,
      writer,
      onBytes: (count) => {
        done += count;
        tools.onBytes(count);
      },
    });
    if (content.bytes < bytes) throw new DmaasError('MOVER_FAILED', `${name}: the device ended at ${content.bytes} of ${bytes} bytes`);
    return { top: await content.finishAsNode(), bytes, files: 0, entries: 0 };
  } catch (error) {
    const code = errorCode(error);
    if (code === undefined) throw error;
    // A hole in a device is a corrupt file system: nothing is better than that.
    throw new DmaasError('MOVER_FAILED', `${name}: the device cannot be read beyond byte ${done} (${code})`, { cause: error });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** Size of a block device, or of a file. */
export function deviceBytes(fd: number, native: Posix | undefined): number {
  const stat = fstatSync(fd, { bigint: true });
  if (stat.isFile()) return Number(stat.size);
  if (!stat.isBlockDevice()) throw new DmaasError('MOVER_FAILED', 'what should be a block device is none');
  if (native !== undefined) return native.seekEnd(fd);
  const { major, minor } = splitDeviceNumber(stat.rdev);
  // sysfs counts sectors of 512 bytes, whatever the device's own are.
  return Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * 512;
}
