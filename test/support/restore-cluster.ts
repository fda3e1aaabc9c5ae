import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import type { MemoryClusterOptions } from '../../core/src/cluster/memory-cluster.ts';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { KubeObject } from '../../core/src/model.ts';
import type { Populate, PopulateResult, RestoreJournal, RestoreOutcome } from '../../core/src/restore/run.ts';
import type { RestorePlan } from '../../core/src/restore/model.ts';
import { storageClass } from './restore.ts';

/** Kinds whose pods the played controllers never get ready. */
export interface Play {
  readonly neverReady?: ReadonlySet<string>;
}

/** A cluster in memory on which the controllers that restores wait for are played. */
export function playedCluster(options: MemoryClusterOptions = {}, play: Play = {}): MemoryCluster {
  const cluster = new MemoryCluster({
    context: 'dr',
    id: 'cluster-b',
    ...options,
    objects: [storageClass('fast', true), ...(options.objects ?? [])],
  });
  cluster.onWrite(({ type, object }) => {
    if (type === 'deleted' || play.neverReady?.has(object.metadata.name) === true) return;
    const status = statusOf(object);
    const current = cluster.objects().find((o) => o.metadata.uid === object.metadata.uid);
    if (status !== undefined && current !== undefined && JSON.stringify(current['status']) !== JSON.stringify(status))
      cluster.put({ ...current, status });
    if (object.kind === 'Namespace' && type === 'created') {
      cluster.put({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'default', namespace: object.metadata.name } });
    }
  });
  return cluster;
}

function statusOf(o: KubeObject): unknown {
  const spec = o['spec'] as { replicas?: number } | undefined;
  const observedGeneration = o.metadata['generation'];
  const n = spec?.replicas ?? 1;
  switch (o.kind) {
    case 'Deployment':
      return { observedGeneration, replicas: n, updatedReplicas: n, availableReplicas: n };
    case 'StatefulSet':
      return { observedGeneration, readyReplicas: n, updatedReplicas: n };
    case 'DaemonSet':
      return { observedGeneration, desiredNumberScheduled: 1, numberReady: 1, updatedNumberScheduled: 1 };
    case 'Pod':
      return { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] };
    case 'CustomResourceDefinition':
      return { conditions: [{ type: 'Established', status: 'True' }] };
    default:
      return undefined;
  }
}

export class MemoryJournal implements RestoreJournal {
  readonly plans: RestorePlan[] = [];
  readonly outcomes: RestoreOutcome[] = [];

  begin(plan: RestorePlan): Promise<void> {
    this.plans.push(plan);
    return Promise.resolve();
  }

  end(outcome: RestoreOutcome): Promise<void> {
    this.outcomes.push(outcome);
    return Promise.resolve();
  }
}

/** Fills volumes at once, and remembers which. */
export function fillingMover(filled: string[] = []): Populate {
  return (steps) => {
    filled.push(...steps.map((s) => s.claim.name));
    return Promise.resolve(steps.map((s): PopulateResult => ({ claim: s.claim.name, bytes: s.bytes, files: s.files, findings: [] })));
  };
}

const CALLS = ['create', 'apply', 'patch', 'waitFor', 'get'] as const;

export interface Fault {
  /** Which call fails, from 0. */
  readonly at: number;
  /** Before the call has its effect, or after it: the answer is lost. */
  readonly when: 'before' | 'after';
}

/** The cluster, one call of which fails as if the connection had dropped. */
export function failingCluster(cluster: Cluster, fault: Fault): { readonly cluster: Cluster; readonly calls: () => number } {
  let count = 0;
  const wrapped = new Proxy(cluster, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== 'function') return value;
      const bound = value.bind(target) as (...args: unknown[]) => unknown;
      if (!CALLS.some((name) => name === property)) return bound;
      return async (...args: unknown[]) => {
        const isFaulty = count++ === fault.at;
        if (isFaulty && fault.when === 'before') throw new DmaasError('CLUSTER_UNREACHABLE', 'connection lost');
        const result = await bound(...args);
        if (isFaulty) throw new DmaasError('CLUSTER_UNREACHABLE', 'connection lost');
        return result;
      };
    },
  });
  return { cluster: wrapped, calls: () => count };
}

/** What a restore leaves, without what differs from run to run. */
export function comparable(cluster: MemoryCluster): readonly unknown[] {
  return cluster
    .objects()
    .map(({ metadata, status: _, ...rest }) => {
      const { uid: _uid, resourceVersion: _rv, creationTimestamp: _ts, generation: _g, ...kept } = metadata;
      return { ...rest, metadata: kept };
    })
    .map((o) => JSON.stringify(o, (_, value: unknown) => sorted(value)))
    .sort();
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
