import { LABELS } from '../operation.ts';
import { refName } from '../model.ts';
import type { KubeObject, ResourceKind } from '../model.ts';
import { EXCLUDE_LABELS } from './application.ts';
import { controllerOf, kindId } from './pod-template.ts';
import { at, listAt, stringAt } from './read.ts';

/** Kinds that are never captured, by the reason; they are not even listed. Named as `kindId` does. */
const EXCLUDED_KINDS: Readonly<Record<string, readonly string[]>> = {
  'a record of what happened': ['Event', 'Event.events.k8s.io'],
  'a part of the cluster': [
    ...['Node', 'ComponentStatus', 'CSINode.storage.k8s.io', 'CSIDriver.storage.k8s.io', 'APIService.apiregistration.k8s.io'],
    ...['FlowSchema', 'PriorityLevelConfiguration'].map((kind) => `${kind}.flowcontrol.apiserver.k8s.io`),
    ...['IPAddress.networking.k8s.io', 'ServiceCIDR.networking.k8s.io', 'ResourceSlice.resource.k8s.io'],
    ...['StorageVersion.internal.apiserver.k8s.io', 'StorageVersionMigration.storagemigration.k8s.io'],
  ],
  'held by a running process': ['Lease.coordination.k8s.io', 'LeaseCandidate.coordination.k8s.io'],
  'made by a controller': ['ControllerRevision.apps', 'CSIStorageCapacity.storage.k8s.io', 'CertificateSigningRequest.certificates.k8s.io'],
  'a handle of storage in this cluster': [
    ...['PersistentVolume', 'VolumeAttachment.storage.k8s.io'],
    ...['VolumeSnapshot', 'VolumeSnapshotContent', 'VolumeSnapshotClass'].map((kind) => `${kind}.snapshot.storage.k8s.io`),
    ...['VolumeGroupSnapshot', 'VolumeGroupSnapshotContent', 'VolumeGroupSnapshotClass'].map(
      (kind) => `${kind}.groupsnapshot.storage.k8s.io`,
    ),
  ],
  'a boundary, not content': ['Namespace'],
  // Not even the cluster role `admin` may list them, which would be a warning at every backup of an ordinary user.
  'a kind that nothing in Kubernetes uses': ['PodTemplate'],
};
const EXCLUDED = new Set(Object.values(EXCLUDED_KINDS).flat());

/**
 * Whether objects of this kind can be part of an application. What cannot be created and deleted is computed (metrics,
 * reviews); the group `extensions` serves a second time what other groups serve.
 */
export function isCaptured(kind: ResourceKind): boolean {
  const isStored = ['list', 'get', 'create', 'delete'].every((verb) => kind.verbs.includes(verb));
  return isStored && kind.group !== 'extensions' && !EXCLUDED.has(kind.group === '' ? kind.kind : `${kind.kind}.${kind.group}`);
}

export interface Judgement {
  readonly reason: string;
  /** Whether what belongs to the object still belongs: a pod is made anew by its workload, but shows which claims are in use. */
  readonly through: boolean;
  /** Worth telling the user: it would be part of the application, were it not just now going away. */
  readonly notable?: boolean;
}

type Rule = (object: KubeObject, selection: Selection) => Judgement | undefined;

export interface Selection {
  /** Whether Helm's own record of a release goes along: only with all that Helm installed. */
  readonly keepsHelmRelease: boolean;
  readonly excludes: (object: KubeObject) => boolean;
  /** Absent: everything. */
  readonly includes?: (object: KubeObject) => boolean;
}

const leave = (reason: string): Judgement => ({ reason, through: false });
const passThrough = (reason: string): Judgement => ({ reason, through: true });

/** Made by whatever controls them: another object with a controller may be a person's, tied to its owner only to go when that goes. */
const MADE_BY_ANY = new Set(['Pod', 'ReplicaSet.apps', 'ControllerRevision.apps', 'EndpointSlice.discovery.k8s.io']);
const MADE_BY: Readonly<Record<string, string>> = { 'Job.batch': 'CronJob.batch', 'ResourceClaim.resource.k8s.io': 'Pod' };
const INJECTED_CONFIG_MAPS = new Set(['kube-root-ca.crt', 'openshift-service-ca.crt', 'istio-ca-root-cert']);

/** First match wins. */
const RULES: readonly Rule[] = [
  // By the role: what a restore made bears the operation's label too, and belongs to the application.
  (o) => (LABELS.role in labels(o) ? leave('belongs to DMaaS') : undefined),
  (o) => {
    const label = Object.entries(EXCLUDE_LABELS).find(([key, value]) => labels(o)[key] === value);
    return label && leave(`is labelled ${label.join('=')}`);
  },
  (o, selection) => (selection.excludes(o) ? leave('is excluded by the selection') : undefined),
  leaveGenerated,
  (o) => (o.metadata.deletionTimestamp === undefined ? undefined : { ...leave('is being deleted'), notable: true }),
  (o) =>
    kindId(o) === 'Pod' && 'kubernetes.io/config.mirror' in (o.metadata.annotations ?? {})
      ? leave('is a static pod of its node')
      : undefined,
  (o) =>
    kindId(o) === 'Pod' && ['Succeeded', 'Failed'].includes(stringAt(o, 'status', 'phase') ?? '') ? leave('has finished') : undefined,
  leaveAddresses,
  (o) => (kindId(o) === 'ConfigMap' && INJECTED_CONFIG_MAPS.has(o.metadata.name) ? leave('is made in every namespace') : undefined),
  (o) => (isUntouchedDefaultAccount(o) ? passThrough('is made in every namespace') : undefined),
  leaveServiceAccountSecret,
  leaveHelmRelease,
  (o) => (isBuiltIn(o) ? leave('is part of Kubernetes') : undefined),
  // Last, so that the better reasons come first. What only leads to something included does its part: `--include pvc` means the workload's claims.
  (o, selection) => (selection.includes?.(o) === false ? passThrough('is not included by the selection') : undefined),
];

/** Why an object is not captured though it belongs to the application; undefined when it is captured. */
export function judge(object: KubeObject, selection: Selection): Judgement | undefined {
  for (const rule of RULES) {
    const judgement = rule(object, selection);
    if (judgement !== undefined) return judgement;
  }
  return undefined;
}

function labels(o: KubeObject): Readonly<Record<string, string>> {
  return o.metadata.labels ?? {};
}

function leaveGenerated(o: KubeObject): Judgement | undefined {
  const controller = controllerOf(o);
  if (controller === undefined) return undefined;
  const id = kindId(o);
  const maker = kindId(controller);
  if (id === 'PersistentVolumeClaim') return maker === 'Pod' ? leave(`lives and dies with ${refName(controller)}`) : undefined;
  return MADE_BY_ANY.has(id) || MADE_BY[id] === maker ? passThrough(`is made by ${refName(controller)}`) : undefined;
}

/** Addresses of a Service are written by a controller, unless the Service has no selector: then someone's hand did. */
function leaveAddresses(o: KubeObject): Judgement | undefined {
  const id = kindId(o);
  if (id !== 'Endpoints' && id !== 'EndpointSlice.discovery.k8s.io') return undefined;
  const annotations = o.metadata.annotations ?? {};
  if ('control-plane.alpha.kubernetes.io/leader' in annotations) return leave('is held by a running process');
  const isManaged = 'endpoints.kubernetes.io/managed-by' in labels(o) || 'endpointslice.kubernetes.io/managed-by' in labels(o);
  const isStamped = 'endpoints.kubernetes.io/last-change-trigger-time' in annotations;
  const addresses = [
    ...listAt(o, 'subsets').flatMap((subset) => [...listAt(subset, 'addresses'), ...listAt(subset, 'notReadyAddresses')]),
    ...listAt(o, 'endpoints'),
  ];
  const isOfPods = addresses.every((address) => stringAt(address, 'targetRef', 'kind') === 'Pod');
  return isManaged || isStamped || isOfPods ? leave('is made by a controller') : undefined;
}

function isUntouchedDefaultAccount(o: KubeObject): boolean {
  if (kindId(o) !== 'ServiceAccount' || o.metadata.name !== 'default') return false;
  const isAnnotated = Object.keys(labels(o)).length + Object.keys(o.metadata.annotations ?? {}).length > 0;
  return !isAnnotated && listAt(o, 'imagePullSecrets').length === 0 && at(o, 'automountServiceAccountToken') === undefined;
}

/** Tokens that a controller made for an account; one that a person made has another name and is kept, to be filled in anew. */
function leaveServiceAccountSecret(o: KubeObject): Judgement | undefined {
  if (kindId(o) !== 'Secret') return undefined;
  const account = o.metadata.annotations?.['kubernetes.io/service-account.name'];
  const suffix = { 'kubernetes.io/service-account-token': 'token', 'kubernetes.io/dockercfg': 'dockercfg' }[String(o['type'])];
  if (account === undefined || suffix === undefined) return undefined;
  const start = `${account}-${suffix}-`;
  return o.metadata.name.startsWith(start) && /^[a-z0-9]{5}$/.test(o.metadata.name.slice(start.length))
    ? leave('is a token made by a controller')
    : undefined;
}

function leaveHelmRelease(o: KubeObject, selection: Selection): Judgement | undefined {
  if (o['type'] !== 'helm.sh/release.v1') return undefined;
  if (labels(o)['status'] !== 'deployed') return leave('is a past revision of a Helm release');
  return selection.keepsHelmRelease ? undefined : leave('is the record of a Helm release, of which only a part is selected');
}

function isBuiltIn(o: KubeObject): boolean {
  if (labels(o)['kubernetes.io/bootstrapping'] === 'rbac-defaults') return true;
  if (o.kind.startsWith('ClusterRole') && o.metadata.name.startsWith('system:')) return true;
  return (
    ['Service', 'Endpoints', 'EndpointSlice'].includes(o.kind) && o.metadata.namespace === 'default' && o.metadata.name === 'kubernetes'
  );
}
