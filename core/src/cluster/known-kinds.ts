import { DmaasError } from '../errors.ts';
import type { ResourceKind } from '../model.ts';

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'] as const;

function kinds(apiVersion: string, namespaced: boolean, names: Readonly<Record<string, string>>): ResourceKind[] {
  const slash = apiVersion.indexOf('/');
  const group = slash < 0 ? '' : apiVersion.slice(0, slash);
  const version = apiVersion.slice(slash + 1);
  return Object.entries(names).map(([kind, plural]) => ({ group, version, kind, plural, namespaced, verbs: VERBS }));
}

/** What an ordinary cluster with the CSI snapshot controller serves, as its discovery would report it. */
export const KNOWN_KINDS: readonly ResourceKind[] = [
  ...kinds('v1', true, {
    ConfigMap: 'configmaps',
    Endpoints: 'endpoints',
    Event: 'events',
    LimitRange: 'limitranges',
    PersistentVolumeClaim: 'persistentvolumeclaims',
    Pod: 'pods',
    PodTemplate: 'podtemplates',
    ReplicationController: 'replicationcontrollers',
    ResourceQuota: 'resourcequotas',
    Secret: 'secrets',
    Service: 'services',
    ServiceAccount: 'serviceaccounts',
  }),
  ...kinds('v1', false, { Namespace: 'namespaces', Node: 'nodes', PersistentVolume: 'persistentvolumes' }),
  ...kinds('apps/v1', true, {
    ControllerRevision: 'controllerrevisions',
    DaemonSet: 'daemonsets',
    Deployment: 'deployments',
    ReplicaSet: 'replicasets',
    StatefulSet: 'statefulsets',
  }),
  ...kinds('batch/v1', true, { CronJob: 'cronjobs', Job: 'jobs' }),
  ...kinds('networking.k8s.io/v1', true, { Ingress: 'ingresses', NetworkPolicy: 'networkpolicies' }),
  ...kinds('networking.k8s.io/v1', false, { IngressClass: 'ingressclasses' }),
  ...kinds('rbac.authorization.k8s.io/v1', true, { Role: 'roles', RoleBinding: 'rolebindings' }),
  ...kinds('rbac.authorization.k8s.io/v1', false, { ClusterRole: 'clusterroles', ClusterRoleBinding: 'clusterrolebindings' }),
  ...kinds('autoscaling/v2', true, { HorizontalPodAutoscaler: 'horizontalpodautoscalers' }),
  ...kinds('policy/v1', true, { PodDisruptionBudget: 'poddisruptionbudgets' }),
  ...kinds('storage.k8s.io/v1', true, { CSIStorageCapacity: 'csistoragecapacities' }),
  ...kinds('storage.k8s.io/v1', false, {
    CSIDriver: 'csidrivers',
    CSINode: 'csinodes',
    StorageClass: 'storageclasses',
    VolumeAttachment: 'volumeattachments',
  }),
  ...kinds('snapshot.storage.k8s.io/v1', true, { VolumeSnapshot: 'volumesnapshots' }),
  ...kinds('snapshot.storage.k8s.io/v1', false, {
    VolumeSnapshotClass: 'volumesnapshotclasses',
    VolumeSnapshotContent: 'volumesnapshotcontents',
  }),
  ...kinds('apiextensions.k8s.io/v1', false, { CustomResourceDefinition: 'customresourcedefinitions' }),
  ...kinds('scheduling.k8s.io/v1', false, { PriorityClass: 'priorityclasses' }),
  ...kinds('coordination.k8s.io/v1', true, { Lease: 'leases' }),
  ...kinds('discovery.k8s.io/v1', true, { EndpointSlice: 'endpointslices' }),
  ...kinds('admissionregistration.k8s.io/v1', false, {
    MutatingWebhookConfiguration: 'mutatingwebhookconfigurations',
    ValidatingWebhookConfiguration: 'validatingwebhookconfigurations',
  }),
];

/** The kind to list, of those above: `knownKind('Job', 'batch')`. */
export function knownKind(kind: string, group = ''): ResourceKind {
  const found = KNOWN_KINDS.find((k) => k.kind === kind && k.group === group);
  if (found === undefined) throw new DmaasError('INTERNAL', `${kind} of group "${group}" is not among the known kinds`);
  return found;
}
