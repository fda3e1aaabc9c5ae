import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../cluster/cluster.ts';
import { knownKind } from '../cluster/known-kinds.ts';
import { listAt, stringAt } from '../discovery/read.ts';
import { throwIfCancelled } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refName, refOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { LABELS } from '../operation.ts';

const POLL_MS = 1000;

/** Whether a pod has one of the claims, and is neither over nor ours. One that is ending may still write. */
export function usesClaim(pod: KubeObject, claims: readonly ObjectRef[]): boolean {
  const isOver = ['Succeeded', 'Failed'].includes(stringAt(pod, 'status', 'phase') ?? '');
  const isOurs = pod.metadata.labels?.[LABELS.role] !== undefined; // a mover: of an attempt before, of which there is never a second one, or one that only reads
  const names = listAt(pod, 'spec', 'volumes').map((volume) => stringAt(volume, 'persistentVolumeClaim', 'claimName'));
  return !isOver && !isOurs && claims.some(({ name }) => names.includes(name));
}

/** Names of the pods that use one of the claims. */
export async function claimUsers(cluster: Cluster, claims: readonly ObjectRef[]): Promise<readonly string[]> {
  const using: string[] = [];
  for await (const pod of cluster.list(knownKind('Pod'), { namespace: claims[0]?.namespace ?? '' }))
    if (usesClaim(pod, claims)) using.push(refName(refOf(pod)));
  return using;
}

/** Waits until no pod uses one of the claims; names those that still do when the time is over. `beforeEach`: what to do before each look. */
export async function outwaitUsers(
  cluster: Cluster,
  claims: readonly ObjectRef[],
  timeoutMs: number,
  run: RunOptions,
  beforeEach: () => Promise<void> = () => Promise.resolve(),
): Promise<readonly string[]> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    throwIfCancelled(run.signal);
    await beforeEach();
    const using = await claimUsers(cluster, claims);
    if (using.length === 0 || Date.now() > deadline) return using;
    await sleep(POLL_MS);
  }
}
