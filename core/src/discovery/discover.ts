import type { Cluster } from '../cluster/cluster.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { KubeObject, ResourceKind } from '../model.ts';
import type { AppSelector, Application } from './application.ts';
import { assemble, graphOfInventory } from './assemble.ts';
import type { Assembly } from './assemble.ts';
import { DEFINITION } from './edges.ts';
import { isCaptured } from './exclusions.ts';
import { claimFindings, sortFindings, storageFindings } from './findings.ts';
import { idOfKind, readKinds, readNamed, readNamespace } from './inventory.ts';
import type { Inventory, Unread } from './inventory.ts';
import { kindsNamed, noSuchKind } from './kind-names.ts';
import { kindId } from './pod-template.ts';
import {
  applicationName,
  checkSelector,
  clusterScopedSelectors,
  describeSelector,
  emptySeed,
  nothingSelected,
  seedsOf,
} from './selection.ts';
import { nodesOf, volumesOf } from './volumes.ts';

/** Cluster-scoped kinds that are attached to things in namespaces by naming them: found only by reading all of them. */
const ATTACHED_FROM_OUTSIDE = new Set([
  ...['ClusterRole.rbac.authorization.k8s.io', 'ClusterRoleBinding.rbac.authorization.k8s.io'],
  ...['Mutating', 'Validating'].map((sort) => `${sort}WebhookConfiguration.admissionregistration.k8s.io`),
]);

/**
 * Finds the application that a selector means: what it selects, closed over references, each member with the reason why it
 * belongs, its volumes, what it depends on, and what is wrong or could not be seen. Changes nothing.
 *
 * Reads each kind of the namespace once, then the cluster-scoped kinds that can be attached to it: the number of requests depends on the
 * number of kinds, not of objects (pages aside). Throws USAGE for a selector that makes no sense, APP_NOT_FOUND when it matches
 * nothing, CLUSTER_FORBIDDEN when nothing of the namespace may be read.
 */
export async function discover(cluster: Cluster, selector: AppSelector, run: RunOptions): Promise<Application> {
  checkSelector(selector);
  run.emit({ type: 'phase', phase: 'discover', state: 'start' });
  try {
    const application = await find(cluster, selector, run);
    run.emit({ type: 'phase', phase: 'discover', state: 'done' });
    return application;
  } catch (error) {
    run.emit({ type: 'phase', phase: 'discover', state: 'failed' });
    throw error;
  }
}

async function find(cluster: Cluster, selector: AppSelector, run: RunOptions): Promise<Application> {
  const { namespace } = selector;
  const served = await cluster.kinds();
  for (const seed of seedsOf(selector))
    if ('workload' in seed && kindsNamed(served, seed.workload.kind).length === 0) throw noSuchKind(seed.workload.kind);
  const namespaceObject = await readNamespace(cluster, namespace, run);
  const captured = served.filter(isCaptured);
  const inNamespace = captured.filter((k) => k.namespaced);
  const local = await readKinds(cluster, inNamespace, { namespace }, run);
  if (local.unread.length === inNamespace.length) {
    throw new DmaasError('CLUSTER_FORBIDDEN', `this identity may read nothing in namespace ${namespace}`, {
      hint: `"kubectl auth can-i --list -n ${namespace}" shows what it may do`,
    });
  }
  const global = await readClusterScope(cluster, captured, selector, run);
  const takesNamespace = seedsOf(selector).some((seed) => 'wholeNamespace' in seed);
  const found: Inventory = {
    objects: [...(takesNamespace && namespaceObject !== undefined ? [namespaceObject] : []), ...local.objects, ...global.objects],
    unread: [...local.unread, ...global.unread],
  };
  const kinds = { served, read: captured };
  const empty = emptySeed(selector, served, found.objects);
  if (empty !== undefined) throw nothingSelected(empty, namespace, served, local.objects);
  const draft = assemble(graphOfInventory(found, kinds), found, kinds, selector);
  const inventory = await withDefinitions(cluster, served, found, draft, run);
  const assembly = inventory === found ? draft : assemble(graphOfInventory(inventory, kinds), inventory, kinds, selector);
  if (!assembly.members.some((m) => m.object.metadata.namespace === namespace))
    throw nothingToCapture(selector, assembly, served, local.objects);

  const { volumes, findings } = await describeVolumes(cluster, served, assembly, run);
  return {
    name: applicationName(selector),
    namespace,
    cluster: { id: await clusterId(cluster), context: cluster.context },
    selector,
    members: assembly.members,
    volumes,
    dependencies: assembly.dependencies,
    missing: assembly.missing,
    leftOut: assembly.leftOut,
    edges: assembly.edges,
    findings: sortFindings([...assembly.findings, ...findings, ...claimFindings(volumes)]),
  };
}

/** Users of one namespace often may not read kube-system, whose uid is the cluster's identity. */
async function clusterId(cluster: Cluster): Promise<string> {
  try {
    return await cluster.id();
  } catch (error) {
    if (DmaasError.is(error, 'CLUSTER_FORBIDDEN')) return '';
    throw error;
  }
}

async function readClusterScope(
  cluster: Cluster,
  captured: readonly ResourceKind[],
  selector: AppSelector,
  run: RunOptions,
): Promise<Inventory> {
  const clusterScoped = captured.filter((k) => !k.namespaced);
  const whole = clusterScoped.filter((k) => ATTACHED_FROM_OUTSIDE.has(idOfKind(k)));
  const attached = await readKinds(cluster, whole, {}, run);
  const rest = clusterScoped.filter((k) => !whole.includes(k));
  const objects = new Map(attached.objects.map((o) => [refKey(refOf(o)), o]));
  const unread = new Map(attached.unread.map((u) => [idOfKind(u.kind), u]));
  for (const labelSelector of clusterScopedSelectors(selector)) {
    const labelled = await readKinds(cluster, rest, { labelSelector }, run);
    for (const object of labelled.objects) objects.set(refKey(refOf(object)), object);
    for (const kind of labelled.unread) unread.set(idOfKind(kind.kind), kind);
  }
  return { objects: [...objects.values()], unread: [...unread.values()] };
}

/** Adds the definitions of the custom resources that were found: without them these mean nothing elsewhere. */
async function withDefinitions(
  cluster: Cluster,
  served: readonly ResourceKind[],
  inventory: Inventory,
  { dependencies }: Assembly,
  run: RunOptions,
): Promise<Inventory> {
  const names = dependencies.filter((d) => kindId(d.ref) === DEFINITION).map((d) => d.ref.name);
  const kind = served.find((k) => idOfKind(k) === DEFINITION);
  if (names.length === 0 || kind === undefined) return inventory;
  const { objects, unread } = await readNamed(cluster, kind, names, run);
  if (objects.length === 0 && unread.length === 0) return inventory;
  const known = inventory.unread.some((u) => idOfKind(u.kind) === DEFINITION);
  return { objects: [...inventory.objects, ...objects], unread: [...inventory.unread, ...(known ? [] : unread)] };
}

function nothingToCapture(
  selector: AppSelector,
  assembly: Assembly,
  served: readonly ResourceKind[],
  objects: readonly KubeObject[],
): DmaasError {
  const [first] = assembly.leftOut;
  const [seed] = seedsOf(selector);
  if (first === undefined && seed !== undefined) return nothingSelected(seed, selector.namespace, served, objects);
  return new DmaasError(
    'APP_NOT_FOUND',
    `nothing that ${describeSelector(selector)} selects in namespace ${selector.namespace} is to be captured${first === undefined ? '' : `: ${refName(first.ref)} ${first.reason}`}`,
    { hint: `"kubectl dmaas app list -n ${selector.namespace}" shows what there is` },
  );
}

/** Reads what the claims alone do not tell: the volumes behind them, their classes, the nodes that have them mounted. */
async function describeVolumes(cluster: Cluster, served: readonly ResourceKind[], assembly: Assembly, run: RunOptions) {
  const { graph, claims, dependencies } = assembly;
  const unread: Unread[] = [];
  const read = async (id: string, names: Iterable<string>): Promise<readonly KubeObject[]> => {
    const kind = served.find((k) => idOfKind(k) === id);
    if (kind === undefined) return [];
    const found = await readNamed(cluster, kind, names, run);
    unread.push(...found.unread);
    return found.objects;
  };
  const names = (kind: string) => dependencies.filter((d) => d.ref.kind === kind).map((d) => d.ref.name);
  const facts = {
    volumes: await read('PersistentVolume', names('PersistentVolume')),
    classes: await read('StorageClass.storage.k8s.io', claims.length > 0 ? names('StorageClass') : []),
    nodes: await read('Node', nodesOf(graph, claims.map(refOf))),
  };
  return { volumes: volumesOf(graph, claims, facts), findings: storageFindings(unread) };
}
