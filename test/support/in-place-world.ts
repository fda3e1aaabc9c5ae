import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import type { MemoryCluster, MemoryClusterOptions } from '../../core/src/cluster/memory-cluster.ts';
import { numberAt, recordAt, stringAt } from '../../core/src/discovery/read.ts';
import { openLocationRepository } from '../../core/src/location/open.ts';
import { refKey, refOf } from '../../core/src/model.ts';
import type { ObjectRef } from '../../core/src/model.ts';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { JobMover } from '../../core/src/mover/job-mover.ts';
import { parseKey } from '../../core/src/repository/keys/keys.ts';
import { openRepository } from '../../core/src/repository/repository.ts';
import type { Repository } from '../../core/src/repository/repository.ts';
import { goBack } from '../../core/src/restore/go-back.ts';
import type { GoBackOptions } from '../../core/src/restore/go-back.ts';
import { readRestore, restoreJournal } from '../../core/src/restore/journal.ts';
import type { RestoreRecord, RestoreStatus } from '../../core/src/restore/journal.ts';
import type { BackupView, RestoreOptions, RestorePlan } from '../../core/src/restore/model.ts';
import { preflightInPlace } from '../../core/src/restore/preflight.ts';
import { undoRestore } from '../../core/src/restore/restore.ts';
import { applyRestore } from '../../core/src/restore/run.ts';
import type { RestoreReport } from '../../core/src/restore/run.ts';
import type { RemovalReport } from '../../core/src/restore/undo.ts';
import { populateVolumes } from '../../core/src/transfer/populate.ts';
import { accessWith, bucket } from './location.ts';
import { snapshotClass } from './application.ts';
import { losing } from './damaged.ts';
import { simulatedCluster } from './simulated-cluster.ts';
import { SimulatedStorage, volumeObject } from './simulated-storage.ts';
import { claimOf, kube, live, OPERATION, shop, storageClass, volumeOf } from './restore.ts';

const QUICK = { poll: 20, pending: 5000, imagePull: 50, outage: 5000, ending: 2000 };
const SOURCE = { clusterId: 'cluster-1', namespace: 'shop', context: 'prod' };
const CLAIM: ObjectRef = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name: 'data-db-0', namespace: 'shop' };
const VOLUME = `pv-${CLAIM.name}`;
const quiet = { emit: () => undefined };

export const BACKED_UP = 'as backed up';
export const CURRENT = 'as it was before the restore';

const SET = kube('apps/v1', 'StatefulSet', 'db', {
  spec: { replicas: 1, template: { spec: { containers: [{ name: 'db' }] } } },
});
const POD = kube('v1', 'Pod', 'db-0', {
  spec: { containers: [{ name: 'db' }], volumes: [{ name: 'data', persistentVolumeClaim: { claimName: CLAIM.name } }] },
});

export interface WorldOptions {
  readonly cluster?: Pick<MemoryClusterOptions, 'before' | 'forbid'>;
  readonly snapshotsDie?: boolean;
  readonly binding?: 'Immediate' | 'WaitForFirstConsumer';
  /** Reclaim policy of the volume. */
  readonly policy?: string;
  readonly replicas?: number;
  readonly readyTimeoutMs?: number;
  /** The pods of the workload come so much later, and nobody waits until it is ready. */
  readonly lateMs?: number;
  /** When a mover is done with the volume, before it says so. */
  readonly onRewritten?: () => Promise<void>;
  /** Whether what a mover wants of the repository is lost when it begins. */
  readonly isDamaged?: () => boolean;
}

export interface InPlaceWorld {
  readonly cluster: MemoryCluster;
  readonly storage: SimulatedStorage;
  readonly plan: RestorePlan;
  /** One attempt, as one process would, with what it sees of the cluster. */
  restore(through?: Cluster, signal?: AbortSignal, allowed?: Pick<RestoreOptions, 'allowMissingFiles'>): Promise<RestoreReport>;
  /** Goes back, as one process would. */
  undo(options?: GoBackOptions, through?: Cluster): ReturnType<typeof goBack>;
  /** Takes what the restore has made. */
  delete(): Promise<RemovalReport>;
  status(): Promise<RestoreStatus | undefined>;
  /** Movers that were begun, and how many were there at the same time at most. */
  readonly movers: { count: number; atOnce: number };
  /** What the volume of the claim holds. */
  content(): Promise<string>;
  /** What a pod of somebody else does to it. */
  write(content: string): Promise<void>;
  remove(): Promise<void>;
}

/** A StatefulSet with one claim, whose volume is a directory of this machine, and a backup of it with another content; its controllers are played. */
export async function inPlaceWorld(options: WorldOptions = {}): Promise<InPlaceWorld> {
  const directory = await mkdtemp(join(tmpdir(), 'dmaas-test-in-place-'));
  const [access, stores] = [accessWith(), bucket()];
  const { objects: objectsOf, repository: first, unlock, store } = await openLocationRepository(access, SOURCE, stores, { create: true });
  const open = (): Promise<Repository> => openRepository(objectsOf, parseKey(unlock));
  const claim = live(claimOf(CLAIM.name));
  const path = join(directory, VOLUME);
  await mkdir(path);
  const file = join(path, 'file');
  await writeFile(file, BACKED_UP);
  const { root } = await captureVolume({ name: 'data', path, mode: 'filesystem', repository: first }, quiet);
  await first.close();
  await writeFile(file, CURRENT);

  const movers = { count: 0, atOnce: 0 };
  let running = 0;
  const openForMover = async (): Promise<Repository> => {
    movers.count += 1;
    running += 1;
    movers.atOnce = Math.max(movers.atOnce, running);
    const whole = await open();
    const opened = options.isDamaged?.() === true ? losing(whole, () => true) : whole;
    const put: Repository['runs']['put'] = async (...args) => {
      await options.onRewritten?.();
      await opened.runs.put(...args);
    };
    const close = async (): Promise<void> => {
      running -= 1;
      await opened.close();
    };
    return replacing(opened, { runs: replacing(opened.runs, { put }), close });
  };
  const { binding = 'Immediate', policy = 'Delete', snapshotsDie = false, replicas = 1, readyTimeoutMs = 5000 } = options;
  const objects = [
    { ...storageClass('fast', true, 'csi.example.com'), volumeBindingMode: binding },
    snapshotClass('snap'),
    claim,
    volumeObject(VOLUME, policy, { ...CLAIM, uid: claim.metadata.uid }),
    { ...SET, spec: { ...recordAt(SET, 'spec'), replicas } },
  ];
  const cluster: MemoryCluster = simulatedCluster({
    volumes: directory,
    path: (name) => storage.pathOf(name),
    hasStorage: true,
    snapshotStatus: (name, snapshot) => {
      storage.takeSnapshot(name, snapshot);
      return undefined;
    },
    repository: openForMover,
    options: { context: 'prod', id: SOURCE.clusterId, ...options.cluster, objects },
  });
  const storage = new SimulatedStorage(cluster, { directory, snapshotsDie });
  playControllers(cluster, options.lateMs ?? 0);
  const view: BackupView = { ...shop(), volumes: [volumeOf(CLAIM.name, { root, bytes: BACKED_UP.length, files: 1 })] };
  await cluster.settle();
  const made = await preflightInPlace(OPERATION, view, cluster, { activate: true, inPlace: true, readyTimeoutMs }, quiet);
  const plan = options.lateMs === undefined ? made : { ...made, steps: made.steps.filter((step) => step.do !== 'wait-ready') };

  const restore: InPlaceWorld['restore'] = async (through = cluster, signal, allowed = {}) => {
    const repository = await open();
    try {
      const { runs } = repository;
      const deps = { cluster: through, mover: new JobMover({ cluster: through, runs, timing: QUICK }), runs, store, unlock };
      return await applyRestore(
        { ...plan, options: { ...plan.options, ...allowed } },
        {
          cluster: through,
          journal: restoreJournal(runs, plan.id, () => new Date()),
          populate: async (steps, run) => {
            const items = steps.map((step) => ({ ...step, isInPlace: true, allowMissing: allowed.allowMissingFiles === true }));
            return (await populateVolumes(plan.id, items, deps, run)).map(({ claim, ...result }) => ({ claim: claim.name, ...result }));
          },
        },
        signal === undefined ? quiet : { ...quiet, signal },
      );
    } finally {
      await repository.close();
    }
  };
  const record = async (): Promise<RestoreRecord | undefined> => {
    const repository = await open();
    try {
      return await readRestore(repository.runs, plan.id);
    } finally {
      await repository.close();
    }
  };
  const located = async () => ({ record: (await record()) ?? assert.fail('no restore'), source: SOURCE });
  return {
    cluster,
    storage,
    plan,
    restore,
    undo: async (how = {}, through = cluster) =>
      goBack({ cluster: through, access, stores, moverOptions: {}, maxMovers: 1 }, await located(), how, quiet),
    delete: async () => undoRestore({ cluster, access, stores }, await located(), quiet),
    status: async () => (await record())?.status,
    movers,
    content: () => readFile(join(storage.pathOf(CLAIM.name), 'file'), 'utf8'),
    write: (content) => writeFile(join(storage.pathOf(CLAIM.name), 'file'), content),
    remove: () => rm(directory, { recursive: true }),
  };
}

/** The same, but for these members. */
function replacing<T extends object>(target: T, members: Partial<T>): T {
  return new Proxy(target, {
    get: (of, name) => {
      if (name in members) return members[name as keyof T];
      const member: unknown = Reflect.get(of, name, of);
      return typeof member === 'function' ? (member.bind(of) as unknown) : member;
    },
  });
}

/** A StatefulSet has its pod, and says so. Pods that are over stay: to delete takes rights, which are the process's and not the controllers'. */
function playControllers(cluster: MemoryCluster, lateMs: number): void {
  const find = (ref: ObjectRef) => cluster.objects().find((o) => refKey(refOf(o)) === refKey(ref));
  let made = Infinity;
  let isComing = false;
  const reconcile = (): void => {
    const set = find(refOf(SET));
    if (set === undefined) return;
    const wanted = numberAt(set, 'spec', 'replicas') ?? 1;
    if (wanted <= made || lateMs === 0) made = wanted;
    else if (!isComing) {
      isComing = true;
      setTimeout(() => {
        isComing = false;
        made = wanted;
        reconcile();
      }, lateMs);
    }
    const replicas = made;
    const owner = { apiVersion: SET.apiVersion, kind: SET.kind, name: SET.metadata.name, uid: set.metadata.uid ?? '', controller: true };
    const pod = { ...POD, metadata: { ...POD.metadata, ownerReferences: [owner] } };
    const isMounted = stringAt(find(CLAIM), 'status', 'phase') === 'Bound';
    const phase = replicas === 0 ? 'Succeeded' : isMounted ? 'Running' : 'Pending';
    cluster.put({ ...(find(refOf(POD)) ?? pod), status: { phase } });
    const status = { observedGeneration: set.metadata['generation'], readyReplicas: isMounted ? replicas : 0, updatedReplicas: replicas };
    cluster.put({ ...set, status });
  };
  cluster.onWrite(reconcile);
  reconcile();
}
