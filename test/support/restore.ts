import { KNOWN_KINDS } from '../../core/src/cluster/known-kinds.ts';
import type { KubeObject } from '../../core/src/model.ts';
import type { OperationId } from '../../core/src/operation.ts';
import type { BackupView, RestoreOptions, RestorePlan, RestoreStep, TargetState, VolumeView } from '../../core/src/restore/model.ts';
import { planRestore } from '../../core/src/restore/plan.ts';

type Fields = Readonly<Record<string, unknown>>;

export const OPERATION = 'abcdefgh' as OperationId;

export function kube(apiVersion: string, kind: string, name: string, fields: Fields = {}, metadata: Fields = {}): KubeObject {
  return { apiVersion, kind, metadata: { name, namespace: 'shop', ...metadata }, ...fields };
}

/** As the server has it, with what a restore must take off. */
export function live(object: KubeObject): KubeObject {
  const metadata = {
    ...object.metadata,
    uid: `uid-${object.kind}-${object.metadata.name}`,
    resourceVersion: '42',
    creationTimestamp: '2026-01-01T00:00:00Z',
  };
  return { ...object, metadata };
}

export function clusterScoped(apiVersion: string, kind: string, name: string, fields: Fields = {}): KubeObject {
  return { apiVersion, kind, metadata: { name }, ...fields };
}

export function claimOf(name: string, storageClass = 'fast', size = '1Gi'): KubeObject {
  return kube('v1', 'PersistentVolumeClaim', name, {
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: storageClass,
      volumeName: `pv-${name}`,
      resources: { requests: { storage: size } },
    },
    status: { phase: 'Bound', capacity: { storage: size } },
  });
}

export function volumeOf(name: string, more: Partial<VolumeView> = {}): VolumeView {
  return {
    claim: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace: 'shop' },
    mode: 'filesystem',
    root: `root-${name}`,
    bytes: 1000,
    files: 10,
    storageClass: 'fast',
    accessModes: ['ReadWriteOnce'],
    capacityBytes: 2 ** 30,
    ...more,
  };
}

export function storageClass(name: string, isDefault = false, provisioner = 'csi.test'): KubeObject {
  const annotations = { 'storageclass.kubernetes.io/is-default-class': String(isDefault) };
  return { apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name, annotations }, provisioner };
}

/** A database with a claim, a front end with another, and what is around them. */
export function shop(): BackupView {
  const pod = (app: string, spec: Fields, container: Fields = {}): Fields => ({
    metadata: { labels: { app } },
    spec: { containers: [{ name: app, image: `acme/${app}`, ...container }], ...spec },
  });
  const objects = [
    clusterScoped('v1', 'Namespace', 'shop', { spec: { finalizers: ['kubernetes'] } }),
    kube('v1', 'ServiceAccount', 'default'),
    kube('v1', 'ServiceAccount', 'web'),
    kube('v1', 'Secret', 'db-password', { type: 'Opaque', data: { password: 'aHVudGVyMg==' } }),
    kube('v1', 'ConfigMap', 'web-config', { data: { 'app.ini': 'host = db\n' } }),
    kube('v1', 'ConfigMap', 'kube-root-ca.crt', { data: { 'ca.crt': 'x' } }),
    claimOf('data-db-0'),
    claimOf('uploads'),
    kube('v1', 'Service', 'db', { spec: { clusterIP: 'None', selector: { app: 'db' }, ports: [{ port: 5432 }] } }),
    kube('v1', 'Service', 'web', { spec: { clusterIP: '10.0.0.9', selector: { app: 'web' }, ports: [{ port: 80 }] } }),
    kube('apps/v1', 'StatefulSet', 'db', {
      spec: {
        replicas: 1,
        serviceName: 'db',
        template: pod(
          'db',
          { tolerations: [{ key: 'db' }], securityContext: { runAsUser: 70, fsGroup: 70 } },
          { env: [{ name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'db-password', key: 'password' } } }] },
        ),
        volumeClaimTemplates: [{ metadata: { name: 'data' }, spec: { storageClassName: 'fast' } }],
      },
    }),
    kube('apps/v1', 'Deployment', 'web', {
      spec: {
        replicas: 2,
        template: pod(
          'web',
          {
            serviceAccountName: 'web',
            volumes: [{ name: 'up', persistentVolumeClaim: { claimName: 'uploads' } }],
            nodeSelector: { zone: 'a' },
          },
          { envFrom: [{ configMapRef: { name: 'web-config' } }] },
        ),
      },
    }),
    kube(
      'apps/v1',
      'ReplicaSet',
      'web-5d',
      {},
      { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'web', uid: 'x', controller: true }] },
    ),
    kube(
      'v1',
      'Pod',
      'web-5d-1',
      {},
      { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'web-5d', uid: 'y', controller: true }] },
    ),
    kube('batch/v1', 'CronJob', 'report', { spec: { schedule: '@daily', jobTemplate: { spec: { template: pod('report', {}) } } } }),
    kube('autoscaling/v2', 'HorizontalPodAutoscaler', 'web', {
      spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' } },
    }),
    kube('networking.k8s.io/v1', 'Ingress', 'web', { spec: { rules: [{ host: 'shop.example.com' }] } }),
    kube('networking.k8s.io/v1', 'NetworkPolicy', 'web', { spec: { podSelector: {} } }),
    kube('rbac.authorization.k8s.io/v1', 'Role', 'web', { rules: [] }),
    kube('rbac.authorization.k8s.io/v1', 'RoleBinding', 'web', {
      roleRef: { kind: 'Role', name: 'web' },
      subjects: [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop' }],
    }),
    clusterScoped('rbac.authorization.k8s.io/v1', 'ClusterRole', 'shop-web', {
      rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['get'] }],
    }),
    clusterScoped('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding', 'shop-web', {
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'shop-web' },
      subjects: [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop' }],
    }),
    clusterScoped('admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration', 'shop', {
      webhooks: [{ name: 'a.shop.test', clientConfig: { service: { name: 'web', namespace: 'shop' } } }],
    }),
  ];
  return {
    id: 'backup-1',
    recordId: '20260102T000000Z-backupop',
    createdAt: '2026-01-02T00:00:00Z',
    app: { name: 'shop', namespace: 'shop', cluster: 'prod', clusterId: 'cluster-a' },
    objects: objects.map(live),
    volumes: [volumeOf('data-db-0'), volumeOf('uploads')],
  };
}

export function emptyTarget(more: Partial<TargetState> = {}): TargetState {
  return {
    context: 'dr',
    clusterId: 'cluster-b',
    version: { gitVersion: 'v1.34.0', major: 1, minor: 34 },
    kinds: KNOWN_KINDS,
    storageClasses: [storageClass('fast', true)],
    existing: [],
    unreadable: [],
    denied: [],
    ...more,
  };
}

export function plan(backup: BackupView, target: TargetState, options: Partial<RestoreOptions> = {}): RestorePlan {
  return planRestore(OPERATION, backup, target, { activate: true, allow: ['*'], ...options });
}

/** One word for each step: `create secret/a`, `populate data`, `activate deployment/web`. */
export function outline(steps: readonly RestoreStep[]): readonly string[] {
  return steps.map((step) => {
    if (step.do === 'populate') return `populate ${step.claim.name}`;
    if (step.do === 'wait-unused') return `wait-unused ${step.claims.map((c) => c.name).join(' ')}`;
    const name = `${step.ref.kind.toLowerCase()}/${step.ref.name}`;
    return step.do === 'apply' || step.do === 'create-claim' ? `${step.action} ${name}` : `${step.do} ${name}`;
  });
}
