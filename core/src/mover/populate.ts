import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import type { Finding } from '../model.ts';
import type { OperationId } from '../operation.ts';
import type { BlobId } from '../repository/format/blob.ts';
import type { Repository } from '../repository/repository.ts';
import { compareTree } from './compare.ts';
import { VolumeFindings } from './findings.ts';
import { makeWay } from './make-way.ts';
import { NOTHING_MISSING, type Missing } from './missing.ts';
import { idOfPart, PartOfTree } from './part-of-tree.ts';
import { ROOT } from './paths.ts';
import { populateDevice } from './populate-device.ts';
import { isLinkToEarlier, populateFiles } from './populate-files.ts';
import { populateLinks } from './populate-links.ts';
import { errorCode, loadPosix, REDUCED, systemCode, type Fidelity, type Posix } from './posix.ts';
import { Problems } from './problems.ts';
import { RestoreMarker, unfinishedRestore, type Checkpoint } from './restore-marker.ts';
import { TargetSpace } from './target-space.ts';
import { Target } from './target.ts';
import { MoverThreads } from './threads.ts';
import type { Entry } from './tree-format.ts';
import { TreeReader } from './tree-reader.ts';
import { readVolume, type Volume, type VolumeMode } from './volume-node.ts';

export interface PopulateOptions {
  /** What messages and events call the volume: the name of its claim. */
  readonly name: string;
  /** What errors call the target, when that is not the volume of that name. */
  readonly targetName?: string;
  /** An empty directory (`lost+found` does not count), or an empty device; with `isInPlace` any that nobody else writes to. */
  readonly path: string;
  readonly mode: VolumeMode;
  readonly repository: Repository;
  /** The volume node. */
  readonly root: BlobId;
  /** Of a directory: what is below it fills the target. Of anything else: it alone is restored. See `paths.ts`; the root by default. */
  readonly part?: Buffer;
  /** A run that was interrupted is taken up again under the same id. */
  readonly operation: OperationId;
  /** The volume holds data: what the backup does not have is removed, and only what differs is written. */
  readonly isInPlace?: boolean;
  /** Makes device nodes, which give access to the machine's devices to whoever may use the volume. */
  readonly allowDevices?: boolean;
  /** What cannot be restored is done without. Otherwise the target goes on to look unfinished, and the same operation tries again. */
  readonly allowMissing?: boolean;
  readonly fidelity?: Fidelity;
  /** Called when all is done that can be, and checked, before the target stops to look unfinished: what this records is then known even if the process dies. */
  readonly record?: (result: PopulateResult) => Promise<void>;
}

export interface PopulateResult {
  /** These three are of what is there. */
  readonly files: number;
  readonly entries: number;
  readonly bytes: number;
  readonly missing: Missing;
  /** Something is missing that nobody has allowed to be. */
  readonly isUnfinished?: true;
  /** Of content, written: less than `bytes` where some was there. */
  readonly writtenBytes: number;
  readonly findings: readonly Finding[];
}

/** What is between two checkpoints at most. */
const CHECKPOINT_BYTES = 128 << 20;
const PROGRESS_BYTES = 1 << 20;

/**
 * Fills an empty volume from the repository, or makes one what the backup has, and checks it afterwards. What could not be restored or kept is a finding; the rest is done. Whatever
 * the backup holds, nothing outside of the target is touched. Throws PREFLIGHT_FAILED, with nothing changed, when the target is not fit, and MOVER_FAILED when
 * it is full: what was written stays, and the same operation goes on.
 */
export async function populateVolume(options: PopulateOptions, run: RunOptions): Promise<PopulateResult> {
  const { name, mode, repository, root } = options;
  const opts = run.signal === undefined ? {} : { signal: run.signal };
  const volume = await readVolume(repository, root, opts);
  if (volume.mode !== mode) {
    throw new DmaasError('PREFLIGHT_FAILED', `${name}: the backup is of a ${volume.mode} volume, the target is a ${mode} volume`);
  }
  const findings = new VolumeFindings(run.emit, name);
  const native = options.fidelity === 'reduced' ? undefined : loadPosix();
  const onBytes = progressOf(name, options.part === undefined ? volume.bytes : undefined, run);
  const threads = new MoverThreads({ repository, fidelity: native === undefined ? 'reduced' : 'full', signal: run.signal });
  try {
    return await populate(options, volume, { findings, native, threads, onBytes, signal: run.signal });
  } finally {
    await threads.stop();
  }
}

async function populate(options: PopulateOptions, volume: Volume, tools: PopulateTools): Promise<PopulateResult> {
  const { name, mode, path, repository } = options;
  const { findings, native } = tools;
  if (mode === 'block') {
    if (options.part !== undefined) throw new DmaasError('USAGE', `${name}: a block volume has no files; it is restored as a whole`);
    const written = new Counter();
    await populateDevice({
      ...tools,
      path,
      name: options.targetName ?? name,
      volume,
      repository,
      isInPlace: options.isInPlace === true,
      onWritten: written.add,
    });
    const result = {
      files: 0,
      entries: 0,
      bytes: volume.bytes,
      missing: NOTHING_MISSING,
      writtenBytes: written.total,
      findings: findings.all(),
    };
    await options.record?.(result);
    return result;
  }
  if (native === undefined) findings.add('reduced-fidelity', REDUCED.fact, 'warning', REDUCED.hint);
  return populateTree(options, volume, tools);
}

interface PopulateTools {
  readonly findings: VolumeFindings;
  readonly native: Posix | undefined;
  readonly threads: MoverThreads;
  readonly onBytes: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

async function populateTree(
  options: PopulateOptions,
  volume: Volume,
  { findings, native, threads, onBytes, signal }: PopulateTools,
): Promise<PopulateResult> {
  const { path, repository, root, part, operation, allowDevices = false, isInPlace = false } = options;
  const name = options.targetName ?? options.name;
  const whole = new TreeReader(repository, volume.top, signal === undefined ? {} : { signal });
  const tree = part === undefined ? whole : await PartOfTree.open(whole, part);
  const target = openTarget(path, options.name, native);
  try {
    const marker = new RestoreMarker(target.rootFd, operation, part === undefined ? root : idOfPart(root, part), name, isInPlace);
    const space = new TargetSpace(target.rootFd, name, part === undefined ? volume : undefined);
    const problems = new Problems(({ reason, isOfAttribute }) => {
      const full = isOfAttribute === true ? space.errorOfAttribute(reason) : space.errorOf(reason);
      if (full !== undefined) throw full;
    });
    const totals = new Totals(volume);
    const shared = { target, tree, native, problems, signal };
    const checkpoints = new Checkpoints((checkpoint) =>
      sync(target, native, space, () => {
        marker.save(checkpoint);
      }),
    );
    if (isInPlace) await makeWay({ ...shared, path, skip: [marker.name] });
    const written = new Counter();
    try {
      await populateFiles({
        ...shared,
        repository,
        threads,
        isInPlace,
        onWritten: written.add,
        resumed: marker.resumed,
        onCheckpoint: (checkpoint) => {
          checkpoints.reached(checkpoint);
        },
        onBytes: (bytes) => {
          checkpoints.add(bytes);
          onBytes(bytes);
        },
        onEntry: (entry) => {
          totals.add(entry);
        },
      });
    } finally {
      await checkpoints.end();
    }
    if (part === undefined) totals.check();
    await populateLinks({ ...shared, allowDevices });
    const durable = sync(target, native, space);
    durable.catch(() => undefined); // until it is waited for
    let missing: Missing;
    try {
      missing = await compareTree({ ...shared, path, findings, skip: [marker.name] });
    } finally {
      await durable;
    }
    const result = { ...totals.without(missing), missing, writtenBytes: written.total, findings: findings.all() };
    if (options.allowMissing !== true && missing.entries > missing.declined) {
      await sync(target, native, space, () => {
        marker.save(totals.end);
      });
      const unfinished = { ...result, isUnfinished: true } as const;
      await options.record?.(unfinished);
      return unfinished;
    }
    await options.record?.(result);
    marker.remove();
    if (totals.root !== undefined) target.setMtime({ path: ROOT, mtimeNs: totals.root.mtimeNs });
    await sync(target, native, space);
    return result;
  } finally {
    target.close();
  }
}

/**
 * Takes away what a run left that died after it had recorded its result: its marker; and sets the attributes of the root, some of which that changes. Without a marker nothing is touched: the volume may be in use.
 */
export async function finishPopulated({ name, path, mode, repository, root, operation }: PopulateOptions, run: RunOptions): Promise<void> {
  if (mode === 'block') return;
  const opts = run.signal === undefined ? {} : { signal: run.signal };
  const native = loadPosix();
  const target = openTarget(path, name, native);
  try {
    if (unfinishedRestore(path) !== operation) return;
    const { top } = await readVolume(repository, root, opts);
    for await (const [first] of new TreeReader(repository, top, opts).leaves()) {
      RestoreMarker.removeLeft(target.rootFd, operation);
      if (first?.path.length === 0) setAgain(target, first);
      break;
    }
    await sync(target, native, new TargetSpace(target.rootFd, name));
  } finally {
    target.close();
  }
}

function setAgain(target: Target, root: Entry): void {
  try {
    target.setAttributes(root);
  } catch (error) {
    systemCode(error); // what it cannot have is in the result
  }
}

function openTarget(path: string, name: string, native: Posix | undefined): Target {
  try {
    return new Target(path, native);
  } catch (error) {
    const code = errorCode(error);
    if (code === undefined) throw error;
    throw new DmaasError('PREFLIGHT_FAILED', `${name}: the directory ${path} cannot be opened (${code})`, { cause: error });
  }
}

/** Makes what was written durable, and then does what rests on that. Files that were written without native calls have been made durable one by one. */
async function sync(target: Target, native: Posix | undefined, space: TargetSpace, then?: () => void): Promise<void> {
  try {
    await native?.syncFileSystem(target.rootFd);
    then?.();
  } catch (error) {
    const code = errorCode(error);
    if (code === undefined) throw error;
    // Some file systems find room for what they took only now.
    const full = space.errorOf(code, error);
    throw full ?? new DmaasError('MOVER_FAILED', `${space.name}: what was written cannot be made durable (${code})`, { cause: error });
  }
}

/** Saves how far the restore has come, each time enough has been written to be worth it, while more is being written. */
class Checkpoints {
  readonly #save: (checkpoint: Checkpoint) => Promise<void>;
  #bytes = 0;
  #isSaving = false;
  #failure: { readonly error: unknown } | undefined;
  #saved: Promise<void> = Promise.resolve();

  /** `save` first makes everything durable that was written before. */
  constructor(save: (checkpoint: Checkpoint) => Promise<void>) {
    this.#save = save;
  }

  add(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Everything up to there has been written. Throws once something could not be made durable. */
  reached(checkpoint: Checkpoint): void {
    if (this.#failure !== undefined) throw this.#failure.error;
    if (this.#bytes < CHECKPOINT_BYTES || this.#isSaving) return;
    this.#bytes = 0;
    this.#isSaving = true;
    this.#saved = this.#save(checkpoint).then(
      () => {
        this.#isSaving = false;
      },
      (error: unknown) => {
        this.#failure = { error };
      },
    );
  }

  /** Waits until nothing is being saved. Throws when something could not be. */
  async end(): Promise<void> {
    await this.#saved;
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

class Counter {
  total = 0;
  readonly add = (count: number): void => {
    this.total += count;
  };
}

/** A tree must hold what its volume node says: a backup that claims a gigabyte does not get to write a thousand. */
class Totals {
  readonly #volume: Volume;
  readonly #groups = new Set<bigint>();
  #files = 0;
  #entries = 0;
  #bytes = 0;
  #root: Entry | undefined;
  #end: Checkpoint = { path: ROOT, bytes: 0 };

  constructor(volume: Volume) {
    this.#volume = volume;
  }

  /** Behind all that it was told of. */
  get end(): Checkpoint {
    return this.#end;
  }

  get root(): Entry | undefined {
    return this.#root;
  }

  add(entry: Entry): void {
    if (entry.path.length === 0) this.#root = entry;
    this.#end = { path: entry.path, bytes: entry.size };
    this.#entries += 1;
    if (entry.type === 'file') this.#files += 1;
    if (!isLinkToEarlier(entry, this.#groups)) this.#bytes += entry.size;
    const { files, entries, bytes } = this.#volume;
    if (this.#files > files || this.#entries > entries || this.#bytes > bytes) throw wrongTotals();
  }

  without({ files, entries, bytes }: Missing): Pick<PopulateResult, 'files' | 'entries' | 'bytes'> {
    return { files: this.#files - files, entries: this.#entries - entries, bytes: this.#bytes - bytes };
  }

  check(): void {
    const { files, entries, bytes } = this.#volume;
    if (this.#files !== files || this.#entries !== entries || this.#bytes !== bytes) throw wrongTotals();
  }
}

function wrongTotals(): DmaasError {
  return new DmaasError('REPOSITORY_CORRUPT', 'the backed-up tree is malformed: it does not hold as much as its volume says');
}

function progressOf(volume: string, total: number | undefined, { emit }: RunOptions): (bytes: number) => void {
  let done = 0;
  let told = 0;
  return (bytes) => {
    done += bytes;
    if (done - told < PROGRESS_BYTES && done !== total) return;
    told = done;
    emit({ type: 'bytes', volume, done, ...(total === undefined ? {} : { total }), added: 0 });
  };
}
