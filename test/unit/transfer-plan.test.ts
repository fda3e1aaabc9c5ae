import assert from 'node:assert/strict';
import { claimFindings } from '../../core/src/discovery/findings.ts';
import { refOf } from '../../core/src/model.ts';
import type { Finding, KubeObject } from '../../core/src/model.ts';
import type { OperationId } from '../../core/src/operation.ts';
import type { Backup } from '../../core/src/repository/records/backup-record.ts';
import type { BackupOptions, BackupPlan, CaptureFacts } from '../../core/src/transfer/model.ts';
import { planBackup, redactBackupPlan } from '../../core/src/transfer/plan.ts';
import { neededAccess, quotaFindings } from '../../core/src/transfer/preflight.ts';
import { QUIESCED } from '../../core/src/transfer/stopped.ts';
import { application, appVolume, FAST_CLASS, GI, snapshotClass } from '../support/application.ts';
import { manifest, workload } from '../support/manifests.ts';

const ID = 'abcdefgh' as OperationId;
const FACTS: CaptureFacts = { hasSnapshotApi: true, snapshotClasses: [snapshotClass('snap')], storageClasses: [FAST_CLASS], quotas: [] };
const RESTRICTED: CaptureFacts = {
  ...FACTS,
  namespace: {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'shop', labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  },
};

function plan(
  volume: Parameters<typeof appVolume>[1] = {},
  facts = FACTS,
  options: BackupOptions = {},
  history: readonly Backup[] = [],
): BackupPlan {
  return planBackup(ID, application([appVolume('data', volume)]), history, facts, options);
}

const found = (p: BackupPlan, level?: Finding['level']) =>
  p.findings.filter((f) => level === undefined || f.level === level).map((f) => f.code);

function backupOf(id: string, roots: Readonly<Record<string, string>>): Backup {
  const volumes = Object.entries(roots).map(([claim, root]) => ({ claim, mode: 'filesystem', root }));
  return { id, volumes } as unknown as Backup;
}

describe('the plan of a backup', () => {
  it('captures a CSI volume through a volume snapshot, with the classes of its driver', () => {
    const p = plan({
      nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: ['a'] }] }] } },
    });
    assert.deepEqual(p.findings, []);
    const [v] = p.volumes;
    assert.equal(v?.method, 'volume-snapshot');
    assert.deepEqual(v.staging, {
      snapshotClass: 'snap',
      snapshotRetained: false,
      storageClass: 'fast',
      bindsAtOnce: false,
      accessMode: 'ReadWriteOnce',
    });
    assert.deepEqual(v.placement, {
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: ['a'] }] }],
          },
        },
      },
    });
    assert.equal(v.profile, 'baseline');
    assert.equal(p.name, 'web-abcdefgh');
  });

  it('chooses the default snapshot class, else one that deletes its snapshots, else one that retains them and says so', () => {
    const choose = (...classes: ReturnType<typeof snapshotClass>[]) => plan({}, { ...FACTS, snapshotClasses: classes });
    const isDefault = { 'snapshot.storage.kubernetes.io/is-default-class': 'true' };
    const retain = { deletionPolicy: 'Retain' };
    assert.equal(choose(snapshotClass('a'), snapshotClass('b', {}, isDefault)).volumes[0]?.staging?.snapshotClass, 'b');
    assert.equal(choose(snapshotClass('a', retain), snapshotClass('b')).volumes[0]?.staging?.snapshotClass, 'b');
    const retained = choose(snapshotClass('a', retain), snapshotClass('other', { driver: 'other.example.com' }));
    assert.equal(retained.volumes[0]?.staging?.snapshotClass, 'a');
    assert.equal(retained.volumes[0].staging.snapshotRetained, true);
    assert.deepEqual(found(retained), ['snapshot-class-retains']);
    assert.ok(neededAccess(retained).some((a) => a.verb === 'patch' && a.resource === 'volumesnapshotcontents'));
  });

  it('leaves the choice to the cluster when classes may not be listed', () => {
    const p = plan({}, { hasSnapshotApi: true });
    assert.equal(p.volumes[0]?.staging?.snapshotClass, undefined);
    assert.equal(p.volumes[0]?.staging?.storageClass, 'fast');
    assert.deepEqual(found(p), ['snapshot-class-unknown']);
  });

  it('takes the named snapshot class, or says why not', () => {
    const classes = {
      ...FACTS,
      snapshotClasses: [snapshotClass('a'), snapshotClass('b'), snapshotClass('c', { driver: 'other.example.com' })],
    };
    assert.equal(plan({}, classes, { snapshotClass: 'b' }).volumes[0]?.staging?.snapshotClass, 'b');
    assert.match(plan({}, classes, { snapshotClass: 'x' }).findings[0]?.message ?? '', /there is no VolumeSnapshotClass x$/);
    assert.match(
      plan({}, classes, { snapshotClass: 'c' }).findings[0]?.message ?? '',
      /c is of the driver other.example.com, not csi.example.com$/,
    );
  });

  it('makes the staged claim in another class of the driver when the own one is gone', () => {
    const other = { ...FAST_CLASS, metadata: { name: 'again' }, volumeBindingMode: 'Immediate' };
    const p = plan({}, { ...FACTS, storageClasses: [other] });
    assert.equal(p.volumes[0]?.staging?.storageClass, 'again');
    assert.equal(p.volumes[0].staging.bindsAtOnce, true);
    const none = plan({}, { ...FACTS, storageClasses: [{ ...FAST_CLASS, provisioner: 'other.example.com' }] });
    assert.deepEqual(found(none, 'blocker'), ['staging-class-missing']);
  });

  it('never falls back by itself to a live read: what cannot be snapshotted is a blocker with the ways out', () => {
    const cases: [Parameters<typeof appVolume>[1], CaptureFacts, string][] = [
      [{}, { ...FACTS, snapshotClasses: [] }, 'snapshot-class-missing'],
      [{}, { ...FACTS, hasSnapshotApi: false }, 'snapshot-api-missing'],
      [{ driver: 'hostPath' }, FACTS, 'volume-not-csi'],
      [{ driver: 'nfs', accessModes: ['ReadWriteMany'] }, FACTS, 'volume-not-csi'],
    ];
    for (const [volume, facts, code] of cases) {
      const p = plan(volume, facts);
      assert.deepEqual(found(p), [code]);
      assert.deepEqual(p.volumes, []);
      assert.match(p.findings[0]?.hint ?? '', /--live/);
      const live = plan(volume, facts, { live: true });
      assert.deepEqual(found(live), ['live-read']);
      assert.equal(live.volumes[0]?.method, 'live');
    }
  });

  it('snapshots what it can also with --live, unless the claim is named', () => {
    assert.equal(plan({}, FACTS, { live: true }).volumes[0]?.method, 'volume-snapshot');
    const named = plan({}, FACTS, { live: ['data'] });
    assert.equal(named.volumes[0]?.method, 'live');
    assert.deepEqual(named.volumes[0].placement, { nodeSelector: { 'kubernetes.io/hostname': 'node-1' } });
    assert.deepEqual(found(named, 'warning'), ['live-read']);
  });

  it('stops what uses the volumes that are snapshotted, and nothing for others', () => {
    const volumes = [appVolume('data'), appVolume('uploads'), appVolume('cache')];
    const members = volumes.map(({ claim }) => ({ object: workload('StatefulSet', `${claim.name}-set`), because: [] }));
    const p = planBackup(ID, application(volumes, { members }), [], FACTS, {
      quiesce: 'scale',
      live: ['uploads'],
      excludeVolumes: ['cache'],
    });
    assert.deepEqual(
      p.quiesce.scale.map(({ ref }) => ref.name),
      ['data-set'],
    );
    assert.deepEqual(
      p.quiesce.unused.map(({ name }) => name),
      ['data'],
    );
    const rights = neededAccess(p).map(({ verb, resource }) => `${verb} ${resource}`);
    for (const right of ['get statefulsets', 'patch statefulsets', 'list pods']) assert.ok(rights.includes(right), right);
  });

  it('does not record without replicas what another backup has stopped, which may be alive', () => {
    const set = (label: string) =>
      workload('StatefulSet', 'data-set', {}, { metadata: { labels: { [QUIESCED.label]: label } }, spec: { replicas: 0 } });
    const of = (label: string, options: BackupOptions = {}) =>
      planBackup(ID, application([appVolume('data')], { members: [{ object: set(label), because: [] }] }), [], FACTS, options);
    for (const options of [{}, { quiesce: 'scale' }, { quiesce: 'none' }, { resourcesOnly: true }] as const) {
      const [blocker, ...more] = of('other234', options).findings.filter((f) => f.level === 'blocker');
      assert.ok(blocker);
      assert.deepEqual([blocker.code, more], ['stopped-by-another', []]);
      assert.equal(blocker.message, 'statefulset/data-set is stopped by the backup other234');
      assert.match(
        blocker.hint ?? '',
        /^wait until that backup has ended; if nothing runs it any more: kubectl dmaas cleanup other234 -n shop$/,
      );
    }
    assert.deepEqual(found(of(ID), 'blocker'), []);
  });

  it('reads a live volume where it is mounted, a shared or unused one anywhere near it', () => {
    const scheduling = { nodeSelector: { disk: 'ssd' }, tolerations: [{ key: 'db', operator: 'Exists' }] };
    const of = (volume: Parameters<typeof appVolume>[1]) => plan({ scheduling, ...volume }, FACTS, { live: ['data'] });
    assert.deepEqual(of({}).volumes[0]?.placement, {
      nodeSelector: { 'kubernetes.io/hostname': 'node-1' },
      tolerations: scheduling.tolerations,
    });
    assert.deepEqual(of({ accessModes: ['ReadWriteMany'] }).volumes[0]?.placement, { tolerations: scheduling.tolerations });
    const unused = of({ mountedBy: [] });
    assert.deepEqual(unused.volumes[0]?.placement, { tolerations: scheduling.tolerations });
    assert.deepEqual(
      unused.findings.map((f) => [f.level, f.code]),
      [['info', 'live-read']],
    );
  });

  it('cannot read a ReadWriteOncePod volume beside its pod', () => {
    const exclusive = { accessModes: ['ReadWriteOncePod'] };
    const p = plan(exclusive, FACTS, { live: ['data'] });
    assert.deepEqual(found(p), ['volume-exclusive']);
    assert.match(p.findings[0]?.message ?? '', /pod\/data-user$/);
    assert.equal(plan(exclusive).volumes[0]?.method, 'volume-snapshot');
    assert.equal(plan({ ...exclusive, mountedBy: [] }, FACTS, { live: ['data'] }).volumes[0]?.method, 'live');
  });

  it('says what is not done for volumes that are read live, and refuses what was asked for in vain', () => {
    const running = (image: string, annotations = {}) =>
      manifest('Pod', 'data-user', {
        metadata: { annotations },
        spec: { containers: [{ name: 'main', image }] },
        status: { phase: 'Running' },
      });
    const annotated = running('x', { 'pre.hook.backup.velero.io/command': '["a", 7]' });
    const leftOut = [{ ref: refOf(annotated), reason: '', because: [] }];
    const of = (pod: KubeObject, options: BackupOptions, volumes = [appVolume('data')]) =>
      planBackup(ID, application(volumes, { leftOut }), [], { ...FACTS, pods: [pod] }, { live: ['data'], ...options })
        .findings.filter((f) => f.code === 'not-held' || f.level === 'blocker')
        .map((f) => `${f.level}: ${f.message}`);
    const hooks = [
      { target: 'pod/data-user', before: ['sync'] },
      { target: 'pod/data-user', after: ['x'] },
    ];
    const notRun = 'that is done around volume snapshots only, and none is taken';
    const notHeld =
      'warning: container main of pod/data-user is not held while its volumes are read live: recipe mysql does so for volume snapshots only';
    assert.deepEqual(of(running('mysql:8'), {}), [notHeld]);
    assert.deepEqual(of(running('mysql:8'), { withoutRecipes: ['mysql'] }), []);
    assert.deepEqual(of(running('mysql:8'), { quiesce: 'none' }), []);
    assert.deepEqual(of(annotated, {}), [`warning: the hooks that annotations of pod/data-user ask for do not run: ${notRun}`]);
    assert.deepEqual(of(running('x'), { hooks }), [`blocker: the command for pod/data-user would not run: ${notRun}`]);
    assert.deepEqual(of(running('x'), { quiesce: 'scale' }), [
      'blocker: no workload would be stopped: that is done for volume snapshots only, and all volumes are read live',
    ]);
    assert.deepEqual(of(running('x'), { quiesce: 'scale' }, [appVolume('data', { mountedBy: [] })]), [], 'it stands still already');
    const mixed = [appVolume('data'), appVolume('other', { mountedBy: [] })];
    assert.deepEqual(of(running('mysql:8'), {}, mixed), [notHeld]);
    assert.deepEqual(of(running('x'), { hooks }, mixed), []);
    assert.deepEqual(of(running('x'), { quiesce: 'scale' }, mixed), []);
    assert.deepEqual(of(running('x'), { hooks }, [appVolume('data'), appVolume('lost', { phase: 'Lost' })]).length, 1, 'the lost volume');
    assert.deepEqual(of(annotated, { resourcesOnly: true, live: [] }), []);
    assert.deepEqual(of(running('x'), { hooks, resourcesOnly: true, live: [] }), [
      `blocker: the command for pod/data-user would not run: ${notRun}`,
    ]);
  });

  it('does not capture claims without a volume', () => {
    assert.deepEqual(found(plan({ phase: 'Pending' })), ['claim-not-bound']);
    assert.deepEqual(found(plan({ phase: 'Lost' })), ['claim-lost']);
  });

  it('leaves out the volumes that are excluded, and with them their obstacles', () => {
    const volumes = [appVolume('data'), appVolume('lost', { phase: 'Lost' })];
    const app = application(volumes, { findings: [...claimFindings(volumes), { level: 'warning', code: 'other', message: 'other' }] });
    assert.deepEqual(found(planBackup(ID, app, [], FACTS), 'blocker'), ['claim-lost']);
    const excluded = planBackup(ID, app, [], FACTS, { excludeVolumes: ['lost'] });
    assert.deepEqual(found(excluded), ['other', 'volume-left-out']);
    assert.deepEqual(
      excluded.volumes.map((v) => [v.index, v.volume.claim.name]),
      [[0, 'data']],
    );
    const resources = planBackup(ID, app, [], FACTS, { resourcesOnly: true });
    assert.deepEqual(resources.volumes, []);
    assert.deepEqual(found(resources, 'blocker'), []);
    assert.deepEqual(neededAccess(resources), []);
    assert.equal(planBackup(ID, app, [], FACTS, { excludeVolumes: ['lost'], volumesOnly: true }).manifests, 'claims');
  });

  it('says when a named volume does not exist, or nothing is asked for', () => {
    assert.deepEqual(found(plan({}, FACTS, { excludeVolumes: ['date'] })), ['volume-unknown']);
    assert.equal(plan({}, FACTS, { live: ['date'] }).findings[0]?.hint, 'it has data');
    assert.deepEqual(found(plan({}, FACTS, { resourcesOnly: true, volumesOnly: true }), 'blocker'), ['nothing-to-capture']);
  });

  it('compares each volume with the latest backup that has it', () => {
    const history = [
      backupOf('1', { data: 'root-1', old: 'root-2' }),
      backupOf('2', { data: 'root-3' }),
      backupOf('3', { other: 'root-4' }),
    ];
    const p = plan({}, FACTS, {}, history);
    assert.equal(p.parent, '3');
    assert.equal(p.volumes[0]?.parentRoot, 'root-3');
    assert.equal(plan({ mode: 'block' }, FACTS, {}, history).volumes[0]?.parentRoot, undefined);
    assert.equal(plan().parent, undefined);
  });

  it('follows the Pod Security level of the namespace, and says what that costs', () => {
    const known = plan({ security: { runAsUser: 999 } }, RESTRICTED);
    assert.equal(known.volumes[0]?.profile, 'restricted');
    assert.deepEqual(
      known.findings.map((f) => [f.level, f.code]),
      [['info', 'reader-restricted']],
    );
    assert.deepEqual(found(plan({}, RESTRICTED), 'warning'), ['reader-unknown']);
    assert.deepEqual(found(plan({ mode: 'block' }, RESTRICTED), 'warning'), ['device-may-be-refused']);
  });

  it('is shown without what is in Secrets', () => {
    const shown = JSON.stringify(redactBackupPlan(plan()));
    assert.ok(!shown.includes('aHVudGVyMg=='));
    assert.ok(shown.includes('"password"'));
  });

  it('is the same value for the same facts, and plain JSON', () => {
    assert.deepEqual(JSON.parse(JSON.stringify(plan())), plan());
  });
});

describe('the quotas of the namespace', () => {
  const quota = (hard: Readonly<Record<string, string>>, used: Readonly<Record<string, string>> = {}, spec = {}) => ({
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'q', namespace: 'shop' },
    spec: { hard, ...spec },
    status: { hard, used },
  });
  const two = planBackup(ID, application([appVolume('a'), appVolume('b', { capacityBytes: 3 * GI })]), [], FACTS);

  it('must leave room for what is staged at the same time', () => {
    assert.equal(quotaFindings(two, [quota({ 'requests.storage': '10Gi' }, { 'requests.storage': '6Gi' })], 4).length, 0);
    const [tight] = quotaFindings(two, [quota({ 'requests.storage': '10Gi' }, { 'requests.storage': '7Gi' })], 4);
    assert.equal(tight?.level, 'blocker');
    assert.match(tight.hint ?? '', /--max-movers 1/);
    assert.equal(quotaFindings(two, [quota({ 'requests.storage': '10Gi' }, { 'requests.storage': '7Gi' })], 1).length, 0);
    assert.equal(quotaFindings(two, [quota({ 'fast.storageclass.storage.k8s.io/persistentvolumeclaims': '1' })], 4).length, 1);
    assert.equal(quotaFindings(two, [quota({ 'count/volumesnapshots.snapshot.storage.k8s.io': '1' })], 1).length, 1);
    assert.equal(quotaFindings(two, [quota({ memory: '300Mi' })], 4).length, 1);
    assert.equal(quotaFindings(two, [quota({ 'limits.memory': '600Mi' })], 1).length, 0);
    assert.equal(quotaFindings(two, [quota({ services: '0' })], 4).length, 0);
  });

  it('with scopes are left to the server', () => {
    assert.deepEqual(quotaFindings(two, [quota({ pods: '0' }, {}, { scopes: ['BestEffort'] })], 4), []);
  });
});
