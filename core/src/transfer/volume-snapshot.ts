import type { Cluster } from '../cluster/cluster.ts';
import { parseQuantity } from '../discovery/quantity.ts';
import { at, stringAt } from '../discovery/read.ts';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refName, refOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { ANNOTATIONS, LABELS, operationLabels, operationObjectName } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { SNAPSHOT_API, SNAPSHOT_ROLE, STAGED_CLAIM_ROLE } from './cleanup.ts';
import { forEachOrStop } from './for-each-or-stop.ts';
import type { Staging, VolumePlan } from './model.ts';

/** Milliseconds. Separate, so that a slow snapshot does not eat the time of the claim made from it. */
export interface StagingTiming {
  readonly snapshotReady: number;
  readonly claimBound: number;
}
export const STAGING_TIMING: StagingTiming = { snapshotReady: 600_000, claimBound: 600_000 };

/** Requests under way at once. All snapshots are asked for together: the closer in time, the closer to one moment. */
const CREATE_CONCURRENCY = 16;

export interface StagedVolume {
  readonly plan: VolumePlan;
  readonly staging: Staging;
}

/** A volume snapshot that can be read. */
export interface ReadySnapshot extends StagedVolume {
  readonly ref: ObjectRef;
  readonly uid: string;
  /** RFC 3339: the moment the data is of. */
  readonly takenAt: string;
  /** What a claim made from it needs at least. */
  readonly restoreBytes: number;
}

export function snapshotRef(id: OperationId, namespace: string, index: number): ObjectRef {
  return { apiVersion: SNAPSHOT_API, kind: 'VolumeSnapshot', name: operationObjectName(id, 'snapshot', index), namespace };
}

export function stagedClaimRef(id: OperationId, namespace: string, index: number): ObjectRef {
  return { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name: operationObjectName(id, 'claim', index), namespace };
}

/**
 * Takes a snapshot of every volume, all at once, and waits until all can be read. Those of an earlier call of the same operation
 * are taken as they are. `onCut` is called when the moment of all is fixed, which may be long before they can be read. On failure nothing more is begun, and whatever was is known by its labels.
 */
export async function takeSnapshots(
  cluster: Cluster,
  id: OperationId,
  namespace: string,
  volumes: readonly StagedVolume[],
  timing: StagingTiming,
  run: RunOptions,
  onCut: () => Promise<void> = () => Promise.resolve(),
): Promise<ReadySnapshot[]> {
  await forEachOrStop(volumes, CREATE_CONCURRENCY, run, async ({ plan, staging }, { signal }) => {
    throwIfCancelled(signal);
    const ref = snapshotRef(id, namespace, plan.index);
    await createOnce(cluster, {
      apiVersion: ref.apiVersion,
      kind: ref.kind,
      metadata: { name: ref.name, namespace, labels: operationLabels(id, SNAPSHOT_ROLE) },
      spec: {
        ...(staging.snapshotClass === undefined ? {} : { volumeSnapshotClassName: staging.snapshotClass }),
        source: { persistentVolumeClaimName: plan.volume.claim.name },
      },
    });
  });
  const ready: ReadySnapshot[] = [];
  const deadline = Date.now() + timing.snapshotReady;
  await forEachOrStop(volumes, volumes.length, run, async (volume, each) => {
    await waitReady(cluster, snapshotRef(id, namespace, volume.plan.index), volume, deadline, timing, each, isCut);
  });
  await onCut();
  await forEachOrStop(volumes, volumes.length, run, async (volume, each) => {
    ready.push(await waitReady(cluster, snapshotRef(id, namespace, volume.plan.index), volume, deadline, timing, each));
  });
  return ready.sort((a, b) => a.plan.index - b.plan.index);
}

/** An error in the status may be of one attempt among many; only the deadline makes it a failure. */
async function waitReady(
  cluster: Cluster,
  ref: ObjectRef,
  volume: StagedVolume,
  deadline: number,
  timing: StagingTiming,
  run: RunOptions,
  isDone: (snapshot: KubeObject) => boolean = isReadable,
): Promise<ReadySnapshot> {
  const name = refName(volume.plan.volume.claim);
  let last: KubeObject | undefined;
  let seen = false;
  const isSettled = (o: KubeObject | undefined) => {
    last = o;
    seen ||= o !== undefined;
    return o === undefined ? seen : isDone(o);
  };
  try {
    const timeoutMs = Math.max(0, deadline - Date.now());
    last = await cluster.waitFor(ref, isSettled, { timeoutMs, ...(run.signal === undefined ? {} : { signal: run.signal }) });
  } catch (e) {
    if (!DmaasError.is(e, 'TIMEOUT')) throw e;
    throw notReady(name, last, timing.snapshotReady, e);
  }
  if (last === undefined)
    throw new DmaasError('MOVER_FAILED', `the volume snapshot of ${name} was deleted while it was needed`, {
      hint: 'run the backup again',
    });
  const { uid = '', creationTimestamp = '' } = last.metadata;
  return {
    ...volume,
    ref,
    uid,
    takenAt: stringAt(last, 'status', 'creationTime') ?? creationTimestamp,
    restoreBytes: parseQuantity(stringAt(last, 'status', 'restoreSize') ?? '0') ?? 0,
  };
}

function isReadable(snapshot: KubeObject): boolean {
  return at(snapshot, 'status', 'readyToUse') === true;
}

function isCut(snapshot: KubeObject): boolean {
  return stringAt(snapshot, 'status', 'creationTime') !== undefined || isReadable(snapshot);
}

function notReady(name: string, snapshot: KubeObject | undefined, timeoutMs: number, cause: unknown): DmaasError {
  const says = stringAt(snapshot, 'status', 'error', 'message');
  const isIgnored = at(snapshot, 'status') === undefined;
  const why = says ?? (isIgnored ? 'no snapshot controller has taken notice of it' : 'its driver has not finished');
  return new DmaasError(
    'TIMEOUT',
    `the volume snapshot of ${name} was not ready within ${Math.round(timeoutMs / 1000)} s: ${why.slice(0, 500)}`,
    {
      cause,
      hint: isIgnored
        ? 'install the CSI snapshot controller, or see its log'
        : 'see the log of the csi-snapshotter beside the volume’s CSI driver',
    },
  );
}

/**
 * Makes the claim through which a mover reads a snapshot. Where its class binds at once, waits until it is bound, so that no
 * mover waits for a volume that cannot be made; elsewhere the mover is what it waits for.
 */
export async function stageClaim(
  cluster: Cluster,
  id: OperationId,
  snapshot: ReadySnapshot,
  timing: StagingTiming,
  run: RunOptions,
): Promise<ObjectRef> {
  const { plan, staging } = snapshot;
  const namespace = snapshot.ref.namespace ?? '';
  const ref = stagedClaimRef(id, namespace, plan.index);
  const bytes = Math.max(snapshot.restoreBytes, plan.volume.capacityBytes);
  await createOnce(cluster, {
    apiVersion: ref.apiVersion,
    kind: ref.kind,
    metadata: {
      name: ref.name,
      namespace,
      labels: operationLabels(id, STAGED_CLAIM_ROLE),
      annotations: { [ANNOTATIONS.snapshot]: snapshot.uid },
    },
    spec: {
      accessModes: [staging.accessMode],
      volumeMode: plan.volume.mode === 'block' ? 'Block' : 'Filesystem',
      storageClassName: staging.storageClass,
      resources: { requests: { storage: String(bytes) } },
      dataSource: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: snapshot.ref.name },
    },
  });
  if (!staging.bindsAtOnce) return ref;
  const call = { timeoutMs: timing.claimBound, ...(run.signal === undefined ? {} : { signal: run.signal }) };
  try {
    await cluster.waitFor(ref, (o) => stringAt(o, 'status', 'phase') === 'Bound', call);
  } catch (e) {
    if (!DmaasError.is(e, 'TIMEOUT')) throw e;
    throw new DmaasError(
      'TIMEOUT',
      `no volume was made from the volume snapshot of ${refName(plan.volume.claim)} within ${Math.round(timing.claimBound / 1000)} s`,
      {
        cause: e,
        hint: `see the log of the csi-provisioner beside the CSI driver of storage class ${staging.storageClass}`,
      },
    );
  }
  return ref;
}

/** Creates the object, or finds it made by an earlier call: its name holds the operation's id. Not from another volume snapshot, whose claim could not be removed. */
async function createOnce(cluster: Cluster, manifest: KubeObject): Promise<void> {
  try {
    await cluster.create(manifest);
  } catch (e) {
    if (!DmaasError.is(e, 'CLUSTER_CONFLICT')) throw e;
    const existing = await cluster.get(refOf(manifest));
    const { labels, annotations } = existing?.metadata ?? {};
    const isOurs = labels?.[LABELS.operation] === manifest.metadata.labels?.[LABELS.operation];
    const isSame = annotations?.[ANNOTATIONS.snapshot] === manifest.metadata.annotations?.[ANNOTATIONS.snapshot];
    if (!isOurs || !isSame || existing?.metadata.deletionTimestamp !== undefined) throw e;
  }
}
