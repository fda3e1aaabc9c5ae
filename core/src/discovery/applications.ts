import type { Cluster } from '../cluster/cluster.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refKey, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef } from '../model.ts';
import type { AppSelector } from './application.ts';
import { assemble, graphOfInventory } from './assemble.ts';
import type { Assembly, ReadKinds } from './assemble.ts';
import { byText } from './closure.ts';
import type { Graph } from './closure.ts';
import { claimFindings, sortFindings } from './findings.ts';
import { idOfKind, readKinds, readNamespace } from './inventory.ts';
import type { Inventory } from './inventory.ts';
import { controllerOf, kindId } from './pod-template.ts';
import { applicationName, describeSelector, HELM } from './selection.ts';
import { NO_STORAGE_FACTS, volumesOf } from './volumes.ts';

export interface AppSummary {
  readonly name: string;
  readonly namespace: string;
  /** What `discover` takes, and what a user types: `-l app=shop`, `statefulset/db`. */
  readonly selector: AppSelector;
  readonly selectedBy: string;
  readonly workloads: readonly ObjectRef[];
  readonly volumes: number;
  /** Capacity of all volumes. */
  readonly sizeBytes: number;
  /** Blockers and warnings that show without reading Secrets and configuration; `discover` looks at everything. */
  readonly findings: readonly Finding[];
}

export interface AppList {
  /** Sorted by namespace and name. */
  readonly applications: readonly AppSummary[];
  /** What could not be seen. */
  readonly findings: readonly Finding[];
}

const WORKLOADS = new Set([
  ...[
    'Deployment.apps',
    'StatefulSet.apps',
    'DaemonSet.apps',
    'CronJob.batch',
    'Job.batch',
    'ReplicaSet.apps',
    'ReplicationController',
    'Pod',
  ],
]);
const LISTED = new Set([...WORKLOADS, 'PersistentVolumeClaim']);

/** Labels that parts of one application have in common, the most telling first. */
const COMMON_LABELS = ['app.kubernetes.io/instance', 'app.kubernetes.io/name', 'app', 'k8s-app'];

/**
 * The applications there are: what Helm installed together, else what has a common label, else each workload with volumes, and
 * each claim that nothing uses. Reads workloads, pods and claims only, each kind once; all namespaces when none is named.
 */
export async function listApplications(cluster: Cluster, scope: { readonly namespace?: string }, run: RunOptions): Promise<AppList> {
  const served = await cluster.kinds();
  const listed = served.filter((k) => LISTED.has(idOfKind(k)));
  if (scope.namespace !== undefined) await readNamespace(cluster, scope.namespace, run);
  const inventory = await readKinds(cluster, listed, scope, run);
  if (inventory.unread.length === listed.length) {
    const where = scope.namespace === undefined ? 'all namespaces' : `namespace ${scope.namespace}`;
    throw new DmaasError('CLUSTER_FORBIDDEN', `this identity may not list workloads in ${where}`, {
      hint:
        scope.namespace === undefined
          ? 'name a namespace with -n NAMESPACE'
          : `"kubectl auth can-i --list -n ${scope.namespace}" shows what it may do`,
    });
  }
  const kinds = { served, read: listed };
  const byNamespace = Map.groupBy(inventory.objects, (o) => o.metadata.namespace ?? '');
  const applications = [...byNamespace]
    .sort(([a], [b]) => byText(a, b))
    .flatMap(([namespace, objects]) => applicationsIn(namespace, { objects, unread: [] }, kinds));
  const findings = inventory.unread.map(({ kind }): Finding => {
    const message = `this identity may not list ${kind.plural}; applications that consist of them are not shown`;
    return { level: 'warning', code: 'kind-forbidden', message };
  });
  return { applications, findings };
}

function applicationsIn(namespace: string, inventory: Inventory, kinds: ReadKinds): AppSummary[] {
  const graph = graphOfInventory(inventory, kinds);
  const originals = [...graph.objects.values()].filter((o) => controllerOf(o) === undefined);
  const isClaim = (o: KubeObject) => kindId(o) === 'PersistentVolumeClaim';
  const found: { readonly summary: AppSummary; readonly assembly: Assembly }[] = [];
  const claimed = new Set<string>();
  const add = (selectors: ReadonlyMap<string, AppSelector>, isWanted: (assembly: Assembly) => boolean) => {
    for (const [, selector] of [...selectors].sort(([a], [b]) => byText(a, b))) {
      const assembly = assemble(graph, inventory, kinds, selector);
      if (!isWanted(assembly)) continue;
      for (const { object } of assembly.members) claimed.add(refKey(refOf(object)));
      found.push({ summary: summarise(namespace, selector, graph, assembly), assembly });
    }
  };
  const selectorsOf = (objects: readonly KubeObject[], choose: (o: KubeObject) => AppSelector | undefined) =>
    new Map(
      objects.flatMap((o) => [choose(o) ?? []].flat().map((selector): [string, AppSelector] => [describeSelector(selector), selector])),
    );
  const unclaimed = (objects: readonly KubeObject[]) => objects.filter((o) => !claimed.has(refKey(refOf(o))));

  const workloads = originals.filter((o) => !isClaim(o));
  add(selectorsOf(workloads, commonSelector), (a) => a.members.length > 0);
  add(selectorsOf(unclaimed(workloads), alone), (a) => a.claims.length > 0);
  // Claims last: most of them were drawn in by what mounts them.
  const claims = [...graph.objects.values()].filter(isClaim);
  add(
    selectorsOf(unclaimed(claims), (o) => commonSelector(o) ?? alone(o)),
    (a) => a.members.length > 0,
  );
  return found.map((f) => f.summary).sort((a, b) => byText(a.name, b.name) || byText(a.selectedBy, b.selectedBy));
}

function commonSelector(o: KubeObject): AppSelector | undefined {
  const { namespace = '', annotations = {}, labels = {} } = o.metadata;
  const release = annotations[HELM.releaseName];
  if (release !== undefined && annotations[HELM.releaseNamespace] === namespace) return { namespace, helmRelease: release };
  const label = COMMON_LABELS.find((key) => labels[key] !== undefined && labels[key] !== '');
  return label === undefined ? undefined : { namespace, labelSelector: `${label}=${labels[label] ?? ''}` };
}

function alone(o: KubeObject): AppSelector {
  const { namespace = '', name } = o.metadata;
  return { namespace, workload: { kind: o.kind, name } };
}

function summarise(namespace: string, selector: AppSelector, graph: Graph, assembly: Assembly): AppSummary {
  const volumes = volumesOf(graph, assembly.claims, NO_STORAGE_FACTS);
  const objects = assembly.members.map((m) => m.object);
  return {
    name: applicationName(selector),
    namespace,
    selector,
    selectedBy: describeSelector(selector),
    workloads: objects.filter((o) => WORKLOADS.has(kindId(o))).map(refOf),
    volumes: volumes.length,
    sizeBytes: volumes.reduce((sum, v) => sum + v.capacityBytes, 0),
    findings: sortFindings([...assembly.findings, ...claimFindings(volumes)].filter((f) => f.level !== 'info')),
  };
}
