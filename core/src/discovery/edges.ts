import type { KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import type { EdgeName } from './application.ts';
import { claimNamesOf, claimPrefixesOf, containersOf, kindId, podTemplateOf } from './pod-template.ts';
import { at, listAt, mapAt, numberAt, recordAt, stringAt, stringsAt } from './read.ts';
import type { Json } from './read.ts';

/**
 * What an edge says about membership, `from` being the object whose manifest names `to`:
 * - `joins`: each belongs where the other does.
 * - `needs`: `from` is of no use without `to`. `to` belongs where `from` does, not the reverse: two applications may read one Secret.
 * - `fronts`: `from` exists for the sake of `to`, as a Service does for its pods. `from` belongs where `to` does; and `to` where
 *   `from` does, but only if `from` was selected: an Ingress that was merely drawn in does not draw in its other applications.
 * - `guards`: like `fronts`, without the second half: a policy for all pods of a namespace does not make them one application.
 * - `depends`: `to` is part of the cluster. It must be there, and is not copied.
 */
export type Relation = 'joins' | 'needs' | 'fronts' | 'guards' | 'depends';

/** What a manifest names: one object, or those that match. Plain JSON. */
export type Target =
  /** `optional`: its absence is no fault. */
  | { readonly ref: ObjectRef; readonly optional?: boolean }
  /** `ref.namespace` is a guess: an owner may be cluster-scoped too. */
  | { readonly owner: ObjectRef; readonly uid: string }
  /** Pods, and what makes pods, by the labels of the pods. */
  | { readonly podsWith: string; readonly namespace: string }
  /** Objects whose name is `prefix` and a number. */
  | { readonly numbered: Omit<ObjectRef, 'name'> & { readonly prefix: string } }
  | { readonly every: Omit<ObjectRef, 'name'> };

/** A pure reading of one manifest. */
export interface EdgeRule {
  readonly name: EdgeName;
  readonly relation: Relation;
  /** As `kindId` gives them; absent for every kind. */
  readonly kinds?: readonly string[];
  readonly read: (object: KubeObject) => Iterable<Target>;
}

const VPA = 'VerticalPodAutoscaler.autoscaling.k8s.io';
const INGRESS = 'Ingress.networking.k8s.io';
const OPENSHIFT_ROUTE = 'Route.route.openshift.io';
const GATEWAY = 'Gateway.gateway.networking.k8s.io';
const ROUTES = ['HTTP', 'GRPC', 'TCP', 'TLS', 'UDP'].map((protocol) => `${protocol}Route.gateway.networking.k8s.io`);
const BINDINGS = ['RoleBinding.rbac.authorization.k8s.io', 'ClusterRoleBinding.rbac.authorization.k8s.io'];
const WEBHOOKS = ['Mutating', 'Validating'].map((sort) => `${sort}WebhookConfiguration.admissionregistration.k8s.io`);
export const DEFINITION = 'CustomResourceDefinition.apiextensions.k8s.io';
const SERVICE_ACCOUNTS_OF = 'system:serviceaccounts:';

export const RULES: readonly EdgeRule[] = [
  { name: 'owned-by', relation: 'joins', read: readOwners },
  { name: 'mounts', relation: 'needs', read: readVolumes },
  { name: 'mounts', relation: 'needs', kinds: ['ServiceAccount'], read: (o) => names(o, 'Secret', listAt(o, 'secrets'), true) },
  { name: 'reads-env', relation: 'needs', read: readEnvironment },
  { name: 'pulls-with', relation: 'needs', read: readPullSecrets },
  { name: 'runs-as', relation: 'needs', read: readServiceAccount },
  { name: 'claims', relation: 'needs', kinds: ['StatefulSet.apps'], read: readClaimTemplates },
  {
    name: 'governed-by',
    relation: 'needs',
    kinds: ['StatefulSet.apps'],
    read: (o) => named(o, 'Service', stringAt(o, 'spec', 'serviceName')),
  },
  { name: 'selects', relation: 'fronts', kinds: ['Service'], read: readServiceSelector },
  { name: 'limits', relation: 'guards', kinds: ['NetworkPolicy.networking.k8s.io'], read: (o) => readLabelSelector(o, 'podSelector') },
  { name: 'limits', relation: 'guards', kinds: ['PodDisruptionBudget.policy'], read: (o) => readLabelSelector(o, 'selector') },
  { name: 'scales', relation: 'fronts', read: (o) => readScaleTarget(o, 'scaleTargetRef') },
  { name: 'scales', relation: 'fronts', kinds: [VPA], read: (o) => readScaleTarget(o, 'targetRef') },
  { name: 'binds', relation: 'fronts', kinds: BINDINGS, read: readSubjects },
  { name: 'binds', relation: 'guards', kinds: BINDINGS, read: readSubjectGroups },
  { name: 'grants', relation: 'needs', kinds: BINDINGS, read: readRole },
  { name: 'token-of', relation: 'needs', kinds: ['Secret'], read: readTokenOwner },
  { name: 'addresses', relation: 'guards', kinds: ['Endpoints'], read: (o) => named(o, 'Service', o.metadata.name, true) },
  { name: 'addresses', relation: 'guards', kinds: ['EndpointSlice.discovery.k8s.io'], read: readSliceService },
  { name: 'routes-to', relation: 'fronts', kinds: [INGRESS], read: readIngressBackends },
  { name: 'routes-to', relation: 'fronts', kinds: [OPENSHIFT_ROUTE], read: readOpenShiftBackends },
  { name: 'routes-to', relation: 'fronts', kinds: ROUTES, read: readRouteBackends },
  { name: 'attached-to', relation: 'needs', kinds: ROUTES, read: readRouteParents },
  { name: 'terminates-tls-with', relation: 'needs', kinds: [INGRESS], read: readIngressSecrets },
  { name: 'terminates-tls-with', relation: 'needs', kinds: [GATEWAY], read: readGatewaySecrets },
  { name: 'calls', relation: 'fronts', kinds: WEBHOOKS, read: readWebhookServices },
  { name: 'calls', relation: 'fronts', kinds: [DEFINITION], read: readConversionService },
  { name: 'stored-by', relation: 'depends', kinds: ['PersistentVolumeClaim'], read: readVolumeAndClass },
  { name: 'stored-by', relation: 'depends', kinds: ['StatefulSet.apps'], read: readTemplateClasses },
  { name: 'stored-by', relation: 'depends', read: readEphemeralClasses },
  { name: 'has-class', relation: 'depends', read: readPodClasses },
  { name: 'has-class', relation: 'depends', kinds: [INGRESS], read: readIngressClass },
  { name: 'has-class', relation: 'depends', kinds: [GATEWAY], read: readGatewayClass },
];

const BUILT_IN_GROUPS = new Set([
  ...['', 'apps', 'autoscaling', 'batch', 'policy', 'extensions'],
  ...['admissionregistration', 'apiextensions', 'apiregistration', 'authentication', 'authorization', 'certificates'].map(
    (g) => `${g}.k8s.io`,
  ),
  ...['coordination', 'discovery', 'events', 'networking', 'node', 'rbac.authorization', 'resource'].map((g) => `${g}.k8s.io`),
  ...['scheduling', 'storage', 'storagemigration', 'flowcontrol.apiserver', 'internal.apiserver'].map((g) => `${g}.k8s.io`),
]);

/** Whether Kubernetes itself serves the group, so that no CustomResourceDefinition stands behind it. */
export function isBuiltInGroup(group: string): boolean {
  return BUILT_IN_GROUPS.has(group);
}

/**
 * A custom resource is of no use without its definition, whose name only the server's list of kinds tells. `known`: names of the
 * definitions that have been read; any other may belong to an API extension, or not be for this identity to read.
 */
export function definitionRules(kinds: readonly ResourceKind[], known: ReadonlySet<string>): readonly EdgeRule[] {
  const plurals = new Map(kinds.filter((k) => !isBuiltInGroup(k.group)).map((k) => [`${k.kind}.${k.group}`, `${k.plural}.${k.group}`]));
  return (['needs', 'depends'] as const).map((relation) => ({
    name: 'defined-by',
    relation,
    *read(o) {
      const name = plurals.get(kindId(o));
      if (name !== undefined && known.has(name) === (relation === 'needs'))
        yield clusterWide('apiextensions.k8s.io/v1', 'CustomResourceDefinition', name);
    },
  }));
}

/** Text of a `LabelSelector`; '' selects everything, as an empty selector of a policy does. */
export function selectorText(selector: Json): string {
  const equal = Object.entries(mapAt(selector, 'matchLabels')).map(([key, value]) => `${key}=${value}`);
  const terms = listAt(selector, 'matchExpressions').flatMap((expression) => {
    const key = stringAt(expression, 'key');
    const values = stringsAt(expression, 'values').join(',');
    switch (key === undefined ? undefined : stringAt(expression, 'operator')) {
      case 'In':
        return `${key} in (${values})`;
      case 'NotIn':
        return `${key} notin (${values})`;
      case 'Exists':
        return `${key}`;
      case 'DoesNotExist':
        return `!${key}`;
      default:
        return [];
    }
  });
  return [...equal, ...terms].join(',');
}

// What the rules share

function clusterWide(apiVersion: string, kind: string, name: string, optional = false): Target {
  return optional ? { ref: { apiVersion, kind, name }, optional } : { ref: { apiVersion, kind, name } };
}

/** An object of the same namespace as `o`; nothing when the name is absent. */
function named(o: KubeObject, kind: string, name: string | undefined, optional = false): Target[] {
  return name === undefined ? [] : [inNamespace(o.metadata.namespace, 'v1', kind, name, optional)];
}

function inNamespace(namespace: string | undefined, apiVersion: string, kind: string, name: string, optional = false): Target {
  const ref = namespace === undefined ? { apiVersion, kind, name } : { apiVersion, kind, name, namespace };
  return optional ? { ref, optional } : { ref };
}

/** Objects of the same namespace that a list of `{name}` names. */
function names(o: KubeObject, kind: string, list: readonly Json[], optional = false): Target[] {
  return list.flatMap((item) => named(o, kind, stringAt(item, 'name'), optional));
}

// The readings, in the order of the table

function* readOwners(o: KubeObject): Iterable<Target> {
  for (const { apiVersion, kind, name, uid } of o.metadata.ownerReferences ?? []) {
    const { namespace } = o.metadata;
    yield { owner: namespace === undefined ? { apiVersion, kind, name } : { apiVersion, kind, name, namespace }, uid };
  }
}

function* readVolumes(o: KubeObject): Iterable<Target> {
  const spec = podTemplateOf(o)?.spec;
  if (spec === undefined) return;
  for (const claim of claimNamesOf(spec)) yield* named(o, 'PersistentVolumeClaim', claim);
  for (const volume of listAt(spec, 'volumes')) {
    yield* named(o, 'Secret', stringAt(volume, 'secret', 'secretName'), at(volume, 'secret', 'optional') === true);
    yield* named(o, 'ConfigMap', stringAt(volume, 'configMap', 'name'), at(volume, 'configMap', 'optional') === true);
    for (const source of listAt(volume, 'projected', 'sources')) {
      yield* named(o, 'Secret', stringAt(source, 'secret', 'name'), at(source, 'secret', 'optional') === true);
      yield* named(o, 'ConfigMap', stringAt(source, 'configMap', 'name'), at(source, 'configMap', 'optional') === true);
    }
    yield* named(o, 'Secret', stringAt(volume, 'csi', 'nodePublishSecretRef', 'name'));
    yield* named(o, 'Secret', stringAt(volume, 'azureFile', 'secretName'));
    // The in-tree plugins of storage systems, each with its credentials: cephfs, rbd, iscsi, flexVolume, scaleIO, storageos.
    for (const source of Object.values(volume)) yield* named(o, 'Secret', stringAt(source, 'secretRef', 'name'));
  }
}

function* readEnvironment(o: KubeObject): Iterable<Target> {
  for (const container of containersOf(podTemplateOf(o)?.spec ?? {})) {
    for (const { valueFrom } of listAt(container, 'env')) {
      yield* named(o, 'Secret', stringAt(valueFrom, 'secretKeyRef', 'name'), at(valueFrom, 'secretKeyRef', 'optional') === true);
      yield* named(o, 'ConfigMap', stringAt(valueFrom, 'configMapKeyRef', 'name'), at(valueFrom, 'configMapKeyRef', 'optional') === true);
    }
    for (const source of listAt(container, 'envFrom')) {
      yield* named(o, 'Secret', stringAt(source, 'secretRef', 'name'), at(source, 'secretRef', 'optional') === true);
      yield* named(o, 'ConfigMap', stringAt(source, 'configMapRef', 'name'), at(source, 'configMapRef', 'optional') === true);
    }
  }
}

function readPullSecrets(o: KubeObject): Iterable<Target> {
  const holder = kindId(o) === 'ServiceAccount' ? o : podTemplateOf(o)?.spec;
  return names(o, 'Secret', listAt(holder, 'imagePullSecrets'));
}

function* readServiceAccount(o: KubeObject): Iterable<Target> {
  const spec = podTemplateOf(o)?.spec;
  if (spec === undefined) return;
  const name = stringAt(spec, 'serviceAccountName') ?? stringAt(spec, 'serviceAccount') ?? 'default';
  yield* named(o, 'ServiceAccount', name, name === 'default');
}

/** The claims of all replicas, which must be there, and those that replicas since removed have left behind. */
function* readClaimTemplates(o: KubeObject): Iterable<Target> {
  const start = numberAt(o, 'spec', 'ordinals', 'start') ?? 0;
  const replicas = numberAt(o, 'spec', 'replicas') ?? 1;
  const { namespace = '' } = o.metadata;
  for (const prefix of claimPrefixesOf(o)) {
    for (let ordinal = start; ordinal < start + replicas; ordinal++) yield* named(o, 'PersistentVolumeClaim', `${prefix}${ordinal}`);
    yield { numbered: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, prefix } };
  }
}

function* readServiceSelector(o: KubeObject): Iterable<Target> {
  const podsWith = selectorText({ matchLabels: at(o, 'spec', 'selector') });
  if (podsWith !== '') yield { podsWith, namespace: o.metadata.namespace ?? '' };
}

function* readLabelSelector(o: KubeObject, field: string): Iterable<Target> {
  const selector = at(o, 'spec', field);
  if (selector !== undefined && selector !== null)
    yield { podsWith: selectorText(recordAt(selector)), namespace: o.metadata.namespace ?? '' };
}

/** Autoscalers of others (KEDA) name a Deployment when they name no kind. */
function* readScaleTarget(o: KubeObject, field: string): Iterable<Target> {
  const target = at(o, 'spec', field);
  const name = stringAt(target, 'name');
  if (name === undefined) return;
  const apiVersion = stringAt(target, 'apiVersion') ?? 'apps/v1';
  yield inNamespace(o.metadata.namespace, apiVersion, stringAt(target, 'kind') ?? 'Deployment', name);
}

function* readSubjects(o: KubeObject): Iterable<Target> {
  for (const subject of listAt(o, 'subjects')) {
    const name = stringAt(subject, 'name');
    const namespace = stringAt(subject, 'namespace') ?? o.metadata.namespace;
    if (subject['kind'] === 'ServiceAccount' && name !== undefined)
      yield inNamespace(namespace, 'v1', 'ServiceAccount', name, name === 'default');
  }
}

function* readSubjectGroups(o: KubeObject): Iterable<Target> {
  for (const subject of listAt(o, 'subjects')) {
    const name = stringAt(subject, 'name') ?? '';
    if (subject['kind'] !== 'Group' || !name.startsWith(SERVICE_ACCOUNTS_OF)) continue;
    yield { every: { apiVersion: 'v1', kind: 'ServiceAccount', namespace: name.slice(SERVICE_ACCOUNTS_OF.length) } };
  }
}

function* readRole(o: KubeObject): Iterable<Target> {
  const kind = stringAt(o, 'roleRef', 'kind');
  const name = stringAt(o, 'roleRef', 'name');
  if (kind === undefined || name === undefined) return;
  yield inNamespace(kind === 'Role' ? o.metadata.namespace : undefined, 'rbac.authorization.k8s.io/v1', kind, name);
}

function* readTokenOwner(o: KubeObject): Iterable<Target> {
  if (o['type'] !== 'kubernetes.io/service-account-token') return;
  yield* named(o, 'ServiceAccount', o.metadata.annotations?.['kubernetes.io/service-account.name']);
}

function readSliceService(o: KubeObject): Iterable<Target> {
  return named(o, 'Service', o.metadata.labels?.['kubernetes.io/service-name'], true);
}

function* readIngressBackends(o: KubeObject): Iterable<Target> {
  const paths = listAt(o, 'spec', 'rules').flatMap((rule) => listAt(rule, 'http', 'paths'));
  for (const backend of [at(o, 'spec', 'defaultBackend'), ...paths.map((path) => path['backend'])]) {
    yield* named(o, 'Service', stringAt(backend, 'service', 'name'));
    const kind = stringAt(backend, 'resource', 'kind');
    const name = stringAt(backend, 'resource', 'name');
    // Of the resource, an Ingress names the group but no version; identity needs none.
    const group = stringAt(backend, 'resource', 'apiGroup');
    if (kind !== undefined && name !== undefined)
      yield inNamespace(o.metadata.namespace, group === undefined ? 'v1' : `${group}/v1`, kind, name);
  }
}

function* readOpenShiftBackends(o: KubeObject): Iterable<Target> {
  yield* named(o, 'Service', stringAt(o, 'spec', 'to', 'name'));
  yield* names(o, 'Service', listAt(o, 'spec', 'alternateBackends'));
}

function* readRouteBackends(o: KubeObject): Iterable<Target> {
  const rules = listAt(o, 'spec', 'rules');
  const filters = [...rules, ...rules.flatMap((rule) => listAt(rule, 'backendRefs'))].flatMap((holder) => listAt(holder, 'filters'));
  const mirrors = filters.map((filter) => at(filter, 'requestMirror', 'backendRef'));
  for (const backend of [...rules.flatMap((rule) => listAt(rule, 'backendRefs')), ...mirrors]) {
    const name = stringAt(backend, 'name');
    const isService = (stringAt(backend, 'kind') ?? 'Service') === 'Service' && stringAt(backend, 'group') === undefined;
    if (isService && name !== undefined) yield inNamespace(stringAt(backend, 'namespace') ?? o.metadata.namespace, 'v1', 'Service', name);
  }
}

function* readRouteParents(o: KubeObject): Iterable<Target> {
  for (const parent of listAt(o, 'spec', 'parentRefs')) {
    const name = stringAt(parent, 'name');
    if (name === undefined || (stringAt(parent, 'kind') ?? 'Gateway') !== 'Gateway') continue;
    yield inNamespace(stringAt(parent, 'namespace') ?? o.metadata.namespace, 'gateway.networking.k8s.io/v1', 'Gateway', name);
  }
}

function readIngressSecrets(o: KubeObject): Iterable<Target> {
  return listAt(o, 'spec', 'tls').flatMap((tls) => named(o, 'Secret', stringAt(tls, 'secretName')));
}

function* readGatewaySecrets(o: KubeObject): Iterable<Target> {
  for (const certificate of listAt(o, 'spec', 'listeners').flatMap((listener) => listAt(listener, 'tls', 'certificateRefs'))) {
    const name = stringAt(certificate, 'name');
    if (name === undefined || (stringAt(certificate, 'kind') ?? 'Secret') !== 'Secret') continue;
    yield inNamespace(stringAt(certificate, 'namespace') ?? o.metadata.namespace, 'v1', 'Secret', name);
  }
}

function* readWebhookServices(o: KubeObject): Iterable<Target> {
  for (const webhook of listAt(o, 'webhooks')) yield* readClientConfig(webhook['clientConfig']);
}

function readConversionService(o: KubeObject): Iterable<Target> {
  return readClientConfig(at(o, 'spec', 'conversion', 'webhook', 'clientConfig'));
}

function* readClientConfig(clientConfig: unknown): Iterable<Target> {
  const name = stringAt(clientConfig, 'service', 'name');
  if (name !== undefined) yield inNamespace(stringAt(clientConfig, 'service', 'namespace'), 'v1', 'Service', name);
}

function* readVolumeAndClass(o: KubeObject): Iterable<Target> {
  const storageClass = storageClassOf(o);
  if (storageClass !== undefined) yield clusterWide('storage.k8s.io/v1', 'StorageClass', storageClass);
  const volume = stringAt(o, 'spec', 'volumeName');
  if (volume !== undefined) yield clusterWide('v1', 'PersistentVolume', volume);
}

function* readTemplateClasses(o: KubeObject): Iterable<Target> {
  for (const template of listAt(o, 'spec', 'volumeClaimTemplates')) {
    const storageClass = storageClassOf(template);
    if (storageClass !== undefined) yield clusterWide('storage.k8s.io/v1', 'StorageClass', storageClass);
  }
}

function* readEphemeralClasses(o: KubeObject): Iterable<Target> {
  for (const volume of listAt(podTemplateOf(o)?.spec, 'volumes')) {
    const storageClass = storageClassOf(at(volume, 'ephemeral', 'volumeClaimTemplate'));
    if (storageClass !== undefined) yield clusterWide('storage.k8s.io/v1', 'StorageClass', storageClass);
  }
}

/** The class of a claim; undefined when it has none, or leaves the choice to the cluster. */
export function storageClassOf(claim: unknown): string | undefined {
  return (
    stringAt(claim, 'spec', 'storageClassName') ?? stringAt(claim, 'metadata', 'annotations', 'volume.beta.kubernetes.io/storage-class')
  );
}

function* readPodClasses(o: KubeObject): Iterable<Target> {
  const spec = podTemplateOf(o)?.spec;
  const priority = stringAt(spec, 'priorityClassName');
  if (priority !== undefined) yield clusterWide('scheduling.k8s.io/v1', 'PriorityClass', priority);
  const runtime = stringAt(spec, 'runtimeClassName');
  if (runtime !== undefined) yield clusterWide('node.k8s.io/v1', 'RuntimeClass', runtime);
}

function* readIngressClass(o: KubeObject): Iterable<Target> {
  const name = stringAt(o, 'spec', 'ingressClassName');
  if (name !== undefined) yield clusterWide('networking.k8s.io/v1', 'IngressClass', name);
}

function* readGatewayClass(o: KubeObject): Iterable<Target> {
  const name = stringAt(o, 'spec', 'gatewayClassName');
  if (name !== undefined) yield clusterWide('gateway.networking.k8s.io/v1', 'GatewayClass', name);
}

/** The rules that read objects of this kind. */
export function rulesFor(rules: readonly EdgeRule[], object: KubeObject): readonly EdgeRule[] {
  const id = kindId(object);
  return rules.filter((rule) => rule.kinds === undefined || rule.kinds.includes(id));
}
