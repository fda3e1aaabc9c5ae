import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../cluster/cluster.ts';
import { knownKind } from '../cluster/known-kinds.ts';
import { discover } from '../discovery/discover.ts';
import { at, stringAt } from '../discovery/read.ts';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { ANNOTATIONS, LABELS } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { gatherCaptureFacts } from '../transfer/facts.ts';
import { listed } from './hints.ts';
import type { BackupView, RestoreOptions, SnapshotStep, StartStep, StopStep } from './model.ts';
import { inPlaceClaims, STOPPED } from './plan-in-place.ts';
import type { InPlaceFacts } from './plan-in-place.ts';
import { podNeeds } from './pods.ts';

const UNUSED_TIMEOUT_MS = 300_000;
const SNAPSHOT_TIMEOUT_MS = 600_000;
const GONE_TIMEOUT_MS = 120_000;
const POLL_MS = 1000;

/** Reads what a restore in place rests on: the claims, and what uses them. */
export async function gatherInPlace(cluster: Cluster, backup: BackupView, options: RestoreOptions, run: RunOptions): Promise<InPlaceFacts> {
  const namespace = options.namespace ?? backup.app.namespace;
  const [clusterId, kinds] = await Promise.all([cluster.id(), cluster.kinds()]);
  const { pairs } = inPlaceClaims(backup, kinds, options);
  const claims = await Promise.all(pairs.map(({ ref }) => cluster.get(ref)));
  const seeds = claims.flatMap((claim) =>
    claim === undefined ? [] : [{ workload: { kind: 'PersistentVolumeClaim', name: claim.metadata.name } }],
  );
  const quiet: RunOptions = { ...run, emit: () => undefined };
  const [capture, app] = await Promise.all([
    gatherCaptureFacts(cluster, namespace),
    seeds.length === 0 ? undefined : discover(cluster, { namespace, anyOf: seeds }, quiet),
  ]);
  const names = new Map((app?.volumes ?? []).flatMap((volume) => volume.consumers).map((ref) => [refKey(ref), ref]));
  const consumers = (await Promise.all([...names.values()].map((ref) => cluster.get(ref)))).flatMap((found) => found ?? []);
  return { context: cluster.context, clusterId, kinds, capture, consumers, ...(app === undefined ? {} : { app }) };
}

/** Takes a workload's replicas away; false when an earlier attempt has. */
export async function stopWorkload(cluster: Cluster, id: OperationId, { ref, replicas }: StopStep | StartStep): Promise<boolean> {
  const found = await mustGet(cluster, ref);
  if (found.metadata.labels?.[STOPPED.label] === id && at(found, 'spec', 'replicas') === 0) return false;
  const marks = { labels: { [STOPPED.label]: id }, annotations: { [STOPPED.replicas]: String(replicas) } };
  await cluster.patch(ref, { metadata: marks, spec: { replicas: 0 } });
  return true;
}

/** Gives a workload that this operation has stopped its replicas back; false when it has not, or somebody did before. */
export async function startWorkload(cluster: Cluster, id: OperationId, { ref, replicas }: StopStep | StartStep): Promise<boolean> {
  const found = await mustGet(cluster, ref);
  if (found.metadata.labels?.[STOPPED.label] !== id) return false;
  await cluster.patch(ref, {
    metadata: { labels: { [STOPPED.label]: null }, annotations: { [STOPPED.replicas]: null } },
    spec: { replicas },
  });
  return true;
}

/** Waits until no pod has one of the claims. A pod that is ending may still write. */
export async function waitUnused(cluster: Cluster, claims: readonly ObjectRef[], run: RunOptions): Promise<void> {
  const namespace = claims[0]?.namespace ?? '';
  const names = new Set(claims.map(({ name }) => name));
  const deadline = Date.now() + UNUSED_TIMEOUT_MS;
  for (;;) {
    throwIfCancelled(run.signal);
    const using: string[] = [];
    for await (const pod of cluster.list(knownKind('Pod'), { namespace })) {
      const isOver = ['Succeeded', 'Failed'].includes(stringAt(pod, 'status', 'phase') ?? '');
      const isOurs = pod.metadata.labels?.[LABELS.role] !== undefined; // a mover of an attempt before; there is never a second one
      if (!isOver && !isOurs && podNeeds(pod).some((need) => need.kind === 'PersistentVolumeClaim' && names.has(need.name)))
        using.push(refName(refOf(pod)));
    }
    if (using.length === 0) return;
    if (Date.now() > deadline)
      throw new DmaasError(
        'RESTORE_STEP_FAILED',
        `the volumes are still in use after ${String(UNUSED_TIMEOUT_MS / 1000)} s, by ${listed(using)}`,
        {
          hint: 'stop what makes these pods',
        },
      );
    await sleep(POLL_MS);
  }
}

/** Takes the volume snapshot to go back to; false when an earlier attempt has. It bears no role: cleaning up leaves it, deleting the restore does not. */
export async function takeUndoSnapshot(
  cluster: Cluster,
  id: OperationId,
  backup: string,
  step: SnapshotStep,
  run: RunOptions,
): Promise<boolean> {
  const { ref, claim, snapshotClass } = step;
  const known = await cluster.get(ref);
  if (known === undefined) {
    await cluster.create({
      apiVersion: ref.apiVersion,
      kind: ref.kind,
      metadata: {
        name: ref.name,
        ...(ref.namespace === undefined ? {} : { namespace: ref.namespace }),
        labels: { [LABELS.managedBy]: 'dmaas', [LABELS.operation]: id },
        annotations: { [ANNOTATIONS.backup]: backup },
      },
      spec: {
        ...(snapshotClass === undefined ? {} : { volumeSnapshotClassName: snapshotClass }),
        source: { persistentVolumeClaimName: claim.name },
      },
    });
  }
  await waitReadable(cluster, step, run);
  return known === undefined;
}

async function waitReadable(cluster: Cluster, { ref, claim }: SnapshotStep, run: RunOptions): Promise<void> {
  let last: KubeObject | undefined;
  try {
    await cluster.waitFor(ref, (o) => ((last = o), at(o, 'status', 'readyToUse') === true), {
      timeoutMs: SNAPSHOT_TIMEOUT_MS,
      ...signalOf(run),
    });
  } catch (e) {
    if (!DmaasError.is(e, 'TIMEOUT')) throw e;
    const says = stringAt(last, 'status', 'error', 'message') ?? 'its driver has not finished';
    throw new DmaasError(
      'RESTORE_STEP_FAILED',
      `the volume snapshot of claim ${claim.name} to go back to was not ready in time: ${says.slice(0, 500)}`,
      { cause: e },
    );
  }
}

/** Puts a claim made from the volume snapshot in the place of the one that is there; false when that was done before. Nothing may use the claim. */
export async function putBack(cluster: Cluster, id: OperationId, step: SnapshotStep, run: RunOptions): Promise<boolean> {
  const { claim, ref, back } = step;
  const there = await cluster.get(claim);
  if (there?.metadata.annotations?.[ANNOTATIONS.undone] === id) return false;
  if ((await cluster.get(ref)) === undefined)
    throw new DmaasError(
      'RESTORE_STEP_FAILED',
      `${refName(ref, true)}, to which claim ${claim.name} would go back, does not exist any more`,
    );
  await waitReadable(cluster, step, run);
  // The server says whether it takes the new claim before the old one goes.
  await tryClaim(cluster, { ...back, metadata: { ...back.metadata, name: `${ref.name}-try` } });
  if (there !== undefined) {
    const { uid } = there.metadata;
    await cluster.delete(claim, { propagation: 'background', ...(uid === undefined ? {} : { uid }) });
    await cluster.waitFor(claim, (o) => o === undefined || o.metadata.uid !== uid, { timeoutMs: GONE_TIMEOUT_MS });
  }
  try {
    await cluster.create(back);
  } catch (e) {
    const now = DmaasError.is(e, 'CLUSTER_CONFLICT') ? await cluster.get(claim) : undefined;
    if (now?.metadata.annotations?.[ANNOTATIONS.undone] === id) return true;
    if (now === undefined) throw e;
    throw new DmaasError('RESTORE_STEP_FAILED', `a new claim ${claim.name} has appeared, before it could be made from ${refName(ref)}`, {
      cause: e,
      hint: 'delete it, and undo again',
    });
  }
  return true;
}

/** A quota counts both claims in a trial, and only one in earnest. */
async function tryClaim(cluster: Cluster, claim: KubeObject): Promise<void> {
  try {
    await cluster.create(claim, { dryRun: true });
  } catch (e) {
    if (!DmaasError.is(e) || !e.message.includes('exceeded quota')) throw e;
  }
}

async function mustGet(cluster: Cluster, ref: ObjectRef): Promise<KubeObject> {
  const found = await cluster.get(ref);
  if (found === undefined) throw new DmaasError('RESTORE_STEP_FAILED', `${refName(ref, true)} does not exist any more`);
  return found;
}

function signalOf(run: RunOptions): { readonly signal?: AbortSignal } {
  return run.signal === undefined ? {} : { signal: run.signal };
}
