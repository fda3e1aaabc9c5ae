import { createHash } from 'node:crypto';
import * as z from 'zod';
import type { Cluster } from '../cluster/cluster.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import type { Finding } from '../model.ts';
import { moverDataPath } from '../mover/job.ts';
import type { MoverSpec } from '../mover/job.ts';
import type { Mover } from '../mover/mover.ts';
import type { MoverResult } from '../mover/task.ts';
import type { VolumeRecord } from '../repository/records/backup-record.ts';
import { parseBlobId } from '../repository/format/blob.ts';
import type { RunRecords } from '../repository/repository.ts';
import type { StoreConfig } from '../store/config.ts';
import { forEachOrStop } from './for-each-or-stop.ts';
import type { BackupPlan, VolumePlan } from './model.ts';
import { Quiesce } from './quiesce.ts';
import { stageClaim, takeSnapshots } from './volume-snapshot.ts';
import type { ReadySnapshot, StagedVolume, StagingTiming } from './volume-snapshot.ts';

export interface CaptureDeps {
  readonly cluster: Cluster;
  readonly mover: Mover;
  readonly runs: RunRecords;
  /** What movers get. */
  readonly store: StoreConfig;
  readonly unlock: string;
  readonly maxMovers: number;
  readonly timing: StagingTiming;
  readonly now: () => Date;
}

export interface Captured {
  /** RFC 3339: when this operation, not only this process, began. */
  readonly startedAt: string;
  readonly volumes: readonly VolumeRecord[];
  readonly findings: readonly Finding[];
}

/** How the volume's mover runs when it reads `claim`, which is the volume's own for a live read. */
export function captureSpec(plan: BackupPlan, volume: VolumePlan, claim = volume.volume.claim.name): MoverSpec {
  return {
    operation: plan.id,
    index: volume.index,
    namespace: plan.app.namespace,
    direction: 'capture',
    claim,
    mode: volume.volume.mode,
    profile: volume.profile,
    identity: volume.volume.security,
    placement: volume.placement,
  };
}

/** Captures every volume of the plan: first all volume snapshots, then what the movers read, some at a time. */
export async function captureVolumes(plan: BackupPlan, deps: CaptureDeps, run: RunOptions): Promise<Captured> {
  const staged = plan.volumes.flatMap((volume) => (volume.staging === undefined ? [] : [{ plan: volume, staging: volume.staging }]));
  const { snapshots, findings: still } = await takeStill(plan, staged, deps, run);
  const moment = momentOf(snapshots);
  const startedAt = await beginningOf(moment, plan, deps, run);
  const captured: { readonly index: number; readonly record: VolumeRecord; readonly findings: readonly Finding[] }[] = [];
  await forEachOrStop(plan.volumes, deps.maxMovers, run, async (volume, each) => {
    const snapshot = snapshots.find((s) => s.plan.index === volume.index);
    const step = { type: 'step', phase: 'capture', title: volume.volume.claim.name } as const;
    run.emit({ ...step, state: 'start' });
    try {
      const result = await captureOne(plan, volume, snapshot, moment, deps, each);
      captured.push({ index: volume.index, record: recordOf(volume, snapshot, result), findings: result.findings });
      run.emit({ ...step, state: 'done' });
    } catch (e) {
      run.emit({ ...step, state: 'failed', ...(DmaasError.is(e) ? { reason: e.message } : {}) });
      throw e;
    }
  });
  captured.sort((a, b) => a.index - b.index);
  return {
    startedAt,
    volumes: captured.map(({ record }) => record),
    findings: [...still, ...captured.flatMap(({ findings }) => findings)],
  };
}

/** All commands before, all volume snapshots, all commands after: whatever fails, what was frozen goes on. */
async function takeStill(
  plan: BackupPlan,
  staged: readonly StagedVolume[],
  deps: CaptureDeps,
  run: RunOptions,
): Promise<{ readonly snapshots: readonly ReadySnapshot[]; readonly findings: readonly Finding[] }> {
  const quiesce = new Quiesce(deps.cluster, plan.id, plan.quiesce, run);
  const findings: Finding[] = [];
  const thaw = async () => {
    findings.push(...(await quiesce.thaw()));
  };
  try {
    findings.push(...(await quiesce.freeze()));
    const snapshots = await takeSnapshots(deps.cluster, plan.id, plan.app.namespace, staged, deps.timing, run, thaw);
    return { snapshots, findings };
  } catch (e) {
    // The first failure is the one to tell.
    await thaw().catch(() => undefined);
    throw e;
  }
}

async function captureOne(
  plan: BackupPlan,
  volume: VolumePlan,
  snapshot: ReadySnapshot | undefined,
  moment: string,
  deps: CaptureDeps,
  run: RunOptions,
): Promise<MoverResult> {
  const staged = snapshot && (await stageClaim(deps.cluster, plan.id, snapshot, deps.timing, run));
  const spec = captureSpec(plan, volume, staged?.name);
  const { mode } = spec;
  const result = await deps.mover.run(
    {
      spec,
      task: {
        schema: 1,
        operation: plan.id,
        index: volume.index,
        direction: 'capture',
        volume: { claim: volume.volume.claim.name, mode },
        path: moverDataPath(mode),
        store: deps.store,
        unlock: deps.unlock,
        moment,
        ...(volume.parentRoot === undefined ? {} : { parent: parseBlobId(volume.parentRoot, 'the plan') }),
      },
    },
    run,
  );
  // Early, to give the space back; the final cleaning up makes sure.
  if (staged !== undefined) await deps.cluster.delete(staged);
  return result;
}

function recordOf({ volume, method }: VolumePlan, snapshot: ReadySnapshot | undefined, result: MoverResult): VolumeRecord {
  return {
    claim: volume.claim.name,
    mode: volume.mode,
    storageClass: volume.storageClass,
    driver: volume.driver ?? '',
    accessModes: [...volume.accessModes],
    capacityBytes: volume.capacityBytes,
    method,
    consistentAt: new Date(snapshot?.takenAt ?? result.startedAt).toISOString(),
    root: result.root,
    files: result.files,
    bytes: result.bytes,
    addedBytes: result.addedBytes,
  };
}

/** Names what all volumes of a backup are read as of. The results of an operation's earlier attempt are good only for the same volume snapshots, so they bear this name. */
function momentOf(snapshots: readonly ReadySnapshot[]): string {
  const uids = snapshots.map(({ uid }) => uid);
  return createHash('sha256').update(uids.join()).digest('hex').slice(0, 16);
}

const begunSchema = z.object({ startedAt: z.iso.datetime() });

/** When the first attempt began that is of this moment. */
async function beginningOf(moment: string, plan: BackupPlan, { runs, now }: CaptureDeps, run: RunOptions): Promise<string> {
  const call = run.signal === undefined ? {} : { signal: run.signal };
  const name = `capture-${moment}`;
  const startedAt = now().toISOString();
  try {
    await runs.put(plan.id, name, { startedAt }, call);
    return startedAt;
  } catch (e) {
    if (!DmaasError.is(e, 'STORE_EXISTS')) throw e;
    return begunSchema.parse(await runs.get(plan.id, name, call)).startedAt;
  }
}
