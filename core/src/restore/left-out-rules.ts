import { controllerOf, kindId } from '../discovery/pod-template.ts';
import { at, mapAt, stringAt } from '../discovery/read.ts';
import { LABELS } from '../operation.ts';
import { groupOf, refKey } from '../model.ts';
import type { FindingLevel, KubeObject } from '../model.ts';
import { hasEnded } from './readiness.ts';
import { concerns, isGeneratedTokenSecret } from './scrub-rules.ts';

/** Objects that a backup may hold and a restore never makes. */
export interface LeftOutRule {
  readonly name: string;
  readonly kinds: readonly string[] | 'all';
  /** Completes the sentence "pod/x is left out: …". */
  readonly why: string;
  /** `warning` when a person may miss it. */
  readonly level: FindingLevel;
  /** Every object of the kinds when absent. */
  readonly applies?: (object: KubeObject, backup: BackupIndex) => boolean;
}

/** What rules may ask about the rest of the backup. */
export interface BackupIndex {
  readonly namespace: string;
  readonly byKey: ReadonlyMap<string, KubeObject>;
}

/** They hold state that no controller can make again: a volume's data, generated passwords. */
const HOLDS_STATE = new Set(['PersistentVolumeClaim', 'Secret']);

function hasAnnotation(object: KubeObject, key: string): boolean {
  return mapAt(object, 'metadata', 'annotations')[key] !== undefined;
}

/** The first rule that applies gives the reason. */
export const LEFT_OUT_RULES: readonly LeftOutRule[] = [
  {
    name: 'dmaas',
    kinds: 'all',
    why: 'it is part of DMaaS, not of the application',
    level: 'info',
    applies: (o) => mapAt(o, 'metadata', 'labels')[LABELS.role] !== undefined,
  },
  {
    name: 'records',
    kinds: [
      'Event',
      'Event.events.k8s.io',
      'Lease.coordination.k8s.io',
      'ControllerRevision.apps',
      'CertificateSigningRequest.certificates.k8s.io',
      'ComponentStatus',
      'Binding',
      'PodMetrics.metrics.k8s.io',
      'NodeMetrics.metrics.k8s.io',
    ],
    why: 'it records what happened in the source cluster',
    level: 'info',
  },
  {
    name: 'cluster-machinery',
    kinds: [
      'Node',
      'PersistentVolume',
      'PriorityClass.scheduling.k8s.io',
      'RuntimeClass.node.k8s.io',
      'IngressClass.networking.k8s.io',
      'StorageClass.storage.k8s.io',
      'CSIDriver.storage.k8s.io',
      'CSINode.storage.k8s.io',
      'CSIStorageCapacity.storage.k8s.io',
      'VolumeAttachment.storage.k8s.io',
      'VolumeSnapshotClass.snapshot.storage.k8s.io',
    ],
    why: 'it belongs to a cluster, not to an application',
    level: 'info',
  },
  {
    name: 'volume-snapshots',
    kinds: [
      'VolumeSnapshot.snapshot.storage.k8s.io',
      'VolumeSnapshotContent.snapshot.storage.k8s.io',
      'VolumeGroupSnapshot.groupsnapshot.storage.k8s.io',
      'VolumeGroupSnapshotContent.groupsnapshot.storage.k8s.io',
    ],
    why: 'it points into the storage system of the source cluster',
    level: 'info',
  },
  {
    name: 'api-services',
    kinds: ['APIService.apiregistration.k8s.io'],
    why: 'while its server does not answer, it breaks discovery for the whole cluster',
    level: 'warning',
  },
  {
    name: 'bootstrap-policy',
    kinds: ['ClusterRole.rbac.authorization.k8s.io', 'ClusterRoleBinding.rbac.authorization.k8s.io'],
    why: 'every cluster makes it for itself',
    level: 'info',
    applies: (o) => mapAt(o, 'metadata', 'labels')['kubernetes.io/bootstrapping'] === 'rbac-defaults',
  },
  {
    name: 'mirror-pods',
    kinds: ['Pod'],
    why: 'a kubelet made it from a file on its node',
    level: 'info',
    applies: (o) => hasAnnotation(o, 'kubernetes.io/config.mirror'),
  },
  {
    name: 'ephemeral-claims',
    kinds: ['PersistentVolumeClaim'],
    why: 'it lives and dies with its pod',
    level: 'info',
    // Named `<pod>-<volume>`. A StatefulSet that deletes claims on scaling down makes pods owners too, of claims named otherwise.
    applies: (o) => {
      const owner = controllerOf(o);
      return owner?.kind === 'Pod' && o.metadata.name.startsWith(`${owner.name}-`);
    },
  },
  {
    name: 'owned',
    kinds: 'all',
    why: 'its owner makes it again',
    level: 'info',
    applies: (o, backup) => {
      const owner = controllerOf(o);
      if (owner === undefined || HOLDS_STATE.has(kindId(o))) return false;
      const namespaced = { ...owner, namespace: o.metadata.namespace ?? '' };
      return backup.byKey.has(refKey(namespaced)) || backup.byKey.has(refKey(owner));
    },
  },
  {
    name: 'finished-pods',
    kinds: ['Pod'],
    why: 'it has finished',
    level: 'info',
    applies: (o) => ['Succeeded', 'Failed'].includes(stringAt(o, 'status', 'phase') ?? ''),
  },
  {
    name: 'finished-jobs',
    kinds: ['Job.batch'],
    why: 'it has finished and must not run again',
    level: 'info',
    applies: (o) => at(o, 'status', 'completionTime') !== undefined || hasEnded(o),
  },
  {
    name: 'token-secrets',
    kinds: ['Secret'],
    why: 'the token controller makes its own',
    level: 'info',
    applies: (o) =>
      (o['type'] === 'kubernetes.io/service-account-token' || o['type'] === 'kubernetes.io/dockercfg') && isGeneratedTokenSecret(o),
  },
  {
    name: 'cluster-certificates',
    kinds: ['ConfigMap'],
    why: 'every namespace gets the one of its own cluster',
    level: 'info',
    applies: (o) => ['kube-root-ca.crt', 'openshift-service-ca.crt'].includes(o.metadata.name),
  },
  {
    name: 'leader-election',
    kinds: ['ConfigMap', 'Endpoints'],
    why: 'a lock of the source cluster would keep the new leader waiting',
    level: 'info',
    applies: (o) => hasAnnotation(o, 'control-plane.alpha.kubernetes.io/leader'),
  },
  {
    name: 'generated-endpoints',
    kinds: ['Endpoints'],
    why: 'it is made from the service',
    level: 'info',
    applies: (o, backup) => {
      const service = backup.byKey.get(
        refKey({ apiVersion: 'v1', kind: 'Service', name: o.metadata.name, namespace: o.metadata.namespace ?? '' }),
      );
      return hasAnnotation(o, 'endpoints.kubernetes.io/last-change-trigger-time') || at(service, 'spec', 'selector') !== undefined;
    },
  },
  {
    name: 'generated-endpoint-slices',
    kinds: ['EndpointSlice.discovery.k8s.io'],
    why: 'it is made from the service',
    level: 'info',
    applies: (o) =>
      /^endpointslice(mirroring)?-controller\.k8s\.io$/.test(
        mapAt(o, 'metadata', 'labels')['endpointslice.kubernetes.io/managed-by'] ?? '',
      ),
  },
  {
    name: 'service-ca-secrets',
    kinds: ['Secret'],
    why: 'the service CA of the cluster makes it',
    level: 'info',
    applies: (o) =>
      hasAnnotation(o, 'service.beta.openshift.io/originating-service-name') ||
      hasAnnotation(o, 'service.alpha.openshift.io/originating-service-name'),
  },
  {
    name: 'openshift-defaults',
    kinds: ['ServiceAccount', 'RoleBinding.rbac.authorization.k8s.io'],
    why: 'every project gets its own',
    level: 'info',
    applies: (o) => ['builder', 'deployer', 'system:image-pullers', 'system:image-builders', 'system:deployers'].includes(o.metadata.name),
  },
  {
    name: 'build-pods',
    kinds: ['Pod'],
    why: 'it was a step of a build',
    level: 'info',
    applies: (o) => mapAt(o, 'metadata', 'labels')['openshift.io/build.name'] !== undefined,
  },
  {
    name: 'operator-catalog',
    kinds: 'all',
    why: 'the operator lifecycle manager of the target installs operators itself',
    level: 'warning',
    applies: (o) => groupOf(o.apiVersion) === 'operators.coreos.com',
  },
  {
    name: 'other-backup-tools',
    kinds: 'all',
    why: 'it would set off a restore or backup of another tool',
    level: 'warning',
    applies: (o) => groupOf(o.apiVersion) === 'velero.io',
  },
  {
    name: 'removed-kinds',
    kinds: ['PodSecurityPolicy.policy', 'PodSecurityPolicy.extensions', 'PodPreset.settings.k8s.io'],
    why: 'Kubernetes has no such kind any more; labels of the namespace say which pods are allowed',
    level: 'warning',
  },
];

/** Why an object is not restored, whatever the options; `undefined` when it is. */
export function leftOutBy(object: KubeObject, backup: BackupIndex): LeftOutRule | undefined {
  return LEFT_OUT_RULES.find((rule) => concerns(rule, object) && (rule.applies?.(object, backup) ?? true));
}
