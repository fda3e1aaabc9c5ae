import { parseAmount, parseQuantity } from '../discovery/quantity.ts';
import { kindId, podTemplateOf } from '../discovery/pod-template.ts';
import { listAt, mapAt, numberAt, recordAt, stringAt } from '../discovery/read.ts';
import { refOf } from '../model.ts';
import type { Finding, KubeObject } from '../model.ts';
import { formatBytes } from './bytes.ts';
import { onTarget } from './hints.ts';
import type { HintTarget } from './hints.ts';
import { storageClassOf } from './mapping.ts';

/** Quota names of plain object counts. */
const COUNTED: Readonly<Record<string, string>> = {
  Service: 'services',
  Secret: 'secrets',
  ConfigMap: 'configmaps',
  PersistentVolumeClaim: 'persistentvolumeclaims',
  ReplicationController: 'replicationcontrollers',
};

/**
 * Whether the objects fit in the quotas that the target namespace has now. `objects` are in their active form; quotas with scopes are left
 * to the server, which knows which pods they mean.
 */
export function quotaFindings(objects: readonly KubeObject[], quotas: readonly KubeObject[], target: HintTarget): readonly Finding[] {
  const demand = demandOf(objects);
  return quotas
    .filter((quota) => listAt(quota, 'spec', 'scopes').length === 0 && recordAt(quota, 'spec')['scopeSelector'] === undefined)
    .flatMap((quota) =>
      Object.entries(mapAt(quota, 'spec', 'hard')).flatMap(([name, text]): Finding[] => {
        const hard = parseAmount(text);
        const needed = demand.get(/^(cpu|memory)$/.test(name) ? `requests.${name}` : name);
        const used = parseAmount(mapAt(quota, 'status', 'used')[name] ?? '') ?? 0;
        if (hard === undefined || needed === undefined || used + needed <= hard) return [];
        const show = /storage|memory/.test(name) ? formatBytes : String;
        return [
          {
            level: 'blocker',
            code: 'quota-exceeded',
            message: `resource quota ${quota.metadata.name} allows ${show(hard)} of ${name}, ${show(used)} are used, and the restore needs ${show(needed)}`,
            ref: refOf(quota),
            hint: onTarget(`kubectl edit resourcequota ${quota.metadata.name} -n ${target.namespace}`, target),
          },
        ];
      }),
    );
}

function demandOf(objects: readonly KubeObject[]): ReadonlyMap<string, number> {
  const demand = new Map<string, number>();
  const add = (name: string, amount: number): void => void demand.set(name, (demand.get(name) ?? 0) + amount);
  for (const object of objects) {
    const counted = COUNTED[kindId(object)];
    if (counted !== undefined) add(counted, 1);
    if (kindId(object) === 'PersistentVolumeClaim') {
      const bytes = parseQuantity(mapAt(object, 'spec', 'resources', 'requests')['storage'] ?? '') ?? 0;
      const ofClass = `${storageClassOf(object)}.storageclass.storage.k8s.io/`;
      add('requests.storage', bytes);
      add(`${ofClass}requests.storage`, bytes);
      add(`${ofClass}persistentvolumeclaims`, 1);
    }
    const pods = podCount(object);
    const spec = podTemplateOf(object)?.spec;
    if (pods === 0 || spec === undefined) continue;
    add('pods', pods);
    for (const side of ['requests', 'limits'] as const) {
      for (const resource of ['cpu', 'memory']) add(`${side}.${resource}`, pods * perPod(spec, side, resource));
    }
  }
  return demand;
}

function podCount(object: KubeObject): number {
  const kind = kindId(object);
  if (kind === 'Pod') return 1;
  const isReplicated = ['Deployment.apps', 'StatefulSet.apps', 'ReplicaSet.apps', 'ReplicationController'].includes(kind);
  return isReplicated ? (numberAt(object, 'spec', 'replicas') ?? 1) : 0;
}

/** Containers together, or the largest init container when that asks for more. */
function perPod(spec: unknown, side: 'requests' | 'limits', resource: string): number {
  const of = (list: string): number[] =>
    listAt(spec, list).map(
      (c) => parseAmount(stringAt(c, 'resources', side, resource) ?? String(numberAt(c, 'resources', side, resource) ?? 0)) ?? 0,
    );
  return Math.max(
    of('containers').reduce((sum, value) => sum + value, 0),
    ...of('initContainers'),
  );
}
