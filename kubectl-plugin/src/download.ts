import { constants } from 'node:fs';
import { mkdir, open, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { DmaasError, type FileInfo, type OpenBackup } from '@dmaas/core';

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Every entry is new: nothing is written through a link that the backup, or anybody else, put there. */
export class Download {
  files = 0;
  bytes = 0;
  readonly leftOut: string[] = [];
  readonly #open: Pick<OpenBackup, 'list' | 'read'>;
  readonly #claim: string;
  readonly #signal: AbortSignal;
  readonly #links: { readonly at: string; readonly target: string }[] = [];

  constructor(open: Pick<OpenBackup, 'list' | 'read'>, claim: string, signal: AbortSignal) {
    this.#open = open;
    this.#claim = claim;
    this.#signal = signal;
  }

  async write(entry: FileInfo, at: string): Promise<void> {
    if (entry.type === 'directory') {
      await asNew(at, mkdir(at));
      for await (const child of this.#open.list(this.#claim, entry.path, { signal: this.#signal }))
        await this.write(child, join(at, child.name));
    } else if (entry.type === 'file') {
      await this.#writeFile(entry, at);
      this.files += 1;
      this.bytes += entry.sizeBytes;
    } else if (entry.type === 'symlink' && entry.target !== undefined) this.#links.push({ at, target: entry.target });
    else this.leftOut.push(`${entry.path} (${entry.type})`);
  }

  /** Links last: nothing is written once they are there. */
  async finish(): Promise<void> {
    for (const { at, target } of this.#links) await asNew(at, symlink(target, at));
  }

  async #writeFile(entry: FileInfo, at: string): Promise<void> {
    const call = { signal: this.#signal };
    const file = await asNew(at, open(at, NEW_FILE));
    try {
      await asNew(at, pipeline(this.#open.read(this.#claim, entry.path, call), file.createWriteStream(), call));
    } catch (e) {
      await rm(at, { force: true }); // cut off, it would pass for the whole
      throw e;
    }
  }
}

/** Where the download goes to; it may be there. */
export async function makeDirectory(directory: string): Promise<void> {
  await asNew(directory, mkdir(directory, { recursive: true }));
}

async function asNew<T>(at: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (DmaasError.is(cause) || !/^E[A-Z]+$/.test(code)) throw cause;
    throw code === 'EEXIST'
      ? new DmaasError('USAGE', `${at} exists`, { cause, hint: 'name an empty directory with -d' })
      : new DmaasError('USAGE', `${at} cannot be written (${code})`, {
          cause,
          hint: 'name a directory with -d that has room and that you may write to',
        });
  }
}
