import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { DmaasEvent } from '../../core/src/events.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { captureVolume } from '../../core/src/mover/capture.ts';
import { JobMover } from '../../core/src/mover/job-mover.ts';
import { LABELS } from '../../core/src/operation.ts';
import type { OperationId } from '../../core/src/operation.ts';
import { formatKey } from '../../core/src/repository/keys/keys.ts';
import { openOrCreateRepository } from '../../core/src/repository/repository.ts';
import { canariesOf, tryCanaries } from '../../core/src/restore/canary.ts';
import type { BackupView, RestorePlan, TargetState } from '../../core/src/restore/model.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { cleanupOperation } from '../../core/src/transfer/cleanup.ts';
import { ClusterCrash, FaultyCluster } from '../support/faulty-cluster.ts';
import { simulatedCluster } from '../support/simulated-cluster.ts';
import type { SimulationOptions } from '../support/simulated-cluster.ts';
import { claimOf, emptyTarget, kube, plan, shop, storageClass, volumeOf } from '../support/restore.ts';

const ID = 'canaryab' as OperationId;
const UNLOCK = new Uint8Array(32).fill(7);
const QUICK = { poll: 20, pending: 150, imagePull: 50, outage: 5000, ending: 2000, unremarkable: 0 };
const SPACE: KubeObject = {
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'shop', labels: { 'kubernetes.io/metadata.name': 'shop' } },
};

function target(more: Partial<TargetState> = {}): TargetState {
  return emptyTarget({ namespace: SPACE, storageClasses: [storageClass('fast', true), storageClass('slow')], ...more });
}

/** The shop with three volumes of the same set, and one of another class. */
function backup(root = 'root'): BackupView {
  const view = shop();
  const names = ['data-db-0', 'data-db-1', 'data-db-2'];
  const others = view.objects.filter((o) => o.kind !== 'PersistentVolumeClaim');
  return {
    ...view,
    objects: [...others, ...names.map((name) => claimOf(name, 'fast', '20Gi')), claimOf('uploads', 'slow', '64Mi')],
    volumes: [...names.map((name) => volumeOf(name, { root })), volumeOf('uploads', { root, storageClass: 'slow' })],
  };
}

describe('canaries', () => {
  it('stand for volumes that differ in nothing but their names, small, and as the plan makes them', () => {
    const canaries = canariesOf(ID, plan(backup(), target()), target());
    assert.deepEqual(
      canaries.map(({ storageClass: name, populate, claim }) => [name, populate.claim.name, claim.metadata.name, claim['spec']]),
      [
        [
          'fast',
          'data-db-0',
          'dmaas-canaryab-canary-0',
          { accessModes: ['ReadWriteOnce'], storageClassName: 'fast', resources: { requests: { storage: '1Gi' } } },
        ],
        [
          'slow',
          'uploads',
          'dmaas-canaryab-canary-1',
          { accessModes: ['ReadWriteOnce'], storageClassName: 'slow', resources: { requests: { storage: '64Mi' } } },
        ],
      ],
    );
    assert.deepEqual(canaries[0]?.claim.metadata.labels, {
      'app.kubernetes.io/managed-by': 'dmaas',
      'dmaas.io/operation': ID,
      'dmaas.io/role': 'canary-claim',
    });
    assert.deepEqual(canaries[0].populate.placement.tolerations, [{ key: 'db' }], 'where the workload may run');
  });

  it('are of classes that exist, mapped or not, and of claims that the plan makes', () => {
    const mapped = plan(backup(), target(), { storageClassMap: { slow: 'fast' } });
    const classes = (p: RestorePlan, t = target()) => canariesOf(ID, p, t).map((c) => c.storageClass);
    assert.deepEqual(classes(mapped), ['fast', 'fast'], 'another node for the front end');
    const onlySlow = target({ storageClasses: [storageClass('slow')] });
    assert.deepEqual(classes(plan(backup(), onlySlow), onlySlow), ['slow']);
    const existing = target({ existing: [claimOf('uploads', 'slow')] });
    assert.deepEqual(classes(plan(backup(), existing, { conflict: 'skip' }), existing), ['fast']);
    assert.deepEqual(classes(plan(backup(), target(), { resourcesOnly: true })), []);
  });
});

describe('trying canaries', () => {
  let directory: string;
  const store = new MemoryStore();
  let root: string;
  let worlds = 0;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'dmaas-test-canary-'));
    await mkdir(join(directory, 'source'));
    await writeFile(join(directory, 'source/file'), 'content');
    const repository = await openOrCreateRepository(store, UNLOCK);
    const source = { name: 'source', path: join(directory, 'source'), mode: 'filesystem', repository } as const;
    ({ root } = await captureVolume(source, { emit: () => undefined }));
    await repository.close();
  });

  after(() => rm(directory, { recursive: true }));

  function world(sim: Partial<SimulationOptions> = {}, at: TargetState = target()) {
    const volumes = join(directory, `volumes-${worlds++}`);
    const open = () => openOrCreateRepository(store, UNLOCK);
    const cluster = simulatedCluster({ volumes, repository: open, ...sim, options: { objects: [SPACE], ...sim.options } });
    const events: DmaasEvent[] = [];
    const seen: KubeObject[] = [];
    cluster.onWrite(({ type, object }) => {
      if (type !== 'deleted') seen.push(object);
    });
    const run = async (through: Cluster = cluster, signal?: AbortSignal) => {
      const repository = await open();
      try {
        await repository.runs.delete(ID); // each world is of one operation
        const mover = new JobMover({ cluster: through, runs: repository.runs, timing: QUICK, options: { activeDeadlineSeconds: 90 } });
        const deps = {
          cluster: through,
          mover,
          store: { provider: 'file', path: '/nowhere' } as const,
          unlock: formatKey(UNLOCK),
          maxMovers: 2,
        };
        const on = { emit: (e: DmaasEvent) => void events.push(e), ...(signal === undefined ? {} : { signal }) };
        return await tryCanaries(ID, plan(backup(root), at), at, deps, on);
      } finally {
        await repository.close();
      }
    };
    const left = () => cluster.objects().filter((o) => o.metadata.labels?.[LABELS.operation] === ID);
    return { cluster, run, left, events, seen, volumes };
  }
  const failing = (terminated: Record<string, unknown>) => ({ phase: 'Failed', containerStatuses: [{ state: { terminated } }] });

  it('says of each class that it works, and leaves nothing', async () => {
    const w = world();
    const findings = await w.run();
    assert.deepEqual(
      findings.map((f) => [f.level, f.code, f.message.replace(/\d+ s/, 'N s')]),
      ['fast', 'slow'].map((name) => [
        'info',
        'canary-passed',
        `a mover wrote to a new volume of storage class ${name} and read from the bucket, N s after it was asked for`,
      ]),
    );
    await w.cluster.settle();
    assert.deepEqual(w.left(), []);
    for (const claim of await readdir(w.volumes)) assert.deepEqual(await readdir(join(w.volumes, claim)), [], claim);
    assert.deepEqual(
      w.events.map((e) => (e.type === 'step' ? `${e.title} ${e.state}` : e.type)).sort(),
      ['fast', 'slow'].flatMap((name) => [`try storage class ${name} with a canary done`, `try storage class ${name} with a canary start`]),
    );
  });

  it('uses what the movers of the restore use', async () => {
    const w = world();
    await w.run();
    const job = w.seen.find((o) => o.kind === 'Job');
    const { spec } = job as unknown as {
      spec: { backoffLimit: number; ttlSecondsAfterFinished: number; template: { spec: Record<string, unknown> } };
    };
    assert.deepEqual([spec.backoffLimit, spec.ttlSecondsAfterFinished], [0, 30]);
    assert.deepEqual(spec.template.spec['tolerations'], [{ key: 'db' }]);
    assert.match(JSON.stringify(spec.template.spec['containers']), /"add":\["DAC_OVERRIDE","CHOWN","FOWNER","FSETID","SETFCAP"\]/);
  });

  it('says why a volume is not made, of which class, and which other there is', async () => {
    const w = world({ pod: ({ volume }) => (volume.claim.endsWith('-0') ? { phase: 'Pending' } : undefined) });
    const event = (reason: string, message: string, type: string): KubeObject =>
      kube('v1', 'Event', `e-${reason}`, {
        ...{ type, reason, message, lastTimestamp: '2026-01-01T00:00:00Z' },
        involvedObject: { kind: 'PersistentVolumeClaim', name: 'dmaas-canaryab-canary-0' },
      });
    w.cluster.put(
      event('ExternalProvisioning', `Waiting for a volume to be created either by the external provisioner 'csi.test' or`, 'Normal'),
    );
    const [silent, works] = await w.run();
    assert.deepEqual(silent, {
      level: 'blocker',
      code: 'canary-volume',
      message: 'a canary on a volume of storage class fast failed: its volume is not made: provisioner csi.test has not answered',
      hint: '--map-storage-class fast=slow, or kubectl describe storageclass fast --context dr',
    });
    assert.equal(works?.code, 'canary-passed', 'one does not stop the other');
    await w.cluster.settle();
    assert.deepEqual(w.left(), []);
    w.cluster.put(event('ProvisioningFailed', 'rpc error: code = ResourceExhausted\n desc = pool full', 'Warning'));
    const [full] = await w.run();
    assert.match(full?.message ?? '', /its volume cannot be made: rpc error: code = ResourceExhausted desc = pool full$/);
  });

  it('tells image, node, admission, bucket and volume apart', async () => {
    const waiting = { waiting: { reason: 'ErrImageNeverPull', message: 'not there' } };
    const unschedulable = { type: 'PodScheduled', status: 'False', message: '0/1 nodes are available' };
    const said = (code: string) => failing({ exitCode: 21, message: JSON.stringify({ code, message: 'no', hint: 'look there' }) });
    const cases = [
      [{ phase: 'Pending', containerStatuses: [{ state: waiting }] }, 'canary-image', /cannot be pulled.*not there/, /--mover-image/],
      [
        { phase: 'Pending', conditions: [unschedulable] },
        'canary-node',
        /no node takes its pod: 0\/1/,
        /--map-node-selector zone=a:KEY=VALUE/,
      ],
      [said('STORE_ACCESS'), 'canary-bucket', /it said: no$/, /look there/],
      [said('MOVER_FAILED'), 'canary-failed', /it said: no$/, /look there/],
    ] as const;
    for (const [status, code, message, hint] of cases) {
      const w = world({ pod: () => status });
      const found = (await w.run())[1];
      assert.deepEqual([found?.level, found?.code], ['blocker', code]);
      assert.match(found?.message ?? '', message);
      assert.match(found?.hint ?? '', hint);
      await w.cluster.settle();
      assert.deepEqual(w.left(), [], code);
    }
    const refused = world({
      options: {
        before: ({ verb, resource }) => {
          if (verb === 'create' && resource === 'persistentvolumeclaims') throw new DmaasError('CLUSTER_REJECTED', 'exceeded quota');
        },
      },
    });
    assert.match((await refused.run())[0]?.message ?? '', /storage class fast failed: exceeded quota$/);
  });

  it('does not begin where it cannot, and says what is to be done first', async () => {
    const { namespace: _, ...without } = target();
    const forbid = [{ verb: 'delete', resource: 'persistentvolumeclaims' }];
    const hints = [
      (await world({}, without).run())[0],
      (await world({}, target({ denied: [{ verb: 'create', group: 'batch', resource: 'jobs', namespace: 'shop' }] })).run())[0],
      (await world({ options: { objects: [SPACE], forbid } }).run())[0],
    ].map((f) => [f?.level, f?.code, f?.hint]);
    assert.deepEqual(hints, [
      ['warning', 'canary-not-tried', 'kubectl create namespace shop --context dr'],
      ['warning', 'canary-not-tried', 'see what you may not do, above'],
      ['warning', 'canary-not-tried', 'kubectl auth can-i delete persistentvolumeclaims -n shop --context dr'],
    ]);
  });

  it('takes everything away when it is interrupted', async () => {
    const stop = new AbortController();
    const w = world({ pod: () => (stop.abort(), { phase: 'Pending' }) });
    await assert.rejects(w.run(w.cluster, stop.signal), (e) => DmaasError.is(e, 'CANCELLED'));
    await w.cluster.settle();
    assert.deepEqual(w.left(), []);
  });

  it('leaves nothing that does not go by itself or with a clean-up, whatever call the process died at', async function () {
    this.timeout(60_000);
    for (let at = 1, done = false; !done; at++) {
      const w = world();
      const faulty = new FaultyCluster(w.cluster, { at, kind: 'crash-after' });
      await w.run(faulty.cluster).catch((e: unknown) => {
        if (!(e instanceof ClusterCrash)) throw e;
      });
      done = faulty.calls.length < at;
      await w.cluster.settle();
      const jobs = new Set(w.left().flatMap((o) => (o.kind === 'Job' ? [o.metadata.uid] : [])));
      for (const o of w.left()) {
        if (o.kind === 'Job') assert.equal((o['spec'] as { activeDeadlineSeconds: number }).activeDeadlineSeconds, 90);
        else assert.ok(jobs.has(o.metadata.ownerReferences?.[0]?.uid), `${o.kind} goes with its Job`);
      }
      await cleanupOperation(w.cluster, 'shop', ID);
      assert.deepEqual(w.left(), [], faulty.calls[at - 1]);
    }
  });
});

describe('probing a volume', () => {
  it('says when it cannot be written', async () => {
    const { probeVolume } = await import('../../core/src/mover/probe.ts');
    const repository = await openOrCreateRepository(new MemoryStore(), UNLOCK);
    const directory = await mkdtemp(join(tmpdir(), 'dmaas-test-probe-'));
    try {
      await writeFile(join(directory, 'file'), 'content');
      const { root } = await captureVolume({ name: 'v', path: directory, mode: 'filesystem', repository }, { emit: () => undefined });
      const probe = (path: string, mode: 'filesystem' | 'block') => probeVolume({ name: 'v', path, mode, repository, root }, {});
      await probe(directory, 'filesystem');
      assert.deepEqual(await readdir(directory), ['file']);
      await assert.rejects(
        probe(join(directory, 'none'), 'filesystem'),
        (e) => DmaasError.is(e, 'MOVER_FAILED') && /ENOENT/.test(e.message),
      );
      await writeFile(join(directory, 'device'), Buffer.alloc(1 << 20));
      await probe(join(directory, 'device'), 'block');
      assert.ok((await readFile(join(directory, 'device'))).subarray(0, 16 << 10).some((byte) => byte !== 0));
      await assert.rejects(probe('/dev/full', 'block'), (e) => DmaasError.is(e, 'MOVER_FAILED') && /ENOSPC/.test(e.message));
      // A device that takes everything and keeps nothing.
      await assert.rejects(probe('/dev/null', 'block'), (e) => DmaasError.is(e, 'MOVER_FAILED'));
      await assert.rejects(
        probeVolume({ name: 'v', path: directory, mode: 'filesystem', repository, root: 'f'.repeat(64) as typeof root }, {}),
      );
      assert.deepEqual((await readdir(directory)).sort(), ['device', 'file']);
    } finally {
      await repository.close();
      await rm(directory, { recursive: true });
    }
  });
});
