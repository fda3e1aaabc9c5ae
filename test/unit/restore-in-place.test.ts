import assert from 'node:assert/strict';
import type { AppVolume } from '../../core/src/discovery/application.ts';
import { KNOWN_KINDS } from '../../core/src/cluster/known-kinds.ts';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { parsePlanDocument } from '../../core/src/restore/plan-document.ts';
import { planInPlace } from '../../core/src/restore/plan-in-place.ts';
import type { RestoreOptions } from '../../core/src/restore/model.ts';
import { STOPPED } from '../../core/src/restore/stopping.ts';
import { cleanupOperation } from '../../core/src/transfer/cleanup.ts';
import { application, appVolume, claimObject, FAST_CLASS, snapshotClass } from '../support/application.ts';
import { workload } from '../support/manifests.ts';
import { OPERATION, outline, shop, volumeOf } from '../support/restore.ts';

const set = (name: string, change: object = {}, metadata: object = {}): KubeObject =>
  workload('StatefulSet', name, {}, { metadata: { namespace: 'shop', name, ...metadata }, spec: { replicas: 3, ...change } });
const ref = (name: string) => ({ apiVersion: 'apps/v1', kind: 'StatefulSet', name, namespace: 'shop' });

interface Situation {
  readonly volumes?: readonly AppVolume[];
  readonly workloads?: readonly KubeObject[];
  readonly classes?: readonly KubeObject[];
  readonly options?: Partial<RestoreOptions>;
}

function planned({ volumes, workloads = [set('db'), set('web')], classes, options = {} }: Situation = {}) {
  const there = volumes ?? [appVolume('data-db-0', { consumers: [ref('db')] }), appVolume('uploads', { consumers: [ref('web')] })];
  const claims = there.map((v) => ({ ...claimObject(v), metadata: { name: v.claim.name, namespace: 'shop', uid: `uid-${v.claim.name}` } }));
  const app = application(there, { members: claims.map((object) => ({ object, because: [] })) });
  const capture = { hasSnapshotApi: true, storageClasses: [FAST_CLASS], snapshotClasses: classes ?? [snapshotClass('snap')] };
  const backup = { ...shop(), volumes: [volumeOf('data-db-0'), volumeOf('uploads')] };
  const facts = { context: 'memory', clusterId: 'cluster-1', kinds: KNOWN_KINDS, app, consumers: workloads, capture };
  return planInPlace(OPERATION, backup, facts, { activate: true, inPlace: true, ...options });
}
const codes = (situation: Situation) => planned(situation).findings.map((f) => `${f.level} ${f.code}`);

describe('a plan of a restore in place', () => {
  it('stops what uses the volumes, takes volume snapshots, rewrites, and starts again, in this order', () => {
    const plan = planned();
    assert.deepEqual(outline(plan.steps), [
      'stop statefulset/db',
      'stop statefulset/web',
      'wait-unused data-db-0 uploads',
      'snapshot volumesnapshot/dmaas-abcdefgh-undo-0',
      'snapshot volumesnapshot/dmaas-abcdefgh-undo-1',
      'populate data-db-0',
      'populate uploads',
      'start statefulset/db',
      'start statefulset/web',
      'wait-ready statefulset/db',
      'wait-ready statefulset/web',
    ]);
    assert.deepEqual(plan.findings, []);
    assert.deepEqual(parsePlanDocument(JSON.stringify(plan)).steps, plan.steps);
  });

  it('of one volume touches nothing else; its data may go to a claim of another name', () => {
    assert.deepEqual(outline(planned({ options: { volumes: { uploads: 'uploads' }, withoutUndo: true } }).steps), [
      'stop statefulset/web',
      'wait-unused uploads',
      'populate uploads',
      'start statefulset/web',
      'wait-ready statefulset/web',
    ]);
    const crossed = planned({ options: { volumes: { uploads: 'data-db-0' } } }).steps.find((s) => s.do === 'populate');
    assert.deepEqual([crossed?.claim.name, crossed?.root, crossed?.inPlace?.uid], ['data-db-0', 'root-uploads', 'uid-data-db-0']);
  });

  it('goes back to the claim as it is, made from the volume snapshot', () => {
    const step = planned().steps.find((s) => s.do === 'snapshot');
    const spec = step?.back['spec'] as { dataSource: unknown; volumeName?: string; resources: unknown };
    assert.deepEqual(spec.dataSource, { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'dmaas-abcdefgh-undo-0' });
    assert.equal(spec.volumeName, undefined);
    assert.equal(step?.back.metadata.labels?.['dmaas.io/operation'], undefined, 'deleting the restore would delete it');
  });

  it('leaves everything stopped when it is not to be activated', () => {
    assert.ok(!outline(planned({ options: { activate: false } }).steps).some((s) => s.startsWith('start')));
    assert.deepEqual(codes({ options: { activate: false } }), ['info staged']);
  });

  it('does not stop what has no replicas', () => {
    assert.ok(!outline(planned({ workloads: [set('db', { replicas: 0 }), set('web')] }).steps).includes('stop statefulset/db'));
  });

  const db = (change: Partial<AppVolume>) => [
    appVolume('data-db-0', { consumers: [ref('db')], ...change }),
    appVolume('uploads', { consumers: [] }),
  ];
  for (const [what, situation, expected] of [
    ['a claim that is not there', { volumes: [appVolume('uploads', { consumers: [] })] }, ['blocker claim-missing']],
    ['a claim of another mode', { volumes: db({ mode: 'block' }) }, ['blocker volume-mode']],
    ['a claim without a volume', { volumes: db({ phase: 'Pending' }) }, ['blocker claim-not-bound']],
    ['a volume that is too small', { volumes: db({ capacityBytes: 10 }) }, ['warning claim-too-small']],
    ['a volume without snapshots', { volumes: db({ driver: 'nfs' }) }, ['blocker volume-not-csi']],
    ['a driver without a snapshot class', { classes: [] }, ['blocker snapshot-class-missing']],
    [
      'no way back, when it was asked for so',
      { classes: [], options: { withoutUndo: true } },
      ['warning no-way-back', 'warning no-way-back'],
    ],
    [
      'what cannot be stopped',
      { volumes: db({ consumers: [{ apiVersion: 'acme.test/v1', kind: 'Db', name: 'main', namespace: 'shop' }] }) },
      ['blocker cannot-be-stopped'],
    ],
    [
      'what deletes its claims when it is stopped',
      { workloads: [set('db', { persistentVolumeClaimRetentionPolicy: { whenScaled: 'Delete' } }), set('web')] },
      ['blocker claims-go-with-replicas'],
    ],
    [
      'what another restore has stopped',
      { workloads: [set('db', {}, { labels: { [STOPPED.label]: 'bcdefghj' } }), set('web')] },
      ['blocker stopped-by-another'],
    ],
  ] as const satisfies readonly (readonly [string, Situation, readonly string[]])[]) {
    it(`names ${what}`, () => {
      assert.deepEqual([...new Set(codes(situation))], [...new Set(expected)]);
    });
  }

  it('keeps its way back when movers are cleaned up', async () => {
    const content = (name: string): KubeObject => ({
      apiVersion: 'snapshot.storage.k8s.io/v1',
      kind: 'VolumeSnapshotContent',
      metadata: { name: `content-${name}` },
      spec: { deletionPolicy: 'Retain', volumeSnapshotRef: { name: `dmaas-${OPERATION}-${name}-0`, namespace: 'shop' } },
    });
    const cluster = new MemoryCluster({ objects: [content('undo'), content('snapshot')] });
    await cleanupOperation(cluster, 'shop', OPERATION);
    const found = (name: string) => cluster.get({ apiVersion: 'snapshot.storage.k8s.io/v1', kind: 'VolumeSnapshotContent', name });
    assert.deepEqual([(await found('content-undo')) !== undefined, (await found('content-snapshot')) !== undefined], [true, false]);
  });

  it('takes up the replicas of an attempt before', () => {
    const stopped = set(
      'db',
      { replicas: 0 },
      { labels: { [STOPPED.label]: OPERATION }, annotations: { [STOPPED.back]: '{"spec":{"replicas":3}}' } },
    );
    const step = planned({ workloads: [stopped, set('web')] }).steps.find((s) => s.do === 'stop');
    assert.deepEqual([step?.ref.name, step?.back], ['db', { spec: { replicas: 3 } }]);
  });
});
