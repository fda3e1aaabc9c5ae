import { containersOf, kindId, podTemplateOf } from '../discovery/pod-template.ts';
import { at, listAt, numberAt, stringAt } from '../discovery/read.ts';
import type { KubeObject } from '../model.ts';
import { update } from './rewrite.ts';

/** Where the kinds that run pods keep the pod's metadata and spec. The Pod itself is its own template. */
export const POD_PATHS: Readonly<Record<string, readonly string[]>> = {
  Pod: [],
  ReplicationController: ['spec', 'template'],
  'Deployment.apps': ['spec', 'template'],
  'ReplicaSet.apps': ['spec', 'template'],
  'StatefulSet.apps': ['spec', 'template'],
  'DaemonSet.apps': ['spec', 'template'],
  'Job.batch': ['spec', 'template'],
  'CronJob.batch': ['spec', 'jobTemplate', 'spec', 'template'],
};

export const POD_KINDS: readonly string[] = Object.keys(POD_PATHS);

/** Rewrites the pod spec of a workload of a built-in kind, wherever the kind keeps it. */
export function updatePodSpec(object: KubeObject, change: (spec: unknown) => unknown): KubeObject {
  const path = POD_PATHS[kindId(object)];
  return path === undefined ? object : update(object, [...path, 'spec'], change);
}

export interface PodNeed {
  readonly kind: 'ServiceAccount' | 'Secret' | 'ConfigMap' | 'PersistentVolumeClaim' | 'PriorityClass' | 'RuntimeClass';
  readonly name: string;
  /** The pod starts without it. */
  readonly optional: boolean;
  /** How the pod uses it, for messages: `volume data`, `env DB_PASSWORD`. */
  readonly by: string;
}

/** Every object that the pod of a workload names, in the order of its spec; none for kinds without pods. */
export function podNeeds(workload: KubeObject): readonly PodNeed[] {
  const spec = podTemplateOf(workload)?.spec;
  if (spec === undefined) return [];
  const needs: PodNeed[] = [];
  const add = (kind: PodNeed['kind'], name: string | undefined, by: string, optional = false): void => {
    if (name !== undefined) needs.push({ kind, name, optional, by });
  };
  add('ServiceAccount', stringAt(spec, 'serviceAccountName') ?? stringAt(spec, 'serviceAccount'), 'serviceAccountName');
  add('PriorityClass', stringAt(spec, 'priorityClassName'), 'priorityClassName');
  add('RuntimeClass', stringAt(spec, 'runtimeClassName'), 'runtimeClassName');
  // The kubelet pulls without a secret that is missing, and may succeed.
  for (const secret of listAt(spec, 'imagePullSecrets')) add('Secret', stringAt(secret, 'name'), 'imagePullSecrets', true);
  for (const volume of listAt(spec, 'volumes')) {
    const by = `volume ${stringAt(volume, 'name') ?? ''}`;
    for (const source of [volume, ...listAt(volume, 'projected', 'sources')]) {
      add(
        'Secret',
        stringAt(source, 'secret', 'secretName') ?? stringAt(source, 'secret', 'name'),
        by,
        at(source, 'secret', 'optional') === true,
      );
      add('ConfigMap', stringAt(source, 'configMap', 'name'), by, at(source, 'configMap', 'optional') === true);
    }
    add('PersistentVolumeClaim', stringAt(volume, 'persistentVolumeClaim', 'claimName'), by);
  }
  for (const container of containersOf(spec)) {
    for (const source of listAt(container, 'envFrom')) {
      add('Secret', stringAt(source, 'secretRef', 'name'), 'envFrom', at(source, 'secretRef', 'optional') === true);
      add('ConfigMap', stringAt(source, 'configMapRef', 'name'), 'envFrom', at(source, 'configMapRef', 'optional') === true);
    }
    for (const env of listAt(container, 'env')) {
      const from = at(env, 'valueFrom');
      const by = `env ${stringAt(env, 'name') ?? ''}`;
      add('Secret', stringAt(from, 'secretKeyRef', 'name'), by, at(from, 'secretKeyRef', 'optional') === true);
      add('ConfigMap', stringAt(from, 'configMapKeyRef', 'name'), by, at(from, 'configMapKeyRef', 'optional') === true);
    }
  }
  return needs;
}

/** The claims of a StatefulSet's pods: `<template>-<set>-<ordinal>`, ordinals from `spec.ordinals.start`. */
export function statefulClaims(set: KubeObject, replicas: number): readonly string[] {
  const first = numberAt(set, 'spec', 'ordinals', 'start') ?? 0;
  return listAt(set, 'spec', 'volumeClaimTemplates').flatMap((template) =>
    Array.from({ length: replicas }, (_, i) => `${stringAt(template, 'metadata', 'name') ?? ''}-${set.metadata.name}-${String(first + i)}`),
  );
}

/** Whether the workload's pods mount the claim: named in the pod, or by a StatefulSet's templates whatever the ordinal. */
export function mountsClaim(workload: KubeObject, claim: string): boolean {
  const fromTemplate = listAt(workload, 'spec', 'volumeClaimTemplates').some((template) => {
    const prefix = `${stringAt(template, 'metadata', 'name') ?? ''}-${workload.metadata.name}-`;
    return claim.startsWith(prefix) && /^\d+$/.test(claim.slice(prefix.length));
  });
  return fromTemplate || podNeeds(workload).some((need) => need.kind === 'PersistentVolumeClaim' && need.name === claim);
}

/** Whether equality labels (a Service's selector) choose a pod with these labels. An empty selector chooses none. */
export function selects(selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean {
  const wanted = Object.entries(selector);
  return wanted.length > 0 && wanted.every(([key, value]) => labels[key] === value);
}
