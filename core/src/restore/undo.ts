import { resourceName } from '../cluster/api-errors.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { mapConcurrent } from '../cluster/map-concurrent.ts';
import { idOfKind, readKinds } from '../discovery/inventory.ts';
import type { Unread } from '../discovery/inventory.ts';
import { kindId } from '../discovery/pod-template.ts';
import { at, listAt, mapAt, stringAt } from '../discovery/read.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import { ANNOTATIONS, LABELS } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { cleanupOperation, releaseContent } from '../transfer/cleanup.ts';
import { listed } from './hints.ts';
import { positionOf } from './order.ts';
import { CLUSTER_SCOPED_KINDS } from './prepare.ts';
import { REQUESTS_AT_ONCE } from './read-target.ts';

const GONE_TIMEOUT_MS = 120_000;

export interface RemovalReport {
  readonly removed: readonly ObjectRef[];
  /** What was left, and why. */
  readonly findings: readonly Finding[];
}

/**
 * Undoes a restore: deletes what it created, its movers included, in the reverse of the order of creation, and nothing else: what it updated or
 * found keeps what it has, and a namespace or definition that others use by now stays. Goes on past failures; they are findings.
 */
export async function removeRestored(
  cluster: Cluster,
  where: { readonly id: OperationId; readonly namespace: string },
  run: RunOptions,
  opts: { readonly goneTimeoutMs?: number } = {},
): Promise<RemovalReport> {
  run.emit({ type: 'phase', phase: 'cleanup', state: 'start' });
  const removal = new Removal(cluster, where, run, opts.goneTimeoutMs ?? GONE_TIMEOUT_MS);
  const report = await removal.run();
  run.emit({ type: 'phase', phase: 'cleanup', state: report.findings.some((f) => f.level === 'warning') ? 'failed' : 'done' });
  return report;
}

class Removal {
  readonly #cluster: Cluster;
  readonly #id: OperationId;
  readonly #namespace: string;
  readonly #run: RunOptions;
  readonly #goneTimeoutMs: number;
  readonly #removed: ObjectRef[] = [];
  readonly #findings: Finding[] = [];

  constructor(
    cluster: Cluster,
    { id, namespace }: { readonly id: OperationId; readonly namespace: string },
    run: RunOptions,
    goneTimeoutMs: number,
  ) {
    this.#cluster = cluster;
    this.#id = id;
    this.#namespace = namespace;
    this.#run = run;
    this.#goneTimeoutMs = goneTimeoutMs;
  }

  async run(): Promise<RemovalReport> {
    // Movers hold the claims they fill.
    const movers = await cleanupOperation(this.#cluster, this.#namespace, this.#id, { goneTimeoutMs: this.#goneTimeoutMs });
    this.#removed.push(...movers.removed);
    this.#findings.push(...movers.findings);
    const kinds = (await this.#cluster.kinds()).filter((k) => k.verbs.includes('delete'));
    const objects = await this.#created(kinds);
    const ranks = [...new Set(objects.map((o) => positionOf(o).rank))].sort((a, b) => b - a);
    for (const rank of ranks) {
      const batch = objects.filter((o) => positionOf(o).rank === rank);
      await mapConcurrent(batch, REQUESTS_AT_ONCE, async (object) => {
        const reason = await this.#reasonToKeep(object, kinds);
        if (reason === undefined) await this.#remove(object);
        else this.#keep(object, reason);
      });
    }
    return { removed: this.#removed, findings: this.#findings };
  }

  /** By their label, wherever this restore may have created something. */
  async #created(kinds: readonly ResourceKind[]): Promise<readonly KubeObject[]> {
    const labelSelector = `${LABELS.operation}=${this.#id}`;
    const clusterScoped = kinds.filter((k) => CLUSTER_SCOPED_KINDS.includes(idOfKind(k)));
    const inNamespace = kinds.filter((k) => k.namespaced);
    const [near, far, namespace] = await Promise.all([
      readKinds(this.#cluster, inNamespace, { namespace: this.#namespace, labelSelector }, this.#run),
      readKinds(this.#cluster, clusterScoped, { labelSelector }, this.#run),
      this.#cluster.get({ apiVersion: 'v1', kind: 'Namespace', name: this.#namespace }),
    ]);
    for (const { kind } of [...near.unread, ...far.unread]) {
      if (!kind.verbs.includes('list')) continue;
      this.#findings.push({
        level: 'warning',
        code: 'not-looked-for',
        message: `${kind.plural} could not be listed, so what the restore created of them is left`,
      });
    }
    const all = [...near.objects, ...far.objects, ...(namespace === undefined ? [] : [namespace])];
    return all.filter((o) => {
      const { labels = {} } = o.metadata;
      // Controllers copy labels to what they make (a Service's to its EndpointSlices), but not labels and annotations both.
      const { annotations = {} } = o.metadata;
      return labels[LABELS.operation] === this.#id && labels[LABELS.role] === undefined && annotations[ANNOTATIONS.backup] !== undefined;
    });
  }

  /** Others may use by now what came with this restore. */
  async #reasonToKeep(object: KubeObject, kinds: readonly ResourceKind[]): Promise<string | undefined> {
    if (kindId(object) === 'CustomResourceDefinition.apiextensions.k8s.io') {
      const { objects, unread } = await readKinds(this.#cluster, [kindDefinedBy(object)], {}, this.#run);
      if (objects.length > 0) return `deleting it would delete ${namesOf(objects)} too`;
      return unread.length === 0 ? undefined : `${pluralsOf(unread)} could not be listed, and deleting it would delete them too`;
    }
    if (kindId(object) !== 'Namespace') return undefined;
    const { objects, unread } = await readKinds(
      this.#cluster,
      kinds.filter((k) => k.namespaced && !MADE_BY_ITSELF.includes(idOfKind(k))),
      { namespace: this.#namespace },
      this.#run,
    );
    const others = objects.filter((o) => !comesByItself(o));
    if (others.length > 0) return `it holds ${namesOf(others)}`;
    return unread.length === 0 ? undefined : `it may hold ${pluralsOf(unread)}, which could not be listed`;
  }

  #keep(object: KubeObject, reason: string): void {
    const ref = refOf(object);
    this.#findings.push({ level: 'info', code: 'kept', message: `${refName(ref)} is kept: ${reason}`, ref });
  }

  async #remove(object: KubeObject): Promise<void> {
    const ref = refOf(object);
    const { uid } = object.metadata;
    const title = `delete ${refName(ref)}`;
    this.#run.emit({ type: 'step', phase: 'cleanup', title, state: 'start' });
    try {
      if (ref.kind === 'VolumeSnapshot') await releaseContent(this.#cluster, object);
      await this.#cluster.delete(ref, { propagation: 'background', ...(uid === undefined ? {} : { uid }) });
      await this.#cluster.waitFor(ref, (o) => o === undefined || o.metadata.uid !== uid, { timeoutMs: this.#goneTimeoutMs });
      this.#removed.push(ref);
      this.#run.emit({ type: 'step', phase: 'cleanup', title, state: 'done' });
    } catch (e) {
      if (!DmaasError.is(e)) throw e;
      // Another object has its name now: ours is gone.
      if (e.code === 'CLUSTER_CONFLICT') return;
      this.#findings.push({ level: 'warning', code: 'left-behind', message: `${refName(ref, true)} is left behind: ${e.message}`, ref });
      this.#run.emit({ type: 'step', phase: 'cleanup', title, state: 'failed', reason: e.message });
    }
  }
}

function namesOf(objects: readonly KubeObject[]): string {
  return listed(objects.map((o) => refName(refOf(o), true)));
}

function pluralsOf(unread: readonly Unread[]): string {
  return listed(unread.map(({ kind }) => resourceName({ group: kind.group, resource: kind.plural })));
}

/** Kinds that nobody would miss. */
const MADE_BY_ITSELF: readonly string[] = [
  'Event',
  'Event.events.k8s.io',
  'Endpoints',
  'EndpointSlice.discovery.k8s.io',
  'Lease.coordination.k8s.io',
];

/** What every namespace has or gets, and what goes with its owner. */
function comesByItself(object: KubeObject): boolean {
  const kind = kindId(object);
  if (object.metadata.deletionTimestamp !== undefined || (object.metadata.ownerReferences ?? []).length > 0) return true;
  if (kind === 'ServiceAccount') return object.metadata.name === 'default';
  if (kind === 'Secret')
    return (
      object['type'] === 'kubernetes.io/service-account-token' &&
      mapAt(object, 'metadata', 'annotations')['kubernetes.io/service-account.name'] === 'default'
    );
  return kind === 'ConfigMap' && ['kube-root-ca.crt', 'openshift-service-ca.crt'].includes(object.metadata.name);
}

function kindDefinedBy(crd: KubeObject): ResourceKind {
  const served = listAt(crd, 'spec', 'versions').find((v) => v['served'] === true);
  return {
    group: stringAt(crd, 'spec', 'group') ?? '',
    version: stringAt(served, 'name') ?? 'v1',
    kind: stringAt(crd, 'spec', 'names', 'kind') ?? '',
    plural: stringAt(crd, 'spec', 'names', 'plural') ?? '',
    namespaced: at(crd, 'spec', 'scope') === 'Namespaced',
    verbs: ['list', 'delete'],
  };
}
