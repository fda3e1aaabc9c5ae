import { fstatSync, statfsSync } from 'node:fs';
import { DmaasError } from '../errors.ts';
import { formatBytes, plural } from '../format.ts';
import type { Volume } from './volume-node.ts';

/** As much as a file system tells of itself; a number that it does not keep is 0. */
interface FileSystem {
  readonly bytes: number;
  readonly freeBytes: number;
  readonly inodes: number;
  readonly freeInodes: number;
}

/**
 * Tells a full target from what is wrong with single files. It ends the restore, however much of the rest would fit: with more room the restore goes on,
 * and until then nobody is to take what is there for all.
 */
export class TargetSpace {
  readonly name: string;
  readonly #fd: number;
  readonly #content: Pick<Volume, 'bytes' | 'files' | 'entries'> | undefined;

  /** `fd`: anything of the target that is open. `content`: what must fit, where that is known. */
  constructor(fd: number, name: string, content?: Pick<Volume, 'bytes' | 'files' | 'entries'>) {
    this.#fd = fd;
    this.name = name;
    this.#content = content;
  }

  /** MOVER_FAILED when the code of an error says that nothing more fits. */
  errorOf(code: string, cause?: unknown): DmaasError | undefined {
    if (code !== 'ENOSPC' && code !== 'EDQUOT') return undefined;
    const isQuota = code === 'EDQUOT';
    const { bytes, inodes, freeInodes } = this.#fileSystem();
    const isOfInodes = !isQuota && inodes > 0 && freeInodes === 0;
    const size = isOfInodes ? ` (${plural(inodes, 'inode')})` : bytes > 0 ? ` (${formatBytes(bytes)})` : '';
    const fact = isQuota ? 'the quota of the volume is used up' : `the volume is full${size}`;
    const needed = this.#content === undefined ? '' : `: the backup has ${neededOf(this.#content, isOfInodes)}`;
    return new DmaasError('MOVER_FAILED', `${this.name}: ${fact}${needed}`, {
      cause,
      hint: isQuota ? 'raise the quota' : 'make it larger, or make room in it',
    });
  }

  /** The same where an attribute was set. Of one that is too large for it, a file system says ENOSPC too, however much room there is. */
  errorOfAttribute(code: string): DmaasError | undefined {
    if (code !== 'ENOSPC') return this.errorOf(code);
    const { bytes, freeBytes, inodes, freeInodes } = this.#fileSystem();
    const hasRoom = (bytes === 0 || freeBytes > 0) && (inodes === 0 || freeInodes > 0);
    return hasRoom ? undefined : this.errorOf(code);
  }

  #fileSystem(): FileSystem {
    // A device lies in none.
    if (fstatSync(this.#fd).isBlockDevice()) return { bytes: 0, freeBytes: 0, inodes: 0, freeInodes: 0 };
    const { bsize, blocks, bavail, files, ffree } = statfsSync(`/proc/self/fd/${this.#fd}`);
    return { bytes: blocks * bsize, freeBytes: bavail * bsize, inodes: files, freeInodes: ffree };
  }
}

function neededOf({ bytes, files, entries }: Pick<Volume, 'bytes' | 'files' | 'entries'>, isOfInodes: boolean): string {
  if (isOfInodes) return `${entries} files and directories`;
  return `${formatBytes(bytes)}${files === 0 ? '' : ` in ${plural(files, 'file')}`}`;
}
