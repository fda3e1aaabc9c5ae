import type { Cluster } from '../cluster/cluster.ts';
import { knownKind } from '../cluster/known-kinds.ts';
import { readKinds } from '../discovery/inventory.ts';
import { kindId } from '../discovery/pod-template.ts';
import { listAt, mapAt, stringAt } from '../discovery/read.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { mountsClaim, selects } from './pods.ts';
import { whyNotReady } from './readiness.ts';
import type { NotReady } from './readiness.ts';

/** Logs are read of so many containers at most: the cause is usually the same for all. */
const MAX_LOGS = 3;

/** Gathers what tells why a workload is not ready, and condenses it. Never fails: what cannot be read is left out. */
export async function diagnose(cluster: Cluster, ref: ObjectRef, run: RunOptions): Promise<NotReady> {
  const quiet = { ...run, emit: () => undefined };
  const scope = ref.namespace === undefined ? {} : { namespace: ref.namespace };
  const read = (kind: string): Promise<readonly KubeObject[]> =>
    readKinds(cluster, [knownKind(kind)], scope, quiet).then(
      ({ objects }) => objects,
      () => [],
    );
  const workload = await cluster.get(ref).catch(() => undefined);
  if (workload === undefined) return { cause: 'it is gone' };
  const [allPods, allEvents, allClaims] = await Promise.all([read('Pod'), read('Event'), read('PersistentVolumeClaim')]);
  const pods = allPods.filter((pod) => belongsTo(pod, workload));
  const claims = allClaims.filter((claim) => mountsClaim(workload, claim.metadata.name));
  const names = new Set([workload, ...pods, ...claims].map((o) => o.metadata.name));
  // A Deployment's pods are made by a ReplicaSet, whose name starts with the Deployment's.
  const isAbout = (name: string): boolean => names.has(name) || name.startsWith(`${workload.metadata.name}-`);
  const events = allEvents.filter((e) => isAbout(stringAt(e, 'involvedObject', 'name') ?? ''));
  return whyNotReady({ workload, pods, events, claims, lastLines: await lastLines(cluster, pods, run) });
}

/** The pods that a workload runs now. */
export async function podsOf(cluster: Cluster, workload: KubeObject, run: RunOptions): Promise<readonly KubeObject[]> {
  const { namespace } = workload.metadata;
  const { objects } = await readKinds(cluster, [knownKind('Pod')], namespace === undefined ? {} : { namespace }, {
    ...run,
    emit: () => undefined,
  });
  return objects.filter((pod) => belongsTo(pod, workload));
}

function belongsTo(pod: KubeObject, workload: KubeObject): boolean {
  if (kindId(workload) === 'Pod') return pod.metadata.name === workload.metadata.name;
  const labels = mapAt(pod, 'metadata', 'labels');
  if (kindId(workload) === 'Job.batch') return labels['batch.kubernetes.io/job-name'] === workload.metadata.name;
  const selector =
    kindId(workload) === 'ReplicationController' ? mapAt(workload, 'spec', 'selector') : mapAt(workload, 'spec', 'selector', 'matchLabels');
  return selects(selector, labels);
}

async function lastLines(cluster: Cluster, pods: readonly KubeObject[], run: RunOptions): Promise<Readonly<Record<string, string>>> {
  const crashed = pods.flatMap((pod) =>
    ['initContainerStatuses', 'containerStatuses']
      .flatMap((list) => listAt(pod, 'status', list))
      .filter(
        (s) => stringAt(s, 'state', 'waiting', 'reason') === 'CrashLoopBackOff' || stringAt(s, 'state', 'terminated', 'reason') === 'Error',
      )
      .map((s) => ({ pod: refOf(pod), container: stringAt(s, 'name') ?? '' })),
  );
  const lines: Record<string, string> = {};
  for (const { pod, container } of crashed.slice(0, MAX_LOGS)) {
    try {
      const signal = run.signal === undefined ? {} : { signal: run.signal };
      for await (const line of cluster.logs(pod, container, { tailLines: 1, follow: false, ...signal }))
        lines[`${pod.name}/${container}`] = line;
    } catch (e) {
      if (!DmaasError.is(e)) throw e;
    }
  }
  return lines;
}
