import type { RunOptions } from '../events.ts';
import type { Finding } from '../model.ts';
import type { BlobId } from '../repository/format/blob.ts';
import type { BlobWriter, WriteTotals } from '../repository/blobs/blob-writer.ts';
import type { Repository } from '../repository/repository.ts';
import { captureDevice } from './capture-device.ts';
import { captureTree } from './capture-tree.ts';
import { VolumeFindings } from './findings.ts';
import { loadPosix, REDUCED, type Fidelity } from './posix.ts';
import { MoverThreads } from './threads.ts';
import { writeVolume, type VolumeMode } from './volume-node.ts';

export interface CaptureOptions {
  /** What messages and events call the volume: the name of its claim. */
  readonly name: string;
  /** Where it is mounted, or its device. */
  readonly path: string;
  readonly mode: VolumeMode;
  readonly repository: Repository;
  /** The volume's root in the backup before: what is unchanged since is taken from there. */
  readonly parent?: BlobId;
  /** Names in the root to leave out, besides `lost+found`. */
  readonly skip?: readonly string[];
  readonly fidelity?: Fidelity;
  /** Milliseconds since 1970, by the clock of the file system's times. */
  readonly now?: () => number;
}

export interface CaptureResult {
  /** The volume node. */
  readonly root: BlobId;
  readonly files: number;
  readonly entries: number;
  /** Of the source. */
  readonly bytes: number;
  /** New in the repository, before compression. */
  readonly addedBytes: number;
  readonly findings: readonly Finding[];
}

/** Bytes of the source between two progress events. */
const PROGRESS_BYTES = 1 << 20;

/**
 * Stores a volume. Reads it without changing it; writes to the repository only. What could not be read, or changed meanwhile, is a
 * finding; the rest is done. A fault of the repository ends it. When it resolves, everything is durable and in the index, but no backup yet.
 */
export async function captureVolume(options: CaptureOptions, run: RunOptions): Promise<CaptureResult> {
  const { name, path, mode, repository, parent, skip = [], now = Date.now } = options;
  const { signal } = run;
  const findings = new VolumeFindings(run.emit, name);
  const native = options.fidelity === 'reduced' ? undefined : loadPosix();
  if (native === undefined) findings.add('reduced-fidelity', REDUCED.fact, 'warning', REDUCED.hint);
  let totals: () => WriteTotals = () => ({ blobs: 0, bytes: 0, newBlobs: 0, newBytes: 0 });
  const store = async (writer: BlobWriter): Promise<Omit<CaptureResult, 'addedBytes' | 'findings'>> => {
    totals = () => writer.totals();
    const progress = progressOf(name, run, writer);
    const fidelity = native === undefined ? 'reduced' : 'full';
    const threads = new MoverThreads({ repository, writer, fidelity, signal });
    const tools = { repository, writer, threads, native, signal, onBytes: progress.add };
    try {
      const volume =
        mode === 'block' ? await captureDevice(path, name, tools) : await captureTree({ path, parent, skip, now }, findings, tools);
      await threads.flush();
      progress.finish();
      const { files, entries, bytes } = volume;
      return { root: await writeVolume(writer, { mode, ...volume }), files, entries, bytes };
    } finally {
      await threads.stop();
    }
  };
  const volume = await repository.write(store, signal === undefined ? {} : { signal });
  return { ...volume, addedBytes: totals().newBytes, findings: findings.all() };
}

function progressOf(volume: string, { emit }: RunOptions, writer: BlobWriter): { add: (bytes: number) => void; finish: () => void } {
  let done = 0;
  let told = 0;
  const finish = (): void => {
    told = done;
    emit({ type: 'bytes', volume, done, added: writer.totals().newBytes });
  };
  const add = (bytes: number): void => {
    done += bytes;
    if (done - told >= PROGRESS_BYTES) finish();
  };
  return { add, finish };
}
