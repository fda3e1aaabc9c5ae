import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import type { Write } from '../../core/src/cluster/memory-cluster.ts';
import { listAt, mapAt, recordAt, stringAt } from '../../core/src/discovery/read.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { refKey, refOf } from '../../core/src/model.ts';
import { runMoverTask } from '../../core/src/mover/run-task.ts';
import { parseMoverTask } from '../../core/src/mover/task.ts';
import type { MoverTask } from '../../core/src/mover/task.ts';
import type { Repository } from '../../core/src/repository/repository.ts';

type Json = Readonly<Record<string, unknown>>;

export interface SimulationOptions {
  /** Where each claim's data is: a directory of that name in it, or the one that `path` says. */
  readonly volumes: string;
  readonly path?: (claim: string) => string;
  readonly repository: () => Promise<Repository>;
  readonly options?: ConstructorParameters<typeof MemoryCluster>[0];
  /** Of volume snapshots; default ready at once. */
  readonly snapshotStatus?: (claim: string, snapshot: KubeObject) => Json | undefined;
  /** Claims get their volumes from somebody else. */
  readonly hasStorage?: boolean;
  /** Instead of doing the task: what the pod's status becomes. */
  readonly pod?: (task: MoverTask, attempt: number) => Json | undefined;
}

/**
 * A MemoryCluster with its controllers played: snapshots become ready and contents go with them, claims are bound, Jobs run pods, and the pods do
 * what the mover image's program does, on directories of this machine.
 */
export function simulatedCluster(sim: SimulationOptions): MemoryCluster {
  const cluster = new MemoryCluster(sim.options ?? {});
  const attempts = new Map<string, number>();
  cluster.onWrite(async ({ type, object }: Write) => {
    if (type === 'deleted') {
      if (object.kind === 'VolumeSnapshot') await dropContent(cluster, object);
      return;
    }
    if (!isCurrent(cluster, object)) return;
    if (object.kind === 'VolumeSnapshot' && object['status'] === undefined) takeSnapshot(cluster, object, sim);
    if (object.kind === 'PersistentVolumeClaim' && object['status'] === undefined && sim.hasStorage !== true) {
      cluster.put({ ...object, status: { phase: 'Bound', capacity: recordAt(object, 'spec', 'resources', 'requests') } });
    }
    if (object.kind === 'Job' && recordAt(object, 'spec')['suspend'] === false && object['status'] === undefined) {
      cluster.put({ ...object, status: { active: 1 } });
      const attempt = (attempts.get(object.metadata.name) ?? 0) + 1;
      attempts.set(object.metadata.name, attempt);
      await runPod(cluster, object, sim, attempt);
    }
  });
  return cluster;
}

function isCurrent(cluster: MemoryCluster, object: KubeObject): boolean {
  return cluster
    .objects()
    .some((o) => o.metadata.uid === object.metadata.uid && o.metadata.resourceVersion === object.metadata.resourceVersion);
}

function takeSnapshot(cluster: MemoryCluster, snapshot: KubeObject, sim: SimulationOptions): void {
  const claim = stringAt(snapshot, 'spec', 'source', 'persistentVolumeClaimName') ?? '';
  const content = `snapcontent-${snapshot.metadata.uid ?? ''}`;
  const policy = stringAt(
    cluster
      .objects()
      .find((o) => o.kind === 'VolumeSnapshotClass' && o.metadata.name === stringAt(snapshot, 'spec', 'volumeSnapshotClassName')),
    'deletionPolicy',
  );
  cluster.put({
    apiVersion: snapshot.apiVersion,
    kind: 'VolumeSnapshotContent',
    metadata: { name: content },
    spec: {
      deletionPolicy: policy ?? 'Delete',
      volumeSnapshotRef: { name: snapshot.metadata.name, namespace: snapshot.metadata.namespace },
    },
  });
  const status = sim.snapshotStatus?.(claim, snapshot) ?? { readyToUse: true, restoreSize: '1Gi', creationTime: '2026-11-22T12:00:00Z' };
  cluster.put({ ...snapshot, status: { boundVolumeSnapshotContentName: content, ...status } });
}

async function dropContent(cluster: MemoryCluster, snapshot: KubeObject): Promise<void> {
  const name = stringAt(snapshot, 'status', 'boundVolumeSnapshotContentName');
  const content = cluster.objects().find((o) => o.kind === 'VolumeSnapshotContent' && o.metadata.name === name);
  if (content !== undefined && stringAt(content, 'spec', 'deletionPolicy') === 'Delete') await cluster.delete(refOf(content));
}

async function runPod(cluster: MemoryCluster, job: KubeObject, sim: SimulationOptions, attempt: number): Promise<void> {
  const { name, namespace = '' } = job.metadata;
  const template = recordAt(job, 'spec', 'template');
  const pod: KubeObject = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `${name}-${attempt}`,
      namespace,
      labels: { ...mapAt(template, 'metadata', 'labels'), 'batch.kubernetes.io/job-name': name },
      ownerReferences: [{ apiVersion: job.apiVersion, kind: job.kind, name, uid: job.metadata.uid ?? '', controller: true }],
    },
    spec: template['spec'],
    status: { phase: 'Running' },
  };
  cluster.put(pod);
  const status = await execute(cluster, job, sim, attempt);
  if (!cluster.objects().some((o) => refKey(refOf(o)) === refKey(refOf(pod)))) return; // its Job was deleted
  cluster.put({ ...pod, status });
  const type = { Succeeded: 'Complete', Failed: 'Failed' }[String(status['phase'])];
  if (type !== undefined) cluster.put({ ...job, status: { conditions: [{ type, status: 'True', reason: type }] } });
}

async function execute(cluster: MemoryCluster, job: KubeObject, sim: SimulationOptions, attempt: number): Promise<Json> {
  const volumes = listAt(job, 'spec', 'template', 'spec', 'volumes');
  const secretName = volumes.map((v) => stringAt(v, 'secret', 'secretName')).find((n) => n !== undefined);
  const secret = cluster.objects().find((o) => o.kind === 'Secret' && o.metadata.name === secretName);
  const task = parseMoverTask(JSON.parse(Buffer.from(mapAt(secret, 'data')['task.json'] ?? '', 'base64').toString()));
  const faked = sim.pod?.(task, attempt);
  if (faked !== undefined) return faked;
  const path = sim.path?.(task.volume.claim) ?? join(sim.volumes, task.volume.claim);
  await mkdir(path, { recursive: true });
  try {
    const repository = await sim.repository();
    await runMoverTask({ ...task, path }, repository, { emit: () => undefined });
    await repository.close();
    return { phase: 'Succeeded' };
  } catch (e) {
    if (!DmaasError.is(e)) throw e;
    const message = JSON.stringify({ code: e.code, message: e.message });
    return { phase: 'Failed', containerStatuses: [{ name: 'mover', state: { terminated: { exitCode: e.exitCode, message } } }] };
  }
}
