import type { KubeObject, ObjectMeta, OwnerReference } from '../../core/src/model.ts';

const GROUPS: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'ControllerRevision'].map((k) => [k, 'apps/v1'])),
  ...Object.fromEntries(['Job', 'CronJob'].map((k) => [k, 'batch/v1'])),
  ...Object.fromEntries(['Ingress', 'NetworkPolicy', 'IngressClass'].map((k) => [k, 'networking.k8s.io/v1'])),
  ...Object.fromEntries(['Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'].map((k) => [k, 'rbac.authorization.k8s.io/v1'])),
  HorizontalPodAutoscaler: 'autoscaling/v2',
  PodDisruptionBudget: 'policy/v1',
  StorageClass: 'storage.k8s.io/v1',
  EndpointSlice: 'discovery.k8s.io/v1',
  Lease: 'coordination.k8s.io/v1',
  CustomResourceDefinition: 'apiextensions.k8s.io/v1',
  MutatingWebhookConfiguration: 'admissionregistration.k8s.io/v1',
  ValidatingWebhookConfiguration: 'admissionregistration.k8s.io/v1',
  HTTPRoute: 'gateway.networking.k8s.io/v1',
  Gateway: 'gateway.networking.k8s.io/v1',
};
const CLUSTER_SCOPED = new Set([
  ...[
    'Namespace',
    'Node',
    'PersistentVolume',
    'ClusterRole',
    'ClusterRoleBinding',
    'StorageClass',
    'IngressClass',
    'CustomResourceDefinition',
  ],
  ...['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'],
]);

/** A manifest of a built-in kind, in namespace `shop` if it lives in one. `metadata` is merged with the name. */
export function manifest(kind: string, name: string, fields: Readonly<Record<string, unknown>> = {}): KubeObject {
  const { metadata, ...rest } = fields;
  const scope = CLUSTER_SCOPED.has(kind) ? {} : { namespace: 'shop' };
  return {
    apiVersion: GROUPS[kind] ?? 'v1',
    kind,
    metadata: { name, ...scope, ...(metadata as Partial<ObjectMeta> | undefined) },
    ...rest,
  };
}

/** An ownerReference of the controller, for `metadata`. */
export function ownedBy(owner: KubeObject): { readonly ownerReferences: readonly OwnerReference[] } {
  const { apiVersion, kind, metadata } = owner;
  return { ownerReferences: [{ apiVersion, kind, name: metadata.name, uid: metadata.uid ?? `uid-of-${metadata.name}`, controller: true }] };
}

/** A workload with a pod template; `podSpec` is more of the pod's spec, `spec` more of the workload's. */
export function workload(
  kind: string,
  name: string,
  podSpec: Readonly<Record<string, unknown>> = {},
  fields: {
    readonly metadata?: Readonly<Record<string, unknown>>;
    readonly spec?: Readonly<Record<string, unknown>>;
    readonly labels?: Readonly<Record<string, string>>;
  } = {},
): KubeObject {
  const { metadata = {}, spec = {}, labels = { tier: name } } = fields;
  const template = { metadata: { labels }, spec: { containers: [{ name: 'main', image: 'x' }], ...podSpec } };
  return manifest(kind, name, {
    metadata,
    spec: kind === 'CronJob' ? { jobTemplate: { spec: { template } }, ...spec } : { selector: { matchLabels: labels }, template, ...spec },
  });
}
