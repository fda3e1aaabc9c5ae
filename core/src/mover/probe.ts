import { randomBytes } from 'node:crypto';
import { closeSync, constants, fsyncSync, openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { DmaasError } from '../errors.ts';
import type { BlobId } from '../repository/format/blob.ts';
import type { Repository } from '../repository/repository.ts';
import type { CallOptions } from '../store/object-store.ts';
import { readFully, writeFully } from './io.ts';
import { errorCode } from './posix.ts';
import { readVolume, type VolumeMode } from './volume-node.ts';

/** Some blocks of any file system or device. */
export const PROBE_BYTES = 16 << 10;

export interface ProbeOptions {
  /** What messages call the volume. */
  readonly name: string;
  /** An empty directory or device; a device is overwritten at its beginning. */
  readonly path: string;
  readonly mode: VolumeMode;
  readonly repository: Pick<Repository, 'read'>;
  /** The volume node that populating would begin with. */
  readonly root: BlobId;
}

/**
 * Does a little of what populating a volume does: reads from the repository, writes to the volume and reads that back. Leaves no file. Throws
 * MOVER_FAILED when the volume does not take or keep what is written, and what the repository throws.
 */
export async function probeVolume({ name, path, mode, repository, root }: ProbeOptions, opts: CallOptions): Promise<void> {
  await readVolume(repository, root, opts);
  const file = mode === 'block' ? path : join(path, `.dmaas-canary-${randomBytes(6).toString('hex')}`);
  const flags = mode === 'block' ? constants.O_RDWR : constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  let fd: number | undefined;
  try {
    fd = openSync(file, flags, 0o600);
    const written = randomBytes(PROBE_BYTES);
    await writeFully(fd, written, 0);
    fsyncSync(fd);
    const back = Buffer.alloc(PROBE_BYTES);
    await readFully(fd, back, 0);
    if (!back.equals(written)) throw new DmaasError('MOVER_FAILED', `${name}: the volume does not give back what was written to it`);
  } catch (error) {
    const code = errorCode(error);
    if (code === undefined) throw error;
    throw new DmaasError('MOVER_FAILED', `${name}: the volume cannot be written (${code})`, { cause: error });
  } finally {
    if (fd !== undefined) {
      closeSync(fd);
      if (mode === 'filesystem') unlinkSync(file);
    }
  }
}
