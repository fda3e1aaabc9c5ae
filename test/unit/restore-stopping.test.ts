import assert from 'node:assert/strict';
import { KNOWN_KINDS } from '../../core/src/cluster/known-kinds.ts';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { refKey, refOf } from '../../core/src/model.ts';
import type { KubeObject, ObjectRef } from '../../core/src/model.ts';
import { assertConsent } from '../../core/src/restore/consent.ts';
import {
  assertStill,
  createPod,
  deletePod,
  gatherInPlace,
  startWorkload,
  stopWorkload,
  waitUnused,
} from '../../core/src/restore/in-place.ts';
import { volumeLeft } from '../../core/src/restore/go-back.ts';
import type { RestorePlan, StopStep } from '../../core/src/restore/model.ts';
import { parsePlanDocument } from '../../core/src/restore/plan-document.ts';
import { planInPlace } from '../../core/src/restore/plan-in-place.ts';
import { STOPPED, stoppingOf } from '../../core/src/restore/stopping.ts';
import { storageClass, claimOf, kube, live, OPERATION, outline, shop, volumeOf } from '../support/restore.ts';

type Fields = Readonly<Record<string, unknown>>;
const quiet = { emit: () => undefined };
const context = { id: OPERATION, context: 'dr', kinds: KNOWN_KINDS, allow: [] };
const stopping = (o: KubeObject, more: Partial<Parameters<typeof stoppingOf>[2]> = {}) => stoppingOf(refOf(o), o, { ...context, ...more });
const pod = (fields: Fields = {}, metadata: Fields = {}): KubeObject =>
  live(
    kube(
      'v1',
      'Pod',
      'single',
      { spec: { nodeName: 'node-1', containers: [{ name: 'main' }] }, status: { phase: 'Running' }, ...fields },
      metadata,
    ),
  );
const job = (spec: Fields = {}, status: Fields = {}): KubeObject => kube('batch/v1', 'Job', 'import', { spec, status });
const deployment = (metadata: Fields = {}): KubeObject => kube('apps/v1', 'Deployment', 'web', { spec: { replicas: 2 } }, metadata);

describe('stopping what uses a volume', () => {
  const inactive = { 'dmaas.io/inactive': 'true' };
  const rows: readonly (readonly [KubeObject, unknown, unknown, readonly string[]])[] = [
    [deployment(), { spec: { replicas: 0 } }, { spec: { replicas: 2 } }, []],
    [
      kube('apps/v1', 'DaemonSet', 'agent', { spec: {} }),
      { spec: { template: { spec: { nodeSelector: inactive } } } },
      { spec: { template: { spec: { nodeSelector: { 'dmaas.io/inactive': null } } } } },
      ['daemonset/agent runs on no node meanwhile: it gets a node selector that no node has'],
    ],
    [
      job(),
      { spec: { suspend: true } },
      { spec: { suspend: false } },
      ['job/import is suspended meanwhile: its pods are deleted, and it begins again'],
    ],
    [
      kube('batch/v1', 'CronJob', 'nightly', { spec: {} }),
      { spec: { suspend: true } },
      { spec: { suspend: false } },
      ['cronjob/nightly is suspended meanwhile: runs that fall into that time may be missed'],
    ],
  ];
  for (const [object, patch, back, says] of rows) {
    it(`of ${object.kind}: a patch, its reverse, and a sentence where it is not obvious`, () => {
      const { stops, starts, findings } = stopping(object);
      const [stop] = stops;
      assert.ok(stop?.do === 'stop');
      assert.deepEqual([stop.patch, stop.back], [patch, back]);
      assert.deepEqual(starts, [{ do: 'start', phase: 'activate', ref: refOf(object), patch: back }]);
      assert.deepEqual(
        findings.map((f) => f.message),
        says,
      );
    });

    it(`of ${object.kind}, and back, leaves it as it was`, async () => {
      const cluster = new MemoryCluster({ objects: [object] });
      const spec = async () => (await cluster.get(refOf(object)))?.['spec'];
      const [stop] = stopping(object).stops as [StopStep];
      assert.equal(await stopWorkload(cluster, OPERATION, stop), true);
      assert.notDeepEqual(await spec(), object['spec']);
      assert.equal((await cluster.get(refOf(object)))?.metadata.annotations?.[STOPPED.back], JSON.stringify(stop.back));
      assert.equal(await stopWorkload(cluster, OPERATION, stop), false, 'once');
      assert.equal(await startWorkload(cluster, OPERATION, stop.ref, stop.back), true);
      assert.equal(await startWorkload(cluster, OPERATION, stop.ref, stop.back), false, 'once');
      const after = await cluster.get(refOf(object));
      assert.deepEqual(Object.keys({ ...after?.metadata.labels, ...after?.metadata.annotations }), []);
      assert.deepEqual(
        JSON.parse(
          JSON.stringify(await spec())
            .replaceAll(/"(template|nodeSelector|suspend)":(\{\}|false),?/g, '')
            .replace('"template":{"spec":{}}', ''),
        ),
        object['spec'],
      );
    });
  }

  it('is not needed for what runs nothing', () => {
    const over = { conditions: [{ type: 'Complete', status: 'True' }] };
    for (const o of [
      job({ suspend: true }),
      job({}, over),
      pod({ status: { phase: 'Succeeded' } }),
      kube('apps/v1', 'Deployment', 'web', { spec: { replicas: 0 } }),
    ])
      assert.deepEqual(stopping(o).stops, [], o.kind);
  });

  it('of a bare pod is to delete it and to make it again from what it is', async () => {
    const single = pod();
    const { stops, starts, findings } = stopping(single);
    const [create] = starts;
    assert.ok(create?.do === 'create-pod');
    assert.deepEqual(stops, [{ do: 'delete-pod', phase: 'populate', ref: refOf(single), uid: 'uid-Pod-single' }]);
    assert.deepEqual(create.pod, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'single', namespace: 'shop' },
      spec: { containers: [{ name: 'main' }] },
    });
    assert.match(findings[0]?.message ?? '', /^pod\/single is deleted, and made again as it is now/);
    const cluster = new MemoryCluster({ objects: [single] });
    assert.equal(await deletePod(cluster, refOf(single), 'uid-Pod-single', quiet), true);
    assert.equal(await deletePod(cluster, refOf(single), 'uid-Pod-single', quiet), false);
    assert.equal(await createPod(cluster, create.pod), true);
    assert.equal(await createPod(cluster, create.pod), false);
    assert.equal(await deletePod(cluster, refOf(single), 'uid-Pod-single', quiet), false, 'that is another one');
    assert.equal(await deletePod(cluster, refOf(single), undefined, quiet), true, 'when it is undone, whichever it is');
  });

  it('of a static pod is left to whoever has the node', () => {
    const { findings } = stopping(pod({}, { annotations: { 'kubernetes.io/config.mirror': 'x' } }));
    assert.deepEqual(
      [findings[0]?.level, findings[0]?.code, findings[0]?.hint],
      ['blocker', 'cannot-be-stopped', 'move its manifest away on node node-1, and restore again'],
    );
  });
});

describe('stopping what somebody else manages', () => {
  const argo = { annotations: { 'argocd.argoproj.io/tracking-id': 'shop:apps/Deployment:shop/web' } };
  const argoElsewhere = { annotations: { 'argocd.argoproj.io/tracking-id': 'teams_shop:apps/Deployment:shop/web' } };
  const flux = { labels: { 'kustomize.toolkit.fluxcd.io/name': 'apps', 'kustomize.toolkit.fluxcd.io/namespace': 'flux-system' } };
  const helm = { labels: { 'helm.toolkit.fluxcd.io/name': 'shop', 'helm.toolkit.fluxcd.io/namespace': 'flux-system' } };
  const cluster = { apiVersion: 'postgresql.cnpg.io/v1', kind: 'Cluster', name: 'pg', namespace: 'shop' };
  const unknown = { apiVersion: 'acme.test/v1', kind: 'Db', name: 'main', namespace: 'shop' };
  const rows: readonly (readonly [Fields, ObjectRef | undefined, RegExp, RegExp])[] = [
    [
      argo,
      undefined,
      /Argo CD application shop/,
      /annotate applications\.argoproj\.io shop -n argocd --overwrite argocd\.argoproj\.io\/skip-reconcile=true --context dr/,
    ],
    [argoElsewhere, undefined, /Argo CD application shop/, / shop -n teams /],
    [
      flux,
      undefined,
      /Flux Kustomization apps/,
      /patch kustomizations\.kustomize\.toolkit\.fluxcd\.io apps -n flux-system .*"suspend":true/,
    ],
    [helm, undefined, /Flux HelmRelease shop/, /patch helmreleases\.helm\.toolkit\.fluxcd\.io shop /],
    [
      {},
      cluster,
      /the operator of cluster\/pg/,
      /annotate clusters\.postgresql\.cnpg\.io pg -n shop --overwrite cnpg\.io\/reconciliationLoop=disabled/,
    ],
    [argo, cluster, /the operator of cluster\/pg/, /cnpg/],
    [{}, unknown, /the operator of db\/main/, /pause the operator of db\/main \(kubectl scale deployment/],
  ];
  for (const [metadata, owner, name, pause] of rows) {
    it(`${name.source}: named, with the command that pauses it, and done with consent only`, () => {
      const by = owner === undefined ? {} : { owner };
      const [refused] = stopping(deployment(metadata), by).findings;
      assert.deepEqual([refused?.level, refused?.code], ['blocker', 'managed']);
      assert.match(refused?.message ?? '', name);
      assert.match(refused?.hint ?? '', pause);
      assert.match(refused?.hint ?? '', /, then --allow deployment\/web$/);
      const [allowed] = stopping(deployment(metadata), { ...by, allow: ['deployment/web'] }).findings;
      assert.deepEqual([allowed?.level, allowed?.code], ['info', 'managed-allowed']);
      assert.match(allowed?.hint ?? '', /afterwards/);
    });
  }

  it('a pod of a custom resource is deleted, and left to its operator', () => {
    const { stops, starts, isAwaited } = stopping(pod(), { owner: cluster, allow: ['*'] });
    assert.deepEqual([outline(stops), starts, isAwaited], [['delete-pod pod/single'], [], false]);
  });

  it('what nobody manages needs no consent', () => {
    assert.deepEqual(stopping(deployment({ labels: { 'app.kubernetes.io/managed-by': 'Helm' } })).findings, []);
  });
});

describe('finding what to stop', () => {
  const owned = (by: KubeObject, controller = true): Fields => ({
    ownerReferences: [{ apiVersion: by.apiVersion, kind: by.kind, name: by.metadata.name, uid: by.metadata.uid, controller }],
  });
  const claim = (name: string): KubeObject => ({ ...claimOf(name), metadata: { name, namespace: 'shop', uid: `uid-${name}` } });
  const using = (name: string, claimName: string, metadata: Fields): KubeObject =>
    kube(
      'v1',
      'Pod',
      name,
      {
        spec: { volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }], containers: [{ name: 'a' }] },
        status: { phase: 'Running' },
      },
      metadata,
    );

  it('goes up from the pods: to the workload of a custom resource, and to a CronJob with its Job', async () => {
    const set = live(
      kube(
        'apps/v1',
        'StatefulSet',
        'pg',
        { spec: { replicas: 1 } },
        { ownerReferences: [{ apiVersion: 'acme.test/v1', kind: 'Db', name: 'main', uid: 'x', controller: true }] },
      ),
    );
    const cron = live(kube('batch/v1', 'CronJob', 'nightly', { spec: { schedule: '@daily' } }));
    const running = live(kube('batch/v1', 'Job', 'nightly-1', { spec: {} }, owned(cron)));
    const objects = [
      storageClass('fast'),
      claim('data-db-0'),
      claim('uploads'),
      set,
      cron,
      running,
      using('pg-0', 'data-db-0', owned(set)),
      using('n-1', 'uploads', owned(running)),
    ];
    const cluster = new MemoryCluster({
      context: 'dr',
      objects: objects.map((o) => ({ ...o, metadata: { uid: refKey(refOf(o)), ...o.metadata } })),
    });
    const backup = { ...shop(), volumes: [volumeOf('data-db-0'), volumeOf('uploads')] };
    const options = { activate: true, inPlace: true, withoutUndo: true };
    const facts = await gatherInPlace(cluster, backup, options, quiet);
    const plan = planInPlace(OPERATION, backup, facts, options);
    assert.deepEqual(
      plan.findings.filter((f) => f.level === 'blocker').map((f) => f.message),
      ['statefulset/pg is kept as it is by the operator of db/main, which would start it again while its volume is rewritten'],
    );
    const allowed = planInPlace(OPERATION, backup, facts, { ...options, allow: ['statefulset'] });
    assert.deepEqual(outline(allowed.steps), [
      'stop statefulset/pg',
      'stop cronjob/nightly',
      'stop job/nightly-1',
      'wait-unused data-db-0 uploads',
      'populate data-db-0',
      'populate uploads',
      'start statefulset/pg',
      'start cronjob/nightly',
      'start job/nightly-1',
      'wait-ready statefulset/pg',
    ]);
    assert.ok(allowed.findings.every((f) => f.level !== 'blocker'));
    assert.deepEqual(parsePlanDocument(JSON.stringify(allowed)).steps, allowed.steps);
  });
});

describe('a plan in place that was edited', () => {
  const base = (steps: RestorePlan['steps']): RestorePlan => ({
    ...{ schema: 1, id: OPERATION, backup: 'b', backupId: 'r', options: { activate: true, inPlace: true }, findings: [], steps },
    source: { app: 'shop', namespace: 'shop', cluster: 'prod' },
    target: { context: 'dr', clusterId: 'c', namespace: 'shop' },
  });

  it('stops, and nothing else', () => {
    const [stop] = stopping(deployment()).stops as [StopStep];
    const evil = { ...stop, patch: { spec: { replicas: 0, template: { spec: { hostNetwork: true } } } } };
    assert.throws(
      () => parsePlanDocument(JSON.stringify(base([evil]))),
      (e) => DmaasError.is(e, 'USAGE'),
    );
  });

  it('makes no pod that nobody has allowed', () => {
    const [create] = stopping(pod({ spec: { hostNetwork: true, containers: [] } })).starts;
    assert.ok(create);
    const check = (plan: RestorePlan) => () => {
      assertConsent(parsePlanDocument(JSON.stringify(plan)), KNOWN_KINDS);
    };
    assert.throws(check(base([create])), /pod\/single runs pods with/);
    assert.doesNotThrow(check({ ...base([create]), options: { activate: true, allow: ['pod/single'] } }));
    const activate = {
      do: 'activate',
      phase: 'activate',
      ref: refOf(deployment()),
      how: '',
      patch: { spec: { template: { spec: { hostPID: true } } } },
    } as const;
    assert.throws(check(base([activate])), (e) => DmaasError.is(e, 'USAGE'), 'an activation starts, and nothing else');
  });
});

describe('what has been stopped', () => {
  const claims = [refOf(claimOf('data'))];
  const user = kube('v1', 'Pod', 'web-1', {
    spec: { containers: [], volumes: [{ name: 'd', persistentVolumeClaim: { claimName: 'data' } }] },
  });
  const mover = { ...user, metadata: { ...user.metadata, name: 'mover', labels: { 'dmaas.io/role': 'mover' } } };
  const stopped = async (objects: readonly KubeObject[] = []) => {
    const web = deployment();
    const cluster = new MemoryCluster({ objects: [live(web), ...objects.map(live)] });
    const stops = stopping(web).stops.filter((s) => s.do === 'stop');
    for (const stop of stops) await stopWorkload(cluster, OPERATION, stop);
    return { cluster, still: { claims, stops } };
  };

  it('and stays so is rewritten, whatever movers use the volume', async () => {
    const { cluster, still } = await stopped([mover]);
    await waitUnused(cluster, still, quiet);
    await assertStill(cluster, still);
  });

  it('and was at rest already is rewritten too', async () => {
    const { cluster, still } = await stopped();
    await assertStill(cluster, { ...still, stops: still.stops.map((stop) => ({ ...stop, patch: {} })) });
  });

  it('and is started by somebody else is not waited for', async () => {
    const { cluster, still } = await stopped([user]);
    await cluster.patch(refOf(deployment()), { spec: { replicas: 2 } });
    const says = /: somebody has started deployment\/web again before its volumes were rewritten/;
    await assert.rejects(waitUnused(cluster, still, quiet), says);
    await assert.rejects(assertStill(cluster, still), says);
  });

  it('and deleted uses nothing', async () => {
    const { cluster, still } = await stopped();
    await cluster.delete(refOf(deployment()));
    await assertStill(cluster, still);
  });

  it('leaves volumes that nobody used meanwhile, or they are not what the backup has', async () => {
    const { cluster, still } = await stopped([user]);
    await assert.rejects(assertStill(cluster, still), /: pod\/web-1 used the volumes while they were rewritten/);
  });
});

describe('the volume that an undo leaves', () => {
  it('is named when its reclaim policy keeps it, and nobody has it', async () => {
    const volume = (policy: string, uid: string): KubeObject => ({
      ...{ apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: 'pv-1' } },
      spec: { persistentVolumeReclaimPolicy: policy, claimRef: { uid } },
    });
    const left = async (...objects: KubeObject[]) => {
      const cluster = new MemoryCluster({
        context: 'dr',
        objects: [{ ...claimOf('data'), metadata: { name: 'data', namespace: 'shop', uid: 'new' } }, ...objects],
      });
      return (await volumeLeft(cluster, refOf(claimOf('data')), 'pv-1')).map((f) => [f.level, f.message, f.hint]);
    };
    assert.deepEqual(await left(volume('Retain', 'old')), [
      [
        'info',
        'persistentvolume/pv-1, which claim data had before it was put back, stays with what was restored to it: its reclaim policy is Retain',
        'kubectl delete persistentvolume pv-1 --context dr',
      ],
    ]);
    assert.deepEqual(await left(volume('Delete', 'old')), []);
    assert.deepEqual(await left(volume('Retain', 'new')), []);
    assert.deepEqual(await left(), []);
  });
});
