import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { listAt, recordAt, stringAt } from '../../core/src/discovery/read.ts';
import { refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';

export interface StorageOptions {
  /** Where volumes and snapshots are: directories of their names. */
  readonly directory: string;
  /** The driver keeps snapshots within their volumes. */
  readonly snapshotsDie?: boolean;
}

/** What a CSI driver and the controllers of volumes do: claims get volumes, and volumes whose claims are gone go by their reclaim policies. */
export class SimulatedStorage {
  /** Nothing new finds room. */
  isFull = false;
  readonly #cluster: MemoryCluster;
  readonly #options: StorageOptions;
  readonly #sources = new Map<string, string>();

  constructor(cluster: MemoryCluster, options: StorageOptions) {
    this.#cluster = cluster;
    this.#options = options;
    cluster.onWrite(() => this.#reconcile());
  }

  path(volume: string): string {
    return join(this.#options.directory, volume);
  }

  /** Of the volume that a claim has. */
  pathOf(claim: string): string {
    return this.path(stringAt(this.#of('PersistentVolumeClaim', claim)[0], 'spec', 'volumeName') ?? 'none');
  }

  /** All volumes, with their reclaim policies. */
  volumes(): readonly string[] {
    return this.#of('PersistentVolume').map((v) => `${v.metadata.name} ${stringAt(v, 'spec', 'persistentVolumeReclaimPolicy') ?? ''}`);
  }

  takeSnapshot(claim: string, snapshot: KubeObject): void {
    this.#sources.set(snapshot.metadata.name, this.pathOf(claim));
    cpSync(this.pathOf(claim), this.path(snapshot.metadata.name), { recursive: true });
  }

  #of(kind: string, name?: string): readonly KubeObject[] {
    return this.#cluster.objects().filter((o) => o.kind === kind && (name === undefined || o.metadata.name === name));
  }

  async #reconcile(): Promise<void> {
    for (const claim of this.#of('PersistentVolumeClaim')) if (stringAt(claim, 'spec', 'volumeName') === undefined) this.#provision(claim);
    const claims = new Set(this.#of('PersistentVolumeClaim').map((claim) => claim.metadata.uid));
    for (const volume of this.#of('PersistentVolume')) {
      if (claims.has(stringAt(volume, 'spec', 'claimRef', 'uid'))) continue;
      if (stringAt(volume, 'spec', 'persistentVolumeReclaimPolicy') === 'Delete') await this.#delete(volume);
      else this.#cluster.put({ ...volume, status: { phase: 'Released' } });
    }
  }

  #provision(claim: KubeObject): void {
    const [storageClass] = this.#of('StorageClass', stringAt(claim, 'spec', 'storageClassName'));
    if (stringAt(storageClass, 'volumeBindingMode') === 'WaitForFirstConsumer' && !this.#isUsed(claim.metadata.name)) return;
    const snapshot = stringAt(claim, 'spec', 'dataSource', 'name');
    if (this.isFull || (snapshot !== undefined && !existsSync(this.path(snapshot)))) return;
    const { name, namespace, uid } = claim.metadata;
    const volumeName = `pv-${uid ?? ''}`;
    if (snapshot === undefined) mkdirSync(this.path(volumeName));
    else cpSync(this.path(snapshot), this.path(volumeName), { recursive: true });
    this.#cluster.put(volumeObject(volumeName, 'Delete', { name, namespace, uid }));
    const capacity = recordAt(claim, 'spec', 'resources', 'requests');
    this.#cluster.put({ ...claim, spec: { ...recordAt(claim, 'spec'), volumeName }, status: { phase: 'Bound', capacity } });
  }

  #isUsed(claim: string): boolean {
    return this.#of('Pod').some(
      (pod) =>
        !['Succeeded', 'Failed'].includes(stringAt(pod, 'status', 'phase') ?? '') &&
        listAt(pod, 'spec', 'volumes').some((v) => stringAt(v, 'persistentVolumeClaim', 'claimName') === claim),
    );
  }

  async #delete(volume: KubeObject): Promise<void> {
    const path = this.path(volume.metadata.name);
    rmSync(path, { recursive: true, force: true });
    for (const [snapshot, source] of this.#sources)
      if (this.#options.snapshotsDie === true && source === path) rmSync(this.path(snapshot), { recursive: true, force: true });
    await this.#cluster.delete(refOf(volume));
  }
}

export function volumeObject(name: string, policy: string, claimRef: object): KubeObject {
  return {
    ...{ apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name } },
    spec: { persistentVolumeReclaimPolicy: policy, claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', ...claimRef } },
    status: { phase: 'Bound' },
  };
}
