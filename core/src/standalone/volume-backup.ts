import { realpathSync, statSync } from 'node:fs';
import { basename, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { captureVolume, type CaptureOptions } from '../mover/capture.ts';
import { errorCode } from '../mover/posix.ts';
import type { VolumeMode } from '../mover/volume-node.ts';
import { newOperationId } from '../operation.ts';
import type { Backup } from '../repository/records/backup-record.ts';
import { writeManifests } from '../repository/manifests.ts';
import type { Repository } from '../repository/repository.ts';
import { VERSION } from '../version.ts';
import { inPhase } from '../in-phase.ts';

export interface VolumeBackupRequest extends Pick<CaptureOptions, 'fidelity'> {
  /** A directory, a block device, or a file that holds the image of one. */
  readonly path: string;
  /** What the volume is called in the repository; default: the last part of the path. The latest backup of the same name is its parent. */
  readonly name?: string;
  /** Of this machine, for the record. */
  readonly hostname: string;
}

/**
 * Backs up a directory or a device without any cluster, into a repository that was opened for it. The record is one like any other, of an application without manifests and
 * with this one volume. What could not be read is among its findings. Cancelled or failed, no backup exists; what was stored is not sent again.
 */
export async function backupVolume(repository: Repository, request: VolumeBackupRequest, run: RunOptions): Promise<Backup> {
  const { path, mode } = sourceOf(request.path);
  refuseItself(path, repository.location);
  const name = request.name ?? nameOf(path);
  const call = run.signal === undefined ? {} : { signal: run.signal };
  const startedAt = new Date().toISOString();
  const operation = newOperationId();
  const since = repository.condemnedLists;
  const [parent] = await Promise.all([latestOf(repository, name, mode, run), repository.begin(operation, { ...call, since })]);
  const parentRoot = parent?.volumes[0]?.root;
  // In one session. The manifests, which all such backups share, come after the flush of the capture, into a pack of their own.
  const [captured, manifests] = await repository.write(async (writer) => {
    const captureOptions: CaptureOptions = {
      name,
      path,
      mode,
      repository,
      ...(parentRoot === undefined ? {} : { parent: parentRoot }),
      ...(request.fidelity === undefined ? {} : { fidelity: request.fidelity }),
    };
    return [await inPhase('capture', run, () => captureVolume(captureOptions, run)), await writeManifests(writer, [])];
  }, call);
  return inPhase('commit', run, async () => {
    const { root, files, bytes, addedBytes } = captured;
    return repository.commit(
      {
        operation,
        name,
        startedAt,
        tool: `dmaas/${VERSION}`,
        app: { name, namespace: '', selector: {} },
        cluster: { id: '', context: '', version: '' },
        origin: { hostname: request.hostname, path },
        manifests,
        members: 0,
        volumes: [
          {
            claim: name,
            mode,
            storageClass: '',
            driver: '',
            accessModes: [],
            capacityBytes: bytes,
            method: 'live',
            consistentAt: startedAt,
            root,
            files,
            bytes,
            addedBytes,
          },
        ],
        findings: [...captured.findings],
        ...(parent === undefined ? {} : { parent: parent.id }),
        labels: {},
      },
      call,
    );
  });
}

function sourceOf(path: string): { readonly path: string; readonly mode: VolumeMode } {
  try {
    const real = realpathSync(path);
    const stat = statSync(real);
    if (stat.isDirectory()) return { path: real, mode: 'filesystem' };
    if (stat.isFile() || stat.isBlockDevice()) return { path: real, mode: 'block' };
  } catch (cause) {
    const code = errorCode(cause);
    if (code === undefined) throw cause;
    throw new DmaasError('USAGE', `${path} cannot be backed up: ${code === 'ENOENT' ? 'it does not exist' : code}`, { cause });
  }
  throw new DmaasError('USAGE', `${path} is neither a directory nor a block device`);
}

/** A backup that contains the repository would grow by what it writes. */
function refuseItself(path: string, location: string): void {
  if (!location.startsWith('file:')) return;
  let repository: string;
  try {
    repository = realpathSync(fileURLToPath(location));
  } catch {
    return; // whatever is wrong with it shows when it is used
  }
  if (repository === path || repository.startsWith(path.endsWith(sep) ? path : path + sep)) {
    throw new DmaasError('USAGE', `the repository ${repository} lies in ${path}, which it should back up`, {
      hint: 'keep the repository outside of what it holds, best on another machine',
    });
  }
}

function nameOf(path: string): string {
  return basename(path) === '' ? 'root' : basename(path);
}

/** A record that cannot be read is no parent; the new backup does not need it. */
async function latestOf(repository: Repository, name: string, mode: VolumeMode, run: RunOptions): Promise<Backup | undefined> {
  const call = run.signal === undefined ? {} : { signal: run.signal };
  const isParent = (backup: Backup) => backup.volumes.length === 1 && backup.volumes[0]?.mode === mode;
  const filter = { app: name, namespace: '' };
  try {
    const latest = await repository.backup('latest', filter, call);
    if (isParent(latest)) return latest;
  } catch (e) {
    if (DmaasError.is(e, 'BACKUP_NOT_FOUND')) return undefined;
    if (!DmaasError.is(e, 'REPOSITORY_CORRUPT') && !DmaasError.is(e, 'REPOSITORY_VERSION')) throw e;
  }
  let found: Backup | undefined;
  const onUnreadable = (id: string, e: DmaasError) => {
    run.emit({ type: 'finding', finding: { level: 'warning', code: 'backup-unreadable', message: `backup ${id}: ${e.message}` } });
  };
  for await (const backup of repository.backups(filter, { ...call, onUnreadable })) if (isParent(backup)) found = backup;
  return found;
}
