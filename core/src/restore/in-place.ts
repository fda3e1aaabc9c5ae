import type { Cluster } from '../cluster/cluster.ts';
import { mapConcurrent } from '../cluster/map-concurrent.ts';
import { discover } from '../discovery/discover.ts';
import { controllerOf, kindId } from '../discovery/pod-template.ts';
import { at, stringAt } from '../discovery/read.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refKey, refName } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { ANNOTATIONS, LABELS } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { claimUsers, outwaitUsers } from '../transfer/claim-users.ts';
import { gatherCaptureFacts } from '../transfer/facts.ts';
import { listed } from './hints.ts';
import type { BackupView, RestoreOptions, SnapshotStep, StopStep } from './model.ts';
import { inPlaceClaims } from './plan-in-place.ts';
import type { InPlaceFacts } from './plan-in-place.ts';
import { RESTABLE } from './rest.ts';
import { mergePatch, sameJson } from './rewrite.ts';
import { stepFailed } from './steps.ts';
import { STOPPED } from './stopping.ts';

const UNUSED_TIMEOUT_MS = 300_000;
const SNAPSHOT_TIMEOUT_MS = 600_000;
const READS_AT_ONCE = 8;

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
  const wanted = new Set(pairs.map(({ ref }) => refKey(ref)));
  const volumes = (app?.volumes ?? []).filter(({ claim }) => wanted.has(refKey(claim)));
  const { below, owners } = await stoppableUsers(
    cluster,
    volumes.flatMap((volume) => volume.mountedBy),
  );
  const names = new Map(
    [...volumes.flatMap((volume) => volume.consumers), ...Object.values(below).flat()].map((ref) => [refKey(ref), ref]),
  );
  const consumers = (await Promise.all([...names.values()].map((ref) => readIfServed(cluster, ref)))).flatMap((found) => found ?? []);
  return { context: cluster.context, clusterId, kinds, capture, consumers, below, owners, ...(app === undefined ? {} : { app }) };
}

/** From each pod upwards: what of its controllers can be stopped, and who owns that. */
async function stoppableUsers(cluster: Cluster, pods: readonly ObjectRef[]): Promise<Required<Pick<InPlaceFacts, 'below' | 'owners'>>> {
  const below: Record<string, ObjectRef[]> = {};
  const owners: Record<string, ObjectRef> = {};
  const known = new Map<string, Promise<KubeObject | undefined>>(); // pods of one workload share all above them
  const read = (ref: ObjectRef): Promise<KubeObject | undefined> => {
    const reading = known.get(refKey(ref)) ?? readIfServed(cluster, ref);
    known.set(refKey(ref), reading);
    return reading;
  };
  for (const chain of await mapConcurrent(pods, READS_AT_ONCE, (pod) => controllersAbove(read, pod))) {
    const workloads = chain.filter((ref) => RESTABLE.includes(kindId(ref)));
    // A suspended CronJob leaves its Job running; of all others the highest says how many pods there are.
    const isCron = workloads.some((ref) => kindId(ref) === 'CronJob.batch');
    const stopped = workloads.length === 0 ? chain.slice(0, 1) : isCron ? workloads.toReversed() : workloads.slice(-1);
    const owner = chain.findLast((ref) => kindId(ref) !== 'Pod' && !RESTABLE.includes(kindId(ref)) && kindId(ref) !== 'Node');
    for (const ref of chain) {
      const all = below[refKey(ref)] ?? [];
      below[refKey(ref)] = [...all, ...stopped.filter((s) => all.every((o) => refKey(o) !== refKey(s)))];
    }
    if (owner !== undefined) for (const ref of stopped) owners[refKey(ref)] = owner;
  }
  return { below, owners };
}

/** The pod, its controller, the controller of that, and so on; to the last that can be read, which is named all the same. */
async function controllersAbove(read: (ref: ObjectRef) => Promise<KubeObject | undefined>, pod: ObjectRef): Promise<readonly ObjectRef[]> {
  const chain: ObjectRef[] = [];
  for (let ref: ObjectRef | undefined = pod; ref !== undefined && chain.length < 10;) {
    chain.push(ref);
    const found: KubeObject | undefined = await read(ref);
    const controller = found === undefined ? undefined : controllerOf(found);
    ref = controller === undefined ? undefined : { ...controller, ...(pod.namespace === undefined ? {} : { namespace: pod.namespace }) };
  }
  return chain;
}

/** What cannot be read, for want of rights or because nobody serves it, is as if it were not there. */
export async function readIfServed(cluster: Cluster, ref: ObjectRef): Promise<KubeObject | undefined> {
  try {
    return await cluster.get(ref);
  } catch (e) {
    if (DmaasError.is(e, 'CLUSTER_FORBIDDEN') || DmaasError.is(e, 'CLUSTER_REJECTED')) return undefined;
    throw e;
  }
}

/** Stops a workload; false when an earlier attempt has, or when it is gone and uses nothing. */
export async function stopWorkload(cluster: Cluster, id: OperationId, { ref, patch, back }: StopStep): Promise<boolean> {
  const found = await cluster.get(ref);
  if (found === undefined) return false;
  if (found.metadata.labels?.[STOPPED.label] === id && sameJson(mergePatch(found, patch), found)) return false;
  // On the workload itself, so that whoever finds it can start it, whatever became of this process and its records.
  const marks = { labels: { [STOPPED.label]: id }, annotations: { [STOPPED.back]: JSON.stringify(back) } };
  await cluster.patch(ref, { ...patch, metadata: marks });
  return true;
}

/** Makes a workload that this operation has stopped what it was; false when it has not, or somebody did before, or it is gone. */
export async function startWorkload(cluster: Cluster, id: OperationId, ref: ObjectRef, back: StopStep['back']): Promise<boolean> {
  const found = await cluster.get(ref);
  if (found?.metadata.labels?.[STOPPED.label] !== id) return false;
  await cluster.patch(ref, { ...back, metadata: { labels: { [STOPPED.label]: null }, annotations: { [STOPPED.back]: null } } });
  return true;
}

/** Deletes a pod and waits until it is gone; false when it is, or another one has its name. Without a uid, whichever has the name. */
export async function deletePod(cluster: Cluster, ref: ObjectRef, uid: string | undefined, run: RunOptions): Promise<boolean> {
  const found = await cluster.get(ref);
  if (found === undefined || (uid !== undefined && found.metadata.uid !== uid)) return false;
  const own = found.metadata.uid;
  await cluster.delete(ref, { propagation: 'background', ...(own === undefined ? {} : { uid: own }) });
  await cluster.waitFor(ref, (o) => o === undefined || o.metadata.uid !== own, { timeoutMs: UNUSED_TIMEOUT_MS, ...signalOf(run) });
  return true;
}

/** Makes a deleted pod again; false when there is one of its name. */
export async function createPod(cluster: Cluster, manifest: KubeObject): Promise<boolean> {
  try {
    await cluster.create(manifest);
    return true;
  } catch (e) {
    if (DmaasError.is(e, 'CLUSTER_CONFLICT')) return false;
    throw e;
  }
}

/** What must stand still while volumes are rewritten: nothing uses the claims, and what was stopped for that stays so. */
export interface Stillness {
  readonly claims: readonly ObjectRef[];
  readonly stops: readonly StopStep[];
}

/** Waits until no pod has one of the claims. A pod that is ending may still write. */
export async function waitUnused(cluster: Cluster, { claims, stops }: Stillness, run: RunOptions): Promise<void> {
  const using = await outwaitUsers(cluster, claims, UNUSED_TIMEOUT_MS, run, () => assertStopped(cluster, stops));
  if (using.length > 0)
    throw new DmaasError(
      'RESTORE_STEP_FAILED',
      `the volumes are still in use after ${String(UNUSED_TIMEOUT_MS / 1000)} s, by ${listed(using)}`,
      {
        hint: 'stop what makes these pods',
      },
    );
}

/** Throws when something has used the volumes after all: then nobody knows what is on them. */
export async function assertStill(cluster: Cluster, { claims, stops }: Stillness): Promise<void> {
  await assertStopped(cluster, stops);
  const using = await claimUsers(cluster, claims);
  if (using.length > 0)
    throw new DmaasError(
      'RESTORE_STEP_FAILED',
      `${listed(using)} used the volumes while they were rewritten, so they are not what the backup has`,
      {
        hint: 'stop what makes these pods',
      },
    );
}

export function isRewritten(claim: KubeObject | undefined, id: OperationId): boolean {
  return claim?.metadata.annotations?.[ANNOTATIONS.rewritten] === id;
}

/** From here on only this attempt may say that the volume is rewritten; false when it has been, by another process. */
export async function beginRewriting(cluster: Cluster, claim: ObjectRef, id: OperationId, attempt: string): Promise<boolean> {
  return !isRewritten(await cluster.patch(claim, { metadata: { annotations: { [ANNOTATIONS.rewriting]: attempt } } }), id);
}

/** Throws when another process has begun to rewrite the volume anew: it must not come into use meanwhile. */
export async function endRewriting(cluster: Cluster, ref: ObjectRef, id: OperationId, attempt: string): Promise<void> {
  const claim = await cluster.get(ref);
  if (claim === undefined) throw stepFailed(`${refName(ref, true)} was deleted while the restore was running`);
  if (isRewritten(claim, id)) return;
  if (claim.metadata.annotations?.[ANNOTATIONS.rewriting] !== attempt)
    throw stepFailed(
      `another process goes on with this restore, and rewrites claim ${ref.name} again`,
      undefined,
      'wait until it has ended',
    );
  const { resourceVersion = '' } = claim.metadata;
  const annotations = { [ANNOTATIONS.rewriting]: null, [ANNOTATIONS.rewritten]: id };
  try {
    await cluster.patch(ref, { metadata: { resourceVersion, annotations } });
  } catch (e) {
    if (!DmaasError.is(e, 'CLUSTER_CONFLICT')) throw e;
    await endRewriting(cluster, ref, id, attempt); // the claim has changed since it was read, perhaps by this
  }
}

/** Operators and the like start again what they find stopped. */
async function assertStopped(cluster: Cluster, stops: readonly StopStep[]): Promise<void> {
  for (const { ref, patch } of stops) {
    const found = await cluster.get(ref);
    if (found === undefined || sameJson(mergePatch(found, patch), found)) continue;
    throw new DmaasError('RESTORE_STEP_FAILED', `somebody has started ${refName(ref)} again before its volumes were rewritten`, {
      hint: 'pause what keeps it running (an operator, Argo CD, Flux)',
    });
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

/** Waits until a volume snapshot to go back to can be read. */
export async function waitReadable(cluster: Cluster, { ref, claim }: SnapshotStep, run: RunOptions): Promise<void> {
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

function signalOf(run: RunOptions): { readonly signal?: AbortSignal } {
  return run.signal === undefined ? {} : { signal: run.signal };
}
