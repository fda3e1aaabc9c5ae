import { kindId } from '../discovery/pod-template.ts';
import { listAt, stringAt } from '../discovery/read.ts';
import { refKey, refOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { POD_KINDS, updatePodSpec } from './pods.ts';
import { put, update } from './rewrite.ts';

/** New names of objects, by the `refKey` of what they are in the backup. */
export type Renames = ReadonlyMap<string, string>;

/** Kinds whose names mean something by themselves: a definition's is made of its group, a namespace has a mapping of its own. */
const KEEPS_NAME = new Set(['Namespace', 'CustomResourceDefinition.apiextensions.k8s.io']);

/**
 * Gives each object that `rename` names anew its new name. The claims of a StatefulSet's templates have names that the set decides: they follow it,
 * and it follows them.
 */
export function renamesOf(objects: readonly KubeObject[], rename: (object: KubeObject) => string | undefined): Renames {
  const renames = new Map<string, string>();
  const sets = objects.filter((o) => kindId(o) === 'StatefulSet.apps');
  const claims = objects.filter((o) => kindId(o) === 'PersistentVolumeClaim');
  const ofSets = new Set<KubeObject>();
  for (const set of sets) {
    const own = claims.flatMap((claim) => {
      const made = templateOf(set, claim);
      return made === undefined ? [] : [{ claim, ...made }];
    });
    for (const { claim } of own) ofSets.add(claim);
    const isTaken = [set, ...own.map(({ claim }) => claim)].some((o) => rename(o) !== undefined);
    if (!isTaken) continue;
    const name =
      rename(set) ??
      renamedLike(
        set,
        own.map(({ claim }) => ({ from: claim.metadata.name, to: rename(claim) })),
      );
    renames.set(refKey(refOf(set)), name);
    for (const { claim, template, ordinal } of own) renames.set(refKey(refOf(claim)), `${template}-${name}-${ordinal}`);
  }
  for (const object of objects) {
    const name = ofSets.has(object) || KEEPS_NAME.has(kindId(object)) || sets.includes(object) ? undefined : rename(object);
    if (name !== undefined) renames.set(refKey(refOf(object)), name);
  }
  return renames;
}

/** The set changes its name as its claim would have. */
function renamedLike(set: KubeObject, claims: readonly { readonly from: string; readonly to: string | undefined }[]): string {
  const changed = claims.find(({ to }) => to !== undefined);
  const suffix = changed?.to?.startsWith(changed.from) === true ? changed.to.slice(changed.from.length) : '-restored';
  return `${set.metadata.name}${suffix}`;
}

/** The template of the set that the claim was made from, and the number of the replica. */
export function templateOf(set: KubeObject, claim: KubeObject): { readonly template: string; readonly ordinal: string } | undefined {
  for (const each of listAt(set, 'spec', 'volumeClaimTemplates')) {
    const template = stringAt(each, 'metadata', 'name') ?? '';
    const prefix = `${template}-${set.metadata.name}-`;
    const ordinal = claim.metadata.name.slice(prefix.length);
    if (claim.metadata.name.startsWith(prefix) && /^\d+$/.test(ordinal)) return { template, ordinal };
  }
  return undefined;
}

interface NameRule {
  readonly kinds: readonly string[];
  readonly path: readonly string[];
  readonly kind: string;
  readonly apiVersion?: string;
}

const SECRET_IN_POD = [
  ['imagePullSecrets', '*', 'name'],
  ['volumes', '*', 'secret', 'secretName'],
  ['volumes', '*', 'projected', 'sources', '*', 'secret', 'name'],
  ['volumes', '*', 'csi', 'nodePublishSecretRef', 'name'],
  ...['initContainers', 'containers'].flatMap((list) => [
    [list, '*', 'envFrom', '*', 'secretRef', 'name'],
    [list, '*', 'env', '*', 'valueFrom', 'secretKeyRef', 'name'],
  ]),
];
const CONFIG_IN_POD = [
  ['volumes', '*', 'configMap', 'name'],
  ['volumes', '*', 'projected', 'sources', '*', 'configMap', 'name'],
  ...['initContainers', 'containers'].flatMap((list) => [
    [list, '*', 'envFrom', '*', 'configMapRef', 'name'],
    [list, '*', 'env', '*', 'valueFrom', 'configMapKeyRef', 'name'],
  ]),
];
const IN_POD: readonly Omit<NameRule, 'kinds'>[] = [
  ...SECRET_IN_POD.map((path) => ({ path, kind: 'Secret' })),
  ...CONFIG_IN_POD.map((path) => ({ path, kind: 'ConfigMap' })),
  { path: ['volumes', '*', 'persistentVolumeClaim', 'claimName'], kind: 'PersistentVolumeClaim' },
  { path: ['serviceAccountName'], kind: 'ServiceAccount' },
  { path: ['serviceAccount'], kind: 'ServiceAccount' },
];
const ROUTES = ['HTTP', 'GRPC', 'TCP', 'TLS', 'UDP'].map((protocol) => `${protocol}Route.gateway.networking.k8s.io`);
const WEBHOOKS = ['Mutating', 'Validating'].map((sort) => `${sort}WebhookConfiguration.admissionregistration.k8s.io`);
const GATEWAY_API = 'gateway.networking.k8s.io/v1';

/** Where one object names another of a kind that the field itself decides. */
const NAME_RULES: readonly NameRule[] = [
  { kinds: ['StatefulSet.apps'], path: ['spec', 'serviceName'], kind: 'Service' },
  { kinds: ['ServiceAccount'], path: ['secrets', '*', 'name'], kind: 'Secret' },
  { kinds: ['ServiceAccount'], path: ['imagePullSecrets', '*', 'name'], kind: 'Secret' },
  { kinds: ['Secret'], path: ['metadata', 'annotations', 'kubernetes.io/service-account.name'], kind: 'ServiceAccount' },
  { kinds: ['EndpointSlice.discovery.k8s.io'], path: ['metadata', 'labels', 'kubernetes.io/service-name'], kind: 'Service' },
  { kinds: ['Ingress.networking.k8s.io'], path: ['spec', 'defaultBackend', 'service', 'name'], kind: 'Service' },
  {
    kinds: ['Ingress.networking.k8s.io'],
    path: ['spec', 'rules', '*', 'http', 'paths', '*', 'backend', 'service', 'name'],
    kind: 'Service',
  },
  { kinds: ['Ingress.networking.k8s.io'], path: ['spec', 'tls', '*', 'secretName'], kind: 'Secret' },
  { kinds: ROUTES, path: ['spec', 'rules', '*', 'backendRefs', '*', 'name'], kind: 'Service' },
  { kinds: ROUTES, path: ['spec', 'parentRefs', '*', 'name'], kind: 'Gateway', apiVersion: GATEWAY_API },
  { kinds: ['Gateway.gateway.networking.k8s.io'], path: ['spec', 'listeners', '*', 'tls', 'certificateRefs', '*', 'name'], kind: 'Secret' },
  { kinds: ['Route.route.openshift.io'], path: ['spec', 'to', 'name'], kind: 'Service' },
  { kinds: WEBHOOKS, path: ['webhooks', '*', 'clientConfig', 'service', 'name'], kind: 'Service' },
];

/** Where the reference itself says of which kind it is: `{kind, name}`. */
const KINDED: readonly { readonly kinds: readonly string[] | 'all'; readonly path: readonly string[] }[] = [
  { kinds: 'all', path: ['spec', 'scaleTargetRef'] },
  { kinds: ['VerticalPodAutoscaler.autoscaling.k8s.io'], path: ['spec', 'targetRef'] },
  { kinds: ['RoleBinding.rbac.authorization.k8s.io', 'ClusterRoleBinding.rbac.authorization.k8s.io'], path: ['roleRef'] },
  { kinds: ['RoleBinding.rbac.authorization.k8s.io', 'ClusterRoleBinding.rbac.authorization.k8s.io'], path: ['subjects', '*'] },
];

const GROUP_OF: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['Deployment', 'StatefulSet', 'ReplicaSet', 'DaemonSet'].map((kind) => [kind, 'apps/v1'])),
  ...Object.fromEntries(['Role', 'ClusterRole'].map((kind) => [kind, 'rbac.authorization.k8s.io/v1'])),
};
const CLUSTER_SCOPED = new Set(['ClusterRole']);

/**
 * Gives an object its new name, and the names it refers to theirs. `captured` is what it was, whose namespace the old names are of. Names in
 * free text are proposed as edits instead (`text-references.ts`).
 */
export function applyRenames(object: KubeObject, captured: KubeObject, renames: Renames): KubeObject {
  if (renames.size === 0) return object;
  const { namespace } = captured.metadata;
  const from = namespaceOf(captured);
  const nameOf = (ref: Omit<ObjectRef, 'namespace'>): string =>
    renames.get(refKey(CLUSTER_SCOPED.has(ref.kind) || from === undefined ? ref : { ...ref, namespace: from })) ?? ref.name;
  const renamed =
    (kind: string, apiVersion = 'v1') =>
    (name: unknown) =>
      typeof name === 'string' ? nameOf({ apiVersion, kind, name }) : name;
  const own = renames.get(refKey(refOf(captured)));
  const named = own === undefined ? object : put(object, ['metadata', 'name'], own);
  const id = kindId(captured);
  const inFields = NAME_RULES.filter((rule) => rule.kinds.includes(id)).reduce(
    (o, { path, kind, apiVersion }) => update(o, path, renamed(kind, apiVersion)),
    named,
  );
  const inRefs = KINDED.filter((rule) => rule.kinds === 'all' || rule.kinds.includes(id)).reduce(
    (o, { path }) =>
      update(o, path, (ref) => {
        const kind = stringAt(ref, 'kind') ?? '';
        const isForeign =
          kind === 'ServiceAccount' &&
          namespace !== undefined &&
          (stringAt(ref, 'namespace') ?? namespace) !== stringAt(o, 'metadata', 'namespace');
        return isForeign ? ref : update(ref, ['name'], renamed(kind, stringAt(ref, 'apiVersion') ?? GROUP_OF[kind] ?? 'v1'));
      }),
    inFields,
  );
  if (!POD_KINDS.includes(id)) return inRefs;
  return updatePodSpec(inRefs, (spec) => IN_POD.reduce((s, { path, kind }) => update(s, path, renamed(kind)), spec));
}

/** The namespace whose objects a cluster-scoped one names: its subjects', its service's. */
function namespaceOf(captured: KubeObject): string | undefined {
  if (captured.metadata.namespace !== undefined) return captured.metadata.namespace;
  const accounts = listAt(captured, 'subjects').flatMap((s) => stringAt(s, 'namespace') ?? []);
  const services = listAt(captured, 'webhooks').flatMap((w) => stringAt(w, 'clientConfig', 'service', 'namespace') ?? []);
  return [...accounts, ...services][0];
}
