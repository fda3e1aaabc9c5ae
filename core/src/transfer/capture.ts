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
  const startedAt = await agreeOnMoment(plan, snapshots, deps, run);
  const captured: { readonly index: number; readonly record: VolumeRecord; readonly findings: readonly Finding[] }[] = [];
  await forEachOrStop(plan.volumes, deps.maxMovers, run, async (volume, each) => {
    const snapshot = snapshots.find((s) => s.plan.index === volume.index);
    const step = { type: 'step', phase: 'capture', title: volume.volume.claim.name } as const;
    run.emit({ ...step, state: 'start' });
    try {
      const result = await captureOne(plan, volume, snapshot, deps, each);
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

const MOMENT = 'capture';
const momentSchema = z.object({ startedAt: z.iso.datetime(), snapshots: z.array(z.string()) });

/**
 * Makes sure that the volumes of a backup are of one moment. The results of an operation's earlier attempt are good only for the
 * same volume snapshots; when those are gone, so are the results. Returns when the operation began.
 */
async function agreeOnMoment(
  plan: BackupPlan,
  snapshots: readonly ReadySnapshot[],
  { runs, now }: CaptureDeps,
  run: RunOptions,
): Promise<string> {
  const call = run.signal === undefined ? {} : { signal: run.signal };
  const uids = snapshots.map((snapshot) => snapshot.uid);
  const isSame = (moment: z.infer<typeof momentSchema> | undefined) => moment !== undefined && moment.snapshots.join() === uids.join();
  const read = async () => momentSchema.optional().parse(await runs.get(plan.id, MOMENT, call));
  const earlier = await read();
  if (earlier !== undefined && isSame(earlier)) return earlier.startedAt;
  if (earlier !== undefined) await runs.delete(plan.id, call);
  const moment = { startedAt: now().toISOString(), snapshots: uids };
  try {
    await runs.put(plan.id, MOMENT, moment, call);
    return moment.startedAt;
  } catch (e) {
    // Another process goes on with the same operation.
    const theirs = DmaasError.is(e, 'STORE_EXISTS') ? await read() : undefined;
    if (theirs === undefined || !isSame(theirs)) throw e;
    return theirs.startedAt;
  }
}
