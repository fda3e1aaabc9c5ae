import type { Cluster } from '../cluster/cluster.ts';
import { knownKind } from '../cluster/known-kinds.ts';
import { DmaasError } from '../errors.ts';
import { refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import type { OperationId } from '../operation.ts';

/** On a workload that is stopped for a backup: the operation, and how many replicas it had. Who finds them later starts it again. */
export const QUIESCED = { label: 'dmaas.io/quiesced-by', replicas: 'dmaas.io/quiesced-replicas' } as const;

export const STOPPED_KINDS: readonly ResourceKind[] = [
  knownKind('Deployment', 'apps'),
  knownKind('StatefulSet', 'apps'),
  knownKind('ReplicaSet', 'apps'),
  knownKind('ReplicationController'),
];

/** Workloads of a kind that the operation, or any, has stopped and not started again. Who may not list them has stopped none. */
export async function listStopped(
  cluster: Cluster,
  kind: ResourceKind,
  namespace: string,
  id?: OperationId,
): Promise<readonly KubeObject[]> {
  const stopped: KubeObject[] = [];
  try {
    const labelSelector = id === undefined ? QUIESCED.label : `${QUIESCED.label}=${id}`;
    for await (const workload of cluster.list(kind, { namespace, labelSelector })) stopped.push(workload);
  } catch (e) {
    if (!DmaasError.is(e, 'CLUSTER_FORBIDDEN')) throw e;
  }
  return stopped;
}

export async function startAgain(cluster: Cluster, ref: ObjectRef, replicas: number): Promise<void> {
  const marks = { labels: { [QUIESCED.label]: null }, annotations: { [QUIESCED.replicas]: null } };
  await cluster.patch(ref, { metadata: marks, spec: { replicas } });
}

/** Starts what an operation has stopped and whose process died before it could. Failures are findings. */
export async function startStopped(
  cluster: Cluster,
  namespace: string,
  id: OperationId,
): Promise<{ readonly started: readonly ObjectRef[]; readonly findings: readonly Finding[] }> {
  const started: ObjectRef[] = [];
  const findings: Finding[] = [];
  const attempt = async (what: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (e) {
      if (!DmaasError.is(e)) throw e;
      findings.push({ level: 'warning', code: 'left-stopped', message: `${what} may still be stopped: ${e.message}` });
    }
  };
  for (const kind of STOPPED_KINDS) {
    await attempt(`${kind.plural} that operation ${id} has stopped`, async () => {
      for (const workload of await listStopped(cluster, kind, namespace, id)) {
        const ref = refOf(workload);
        await attempt(refName(ref), async () => {
          await startAgain(cluster, ref, Number(workload.metadata.annotations?.[QUIESCED.replicas] ?? 1));
          started.push(ref);
        });
      }
    });
  }
  return { started, findings };
}
