import type { Cluster } from '../cluster/cluster.ts';
import { knownKind } from '../cluster/known-kinds.ts';
import { DmaasError } from '../errors.ts';
import type { KubeObject, ResourceKind } from '../model.ts';
import type { CaptureFacts } from './model.ts';

/** Reads what a backup's plan rests on. What this identity may not read stays absent. */
export async function gatherCaptureFacts(cluster: Cluster, namespace: string): Promise<CaptureFacts> {
  const kinds = await cluster.kinds();
  const hasSnapshotApi = kinds.some((k) => k.kind === 'VolumeSnapshot' && k.group === 'snapshot.storage.k8s.io');
  const [space, snapshotClasses, storageClasses, quotas, pods] = await Promise.all([
    ifAllowed(cluster.get({ apiVersion: 'v1', kind: 'Namespace', name: namespace })),
    hasSnapshotApi ? ifAllowed(listAll(cluster, knownKind('VolumeSnapshotClass', 'snapshot.storage.k8s.io'))) : undefined,
    ifAllowed(listAll(cluster, knownKind('StorageClass', 'storage.k8s.io'))),
    ifAllowed(listAll(cluster, knownKind('ResourceQuota'), namespace)),
    ifAllowed(listAll(cluster, knownKind('Pod'), namespace)),
  ]);
  return {
    hasSnapshotApi,
    ...(space === undefined ? {} : { namespace: space }),
    ...(snapshotClasses === undefined ? {} : { snapshotClasses }),
    ...(storageClasses === undefined ? {} : { storageClasses }),
    ...(quotas === undefined ? {} : { quotas }),
    ...(pods === undefined ? {} : { pods }),
  };
}

async function listAll(cluster: Cluster, kind: ResourceKind, namespace?: string): Promise<KubeObject[]> {
  const found: KubeObject[] = [];
  for await (const object of cluster.list(kind, namespace === undefined ? {} : { namespace })) found.push(object);
  return found;
}

/** What `reading` gives, or `otherwise` where this identity may not read it. */
export async function ifAllowed<T, D = undefined>(reading: Promise<T>, otherwise?: D): Promise<T | D | undefined> {
  try {
    return await reading;
  } catch (e) {
    if (DmaasError.is(e, 'CLUSTER_FORBIDDEN')) return otherwise;
    throw e;
  }
}
