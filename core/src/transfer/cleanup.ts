import type { Cluster } from '../cluster/cluster.ts';
import { knownKind } from '../cluster/known-kinds.ts';
import { stringAt } from '../discovery/read.ts';
import { DmaasError } from '../errors.ts';
import type { Finding, KubeObject, ObjectRef, OwnerReference, ResourceKind } from '../model.ts';
import { refName, refOf } from '../model.ts';
import { MOVER_ROLE, MOVER_TASK_ROLE } from '../mover/job.ts';
import { isOperationId, LABELS } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { listStopped, QUIESCED, startStopped, STOPPED_KINDS } from './stopped.ts';

export const STAGED_CLAIM_ROLE = 'staged-claim';
export const SNAPSHOT_ROLE = 'volume-snapshot';
export const CANARY_ROLE = 'canary-claim';
/**
 * Roles of what exists only while an operation runs. What a restore made to stay bears the operation's label as well, so
 * cleaning up goes by the role too.
 */
export const TEMPORARY_ROLES = [MOVER_ROLE, MOVER_TASK_ROLE, STAGED_CLAIM_ROLE, CANARY_ROLE, SNAPSHOT_ROLE] as const;

export const SNAPSHOT_API = 'snapshot.storage.k8s.io/v1';
const SNAPSHOT_KIND = knownKind('VolumeSnapshot', 'snapshot.storage.k8s.io');
const CONTENT_KIND = knownKind('VolumeSnapshotContent', 'snapshot.storage.k8s.io');

/** In the order of removal: each kind holds on to those after it. */
const TEMPORARY_KINDS: readonly ResourceKind[] = [
  knownKind('Job', 'batch'),
  knownKind('Pod'),
  knownKind('Secret'),
  knownKind('PersistentVolumeClaim'),
  SNAPSHOT_KIND,
];

/** How long an object may take to be gone after its deletion was asked for, and was accepted. */
const GONE_TIMEOUT_MS = 120_000;

export interface CleanupReport {
  readonly removed: readonly ObjectRef[];
  /** Workloads that were stopped. */
  readonly started: readonly ObjectRef[];
  /** What is still there, and why; empty when nothing is. */
  readonly findings: readonly Finding[];
}

/**
 * Starts what an operation has stopped, and removes every temporary object of it from a namespace and waits until it is gone: movers first, then what they mount,
 * then the volume snapshots with their contents. Goes on past failures; they are findings. Never cancelled half-way.
 */
export async function cleanupOperation(
  cluster: Cluster,
  namespace: string,
  id: OperationId,
  opts: { readonly goneTimeoutMs?: number } = {},
): Promise<CleanupReport> {
  const removed: ObjectRef[] = [];
  const findings: Finding[] = [];
  const command = cleanupCommand(namespace, id);
  /** UIDs of what could not be removed: nothing that goes with its owner is waited for then. */
  const standing = new Set<string>();
  const failed = (what: string, e: unknown, ref?: ObjectRef) => {
    if (!DmaasError.is(e)) throw e;
    findings.push({
      level: 'warning',
      code: 'left-behind',
      message: `${what}: ${e.message}`,
      ...(ref === undefined ? {} : { ref }),
      hint: command,
    });
  };
  const stopped = await startStopped(cluster, namespace, id);
  findings.push(...stopped.findings.map((finding) => ({ ...finding, hint: command })));
  const served = await servedKinds(cluster);
  for (const kind of TEMPORARY_KINDS.filter((k) => served(k))) {
    let objects: readonly KubeObject[];
    try {
      objects = await listTemporary(cluster, kind, namespace, id);
    } catch (e) {
      failed(`${kind.plural} of operation ${id} could not be looked for`, e);
      continue;
    }
    await Promise.all(
      objects.map(async (object) => {
        const ref = refOf(object);
        if (ownersOf(object).some(({ uid }) => standing.has(uid))) return;
        try {
          await removeObject(cluster, object, opts.goneTimeoutMs ?? GONE_TIMEOUT_MS);
          removed.push(ref);
        } catch (e) {
          standing.add(object.metadata.uid ?? '');
          failed(`${refName(ref, true)} is left behind`, e, ref);
        }
      }),
    );
  }
  if (served(CONTENT_KIND) && findings.length === 0) {
    try {
      const contents = await removeContents(cluster, namespace, id, opts.goneTimeoutMs ?? GONE_TIMEOUT_MS);
      removed.push(...contents.removed);
      findings.push(...contents.findings);
    } catch (e) {
      failed(`contents of volume snapshots of operation ${id} could not be looked for`, e);
    }
  }
  return { removed: removed.sort((a, b) => (refName(a) < refName(b) ? -1 : 1)), started: stopped.started, findings };
}

export function cleanupCommand(namespace: string, id: OperationId): string {
  return `kubectl dmaas cleanup ${id} -n ${namespace}`;
}

/** Only the snapshot API may be missing. Without an answer all is tried, and each failure told. */
async function servedKinds(cluster: Cluster): Promise<(kind: ResourceKind) => boolean> {
  try {
    const kinds = await cluster.kinds();
    return (kind) => kinds.some((k) => k.group === kind.group && k.kind === kind.kind);
  } catch (e) {
    if (!DmaasError.is(e)) throw e;
    return () => true;
  }
}

function ownersOf(object: KubeObject): readonly OwnerReference[] {
  return object.metadata.ownerReferences ?? [];
}

async function removeObject(cluster: Cluster, object: KubeObject, timeoutMs: number): Promise<void> {
  const ref = refOf(object);
  const { uid } = object.metadata;
  if (object.kind === 'VolumeSnapshot') await releaseContent(cluster, object);
  try {
    // A pod goes with its Job: to delete it takes a right that nothing else here needs.
    const goesWithOwner = object.kind === 'Pod' && ownersOf(object).length > 0;
    if (!goesWithOwner) await cluster.delete(ref, { propagation: 'background', ...(uid === undefined ? {} : { uid }) });
  } catch (e) {
    // Another object took its name: ours is gone.
    if (!DmaasError.is(e, 'CLUSTER_CONFLICT')) throw e;
  }
  await cluster.waitFor(ref, (o) => o === undefined || o.metadata.uid !== uid, { timeoutMs });
}

/** A content of policy Retain would outlive its VolumeSnapshot, and the storage system's snapshot with it. */
export async function releaseContent(cluster: Cluster, snapshot: KubeObject): Promise<void> {
  const name = stringAt(snapshot, 'status', 'boundVolumeSnapshotContentName');
  if (name === undefined) return;
  const ref = { apiVersion: SNAPSHOT_API, kind: 'VolumeSnapshotContent', name };
  let content: KubeObject | undefined;
  try {
    content = await cluster.get(ref);
  } catch (e) {
    // Who may not even see it leaves it to the class, whose usual policy is Delete; the plan has told of the other one.
    if (DmaasError.is(e, 'CLUSTER_FORBIDDEN')) return;
    throw e;
  }
  if (stringAt(content, 'spec', 'deletionPolicy') === 'Retain') await cluster.patch(ref, { spec: { deletionPolicy: 'Delete' } });
}

/**
 * Contents that outlived their VolumeSnapshots, with the snapshots in the storage system. They are cluster-scoped and bear no label of
 * ours, but name the VolumeSnapshot that they were made for. Who may not look for them, which is usual, has none to find: then the class
 * deletes, or preflight has refused.
 */
async function removeContents(
  cluster: Cluster,
  namespace: string,
  id: OperationId,
  timeoutMs: number,
): Promise<Omit<CleanupReport, 'started'>> {
  const removed: ObjectRef[] = [];
  const findings: Finding[] = [];
  for (const content of await contentsOf(cluster, namespace, id)) {
    const ref = refOf(content);
    try {
      await cluster.patch(ref, { spec: { deletionPolicy: 'Delete' } });
      await cluster.delete(ref);
      await cluster.waitFor(ref, (o) => o === undefined, { timeoutMs });
      removed.push(ref);
    } catch (e) {
      if (!DmaasError.is(e)) throw e;
      const message = `${refName(ref)} is left behind, and the snapshot in the storage system with it: ${e.message}`;
      const hint = `kubectl patch volumesnapshotcontent ${ref.name} --type merge -p '{"spec":{"deletionPolicy":"Delete"}}' && kubectl delete volumesnapshotcontent ${ref.name}`;
      findings.push({ level: 'warning', code: 'left-behind', message, ref, hint });
    }
  }
  return { removed, findings };
}

async function contentsOf(cluster: Cluster, namespace: string, id: OperationId): Promise<readonly KubeObject[]> {
  const contents: KubeObject[] = [];
  try {
    for await (const content of cluster.list(CONTENT_KIND, {})) {
      // Not those of volume snapshots that a restore in place keeps to go back to.
      const isOurs = stringAt(content, 'spec', 'volumeSnapshotRef', 'name')?.startsWith(`dmaas-${id}-snapshot-`) === true;
      // One that is being deleted is its driver's business.
      if (!isOurs || content.metadata.deletionTimestamp !== undefined) continue;
      if (stringAt(content, 'spec', 'volumeSnapshotRef', 'namespace') === namespace) contents.push(content);
    }
  } catch (e) {
    if (!DmaasError.is(e, 'CLUSTER_FORBIDDEN')) throw e;
  }
  return contents;
}

async function listTemporary(cluster: Cluster, kind: ResourceKind, namespace: string, id?: OperationId): Promise<KubeObject[]> {
  const labelSelector = `${LABELS.operation}${id === undefined ? '' : `=${id}`},${LABELS.role} in (${TEMPORARY_ROLES.join(',')})`;
  const objects: KubeObject[] = [];
  for await (const object of cluster.list(kind, { namespace, labelSelector })) objects.push(object);
  return objects;
}

/** An operation that has temporary objects in a namespace, or has stopped workloads: it runs, or did not end as it should. */
export interface OperationLeftovers {
  readonly id: OperationId;
  /** RFC 3339, of the oldest object; absent when there is none. */
  readonly since?: string;
  readonly objects: readonly ObjectRef[];
  /** Workloads of the application, which start again with the clean-up. */
  readonly stopped: readonly ObjectRef[];
}

export async function listOperations(cluster: Cluster, namespace: string): Promise<readonly OperationLeftovers[]> {
  const served = await servedKinds(cluster);
  const operations = new Map<OperationId, { since?: string; objects: ObjectRef[]; stopped: ObjectRef[] }>();
  const entryOf = (id: string | undefined) => {
    if (id === undefined || !isOperationId(id)) return undefined;
    const entry = operations.get(id) ?? { objects: [], stopped: [] };
    operations.set(id, entry);
    return entry;
  };
  for (const kind of TEMPORARY_KINDS.filter((k) => served(k))) {
    for (const object of await listTemporary(cluster, kind, namespace)) {
      const entry = entryOf(object.metadata.labels?.[LABELS.operation]);
      if (entry === undefined) continue;
      const created = object.metadata.creationTimestamp ?? '';
      entry.objects.push(refOf(object));
      if (entry.since === undefined || created < entry.since) entry.since = created;
    }
  }
  for (const kind of STOPPED_KINDS)
    for (const workload of await listStopped(cluster, kind, namespace))
      entryOf(workload.metadata.labels?.[QUIESCED.label])?.stopped.push(refOf(workload));
  return [...operations].map(([id, entry]) => ({ id, ...entry })).sort((a, b) => ((a.since ?? '') < (b.since ?? '') ? -1 : 1));
}
