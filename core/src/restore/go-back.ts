import type { Cluster } from '../cluster/cluster.ts';
import { stringAt } from '../discovery/read.ts';
import { DmaasError } from '../errors.ts';
import type { Phase, RunOptions } from '../events.ts';
import { refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef } from '../model.ts';
import { ANNOTATIONS } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { claimUsers } from '../transfer/claim-users.ts';
import { cleanupOperation } from '../transfer/cleanup.ts';
import { diagnose } from './diagnose.ts';
import { listed, onTarget } from './hints.ts';
import { createPod, deletePod, readIfServed, startWorkload, stopWorkload, waitReadable, waitUnused } from './in-place.ts';
import { isBound, KEEPING, KEPT, keepVolume, keptVolumes, policyOf, releaseVolumes, staysAnyway, volumeRef } from './kept-volumes.ts';
import { everyStep } from './later.ts';
import { storageClassOf } from './mapping.ts';
import type { RestoreStep, SnapshotStep } from './model.ts';
import { undoNeeds } from './needs.ts';
import { isReady } from './readiness.ts';
import { assertRights, recordUndoneIn } from './restore.ts';
import type { LocatedRestore, RestoreRequest } from './restore.ts';
import { stepFailed, titleOf } from './steps.ts';

const GONE_TIMEOUT_MS = 120_000;
const READY_TIMEOUT_MS = 600_000;
const FIRST_POD_TIMEOUT_MS = 60_000;

export interface GoBackOptions {
  /** For whoever may not change PersistentVolumes: each goes before the one from its volume snapshot is there. */
  readonly deleteFirst?: boolean;
}

/**
 * Goes back behind a restore in place: every volume becomes what it was before, from its volume snapshot, while its workloads stand still; the one that is
 * there stays until the other is. Run again it goes on. The findings name what it leaves. Throws USAGE for a restore that has nothing to go back to, and
 * PREFLIGHT_FAILED, with nothing changed, where rights are missing.
 */
export async function goBack(
  request: RestoreRequest,
  located: LocatedRestore,
  { deleteFirst = false }: GoBackOptions,
  run: RunOptions,
): Promise<{ readonly claims: readonly ObjectRef[]; readonly findings: readonly Finding[] }> {
  const { id, plan } = located.record;
  const { cluster } = request;
  const { readyTimeoutMs: timeoutMs = READY_TIMEOUT_MS } = plan.options;
  const of = <D extends RestoreStep['do']>(kind: D) => everyStep(plan).filter((s): s is Extract<RestoreStep, { do: D }> => s.do === kind);
  const snapshots = of('snapshot');
  if (snapshots.length === 0)
    throw new DmaasError(
      'USAGE',
      `restore ${id} ${of('stop').length > 0 ? 'took no volume snapshots to go back to' : 'was not in place'}`,
      {
        hint: `"kubectl dmaas restore delete ${id}" takes back what a restore created`,
      },
    );
  const step = async <T>(phase: Phase, title: string, work: () => Promise<T>): Promise<T> => {
    run.emit({ type: 'step', phase, title, state: 'start' });
    const result = await work();
    run.emit({ type: 'step', phase, title, state: 'done' });
    return result;
  };
  await assertRights(undoNeeds(plan, await cluster.kinds()), 'going back', cluster);
  if (!deleteFirst) await assertKeepable(cluster, id, snapshots);
  await cleanupOperation(cluster, plan.target.namespace, id); // movers of an attempt that died
  for (const stop of of('stop')) await step('populate', titleOf(stop), () => stopWorkload(cluster, id, stop));
  for (const pod of of('delete-pod')) await step('populate', titleOf(pod), () => deletePod(cluster, pod.ref, undefined, run));
  for (const wait of of('wait-unused'))
    await step('populate', titleOf(wait), () => waitUnused(cluster, { claims: wait.claims, stops: of('stop') }, run));
  const findings: Finding[] = [];
  try {
    for (const each of snapshots) {
      const volume = await volumeOf(cluster, each.claim);
      await step('populate', `put claim ${each.claim.name} back`, () => putBack(cluster, id, each, deleteFirst, run));
      findings.push(...(await volumeLeft(cluster, each.claim, volume)));
    }
    for (const stop of of('stop'))
      await step('activate', `start ${refName(stop.ref)}`, () => startWorkload(cluster, id, stop.ref, stop.back));
    for (const pod of of('create-pod')) await step('activate', titleOf(pod), () => createPod(cluster, pod.pod));
    for (const wait of of('wait-ready')) await step('activate', titleOf(wait), () => waitReady(cluster, wait.ref, timeoutMs, run));
    const hasStarted = of('stop').length + of('delete-pod').length > 0;
    for (const { claim } of snapshots)
      await step('activate', `wait until claim ${claim.name} has its volume`, () =>
        waitBound(cluster, claim, { hasStarted, timeoutMs }, run),
      );
    findings.push(...(await releaseVolumes(cluster, id)));
  } catch (e) {
    throw await withKept(e, cluster, id);
  }
  await recordUndoneIn(request.access, located.source, request.stores, id, run);
  return { claims: snapshots.map(({ claim }) => claim), findings };
}

/** What a claim is made from may go with its volume, or never become one: then both states would be lost. */
async function assertKeepable(cluster: Cluster, id: OperationId, snapshots: readonly SnapshotStep[]): Promise<void> {
  const [denied] = await cluster.denied(KEEPING);
  if (denied === undefined) return;
  for (const { claim } of snapshots) {
    const there = await cluster.get(claim);
    if (there === undefined || isPutBack(there, id) || (await staysAnyway(cluster, there))) continue;
    const message = `you may not ${denied.verb} persistentvolumes, so that of claim ${claim.name} would go before the one from its volume snapshot is there`;
    throw new DmaasError('PREFLIGHT_FAILED', message, { hint: 'let somebody undo it who may, or take the risk with --delete-first' });
  }
}

/** Puts a claim made from the volume snapshot in the place of the one that is there; false when that was done before. Nothing may use the claim. */
async function putBack(cluster: Cluster, id: OperationId, step: SnapshotStep, deleteFirst: boolean, run: RunOptions): Promise<boolean> {
  const { claim, ref, back } = step;
  const there = await cluster.get(claim);
  if (isPutBack(there, id)) return false;
  if ((await cluster.get(ref)) === undefined)
    throw stepFailed(`${refName(ref, true)}, to which claim ${claim.name} would go back, does not exist any more`);
  await waitReadable(cluster, step, run);
  // The server says whether it takes the new claim before the old one goes.
  await tryClaim(cluster, { ...back, metadata: { ...back.metadata, name: `${ref.name}-try` } });
  if (there !== undefined) {
    if (!deleteFirst) await keepVolume(cluster, id, there);
    const { uid } = there.metadata;
    await cluster.delete(claim, { propagation: 'background', ...(uid === undefined ? {} : { uid }) });
    await cluster.waitFor(claim, (o) => o === undefined || o.metadata.uid !== uid, { timeoutMs: GONE_TIMEOUT_MS });
  }
  try {
    await cluster.create(back);
  } catch (e) {
    const now = DmaasError.is(e, 'CLUSTER_CONFLICT') ? await cluster.get(claim) : undefined;
    if (isPutBack(now, id)) return true;
    if (now === undefined) throw e;
    const message = `a new claim ${claim.name} has appeared, before it could be made from ${refName(ref)}`;
    throw stepFailed(message, e, 'delete it, and undo again');
  }
  return true;
}

function isPutBack(claim: KubeObject | undefined, id: OperationId): boolean {
  return claim?.metadata.annotations?.[ANNOTATIONS.undone] === id;
}

/** A quota counts both claims in a trial, and only one in earnest. */
async function tryClaim(cluster: Cluster, claim: KubeObject): Promise<void> {
  try {
    await cluster.create(claim, { dryRun: true });
  } catch (e) {
    if (!DmaasError.is(e) || !e.message.includes('exceeded quota')) throw e;
  }
}

async function waitReady(cluster: Cluster, ref: ObjectRef, timeoutMs: number, run: RunOptions): Promise<void> {
  try {
    await cluster.waitFor(ref, (o) => o === undefined || isReady(o), { timeoutMs, ...signalOf(run) });
  } catch (e) {
    if (!DmaasError.is(e, 'TIMEOUT')) throw e;
    const { cause, fix } = await diagnose(cluster, ref, run);
    throw stepFailed(`${refName(ref)} is not ready, now that its claims were put back: ${cause}`, e, fix);
  }
}

/** A volume that is made for its first pod only may not come yet: what has been started has one soon, or at its own time. */
async function waitBound(
  cluster: Cluster,
  ref: ObjectRef,
  { hasStarted, timeoutMs }: { readonly hasStarted: boolean; readonly timeoutMs: number },
  run: RunOptions,
): Promise<void> {
  const named = { apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', name: storageClassOf(await cluster.get(ref)) };
  const storageClass = await readIfServed(cluster, named);
  const isLate = storageClass === undefined || stringAt(storageClass, 'volumeBindingMode') === 'WaitForFirstConsumer';
  const isCertain = !isLate || (await claimUsers(cluster, [ref])).length > 0;
  if (!isCertain && !hasStarted) return;
  try {
    const limit = isCertain ? timeoutMs : Math.min(timeoutMs, FIRST_POD_TIMEOUT_MS);
    await cluster.waitFor(ref, isBound, { timeoutMs: limit, ...signalOf(run) });
  } catch (e) {
    if (!DmaasError.is(e, 'TIMEOUT')) throw e;
    if (!isCertain) return;
    const command = onTarget(`kubectl describe pvc ${ref.name} -n ${ref.namespace ?? ''}`, cluster);
    throw stepFailed(`claim ${ref.name} was put back, and has no volume after ${String(timeoutMs / 1000)} s`, e, command);
  }
}

/** Name of the PersistentVolume that a claim is bound to. */
async function volumeOf(cluster: Cluster, claim: ObjectRef): Promise<string | undefined> {
  return stringAt(await cluster.get(claim), 'spec', 'volumeName');
}

/** Whether the volume that a claim had before it was put back has stayed, which its reclaim policy decides. Who may not read volumes is not told. */
export async function volumeLeft(cluster: Cluster, claim: ObjectRef, name: string | undefined): Promise<readonly Finding[]> {
  if (name === undefined) return [];
  const ref = volumeRef(name);
  const [volume, now] = await Promise.all([readIfServed(cluster, ref), cluster.get(claim)]);
  if (policyOf(volume) !== 'Retain' || volume?.metadata.labels?.[KEPT.label] !== undefined) return [];
  if (stringAt(volume, 'spec', 'claimRef', 'uid') === now?.metadata.uid) return [];
  const message = `${refName(ref)}, which claim ${claim.name} had before it was put back, stays with what was restored to it: its reclaim policy is Retain`;
  return [{ level: 'info', code: 'volume-left', message, ref, hint: onTarget(`kubectl delete persistentvolume ${name}`, cluster) }];
}

/** The same error, with what is not lost. */
async function withKept(e: unknown, cluster: Cluster, id: OperationId): Promise<unknown> {
  const kept = DmaasError.is(e) ? await keptVolumes(cluster, id).catch(() => []) : [];
  if (!DmaasError.is(e) || kept.length === 0) return e;
  const names = listed(kept.map((volume) => refName(refOf(volume))));
  const goOn = `go on with "kubectl dmaas restore undo ${id}"; what was there before it is kept in ${names}`;
  return new DmaasError(e.code, e.message, { cause: e, hint: e.hint === undefined ? goOn : `${e.hint}; then ${goOn}`, details: e.details });
}

function signalOf(run: RunOptions): { readonly signal?: AbortSignal } {
  return run.signal === undefined ? {} : { signal: run.signal };
}
