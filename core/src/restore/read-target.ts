import type { Cluster } from '../cluster/cluster.ts';
import { mapConcurrent } from '../cluster/map-concurrent.ts';
import { idOfKind, readKinds } from '../discovery/inventory.ts';
import { kindId } from '../discovery/pod-template.ts';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refKey, refOf } from '../model.ts';
import type { KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import type { BackupView, RestoreOptions, TargetState } from './model.ts';
import { plannedRefs } from './prepare.ts';
import { WEBHOOK_KINDS, webhookServices } from './webhook-checks.ts';

export const REQUESTS_AT_ONCE = 8;
/** From so many objects of a kind in a namespace on, one list is cheaper than that many gets. */
const LIST_FROM = 4;

export interface Existing {
  readonly byKey: ReadonlyMap<string, KubeObject>;
  /** Kinds of which an object could not be read, for want of the right to. */
  readonly unreadable: readonly string[];
}

/** What of `refs` exists. One list for each kind and namespace, or a get for each object where these are few or may not be listed. */
export async function readExisting(
  cluster: Cluster,
  refs: readonly ObjectRef[],
  kinds: readonly ResourceKind[],
  run: RunOptions,
): Promise<Existing> {
  const served = new Map(kinds.map((k) => [idOfKind(k), k]));
  const groups = new Map<string, { readonly kind: ResourceKind; readonly refs: ObjectRef[] }>();
  for (const ref of refs) {
    const kind = served.get(kindId(ref));
    if (kind === undefined) continue;
    const key = `${idOfKind(kind)}\0${ref.namespace ?? ''}`;
    const group = groups.get(key) ?? { kind, refs: [] };
    group.refs.push(ref);
    groups.set(key, group);
  }
  const found = await mapConcurrent([...groups.values()], REQUESTS_AT_ONCE, (group) => readGroup(cluster, group.kind, group.refs, run));
  return {
    byKey: new Map(found.flatMap(({ objects }) => objects).map((o) => [refKey(refOf(o)), o])),
    unreadable: [...new Set(found.flatMap(({ unreadable }) => unreadable))],
  };
}

async function readGroup(
  cluster: Cluster,
  kind: ResourceKind,
  refs: readonly ObjectRef[],
  run: RunOptions,
): Promise<{ readonly objects: readonly KubeObject[]; readonly unreadable: readonly string[] }> {
  if (refs.length >= LIST_FROM) {
    const namespace = refs[0]?.namespace;
    const { objects, unread } = await readKinds(cluster, [kind], namespace === undefined ? {} : { namespace }, run);
    const wanted = new Set(refs.map(refKey));
    if (unread.length === 0) return { objects: objects.filter((o) => wanted.has(refKey(refOf(o)))), unreadable: [] };
  }
  const found: KubeObject[] = [];
  for (const ref of refs) {
    throwIfCancelled(run.signal);
    const object = await getIfAllowed(cluster, ref);
    if (object === 'forbidden') return { objects: found, unreadable: [idOfKind(kind)] };
    if (object !== undefined) found.push(object);
  }
  return { objects: found, unreadable: [] };
}

async function getIfAllowed(cluster: Cluster, ref: ObjectRef): Promise<KubeObject | 'forbidden' | undefined> {
  try {
    return await cluster.get(ref);
  } catch (e) {
    if (DmaasError.is(e, 'CLUSTER_FORBIDDEN')) return 'forbidden';
    throw e;
  }
}

/** Gathers the facts that a plan of this backup rests on, rights aside: those follow from a plan. */
export async function readTarget(cluster: Cluster, backup: BackupView, options: RestoreOptions, run: RunOptions): Promise<TargetState> {
  const namespaceName = options.namespace ?? backup.app.namespace;
  const [clusterId, version, kinds] = await Promise.all([cluster.id(), cluster.version(), cluster.kinds()]);
  throwIfCancelled(run.signal);
  const refs = plannedRefs(backup, { kinds, version }, options);
  const named = (ids: readonly string[]): readonly ResourceKind[] => kinds.filter((k) => ids.includes(idOfKind(k)));
  const namespaceRef = { apiVersion: 'v1', kind: 'Namespace', name: namespaceName };
  const [existing, found, storage, limits, nodes, capacities, webhooks] = await Promise.all([
    readExisting(cluster, refs, kinds, run),
    getIfAllowed(cluster, namespaceRef),
    readKinds(cluster, named(['StorageClass.storage.k8s.io']), {}, run),
    readKinds(cluster, named(['ResourceQuota', 'NetworkPolicy.networking.k8s.io', 'Service']), { namespace: namespaceName }, run),
    readKinds(cluster, named(['Node']), {}, run),
    readKinds(cluster, named(['CSIStorageCapacity.storage.k8s.io']), {}, run),
    readWebhooks(cluster, named(WEBHOOK_KINDS), kinds, run),
  ]);
  const all = new Map([...limits.objects.map((o) => [refKey(refOf(o)), o] as const), ...existing.byKey]);
  // Whoever may not see the namespace was given one to work in.
  const namespace = found === 'forbidden' ? { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespaceName } } : found;
  return {
    context: cluster.context,
    clusterId,
    version,
    kinds,
    storageClasses: storage.objects,
    existing: [...all.values()],
    ...(nodes.unread.length > 0 ? {} : { nodes: nodes.objects }),
    ...(capacities.unread.length > 0 ? {} : { capacities: capacities.objects }),
    ...(webhooks === undefined ? {} : { webhooks }),
    unreadable: [...existing.unreadable, ...storage.unread.map(({ kind }) => idOfKind(kind))],
    denied: [],
    ...(namespace === undefined ? {} : { namespace }),
  };
}

/** Webhook configurations, with which of their services are missing: most people may not list them, and are told by the server itself. */
async function readWebhooks(
  cluster: Cluster,
  own: readonly ResourceKind[],
  kinds: readonly ResourceKind[],
  run: RunOptions,
): Promise<TargetState['webhooks']> {
  const { objects, unread } = await readKinds(cluster, own, {}, run);
  if (unread.length > 0) return undefined;
  const services = webhookServices(objects);
  const { byKey, unreadable } = await readExisting(cluster, services, kinds, run);
  return { configurations: objects, missing: unreadable.length > 0 ? [] : services.filter((ref) => !byKey.has(refKey(ref))) };
}
