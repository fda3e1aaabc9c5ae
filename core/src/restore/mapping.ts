import { kindId } from '../discovery/pod-template.ts';
import { mapAt, stringAt } from '../discovery/read.ts';
import type { KubeObject } from '../model.ts';
import { describeDiff } from './diff.ts';
import { POD_KINDS, updatePodSpec } from './pods.ts';
import { isRecord, put, remove, update } from './rewrite.ts';
import { mapValues } from './value-maps.ts';
import type { ValueMaps } from './value-maps.ts';

export interface Mapping {
  readonly from: string;
  readonly to: string;
  readonly storageClasses: Readonly<Record<string, string>>;
  /** What else has another value on the target. */
  readonly values?: ValueMaps;
}

export interface Mapped {
  readonly object: KubeObject;
  /** `subjects[web].namespace: shop -> shop-dr`. */
  readonly changes: readonly string[];
}

interface MapRule {
  readonly name: string;
  readonly kinds: readonly string[] | 'all';
  readonly apply: (object: KubeObject, map: Mapping) => KubeObject;
}

const BINDINGS = ['RoleBinding.rbac.authorization.k8s.io', 'ClusterRoleBinding.rbac.authorization.k8s.io'];
const WEBHOOKS = [
  'MutatingWebhookConfiguration.admissionregistration.k8s.io',
  'ValidatingWebhookConfiguration.admissionregistration.k8s.io',
];
const LEGACY_CLASS = 'volume.beta.kubernetes.io/storage-class';

/** `from` becomes `to`, everything else stays. */
const renamed = (map: Mapping) => (value: unknown) => (value === map.from ? map.to : value);

/** References to the namespace that have one meaning only. Names inside free text are proposed as edits (`text-references.ts`). */
export const MAP_RULES: readonly MapRule[] = [
  {
    name: 'namespace',
    kinds: 'all',
    apply: (o, map) =>
      kindId(o) === 'Namespace' ? update(o, ['metadata', 'name'], renamed(map)) : update(o, ['metadata', 'namespace'], renamed(map)),
  },
  {
    name: 'binding-subjects',
    kinds: BINDINGS,
    apply: (o, map) => update(o, ['subjects', '*'], (subject) => mapSubject(subject, map)),
  },
  {
    name: 'webhook-service',
    kinds: WEBHOOKS,
    apply: (o, map) =>
      update(
        update(o, ['webhooks', '*', 'clientConfig', 'service', 'namespace'], renamed(map)),
        ['webhooks', '*', 'namespaceSelector'],
        (s) => mapNamespaceSelector(s, map),
      ),
  },
  {
    name: 'conversion-service',
    kinds: ['CustomResourceDefinition.apiextensions.k8s.io'],
    apply: (o, map) => update(o, ['spec', 'conversion', 'webhook', 'clientConfig', 'service', 'namespace'], renamed(map)),
  },
  {
    name: 'network-policy-peers',
    kinds: ['NetworkPolicy.networking.k8s.io'],
    apply: (o, map) =>
      [
        ['ingress', 'from'],
        ['egress', 'to'],
      ].reduce(
        (policy, [direction = '', peers = '']) =>
          update(policy, ['spec', direction, '*', peers, '*', 'namespaceSelector'], (s) => mapNamespaceSelector(s, map)),
        o,
      ),
  },
  {
    name: 'external-name',
    kinds: ['Service'],
    apply: (o, map) => update(o, ['spec', 'externalName'], (name) => (typeof name === 'string' ? mapServiceHost(name, map) : name)),
  },
  {
    name: 'pod-affinity-namespaces',
    kinds: POD_KINDS,
    apply: (o, map) => updatePodSpec(o, (spec) => mapPodAffinity(spec, map)),
  },
  {
    name: 'route-references',
    kinds: ['HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute', 'UDPRoute'].map((kind) => `${kind}.gateway.networking.k8s.io`),
    apply: (o, map) =>
      update(
        update(o, ['spec', 'parentRefs', '*', 'namespace'], renamed(map)),
        ['spec', 'rules', '*', 'backendRefs', '*', 'namespace'],
        renamed(map),
      ),
  },
  {
    name: 'helm-release-namespace',
    kinds: 'all',
    apply: (o, map) => update(o, ['metadata', 'annotations', 'meta.helm.sh/release-namespace'], renamed(map)),
  },
  {
    name: 'claim-class',
    kinds: ['PersistentVolumeClaim'],
    apply: (o, map) => mapClass(o, map),
  },
  {
    name: 'template-class',
    kinds: ['StatefulSet.apps'],
    apply: (o, map) => update(o, ['spec', 'volumeClaimTemplates', '*'], (template) => mapClass(template, map)),
  },
  {
    name: 'ephemeral-class',
    kinds: POD_KINDS,
    apply: (o, map) =>
      updatePodSpec(o, (spec) => update(spec, ['volumes', '*', 'ephemeral', 'volumeClaimTemplate'], (template) => mapClass(template, map))),
  },
];

/** Applies every mapping to a scrubbed object. */
export function mapObject(object: KubeObject, map: Mapping): Mapped {
  const concerned = MAP_RULES.filter((rule) => rule.kinds === 'all' || rule.kinds.includes(kindId(object)));
  const moved = concerned.reduce((o, rule) => rule.apply(o, map), object);
  const mapped = map.values === undefined ? moved : mapValues(moved, map.values);
  return { object: mapped, changes: describeDiff(object, mapped).filter((line) => !line.startsWith('metadata.namespace:')) };
}

function mapSubject(subject: unknown, map: Mapping): unknown {
  if (stringAt(subject, 'kind') === 'ServiceAccount') return update(subject, ['namespace'], renamed(map));
  return update(subject, ['name'], (name) => {
    if (name === `system:serviceaccounts:${map.from}`) return `system:serviceaccounts:${map.to}`;
    const account = `system:serviceaccount:${map.from}:`;
    return typeof name === 'string' && name.startsWith(account) ? `system:serviceaccount:${map.to}:${name.slice(account.length)}` : name;
  });
}

/** Selectors choose a namespace by name through the label that every namespace carries. */
function mapNamespaceSelector(selector: unknown, map: Mapping): unknown {
  const byLabel = update(selector, ['matchLabels', 'kubernetes.io/metadata.name'], renamed(map));
  return update(byLabel, ['matchExpressions', '*'], (term) =>
    stringAt(term, 'key') === 'kubernetes.io/metadata.name' ? update(term, ['values', '*'], renamed(map)) : term,
  );
}

/** `db.shop.svc.cluster.local` -> `db.shop-dr.svc.cluster.local`; other hosts stay. */
function mapServiceHost(host: string, map: Mapping): string {
  const [service, namespace, ...rest] = host.split('.');
  return namespace === map.from && rest[0] === 'svc' ? [service, map.to, ...rest].join('.') : host;
}

function mapPodAffinity(spec: unknown, map: Mapping): unknown {
  const terms = ['podAffinity', 'podAntiAffinity'].flatMap((affinity) => [
    ['affinity', affinity, 'requiredDuringSchedulingIgnoredDuringExecution', '*'],
    ['affinity', affinity, 'preferredDuringSchedulingIgnoredDuringExecution', '*', 'podAffinityTerm'],
  ]);
  return terms.reduce(
    (mapped, path) =>
      update(mapped, path, (term) =>
        update(update(term, ['namespaces', '*'], renamed(map)), ['namespaceSelector'], (s) => mapNamespaceSelector(s, map)),
      ),
    spec,
  );
}

/** The class of a claim or claim template. The annotation of old Kubernetes wins over the field, as it does in the API server. */
export function storageClassOf(claim: unknown): string {
  return mapAt(claim, 'metadata', 'annotations')[LEGACY_CLASS] ?? stringAt(claim, 'spec', 'storageClassName') ?? '';
}

function mapClass<T>(claim: T, map: Mapping): T {
  const to = map.storageClasses[storageClassOf(claim)];
  if (to === undefined || !isRecord(claim)) return claim;
  return put(remove(claim, 'metadata', 'annotations', LEGACY_CLASS), ['spec', 'storageClassName'], to);
}

/** Text of a Secret's data. */
export function decoded(data: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(data).flatMap(([key, value]) =>
      typeof value === 'string' ? [[key, Buffer.from(value, 'base64').toString('utf8')]] : [],
    ),
  );
}
