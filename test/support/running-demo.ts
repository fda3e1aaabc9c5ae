import { refKey, refOf } from '../../core/src/model.ts';
import type { KubeObject, ObjectMeta } from '../../core/src/model.ts';
import { demoApp } from '../demo/application.ts';
import { manifest, ownedBy } from './manifests.ts';

/** The demo application as an API server has it once controllers and kubelet have done their part: pods, claims, volumes, and what every namespace has. */
export function runningDemo(namespace = 'shop'): KubeObject[] {
  const apps = demoApp(namespace).map((o) => withUid(o));
  const find = (kind: string, name: string) => apps.find((o) => o.kind === kind && o.metadata.name === name) as KubeObject;
  const at = (metadata: object) => ({ namespace, ...metadata });
  const template = (o: KubeObject) =>
    (o['spec'] as { readonly template: { readonly metadata: { readonly labels: object }; readonly spec: object } }).template;

  const replicaSet = withUid(
    manifest('ReplicaSet', 'web-7c9', {
      metadata: at(ownedBy(find('Deployment', 'web'))),
      spec: { template: template(find('Deployment', 'web')) },
    }),
  );
  const pod = (name: string, owner: KubeObject, claim?: string) => {
    const { metadata, spec } = template(owner);
    const extra = claim === undefined ? [] : [{ name: 'data', persistentVolumeClaim: { claimName: claim } }];
    const volumes = [...(spec as { readonly volumes: object[] }).volumes, ...extra];
    return manifest('Pod', name, {
      metadata: at({ labels: metadata.labels, ...ownedBy(owner) }),
      spec: {
        ...spec,
        volumes,
        nodeName: 'node-a.internal',
        serviceAccountName: (spec as { serviceAccountName?: string }).serviceAccountName ?? 'default',
      },
      status: { phase: 'Running' },
    });
  };
  const bound = (o: KubeObject, volumeName: string, storage: string): KubeObject => ({
    ...o,
    spec: { ...(o['spec'] as object), volumeName },
    status: { phase: 'Bound', capacity: { storage } },
  });
  const dataClaim = manifest('PersistentVolumeClaim', 'data-db-0', {
    metadata: at({ labels: { app: 'shop', tier: 'db' } }),
    spec: { storageClassName: 'csi-hostpath', accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
  });
  const volume = (name: string) =>
    manifest('PersistentVolume', name, {
      spec: {
        capacity: { storage: '1Gi' },
        accessModes: ['ReadWriteOnce'],
        csi: { driver: 'hostpath.csi.dmaas.test', volumeHandle: name },
        nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: ['a'] }] }] } },
      },
    });
  const replaced = new Map([
    [refKey(refOf(find('PersistentVolumeClaim', 'uploads'))), bound(find('PersistentVolumeClaim', 'uploads'), 'pv-uploads', '256Mi')],
  ]);
  return [
    ...apps.map((o) => replaced.get(refKey(refOf(o))) ?? o),
    replicaSet,
    pod('web-7c9-x1', replicaSet),
    pod('db-0', find('StatefulSet', 'db'), 'data-db-0'),
    bound(dataClaim, 'pv-data', '1Gi'),
    volume('pv-data'),
    volume('pv-uploads'),
    manifest('StorageClass', 'csi-hostpath', { provisioner: 'hostpath.csi.dmaas.test' }),
    // The label by which pods are sent to a node need not be the node's name.
    manifest('Node', 'node-a.internal', { metadata: { labels: { 'kubernetes.io/hostname': 'node-a' } } }),
    manifest('ControllerRevision', 'db-1', { metadata: at(ownedBy(find('StatefulSet', 'db'))) }),
    manifest('Endpoints', 'web', {
      metadata: at({ labels: { app: 'shop', 'endpoints.kubernetes.io/managed-by': 'endpoint-controller' } }),
    }),
    manifest('EndpointSlice', 'web-1', {
      metadata: at({
        labels: {
          app: 'shop',
          'kubernetes.io/service-name': 'web',
          'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        },
        ...ownedBy(find('Service', 'web')),
      }),
    }),
    manifest('ServiceAccount', 'default', { metadata: at({}) }),
    manifest('ConfigMap', 'kube-root-ca.crt', { metadata: at({ annotations: { 'kubernetes.io/description': 'x' } }) }),
    manifest('Event', 'db-0.1', { metadata: at({ labels: { app: 'shop' } }) }),
    manifest('Lease', 'leader', { metadata: at({ labels: { app: 'shop' } }) }),
    manifest('ClusterRole', 'view', { metadata: { labels: { 'kubernetes.io/bootstrapping': 'rbac-defaults' } } }),
  ];
}

function withUid(o: KubeObject): KubeObject {
  const metadata: ObjectMeta = { ...o.metadata, uid: `uid-of-${o.kind}-${o.metadata.namespace ?? ''}-${o.metadata.name}` };
  return { ...o, metadata };
}
