import { kindId } from '../discovery/pod-template.ts';
import { at, numberAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';
import type { KubeObject } from '../model.ts';

/** No node has this label, so a DaemonSet that asks for it runs no pod. */
export const INACTIVE_NODE_LABEL = 'dmaas.io/inactive';

/** Kinds that can be brought to rest and back: they stay, and run no pod meanwhile. */
export const RESTABLE: readonly string[] = [
  'Deployment.apps',
  'StatefulSet.apps',
  'ReplicaSet.apps',
  'ReplicationController',
  'DaemonSet.apps',
  'Job.batch',
  'CronJob.batch',
];

/** What brings a workload to rest, and what makes it what it was. JSON merge patches. */
export interface Rest {
  readonly by: 'replicas' | 'suspend' | 'node selector';
  readonly patch: Json;
  readonly back: Json;
}

/** How a workload is brought to rest; undefined when it is no workload, or at rest. */
export function restOf(object: KubeObject): Rest | undefined {
  const kind = kindId(object);
  if (!RESTABLE.includes(kind)) return undefined;
  if (kind === 'DaemonSet.apps') {
    const selector = (value: string | null): Json => ({ spec: { template: { spec: { nodeSelector: { [INACTIVE_NODE_LABEL]: value } } } } });
    return { by: 'node selector', patch: selector('true'), back: selector(null) };
  }
  if (kind === 'Job.batch' || kind === 'CronJob.batch') {
    if (at(object, 'spec', 'suspend') === true) return undefined;
    return { by: 'suspend', patch: { spec: { suspend: true } }, back: { spec: { suspend: false } } };
  }
  const replicas = numberAt(object, 'spec', 'replicas') ?? 1;
  return replicas === 0 ? undefined : { by: 'replicas', patch: { spec: { replicas: 0 } }, back: { spec: { replicas } } };
}
