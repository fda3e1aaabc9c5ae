import { closeSync, mkdirSync, openSync, statSync } from 'node:fs';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { parsePath } from '../mover/paths.ts';
import { populateVolume, type PopulateOptions, type PopulateResult } from '../mover/populate.ts';
import { errorCode } from '../mover/posix.ts';
import { unfinishedRestore } from '../mover/restore-marker.ts';
import type { VolumeMode } from '../mover/volume-node.ts';
import { newOperationId } from '../operation.ts';
import type { Backup } from '../repository/records/backup-record.ts';
import type { Repository } from '../repository/repository.ts';
import { inPhase } from '../in-phase.ts';
import { volumeOf } from './volume-of.ts';

export interface VolumeRestoreRequest extends Pick<PopulateOptions, 'allowDevices' | 'fidelity'> {
  readonly backup: Backup;
  /** Which volume; not needed when the backup has one. */
  readonly claim?: string;
  /** An empty directory, an empty device, or what does not exist: it is made. */
  readonly target: string;
  /** `a/b` within the volume: this directory's content, or this file alone. */
  readonly path?: string;
}

export type RestoredVolume = PopulateResult & { readonly claim: string; readonly target: string };

/**
 * Restores a volume of a backup, or a part of it, without any cluster, and compares the target with the backup afterwards. Started again
 * after an interruption it goes on where it stopped. Throws PREFLIGHT_FAILED, with nothing changed, when the target is not fit.
 */
export async function restoreVolume(repository: Repository, request: VolumeRestoreRequest, run: RunOptions): Promise<RestoredVolume> {
  const { backup, target, path, allowDevices, fidelity } = request;
  const volume = volumeOf(backup, request.claim);
  const mode = prepareTarget(target, volume.mode);
  const part = path === undefined ? undefined : parsePath(path);
  const result = await inPhase('populate', run, () =>
    populateVolume(
      {
        name: volume.claim,
        targetName: target,
        path: target,
        mode,
        repository,
        root: volume.root,
        operation: (mode === 'filesystem' ? unfinishedRestore(target) : undefined) ?? newOperationId(),
        ...(part === undefined || part.length === 0 ? {} : { part }),
        ...(allowDevices === undefined ? {} : { allowDevices }),
        allowMissing: true,
        ...(fidelity === undefined ? {} : { fidelity }),
      },
      run,
    ),
  );
  return { ...result, claim: volume.claim, target };
}

/** Makes what does not exist, but no more than the last level: in /proc, Node's recursive mkdir never ends. */
function prepareTarget(path: string, wanted: VolumeMode): VolumeMode {
  try {
    if (wanted === 'filesystem') mkdirSync(path);
    else closeSync(openSync(path, 'a', 0o600));
  } catch (cause) {
    const code = errorCode(cause);
    if (code === undefined) throw cause;
    // What is there and of another kind is told apart below.
    if (code !== 'EEXIST' && code !== 'EISDIR')
      throw new DmaasError('PREFLIGHT_FAILED', `${path} cannot be made or opened (${code})`, { cause });
  }
  return statSync(path).isDirectory() ? 'filesystem' : 'block';
}
