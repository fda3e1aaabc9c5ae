import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import type { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { DmaasEvent } from '../../core/src/events.ts';
import { numberAt } from '../../core/src/discovery/read.ts';
import { refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { JobMover } from '../../core/src/mover/job-mover.ts';
import { LABELS } from '../../core/src/operation.ts';
import type { OperationId } from '../../core/src/operation.ts';
import type { Backup } from '../../core/src/repository/records/backup-record.ts';
import { formatKey } from '../../core/src/repository/keys/keys.ts';
import { readManifests } from '../../core/src/repository/manifests.ts';
import { openOrCreateRepository } from '../../core/src/repository/repository.ts';
import type { Repository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { ObjectStore } from '../../core/src/store/object-store.ts';
import { runBackup } from '../../core/src/transfer/backup.ts';
import { cleanupOperation, listOperations } from '../../core/src/transfer/cleanup.ts';
import type { BackupOptions, BackupPlan } from '../../core/src/transfer/model.ts';
import { gatherCaptureFacts } from '../../core/src/transfer/facts.ts';
import { planBackup } from '../../core/src/transfer/plan.ts';
import { application, appVolume, claimObject, FAST_CLASS, snapshotClass } from '../support/application.ts';
import { ClusterCrash, FaultyCluster } from '../support/faulty-cluster.ts';
import type { ClusterFault } from '../support/faulty-cluster.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { workload } from '../support/manifests.ts';
import { simulatedCluster } from '../support/simulated-cluster.ts';
import type { SimulationOptions } from '../support/simulated-cluster.ts';

const ID = 'abcdefgh' as OperationId;
const UNLOCK = new Uint8Array(32).fill(7);
const VOLUMES = [appVolume('data'), appVolume('uploads', { driver: 'plain.example.com', storageClass: 'plain' })];
const OBJECTS = [
  ...VOLUMES.map(claimObject),
  FAST_CLASS,
  { ...FAST_CLASS, metadata: { name: 'plain' }, provisioner: 'plain.example.com' },
  snapshotClass('retained', { deletionPolicy: 'Retain' }),
];
const QUICK = { poll: 100, pending: 2000, imagePull: 50, outage: 5000, ending: 2000 };

interface World {
  readonly cluster: MemoryCluster;
  readonly store: ObjectStore;
  readonly plan: BackupPlan;
  /** One run of the plan, as one process would, with what it sees of the cluster. */
  run(cluster?: Cluster, signal?: AbortSignal): Promise<Backup>;
  /** Everything that is not DMaaS's own. */
  application(): KubeObject[];
  temporary(): string[];
  readonly events: DmaasEvent[];
  onEvent?: (event: DmaasEvent) => void;
  maxMovers: number;
}

describe('a backup', () => {
  let volumes: string;

  before(async () => {
    volumes = await mkdtemp(join(tmpdir(), 'dmaas-test-volumes-'));
    for (const { claim } of VOLUMES) {
      await mkdir(join(volumes, claim.name));
      await writeFile(join(volumes, claim.name, 'file'), `of ${claim.name}`);
    }
  });

  after(() => rm(volumes, { recursive: true }));

  async function world(
    sim: Partial<SimulationOptions> = {},
    app = application(VOLUMES),
    options: BackupOptions = {},
    store: ObjectStore = new MemoryStore(),
  ): Promise<World> {
    const open = (): Promise<Repository> => openOrCreateRepository(store, UNLOCK);
    const cluster = simulatedCluster({
      volumes,
      repository: open,
      ...sim,
      options: {
        objects: OBJECTS,
        ...sim.options,
      },
    });
    const plan = planBackup(ID, app, [], await gatherCaptureFacts(cluster, 'shop'), { live: true, ...options });
    const events: DmaasEvent[] = [];
    const isOurs = (o: KubeObject) => o.metadata.labels?.[LABELS.role] !== undefined || o.kind === 'VolumeSnapshotContent';
    const w: World = {
      cluster,
      store,
      plan,
      events,
      maxMovers: 2,
      async run(seen = cluster, signal) {
        const repository = await open();
        const target = { repository, objects: store, store: { provider: 'file', path: '/nowhere' } as const, unlock: formatKey(UNLOCK) };
        const mover = new JobMover({ cluster: seen, runs: repository.runs, timing: QUICK });
        const timing = { snapshotReady: 300, claimBound: 300 };
        const deps = { cluster: seen, target, mover, timing, facts: { hasSnapshotApi: true }, maxMovers: w.maxMovers };
        const emit = (e: DmaasEvent) => {
          events.push(e);
          w.onEvent?.(e);
        };
        try {
          return await runBackup(plan, deps, { emit, ...(signal === undefined ? {} : { signal }) });
        } finally {
          await repository.close();
        }
      },
      application: () => cluster.objects().filter((o) => !isOurs(o)),
      temporary: () =>
        cluster
          .objects()
          .filter(isOurs)
          .map((o) => `${o.kind}/${o.metadata.name}`)
          .sort(),
    };
    return w;
  }

  async function verify(w: World, backup: Backup): Promise<void> {
    assert.deepEqual(
      backup.volumes.map((v) => [v.claim, v.method, v.files]),
      [
        ['data', 'volume-snapshot', 1],
        ['uploads', 'live', 1],
      ],
    );
    const repository = await openOrCreateRepository(w.store, UNLOCK);
    const all: Backup[] = [];
    for await (const b of repository.backups()) all.push(b);
    assert.deepEqual(
      all.map((b) => b.id),
      [backup.id],
    );
    assert.ok(!(await repository.known(backup.volumes.map(({ root }) => root))).includes(false));
    assert.equal((await readManifests(repository, backup.manifests)).length, 3);
    await repository.close();
  }

  it('captures all volumes, records them, and leaves nothing in the cluster', async () => {
    const w = await world();
    const before = w.application();
    const backup = await w.run();
    await w.cluster.settle();
    await verify(w, backup);
    assert.equal(backup.volumes[0]?.consistentAt, '2026-11-22T12:00:00.000Z');
    assert.deepEqual(w.application(), before);
    assert.deepEqual(w.temporary(), []);
    const phases = w.events.flatMap((e) => (e.type === 'phase' && e.state === 'done' ? e.phase : []));
    assert.deepEqual(phases, ['preflight', 'capture', 'commit', 'cleanup']);
    assert.ok(!JSON.stringify(w.events).includes('dmaas-key-1-'));
  });

  it('is the same backup when it is run again', async () => {
    const w = await world();
    const first = await w.run();
    assert.deepEqual(await w.run(), first);
    await verify(w, first);
  });

  for (const kind of ['refused', 'lost-answer', 'crash-after'] as const satisfies readonly ClusterFault[]) {
    it(`leaves the application alone and nothing behind when any one call is ${kind}`, async function () {
      this.timeout(240_000);
      let calls = Number.POSITIVE_INFINITY;
      let failures = 0;
      for (let at = 1; at <= calls; at++) {
        const w = await world();
        const before = w.application();
        const faulty = new FaultyCluster(w.cluster, { at, kind });
        let cleanupFrom = Number.POSITIVE_INFINITY;
        w.onEvent = (e) => {
          if (e.type === 'phase' && e.phase === 'cleanup') cleanupFrom = Math.min(cleanupFrom, faulty.calls.length);
        };
        const where = () => `${kind} at ${at}: ${faulty.calls[at - 1] ?? 'the end'}`;
        let backup: Backup | undefined;
        try {
          backup = await w.run(faulty.cluster);
        } catch (e) {
          failures++;
          const isCrash = kind.startsWith('crash');
          assert.ok(isCrash ? e instanceof ClusterCrash || DmaasError.is(e) : DmaasError.is(e), `${where()}: ${String(e)}`);
        }
        if (faulty.calls.length < at) calls = at; // the run has fewer calls than that: it went through undisturbed
        await w.cluster.settle();
        assert.deepEqual(w.application(), before, where());
        // A process that lives cleans up after itself, unless it is cleaning up that fails.
        if (kind !== 'crash-after' && at <= cleanupFrom) assert.deepEqual(w.temporary(), [], where());
        if (backup !== undefined) await verify(w, backup);
        // What one process could not finish, the next one does.
        await verify(w, await w.run());
        await w.cluster.settle();
        assert.deepEqual(w.temporary(), [], where());
        assert.deepEqual(w.application(), before, where());
      }
      assert.ok(failures > 10, `only ${failures} failures`);
    });
  }

  it('is removed from the cluster by cleanup, whatever call it died at', async function () {
    this.timeout(240_000);
    for (let at = 1, done = false; !done; at += 2) {
      const w = await world();
      const before = w.application();
      const faulty = new FaultyCluster(w.cluster, { at, kind: 'crash-after' });
      await w.run(faulty.cluster).catch((e: unknown) => {
        if (!(e instanceof ClusterCrash) && !DmaasError.is(e)) throw e;
      });
      done = faulty.calls.length < at;
      await w.cluster.settle();
      const left = w.temporary();
      const operations = await listOperations(w.cluster, 'shop');
      assert.equal(operations.length, left.some((name) => !name.startsWith('VolumeSnapshotContent/')) ? 1 : 0);
      const report = await cleanupOperation(w.cluster, 'shop', ID, { goneTimeoutMs: 1000 });
      await w.cluster.settle();
      assert.deepEqual(report.findings, []);
      assert.deepEqual(w.temporary(), []);
      assert.deepEqual(w.application(), before);
      await cleanupOperation(w.cluster, 'shop', ID);
    }
  });

  const SET = workload('StatefulSet', 'data-set', {}, { spec: { replicas: 3 } });
  const withSet = (object = SET) => {
    const app = application(VOLUMES);
    return { ...app, members: [...app.members, { object, because: [] }] };
  };
  const stoppingWorld = () => world({ options: { objects: [...OBJECTS, SET] } }, withSet(), { quiesce: 'scale' });

  it('that stops workloads says so to whoever comes after it died, whatever call it died at, and cleaning up starts them', async function () {
    this.timeout(240_000);
    const calm = await stoppingWorld();
    const backup = await calm.run();
    const repository = await openOrCreateRepository(calm.store, UNLOCK);
    const recorded = (await readManifests(repository, backup.manifests)).find(({ object }) => object.kind === SET.kind);
    await repository.close();
    assert.equal(numberAt(recorded?.object, 'spec', 'replicas'), 3);
    let deaths = 0;
    for (let at = 1, done = false; !done; at++) {
      const w = await stoppingWorld();
      const faulty = new FaultyCluster(w.cluster, { at, kind: 'crash-after' });
      await assert.rejects(w.run(faulty.cluster), (e) => e instanceof ClusterCrash || DmaasError.is(e));
      await w.cluster.settle();
      const now = await w.cluster.get(refOf(SET));
      assert.ok(now);
      const isStopped = numberAt(now, 'spec', 'replicas') === 0;
      const operations = await listOperations(w.cluster, 'shop');
      assert.deepEqual(
        operations.flatMap(({ stopped }) => stopped),
        isStopped ? [refOf(SET)] : [],
        faulty.calls[at - 1],
      );
      const next = planBackup('next2345' as OperationId, withSet(now), [], await gatherCaptureFacts(w.cluster, 'shop'), { live: true });
      assert.deepEqual(
        next.findings.some((f) => f.level === 'blocker'),
        isStopped,
      );
      await cleanupOperation(w.cluster, 'shop', ID, { goneTimeoutMs: 1000 });
      assert.equal(numberAt(await w.cluster.get(refOf(SET)), 'spec', 'replicas'), 3);
      done = deaths > 0 && !isStopped; // from here on it is like any other backup
      if (isStopped) deaths++;
    }
    assert.ok(deaths > 5, `it died only ${deaths} times while the workload was stopped`);
  });

  it('says that the application is still stopped when it cannot be started', async () => {
    const w = await stoppingWorld();
    let patches = 0;
    const failing = new Proxy(w.cluster, {
      get: (target, property) => {
        if (property === 'patch')
          return (...args: Parameters<Cluster['patch']>) =>
            ++patches === 1 ? target.patch(...args) : Promise.reject(new DmaasError('CLUSTER_UNREACHABLE', 'the server is gone'));
        const member: unknown = Reflect.get(target, property, target);
        return typeof member === 'function' ? (member.bind(target) as unknown) : member;
      },
    });
    await assert.rejects(w.run(failing), (e) => {
      assert.ok(DmaasError.is(e, 'CLUSTER_UNREACHABLE'));
      assert.match(e.hint ?? '', /the application may still be stopped: kubectl dmaas cleanup abcdefgh -n shop$/);
      return true;
    });
  });

  it('stops at any call when it is told to, and leaves nothing behind', async function () {
    this.timeout(240_000);
    for (let at = 1, done = false; !done; at++) {
      const w = await world();
      const before = w.application();
      const stop = new AbortController();
      const faulty = new FaultyCluster(w.cluster, {
        at,
        kind: 'notice',
        onCall: () => {
          stop.abort();
        },
      });
      let failure: unknown;
      await w.run(faulty.cluster, stop.signal).catch((e: unknown) => (failure = e));
      done = faulty.calls.length < at;
      await w.cluster.settle();
      assert.ok(failure === undefined || DmaasError.is(failure, 'CANCELLED'), String(failure));
      assert.deepEqual(w.temporary(), [], faulty.calls[at - 1]);
      assert.deepEqual(w.application(), before);
      if (at === 20) {
        assert.ok(DmaasError.is(failure));
        assert.equal(failure.message, 'the backup of web was stopped; the application was not touched');
        assert.match(failure.hint ?? '', /nothing is left behind/);
      }
    }
  });

  it('names the command that cleans up when cleaning up fails', async () => {
    const w = await world({ pod: () => ({ phase: 'Failed', containerStatuses: [{ state: { terminated: { exitCode: 22 } } }] }) });
    const refusing = new Proxy(w.cluster, {
      get: (target, property) => {
        if (property === 'delete') return () => Promise.reject(new DmaasError('CLUSTER_FORBIDDEN', 'no'));
        const member: unknown = Reflect.get(target, property, target);
        return typeof member === 'function' ? (member.bind(target) as unknown) : member;
      },
    });
    await assert.rejects(w.run(refusing), (e) => {
      assert.ok(DmaasError.is(e, 'MOVER_FAILED'));
      assert.match(e.message, /exit code 22/);
      assert.match(e.hint ?? '', /temporary objects could not be removed: kubectl dmaas cleanup abcdefgh -n shop$/);
      return true;
    });
    assert.notDeepEqual(w.temporary(), []);
    await cleanupOperation(w.cluster, 'shop', ID);
    await w.cluster.settle();
    assert.deepEqual(w.temporary(), []);
  });

  it('is of one moment: results of an earlier attempt are not mixed with those of newer volume snapshots', async () => {
    const fail = new Set(['uploads']);
    const w = await world({ pod: ({ volume }) => (fail.has(volume.claim) ? { phase: 'Failed' } : undefined) });
    await assert.rejects(w.run(), (e) => DmaasError.is(e, 'MOVER_FAILED'));
    const repository = await openOrCreateRepository(w.store, UNLOCK);
    await writeFile(join(volumes, 'data', 'later'), 'written after the first attempt');
    try {
      fail.clear();
      const backup = await w.run();
      assert.equal(backup.volumes[0]?.files, 2);
      assert.equal((await repository.runs.list(ID)).filter((name) => name.startsWith('volume-0-')).length, 2);
    } finally {
      await rm(join(volumes, 'data', 'later'));
      await repository.close();
    }
  });

  for (const effect of ['before', 'after'] as const) {
    it(`is of one moment wherever an attempt with newer volume snapshots loses the store, ${effect} a call takes effect`, async function () {
      this.timeout(240_000);
      const later = VOLUMES.map(({ claim }) => join(volumes, claim.name, 'later'));
      let failures = 0;
      for (let at = 1, done = false; !done; at++) {
        const fail = new Set(['uploads']);
        const store = new FaultyStore(new MemoryStore());
        const w = await world(
          { pod: ({ volume }) => (fail.has(volume.claim) ? { phase: 'Failed' } : undefined) },
          undefined,
          undefined,
          store,
        );
        w.maxMovers = 1; // so that the first volume is done when the second fails
        await assert.rejects(w.run(), (e) => DmaasError.is(e, 'MOVER_FAILED'));
        fail.clear();
        try {
          for (const path of later) await writeFile(path, 'written after the first attempt');
          store.heal();
          const lost = { key: 'runs/', fault: { kind: 'error' } } as const;
          if (effect === 'after') store.addRule({ key: 'runs/', from: at, times: 1, fault: { kind: 'lost-acknowledgement' } });
          store.addRule({ ...lost, from: effect === 'before' ? at : at + 1 });
          await w.run().catch((e: unknown) => {
            assert.ok(DmaasError.is(e), String(e));
            failures++;
          });
          done = store.calls.filter(({ key }) => key.startsWith('runs/')).length < at;
          store.heal();
          const backup = await w.run();
          assert.deepEqual(
            backup.volumes.map(({ claim, files }) => [claim, files]),
            [
              ['data', 2],
              ['uploads', 2],
            ],
            `${effect} call ${at}`,
          );
        } finally {
          for (const path of later) await rm(path);
        }
      }
      assert.ok(failures > 5, `only ${failures} failures`);
    });
  }

  it('is of one moment: a claim made from an older volume snapshot, which could not be removed, is not read', async () => {
    const fail = new Set(['data']);
    const w = await world({ pod: ({ volume }) => (fail.has(volume.claim) ? { phase: 'Failed' } : undefined) });
    const keeping = new Proxy(w.cluster, {
      get: (target, property) => {
        const member: unknown = Reflect.get(target, property, target);
        if (typeof member !== 'function') return member;
        const bound = member.bind(target) as (...args: unknown[]) => unknown;
        if (property !== 'delete') return bound;
        return (...args: unknown[]) => {
          const isClaim = (args[0] as { kind: string }).kind === 'PersistentVolumeClaim';
          return isClaim ? Promise.reject(new DmaasError('CLUSTER_UNREACHABLE', 'no answer')) : bound(...args);
        };
      },
    });
    await assert.rejects(w.run(keeping), (e) => DmaasError.is(e, 'MOVER_FAILED'));
    await w.cluster.settle();
    assert.deepEqual(w.temporary(), ['PersistentVolumeClaim/dmaas-abcdefgh-claim-0']);
    fail.clear();
    await assert.rejects(w.run(), (e) => DmaasError.is(e, 'CLUSTER_CONFLICT'));
    await w.cluster.settle();
    assert.deepEqual(w.temporary(), []);
    await verify(w, await w.run());
  });

  it('goes on with the volume snapshots of a process that died', async () => {
    const calm = await world();
    const rehearsal = new FaultyCluster(calm.cluster);
    await calm.run(rehearsal.cluster);
    const at = 1 + rehearsal.calls.findIndex((call) => call.startsWith('create') && call.includes('"Job"'));
    const w = await world();
    const faulty = new FaultyCluster(w.cluster, { at, kind: 'crash-after' });
    await assert.rejects(w.run(faulty.cluster), ClusterCrash);
    await w.cluster.settle();
    const snapshots = () =>
      w.cluster
        .objects()
        .filter((o) => o.kind === 'VolumeSnapshot')
        .map((o) => o.metadata.uid);
    assert.equal(snapshots().length, 1);
    const created: (string | undefined)[] = [];
    w.cluster.onWrite(({ type, object }) => {
      if (type === 'created' && object.kind === 'VolumeSnapshot') created.push(object.metadata.uid);
    });
    await verify(w, await w.run());
    assert.deepEqual(created, []);
  });

  it('waits for a volume snapshot through errors that pass, and reports the last one when time is up', async () => {
    const w = await world({ snapshotStatus: () => ({ readyToUse: false, error: { message: 'the object has been modified' } }) });
    const stop = w.cluster.onWrite(({ object }) => {
      if (object.kind !== 'VolumeSnapshot' || (object['status'] as { readyToUse?: boolean } | undefined)?.readyToUse !== false) return;
      w.cluster.put({ ...object, status: { ...(object['status'] as object), readyToUse: true, creationTime: '2026-11-22T12:00:00Z' } });
    });
    await verify(w, await w.run());
    stop();
    const never = await world({ snapshotStatus: () => ({ readyToUse: false, error: { message: 'out of space' } }) });
    await assert.rejects(never.run(), (e) => {
      assert.ok(DmaasError.is(e, 'TIMEOUT'));
      assert.match(e.message, /persistentvolumeclaim\/data was not ready within 0 s: out of space$/);
      return true;
    });
    await never.cluster.settle();
    assert.deepEqual(never.temporary(), []);
  });

  it('says why a mover does not start', async () => {
    const waiting = { phase: 'Pending', containerStatuses: [{ state: { waiting: { reason: 'ImagePullBackOff', message: 'not found' } } }] };
    const w = await world({ pod: () => waiting });
    await assert.rejects(w.run(), (e) => {
      assert.ok(DmaasError.is(e, 'TIMEOUT'));
      assert.match(
        e.message,
        /^the mover of claim \w+ has not run for 0 s: its image dmaas.io\/mover:\S+ cannot be pulled \(ImagePullBackOff\): not found$/,
      );
      assert.match(e.hint ?? '', /--mover-image/);
      return true;
    });
    await w.cluster.settle();
    assert.deepEqual(w.temporary(), []);
  });

  it('goes on when the API server is away while movers work', async () => {
    const w = await world();
    let away = 0;
    const flaky = new Proxy(w.cluster, {
      get: (target, property) => {
        const member: unknown = Reflect.get(target, property, target);
        if (typeof member !== 'function') return member;
        const bound = member.bind(target) as (...args: unknown[]) => unknown;
        if (property !== 'get') return bound;
        return (...args: unknown[]) => {
          const isJob = (args[0] as { kind: string }).kind === 'Job';
          const isStarted = target.objects().some((o) => o.kind === 'Pod');
          if (isJob && isStarted && away++ < 5) return Promise.reject(new DmaasError('CLUSTER_UNREACHABLE', 'no answer'));
          return bound(...args);
        };
      },
    });
    await verify(w, await w.run(flaky));
    assert.ok(away > 5);
  });

  it('refuses before it changes anything, with everything that is in the way', async () => {
    const w = await world({
      options: {
        forbid: [
          { verb: 'create', resource: 'jobs' },
          { verb: 'create', resource: 'secrets' },
        ],
      },
    });
    await w.cluster.delete(VOLUMES[1]!.claim);
    const before = w.cluster.objects();
    await assert.rejects(w.run(), (e) => {
      assert.ok(DmaasError.is(e, 'PREFLIGHT_FAILED'));
      assert.equal(e.message, 'web cannot be backed up: this identity may not create jobs.batch in namespace shop (and 2 more)');
      assert.equal(e.hint, 'kubectl auth can-i create jobs.batch -n shop');
      return true;
    });
    const found = w.events.flatMap((e) => (e.type === 'finding' && e.finding.level === 'blocker' ? e.finding.code : []));
    assert.deepEqual(found, ['access-denied', 'access-denied', 'plan-outdated']);
    assert.deepEqual(w.cluster.objects(), before);
  });
});
