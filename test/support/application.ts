import type { Application, AppVolume, Member } from '../../core/src/discovery/application.ts';
import type { KubeObject } from '../../core/src/model.ts';

export const GI = 2 ** 30;

/** A bound volume of a CSI driver that is mounted by one running pod; `change` makes it another one. */
export function appVolume(name: string, change: Partial<AppVolume> = {}): AppVolume {
  return {
    claim: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace: 'shop' },
    mode: 'filesystem',
    capacityBytes: GI,
    storageClass: 'fast',
    accessModes: ['ReadWriteOnce'],
    phase: 'Bound',
    volumeName: `pv-${name}`,
    driver: 'csi.example.com',
    mountedBy: [{ apiVersion: 'v1', kind: 'Pod', name: `${name}-user`, namespace: 'shop' }],
    consumers: [{ apiVersion: 'apps/v1', kind: 'StatefulSet', name: `${name}-set`, namespace: 'shop' }],
    node: 'node-1',
    security: {},
    scheduling: {},
    ...change,
  };
}

export function claimObject({ claim, capacityBytes, storageClass, accessModes, mode, volumeName }: AppVolume): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: claim.name, namespace: 'shop' },
    spec: {
      accessModes,
      storageClassName: storageClass,
      volumeMode: mode === 'block' ? 'Block' : 'Filesystem',
      resources: { requests: { storage: String(capacityBytes) } },
      ...(volumeName === undefined ? {} : { volumeName }),
    },
    status: { phase: 'Bound', capacity: { storage: String(capacityBytes) } },
  };
}

/** An application of these volumes' claims and one Secret. */
export function application(volumes: readonly AppVolume[], change: Partial<Application> = {}): Application {
  const objects: KubeObject[] = [
    ...volumes.map(claimObject),
    { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'password', namespace: 'shop' }, data: { password: 'aHVudGVyMg==' } },
  ];
  return {
    name: 'web',
    namespace: 'shop',
    cluster: { id: 'cluster-1', context: 'memory' },
    selector: { namespace: 'shop', labelSelector: 'app=web' },
    members: objects.map((object): Member => ({ object, because: [] })),
    volumes,
    dependencies: [],
    missing: [],
    leftOut: [],
    edges: [],
    findings: [],
    ...change,
  };
}

export const FAST_CLASS: KubeObject = {
  apiVersion: 'storage.k8s.io/v1',
  kind: 'StorageClass',
  metadata: { name: 'fast' },
  provisioner: 'csi.example.com',
  volumeBindingMode: 'WaitForFirstConsumer',
};

export function snapshotClass(
  name: string,
  change: Readonly<Record<string, unknown>> = {},
  annotations: Readonly<Record<string, string>> = {},
): KubeObject {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshotClass',
    metadata: { name, annotations },
    driver: 'csi.example.com',
    deletionPolicy: 'Delete',
    ...change,
  };
}
