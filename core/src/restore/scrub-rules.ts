import { kindId, podTemplateOf } from '../discovery/pod-template.ts';
import { at, mapAt, recordAt, stringAt, stringsAt } from '../discovery/read.ts';
import type { KubeObject } from '../model.ts';
import { explicitNodePort, isExplicitHealthPort } from './explicit-ports.ts';
import { POD_KINDS, updatePodSpec } from './pods.ts';
import { isRecord, put, remove, removeKeys, update } from './rewrite.ts';

/**
 * One thing that a captured object must lose before another cluster accepts it, or before it means the right thing there. Pure, idempotent, and
 * independent of where the object goes: what depends on the target is `mapping.ts`.
 */
export interface ScrubRule {
  readonly name: string;
  /** `Kind` or `Kind.group`; `all` for every kind. */
  readonly kinds: readonly string[] | 'all';
  /** Completes the sentence "X removed: …". */
  readonly why: string;
  /** Touches nearly every object and nothing that a person wrote: not listed among the changes of a plan. */
  readonly routine?: true;
  readonly apply: (object: KubeObject) => KubeObject;
}

const SERVER_OWNED = [
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'selfLink',
  'managedFields',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'generateName', // beside a name it only invites a second object
] as const;

/** Written by controllers about their own work, or about the source cluster. A trailing `/` stands for all keys that start so. */
const BOOKKEEPING_ANNOTATIONS = [
  // Says that kubectl applied this object, with the old namespace and class in it, and holds a second copy of every Secret. Without it the
  // next `kubectl apply` warns once and writes it anew. `explicitNodePort` reads it before it goes.
  'kubectl.kubernetes.io/last-applied-configuration',
  'deployment.kubernetes.io/revision',
  'deployment.kubernetes.io/revision-history',
  'deployment.kubernetes.io/desired-replicas',
  'deployment.kubernetes.io/max-replicas',
  'deprecated.daemonset.template.generation',
  'autoscaling.alpha.kubernetes.io/conditions',
  'autoscaling.alpha.kubernetes.io/current-metrics',
  'batch.kubernetes.io/job-tracking',
  'batch.kubernetes.io/cronjob-scheduled-timestamp',
  'endpoints.kubernetes.io/last-change-trigger-time',
  'kubernetes.io/limit-ranger',
  'kubernetes.io/psp',
  'cni.projectcalico.org/',
  'k8s.v1.cni.cncf.io/network-status',
  'k8s.v1.cni.cncf.io/networks-status',
  'k8s.ovn.org/',
  'openshift.io/sa.scc.',
  'field.cattle.io/',
  'lifecycle.cattle.io/',
  'cattle.io/status',
] as const;

const CLAIM_ANNOTATIONS = ['pv.kubernetes.io/', 'volume.kubernetes.io/', 'volume.beta.kubernetes.io/storage-provisioner'] as const;

/** The API server or a built-in controller adds these itself where they are due. */
const BUILT_IN_FINALIZERS = new Set([
  'kubernetes',
  'kubernetes.io/pvc-protection',
  'kubernetes.io/pv-protection',
  'service.kubernetes.io/load-balancer-cleanup',
  'batch.kubernetes.io/job-tracking',
  'snapshot.storage.kubernetes.io/pvc-as-source-protection',
  'foregroundDeletion',
  'orphan',
  'customresourcecleanup.apiextensions.k8s.io',
]);

const POD_HASH_LABELS = [
  'pod-template-hash',
  'controller-revision-hash',
  'pod-template-generation',
  'statefulset.kubernetes.io/pod-name',
  'apps.kubernetes.io/pod-index',
];
const JOB_LABELS = ['controller-uid', 'batch.kubernetes.io/controller-uid', 'job-name', 'batch.kubernetes.io/job-name'];
/** As the token controller names what it makes for `account`: five characters after the prefix. */
const GENERATED_TOKEN = /-(?:token|dockercfg)-[a-z0-9]{5}$/;

function startsWithOne(keys: readonly string[]): (key: string) => boolean {
  return (key) => keys.some((k) => (/[/.]$/.test(k) ? key.startsWith(k) : key === k));
}

function dropFinalizers(object: KubeObject, drop: (finalizer: string) => boolean): KubeObject {
  const emptied = update(object, ['metadata', 'finalizers', '*'], (f) => (typeof f === 'string' && drop(f) ? undefined : f));
  return update(emptied, ['metadata', 'finalizers'], (list) => (Array.isArray(list) && list.length === 0 ? undefined : list));
}

/** In the order in which they run. Rules that read bookkeeping (`service-node-ports`) come before those that remove it. */
export const SCRUB_RULES: readonly ScrubRule[] = [
  {
    name: 'service-cluster-ip',
    kinds: ['Service'],
    why: 'the source cluster allocated it',
    apply: (o) => {
      if (at(o, 'spec', 'clusterIP') === 'None') return remove(o, 'spec', 'clusterIPs');
      return remove(remove(o, 'spec', 'clusterIP'), 'spec', 'clusterIPs');
    },
  },
  {
    name: 'service-node-ports',
    kinds: ['Service'],
    why: 'the source cluster allocated it',
    apply: (o) => {
      const isExplicit = explicitNodePort(o);
      return update(o, ['spec', 'ports', '*'], (port) => (isRecord(port) && !isExplicit(port) ? remove(port, 'nodePort') : port));
    },
  },
  {
    name: 'service-health-check-port',
    kinds: ['Service'],
    why: 'the source cluster allocated it',
    apply: (o) =>
      at(o, 'spec', 'healthCheckNodePort') === undefined || isExplicitHealthPort(o) ? o : remove(o, 'spec', 'healthCheckNodePort'),
  },
  {
    name: 'service-ip-families',
    kinds: ['Service'],
    why: 'which address families there are is a fact of the cluster',
    apply: (o) =>
      update(remove(o, 'spec', 'ipFamilies'), ['spec', 'ipFamilyPolicy'], (policy) =>
        policy === 'RequireDualStack' ? 'PreferDualStack' : policy === 'SingleStack' ? undefined : policy,
      ),
  },
  {
    name: 'pod-node',
    kinds: ['Pod'],
    why: 'the scheduler chooses',
    apply: (o) => remove(o, 'spec', 'nodeName'),
  },
  {
    name: 'pod-priority',
    kinds: POD_KINDS,
    why: 'admission computes it from the priority class',
    apply: (o) => updatePodSpec(o, (spec) => remove(remove(spec, 'priority'), 'preemptionPolicy')),
  },
  {
    name: 'pod-overhead',
    kinds: POD_KINDS,
    why: 'admission computes it from the runtime class and refuses another value',
    apply: (o) => updatePodSpec(o, (spec) => remove(spec, 'overhead')),
  },
  {
    name: 'pod-token-volumes',
    kinds: POD_KINDS,
    why: 'admission adds the token of the service account again',
    routine: true,
    apply: (o) => updatePodSpec(o, dropTokenVolumes),
  },
  {
    name: 'pod-ephemeral-containers',
    kinds: ['Pod'],
    why: 'a debug container cannot be part of a new pod',
    apply: (o) => remove(o, 'spec', 'ephemeralContainers'),
  },
  {
    name: 'pod-hash-labels',
    kinds: ['Pod'],
    why: 'they tie the pod to a controller that does not own it any more',
    apply: (o) => removeKeys(o, ['metadata', 'labels'], (key) => POD_HASH_LABELS.includes(key)),
  },
  {
    name: 'claim-binding',
    kinds: ['PersistentVolumeClaim'],
    why: 'the claim gets a new volume',
    apply: (o) => ['volumeName', 'selector', 'dataSource', 'dataSourceRef'].reduce((claim, field) => remove(claim, 'spec', field), o),
  },
  {
    name: 'claim-annotations',
    kinds: ['PersistentVolumeClaim'],
    why: 'the binding of the source cluster',
    routine: true,
    apply: (o) => removeKeys(o, ['metadata', 'annotations'], startsWithOne(CLAIM_ANNOTATIONS)),
  },
  {
    name: 'claim-template-status',
    kinds: ['StatefulSet.apps'],
    why: 'a template has no status',
    routine: true,
    apply: (o) => remove(o, 'spec', 'volumeClaimTemplates', '*', 'status'),
  },
  {
    name: 'service-account-secrets',
    kinds: ['ServiceAccount'],
    why: 'the token controller makes its own',
    apply: (o) => dropGeneratedSecrets(dropGeneratedSecrets(o, 'secrets'), 'imagePullSecrets'),
  },
  {
    name: 'token-secret',
    kinds: ['Secret'],
    why: 'the token controller fills it for the new service account',
    apply: (o) => {
      if (o['type'] !== 'kubernetes.io/service-account-token') return o;
      const emptied = removeKeys(o, ['data'], (key) => ['token', 'ca.crt', 'namespace'].includes(key));
      return removeKeys(emptied, ['metadata', 'annotations'], (key) => key === 'kubernetes.io/service-account.uid');
    },
  },
  {
    name: 'job-selector',
    kinds: ['Job.batch'],
    why: 'the job controller makes it from the new uid',
    apply: (o) => {
      if (at(o, 'spec', 'manualSelector') === true) return o;
      const isJobLabel = (key: string): boolean => JOB_LABELS.includes(key);
      const unlabelled = [
        ['metadata', 'labels'],
        ['metadata', 'annotations'],
        ['spec', 'template', 'metadata', 'labels'],
      ];
      return unlabelled.reduce((job, path) => removeKeys(job, path, isJobLabel), remove(o, 'spec', 'selector'));
    },
  },
  {
    name: 'autoscaler-target',
    kinds: ['HorizontalPodAutoscaler.autoscaling'],
    why: 'that API group is gone',
    apply: (o) =>
      update(o, ['spec', 'scaleTargetRef', 'apiVersion'], (v) => (typeof v === 'string' && v.startsWith('extensions/') ? 'apps/v1' : v)),
  },
  {
    name: 'aggregated-rules',
    kinds: ['ClusterRole.rbac.authorization.k8s.io'],
    why: 'a controller collects them from other roles',
    apply: (o) => (at(o, 'aggregationRule') === undefined ? o : remove(o, 'rules')),
  },
  {
    name: 'crd-unknown-fields',
    kinds: ['CustomResourceDefinition.apiextensions.k8s.io'],
    why: 'the v1 API keeps unknown fields by schema only',
    apply: preserveBySchema,
  },
  {
    name: 'webhook-side-effects',
    kinds: ['MutatingWebhookConfiguration.admissionregistration.k8s.io', 'ValidatingWebhookConfiguration.admissionregistration.k8s.io'],
    why: 'the v1 API accepts None and NoneOnDryRun only',
    apply: (o) => update(o, ['webhooks', '*', 'sideEffects'], (v) => (v === 'Unknown' || v === 'Some' ? 'None' : v)),
  },
  {
    name: 'generated-host',
    kinds: ['Route.route.openshift.io'],
    why: 'the source cluster generated it',
    apply: (o) => (mapAt(o, 'metadata', 'annotations')['openshift.io/host.generated'] === 'true' ? remove(o, 'spec', 'host') : o),
  },
  {
    name: 'namespace-identity',
    kinds: ['Namespace'],
    why: 'it belongs to the namespace of the source cluster',
    routine: true,
    apply: (o) => {
      const isIdentity = startsWithOne(['kubernetes.io/metadata.name', 'field.cattle.io/']);
      return removeKeys(remove(o, 'spec'), ['metadata', 'labels'], isIdentity);
    },
  },
  {
    name: 'owner-references',
    kinds: 'all',
    why: 'the uid in it is of the source cluster, and garbage collection would delete the object',
    routine: true, // plans say what becomes of each: linked to the new owner, or left out with it
    apply: (o) => remove(o, 'metadata', 'ownerReferences'),
  },
  {
    name: 'built-in-finalizers',
    kinds: 'all',
    why: 'the API server adds it where it is due',
    routine: true,
    apply: (o) => dropFinalizers(o, (f) => BUILT_IN_FINALIZERS.has(f)),
  },
  {
    name: 'foreign-finalizers',
    kinds: 'all',
    why: 'its controller adds it again, and without that controller the object could never be deleted',
    apply: (o) => dropFinalizers(o, () => true),
  },
  {
    name: 'bookkeeping-annotations',
    kinds: 'all',
    why: 'controllers write it about their own work',
    routine: true,
    apply: (o) => removeKeys(o, ['metadata', 'annotations'], startsWithOne(BOOKKEEPING_ANNOTATIONS)),
  },
  {
    name: 'marks-of-earlier-restores',
    kinds: 'all',
    why: 'it tells of another restore',
    routine: true,
    apply: (o) =>
      ['labels', 'annotations'].reduce((object, map) => removeKeys(object, ['metadata', map], (key) => key.startsWith('dmaas.io/')), o),
  },
  {
    name: 'server-owned',
    kinds: 'all',
    why: 'the API server sets it',
    routine: true,
    apply: (o) => {
      const metadata = SERVER_OWNED.reduce((object, field) => remove(object, 'metadata', field), remove(o, 'status'));
      const templates = [
        ['spec', 'template'],
        ['spec', 'jobTemplate'],
        ['spec', 'jobTemplate', 'spec', 'template'],
        ['spec', 'volumeClaimTemplates', '*'],
      ];
      return templates.reduce((object, path) => remove(object, ...path, 'metadata', 'creationTimestamp'), metadata);
    },
  },
];

/** Whether a rule concerns an object. */
export function concerns(rule: { readonly kinds: readonly string[] | 'all' }, object: KubeObject): boolean {
  return rule.kinds === 'all' || rule.kinds.includes(kindId(object));
}

function dropTokenVolumes(spec: unknown): unknown {
  const account = stringAt(spec, 'serviceAccountName') ?? 'default';
  const isToken = (name: string | undefined): boolean =>
    name !== undefined &&
    (/^kube-api-access-[a-z0-9]{5}$/.test(name) || (name.startsWith(`${account}-token-`) && GENERATED_TOKEN.test(name)));
  const unlessToken = (item: unknown): unknown => (isToken(stringAt(item, 'name')) ? undefined : item);
  const lists = ['initContainers', 'containers'].map((list) => [list, '*', 'volumeMounts', '*']);
  return lists.reduce((result, path) => update(result, path, unlessToken), update(spec, ['volumes', '*'], unlessToken));
}

function dropGeneratedSecrets(account: KubeObject, list: 'secrets' | 'imagePullSecrets'): KubeObject {
  const kept = update(account, [list, '*'], (item) => {
    const name = stringAt(item, 'name') ?? '';
    return name.startsWith(`${account.metadata.name}-`) && GENERATED_TOKEN.test(name) ? undefined : item;
  });
  return update(kept, [list], (items) => (Array.isArray(items) && items.length === 0 ? undefined : items));
}

function preserveBySchema(crd: KubeObject): KubeObject {
  if (at(crd, 'spec', 'preserveUnknownFields') !== true) return crd;
  return update(remove(crd, 'spec', 'preserveUnknownFields'), ['spec', 'versions', '*'], (version) =>
    put(version, ['schema', 'openAPIV3Schema'], {
      type: 'object',
      ...recordAt(version, 'schema', 'openAPIV3Schema'),
      'x-kubernetes-preserve-unknown-fields': true,
    }),
  );
}

/** Finalizers of controllers that are not part of Kubernetes: named in plans, because they are left out. */
export function foreignFinalizers(object: KubeObject): readonly string[] {
  return stringsAt(object, 'metadata', 'finalizers').filter((f) => !BUILT_IN_FINALIZERS.has(f));
}

/** The node a workload's template is pinned to by name; the scheduler of another cluster has no say in it. */
export function pinnedNode(object: KubeObject): string | undefined {
  return kindId(object) === 'Pod' ? undefined : stringAt(podTemplateOf(object)?.spec, 'nodeName');
}

/** Whether the token controller made this Secret by itself, rather than a person asking for a token. */
export function isGeneratedTokenSecret(secret: KubeObject): boolean {
  const account = mapAt(secret, 'metadata', 'annotations')['kubernetes.io/service-account.name'];
  return account !== undefined && secret.metadata.name.startsWith(`${account}-`) && GENERATED_TOKEN.test(secret.metadata.name);
}
