import type { Access, Cluster } from '../cluster/cluster.ts';
import { knownKind } from '../cluster/known-kinds.ts';
import { mapAt, stringAt } from '../discovery/read.ts';
import { DmaasError } from '../errors.ts';
import { refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef } from '../model.ts';
import { ANNOTATIONS } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { onTarget } from './hints.ts';
import { readIfServed } from './in-place.ts';

/** On a PersistentVolume that is to outlive its claim: for which operation, and the reclaim policy that it had. Whoever finds them can give it back. */
export const KEPT = { label: 'dmaas.io/kept-by', policy: 'dmaas.io/kept-policy' } as const;

/** What keeping volumes takes. */
export const KEEPING: readonly Access[] = ['get', 'list', 'patch'].map((verb) => ({ verb, group: '', resource: 'persistentvolumes' }));

export function volumeRef(name: string): ObjectRef {
  return { apiVersion: 'v1', kind: 'PersistentVolume', name };
}

/** Whether the volume stays when its claim goes. Who may not read volumes does not know. */
export async function staysAnyway(cluster: Cluster, claim: KubeObject): Promise<boolean> {
  const name = stringAt(claim, 'spec', 'volumeName');
  return name === undefined || policyOf(await readIfServed(cluster, volumeRef(name))) === 'Retain';
}

/** Sees to it that the volume of a claim stays when the claim goes, whatever its reclaim policy. */
export async function keepVolume(cluster: Cluster, id: OperationId, claim: KubeObject): Promise<void> {
  const name = stringAt(claim, 'spec', 'volumeName');
  const volume = name === undefined ? undefined : await cluster.get(volumeRef(name));
  const policy = policyOf(volume);
  if (volume === undefined || policy === undefined || policy === 'Retain') return;
  const marks = { labels: { [KEPT.label]: id }, annotations: { [KEPT.policy]: policy } };
  await cluster.patch(refOf(volume), { metadata: marks, spec: { persistentVolumeReclaimPolicy: 'Retain' } });
}

/** The volumes that are kept for an operation. Who may not list them has kept none. */
export async function keptVolumes(cluster: Cluster, id: OperationId): Promise<readonly KubeObject[]> {
  const volumes: KubeObject[] = [];
  try {
    for await (const volume of cluster.list(knownKind('PersistentVolume'), { labelSelector: `${KEPT.label}=${id}` })) volumes.push(volume);
  } catch (e) {
    if (!DmaasError.is(e, 'CLUSTER_FORBIDDEN')) throw e;
  }
  return volumes;
}

/** Gives kept volumes their reclaim policies back, by which they go, where their claims have volumes again. The findings name those that stay. */
export async function releaseVolumes(cluster: Cluster, id: OperationId): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  for (const volume of await keptVolumes(cluster, id)) {
    const ref = refOf(volume);
    const spec = { persistentVolumeReclaimPolicy: mapAt(volume, 'metadata', 'annotations')[KEPT.policy] ?? 'Delete' };
    const { name = '', namespace = '', uid } = mapAt(volume, 'spec', 'claimRef');
    const claim = await cluster.get({ apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace });
    const isPutBack = claim?.metadata.uid === uid || claim?.metadata.annotations?.[ANNOTATIONS.undone] === id;
    let why = 'the claim made from its volume snapshot has no volume yet';
    if (isPutBack && isBound(claim)) {
      try {
        await cluster.patch(ref, { metadata: { labels: { [KEPT.label]: null }, annotations: { [KEPT.policy]: null } }, spec });
        continue;
      } catch (e) {
        if (!DmaasError.is(e)) throw e;
        why = e.message;
      }
    }
    const message = `${refName(ref)}, which claim ${name} had before it was put back, is kept: ${why}`;
    const command = onTarget(`kubectl patch persistentvolume ${ref.name} --type merge -p '${JSON.stringify({ spec })}'`, cluster);
    findings.push({ level: 'warning', code: 'volume-kept', message, ref, hint: `when the claim is bound, this lets it go: ${command}` });
  }
  return findings;
}

export function isBound(claim: KubeObject | undefined): boolean {
  return stringAt(claim, 'status', 'phase') === 'Bound';
}

export function policyOf(volume: KubeObject | undefined): string | undefined {
  return stringAt(volume, 'spec', 'persistentVolumeReclaimPolicy');
}
