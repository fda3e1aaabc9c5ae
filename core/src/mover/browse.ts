import { DmaasError } from '../errors.ts';
import type { BlobId } from '../repository/format/blob.ts';
import type { Repository } from '../repository/repository.ts';
import type { CallOptions } from '../store/object-store.ts';
import { bytesOf, type ByteRange } from './content.ts';
import { showPath } from './paths.ts';
import type { Entry } from './tree-format.ts';
import { TreeReader } from './tree-reader.ts';
import { readVolume, type Volume } from './volume-node.ts';

/** Looks into a volume in the repository without restoring it. Paths are bytes, see `paths.ts`; `parsePath` makes them of text. */
export class VolumeBrowser {
  readonly volume: Volume;
  readonly #repository: Pick<Repository, 'read' | 'readMany'>;
  readonly #tree: TreeReader;
  readonly #opts: CallOptions;

  private constructor(repository: Pick<Repository, 'read' | 'readMany'>, volume: Volume, opts: CallOptions) {
    this.volume = volume;
    this.#repository = repository;
    this.#tree = new TreeReader(repository, volume.top, opts);
    this.#opts = opts;
  }

  /** `root`: the volume node. */
  static async open(repository: Pick<Repository, 'read' | 'readMany'>, root: BlobId, opts: CallOptions = {}): Promise<VolumeBrowser> {
    return new VolumeBrowser(repository, await readVolume(repository, root, opts), opts);
  }

  /** The entry of a path, or undefined. */
  async stat(path: Buffer): Promise<Entry | undefined> {
    this.#requireFiles();
    return this.#tree.find(path);
  }

  /** What a directory holds, in order. Throws USAGE when there is no such directory. */
  async *list(path: Buffer): AsyncGenerator<Entry> {
    await this.#require(path, 'directory');
    yield* this.#tree.list(path);
  }

  /** A file's bytes, or a part of them; of a block volume, with an empty path, the device's. Throws USAGE when there is no such file. */
  async *readFile(path: Buffer, range?: ByteRange): AsyncGenerator<Uint8Array> {
    const isDevice = this.volume.mode === 'block' && path.length === 0;
    const { content, size } = isDevice
      ? { content: { node: this.volume.top }, size: this.volume.bytes }
      : await this.#require(path, 'file');
    yield* bytesOf(this.#repository, content, size, range, this.#opts);
  }

  async #require(path: Buffer, type: 'directory' | 'file'): Promise<Entry> {
    const entry = await this.stat(path);
    if (entry?.type === type) return entry;
    throw new DmaasError('USAGE', `${showPath(path)} is ${entry === undefined ? 'not in the volume' : `a ${entry.type}, not a ${type}`}`);
  }

  #requireFiles(): void {
    if (this.volume.mode === 'block')
      throw new DmaasError('USAGE', 'a block volume has no files to look at: it is stored as it is, byte for byte');
  }
}
