import assert from 'node:assert/strict';
import { refOf } from '../../core/src/model.ts';
import type { Finding, KubeObject } from '../../core/src/model.ts';
import { describeDiff, diffFields } from '../../core/src/restore/diff.ts';
import type { BackupView, RestoreOptions, RestorePlan, RestoreStep, TargetState } from '../../core/src/restore/model.ts';
import { planNeeds } from '../../core/src/restore/needs.ts';
import { redactPlan } from '../../core/src/restore/plan.ts';
import { plannedRefs } from '../../core/src/restore/prepare.ts';
import { put } from '../../core/src/restore/rewrite.ts';
import {
  clusterScoped,
  claimOf,
  emptyTarget,
  kube,
  live,
  OPERATION,
  outline,
  plan,
  shop,
  storageClass,
  volumeOf,
} from '../support/restore.ts';

function found(p: RestorePlan, code: string): Finding {
  const finding = p.findings.find((f) => f.code === code);
  assert.ok(finding, `no finding ${code} among ${p.findings.map((f) => f.code).join(', ')}`);
  return finding;
}
const blockers = (p: RestorePlan): readonly string[] => p.findings.filter((f) => f.level === 'blocker').map((f) => f.code);
const withObject = (object: KubeObject, backup: BackupView = shop()): BackupView => ({
  ...backup,
  objects: [...backup.objects.filter((o) => o.kind !== object.kind || o.metadata.name !== object.metadata.name), object],
});
const without = (...names: readonly string[]): BackupView => {
  const backup = shop();
  return { ...backup, objects: backup.objects.filter((o) => !names.includes(`${o.kind}/${o.metadata.name}`)) };
};
function stepOf(p: RestorePlan, kind: string, name: string): Extract<RestoreStep, { manifest: KubeObject }> {
  const step = p.steps.find((s) => 'manifest' in s && s.ref.kind === kind && s.ref.name === name);
  assert.ok(step !== undefined && 'manifest' in step, `no step for ${kind}/${name}`);
  return step;
}
function planned(options: Partial<RestoreOptions> = {}, target: Partial<TargetState> = {}, backup = shop()): RestorePlan {
  return plan(backup, emptyTarget(target), options);
}
const namespace = (labels: Readonly<Record<string, string>> = {}): KubeObject =>
  live(put(clusterScoped('v1', 'Namespace', 'shop'), ['metadata', 'labels'], labels));
const podWith = (spec: Readonly<Record<string, unknown>>): BackupView => {
  const web = shop().objects.find((o) => o.kind === 'Deployment');
  assert.ok(web);
  return withObject(Object.entries(spec).reduce((o, [key, value]) => put(o, ['spec', 'template', 'spec', key], value), web));
};

describe('a restore plan', () => {
  it('goes from foundations over data to activation and exposure', () => {
    const p = planned();
    assert.deepEqual(blockers(p), []);
    assert.deepEqual(outline(p.steps), [
      'create namespace/shop',
      'create serviceaccount/web',
      'create secret/db-password',
      'create configmap/web-config',
      'create clusterrole/shop-web',
      'create role/web',
      'create clusterrolebinding/shop-web',
      'create rolebinding/web',
      'create persistentvolumeclaim/data-db-0',
      'create persistentvolumeclaim/uploads',
      'populate data-db-0',
      'populate uploads',
      'create networkpolicy/web',
      'create service/db',
      'create service/web',
      'create statefulset/db',
      'create deployment/web',
      'create cronjob/report',
      'activate statefulset/db',
      'wait-ready statefulset/db',
      'activate deployment/web',
      'wait-ready deployment/web',
      'create horizontalpodautoscaler/web',
      'create ingress/web',
      'create validatingwebhookconfiguration/shop',
    ]);
  });

  it('is the same JSON whatever order the backup is in', () => {
    const backup = shop();
    const reversed = { ...backup, objects: backup.objects.toReversed(), volumes: backup.volumes.toReversed() };
    assert.deepEqual(planned({}, {}, reversed).steps, planned().steps);
    assert.deepEqual(JSON.parse(JSON.stringify(planned())), planned());
  });

  it('marks what it creates', () => {
    const { manifest } = stepOf(planned(), 'ConfigMap', 'web-config');
    assert.equal(manifest.metadata.labels?.['dmaas.io/operation'], OPERATION);
    assert.equal(manifest.metadata.annotations?.['dmaas.io/backup'], 'backup-1');
  });

  it('sends the mover where the workload will run', () => {
    const populate = planned().steps.filter((s) => s.do === 'populate');
    assert.deepEqual(
      populate.map((s) => s.placement),
      [{ tolerations: [{ key: 'db' }] }, { nodeSelector: { zone: 'a' } }],
    );
    assert.deepEqual(
      populate.map(({ index, profile, identity }) => ({ index, profile, identity })),
      [
        { index: 0, profile: 'baseline', identity: { runAsUser: 70, fsGroup: 70 } },
        { index: 1, profile: 'baseline', identity: {} },
      ],
    );
    assert.deepEqual(populate[0]?.claim, { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name: 'data-db-0', namespace: 'shop' });
  });

  it('maps the namespace everywhere', () => {
    const p = planned({ namespace: 'shop-dr' });
    assert.equal(p.target.namespace, 'shop-dr');
    const binding = stepOf(p, 'ClusterRoleBinding', 'shop-web');
    assert.deepEqual(binding.manifest['subjects'], [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop-dr' }]);
    assert.deepEqual(binding.changes, ['subjects[web].namespace: shop -> shop-dr']);
  });

  it('restores volumes only', () => {
    assert.deepEqual(outline(planned({ volumesOnly: true }).steps), [
      'create namespace/shop',
      'create persistentvolumeclaim/data-db-0',
      'create persistentvolumeclaim/uploads',
      'populate data-db-0',
      'populate uploads',
    ]);
  });

  it('restores manifests only, and says that a StatefulSet will start empty', () => {
    const p = planned({ resourcesOnly: true });
    assert.ok(p.steps.every((s) => s.do !== 'populate' && s.do !== 'create-claim'));
    assert.match(found(p, 'claim-left-out').message, /statefulset\/db will start with an empty volume: claim data-db-0/);
    assert.match(found(p, 'reference-missing').message, /persistentvolumeclaim\/uploads .* deployment\/web \(volume up\) needs it/);
  });

  it('leaves everything staged when it is not to activate', () => {
    const p = planned({ activate: false });
    assert.ok(p.steps.every((s) => s.phase === 'populate'));
    assert.deepEqual(stepOf(p, 'Deployment', 'web').manifest['spec'], {
      ...(stepOf(p, 'Deployment', 'web').manifest['spec'] as object),
      replicas: 0,
    });
    assert.match(found(p, 'staged').message, /5 steps are left/);
  });

  it('keeps Jobs and CronJobs suspended unless asked', () => {
    assert.equal(found(planned(), 'job-suspended').level, 'info');
    const p = planned({ startJobs: true });
    assert.ok(outline(p.steps).includes('activate cronjob/report'));
    assert.ok(p.findings.every((f) => f.code !== 'job-suspended'));
  });

  it('creates a bare pod when it is its turn, and waits for it', () => {
    const p = planned({}, {}, withObject(kube('v1', 'Pod', 'single', { spec: { containers: [{ name: 'a' }] } })));
    const lines = outline(p.steps);
    assert.equal(stepOf(p, 'Pod', 'single').phase, 'activate');
    assert.ok(lines.indexOf('create pod/single') > lines.indexOf('wait-ready statefulset/db'));
    assert.ok(lines.includes('wait-ready pod/single'));
    assert.equal(lines.filter((l) => l === 'create pod/single').length, 1);
  });

  it('waits for definitions before their resources come', () => {
    const crd = clusterScoped('apiextensions.k8s.io/v1', 'CustomResourceDefinition', 'dbs.acme.io', {
      spec: { group: 'acme.io', names: { kind: 'Db', plural: 'dbs' } },
    });
    const p = planned({}, {}, withObject(kube('acme.io/v1', 'Db', 'main'), withObject(crd)));
    const lines = outline(p.steps);
    assert.deepEqual(blockers(p), []);
    assert.ok(
      lines.indexOf('create customresourcedefinition/dbs.acme.io') < lines.indexOf('wait-ready customresourcedefinition/dbs.acme.io'),
    );
    assert.ok(lines.indexOf('wait-ready customresourcedefinition/dbs.acme.io') < lines.indexOf('create db/main'));
    assert.ok(lines.indexOf('create db/main') < lines.indexOf('activate statefulset/db'), 'its operator runs elsewhere');
    assert.ok(planNeeds(p, emptyTarget().kinds).some((a) => a.group === 'acme.io' && a.resource === 'dbs' && a.verb === 'create'));

    const webhook = { conversion: { webhook: { clientConfig: { service: { name: 'web', namespace: 'shop' } } } } };
    const converted = { ...crd, spec: { ...(crd['spec'] as object), ...webhook } };
    const served = outline(planned({}, {}, withObject(kube('acme.io/v1', 'Db', 'main'), withObject(converted))).steps);
    assert.ok(served.indexOf('create db/main') > served.indexOf('wait-ready deployment/web'), 'the application converts it');
  });

  it('makes a claim as large as the captured volume was', () => {
    const grown = put(claimOf('uploads'), ['status', 'capacity', 'storage'], '10Gi');
    const step = stepOf(planned({}, {}, withObject(grown)), 'PersistentVolumeClaim', 'uploads');
    assert.ok(step.changes.includes('spec.resources.requests.storage: 1Gi -> 10Gi (the size of the captured volume)'));
  });

  it('restores a volume whose claim was not captured', () => {
    const step = stepOf(planned({}, {}, without('PersistentVolumeClaim/uploads')), 'PersistentVolumeClaim', 'uploads');
    assert.deepEqual(step.manifest['spec'], {
      accessModes: ['ReadWriteOnce'],
      storageClassName: 'fast',
      volumeMode: 'Filesystem',
      resources: { requests: { storage: String(2 ** 30) } },
    });
  });

  it('links owners that are restored too, and says nothing of others', () => {
    const owner = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', uid: 'old', controller: true, blockOwnerDeletion: true };
    const gone = { apiVersion: 'v1', kind: 'ConfigMap', name: 'gone', uid: 'old' };
    const claim = put(claimOf('data-db-0'), ['metadata', 'ownerReferences'], [owner, gone]);
    const p = planned({}, {}, withObject(claim));
    const link = p.steps.find((s) => s.do === 'link-owners');
    assert.ok(link);
    assert.deepEqual(link.owners, [
      { ref: { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', namespace: 'shop' }, controller: true, blockOwnerDeletion: true },
    ]);
    assert.equal(link.phase, 'populate');
  });

  it('applies what the default account has of its own, without a conflict', () => {
    const account = kube('v1', 'ServiceAccount', 'default', { imagePullSecrets: [{ name: 'registry' }] });
    const p = planned({}, { namespace: namespace(), existing: [live(kube('v1', 'ServiceAccount', 'default'))] }, withObject(account));
    const step = stepOf(p, 'ServiceAccount', 'default');
    assert.equal(step.action, 'update');
    assert.equal(step.manifest.metadata.labels, undefined, 'not marked as created');
    assert.deepEqual(blockers(p), []);
  });

  it('can be shown without what Secrets hold', () => {
    const text = JSON.stringify(redactPlan(planned()));
    assert.ok(!text.includes('aHVudGVyMg=='));
    assert.ok(text.includes('"password":"(from the backup)"'));
  });
});

describe('choosing what to restore', () => {
  for (const [patterns, expected] of [
    [['deployment/web'], ['create deployment/web']],
    [['deploy'], ['create deployment/web']],
    [['deployments.apps/w*'], ['create deployment/web']],
    [
      ['CronJob', 'configmap/web-*'],
      ['create configmap/web-config', 'create cronjob/report'],
    ],
  ] as const) {
    it(`--include ${patterns.join(' --include ')}`, () => {
      const lines = outline(planned({ include: patterns, activate: false }).steps);
      assert.deepEqual(lines, ['create namespace/shop', ...expected]);
    });
  }

  it('--exclude', () => {
    const lines = outline(planned({ exclude: ['*/web', 'pvc/uploads'] }).steps);
    assert.ok(lines.every((l) => !l.endsWith('/web') && !l.includes('uploads')));
    assert.ok(lines.includes('create service/db'));
  });

  it('a pattern without a match is refused', () => {
    const p = planned({ include: ['deployment/wbe'] });
    assert.equal(found(p, 'pattern-without-match').message, 'nothing in the backup matches --include deployment/wbe');
    assert.deepEqual(blockers(p), ['pattern-without-match']);
    assert.equal(blockers(planned({ exclude: ['x/y'] }))[0], 'pattern-without-match');
  });
});

describe('what is outside a restore', () => {
  for (const [what, object] of [
    ['another namespace', kube('v1', 'ConfigMap', 'far', {}, { namespace: 'kube-system' })],
    ['a cluster-scoped kind of others', clusterScoped('policy.acme.io/v1', 'ClusterPolicy', 'all')],
    ['a namespaced kind without a namespace', clusterScoped('v1', 'ConfigMap', 'nowhere')],
    ['a cluster-scoped kind within a namespace', kube('rbac.authorization.k8s.io/v1', 'ClusterRole', 'odd')],
  ] as const) {
    it(what, () => {
      const p = planned({}, {}, withObject(object));
      assert.ok(p.steps.every((s) => !('ref' in s) || s.ref.name !== object.metadata.name));
      assert.ok(p.findings.some((f) => f.level === 'warning' && f.code === 'left-out' && f.message.includes(object.metadata.name)));
    });
  }

  it('accounts of other namespaces in a shared binding', () => {
    const binding = clusterScoped('rbac.authorization.k8s.io/v1', 'ClusterRoleBinding', 'shop-web', {
      roleRef: { kind: 'ClusterRole', name: 'shop-web' },
      subjects: [
        { kind: 'ServiceAccount', name: 'web', namespace: 'shop' },
        { kind: 'ServiceAccount', name: 'root', namespace: 'other' },
      ],
    });
    const step = stepOf(planned({}, {}, withObject(binding)), 'ClusterRoleBinding', 'shop-web');
    assert.deepEqual(step.manifest['subjects'], [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop' }]);
    assert.deepEqual(step.changes, ['subjects[other/root] removed: it belongs to another namespace']);
  });
});

describe('conflicts', () => {
  const existingConfig = live(kube('v1', 'ConfigMap', 'web-config', { data: { 'app.ini': 'old' } }));
  const target = { namespace: namespace(), existing: [existingConfig] };

  it('fail: an existing object is a blocker with a way out', () => {
    const finding = found(planned({}, target), 'object-exists');
    assert.equal(finding.level, 'blocker');
    assert.equal(finding.message, 'configmap/web-config exists in namespace shop');
    assert.equal(finding.hint, '--to-namespace shop-restored, or --on-conflict skip to keep what is there, rename to restore beside it');
  });

  it('skip: it stays as it is', () => {
    const p = planned({ conflict: 'skip' }, target);
    assert.deepEqual(blockers(p), []);
    assert.equal(stepOf(p, 'ConfigMap', 'web-config').action, 'skip');
  });

  it('overwrite: shows what changes, and holds on to what it saw', () => {
    const step = stepOf(planned({ conflict: 'overwrite' }, target), 'ConfigMap', 'web-config');
    assert.ok(step.action === 'update');
    assert.deepEqual(step.changes, ['data["app.ini"]: old -> host = db ']);
    assert.deepEqual(step.observed, { uid: existingConfig.metadata.uid, resourceVersion: '42' });
    assert.equal(step.manifest.metadata.labels?.['dmaas.io/operation'], undefined, 'undo must not delete it');
    assert.equal(step.manifest.metadata.annotations?.['dmaas.io/operation'], OPERATION);
  });

  it('a claim is a blocker under fail and overwrite, and kept with its data under skip', () => {
    const claims = { namespace: namespace(), existing: [live(claimOf('uploads'))] };
    for (const conflict of ['fail', 'overwrite'] as const) assert.deepEqual(blockers(planned({ conflict }, claims)), ['claim-exists']);
    const p = planned({ conflict: 'skip' }, claims);
    assert.deepEqual(blockers(p), []);
    assert.equal(found(p, 'claim-kept').level, 'warning');
    assert.ok(!outline(p.steps).includes('populate uploads'));
  });

  it('what the same operation made before is no conflict', () => {
    const own = [existingConfig, live(claimOf('uploads'))].map((o) => put(o, ['metadata', 'labels', 'dmaas.io/operation'], OPERATION));
    const p = planned({}, { namespace: namespace(), existing: own });
    assert.deepEqual(blockers(p), []);
    assert.equal(stepOf(p, 'ConfigMap', 'web-config').action, 'create');
  });

  const rbac = (name: string, kind: string, fields: Readonly<Record<string, unknown>>): KubeObject =>
    live(clusterScoped('rbac.authorization.k8s.io/v1', kind, name, fields));
  const captured = shop().objects;

  it('cluster-scoped objects that are the same are shared', () => {
    const same = captured.filter((o) => o.kind.startsWith('ClusterRole'));
    const p = planned({}, { existing: same });
    assert.deepEqual(blockers(p), []);
    assert.equal(stepOf(p, 'ClusterRole', 'shop-web').action, 'skip');
    assert.equal(stepOf(p, 'ClusterRoleBinding', 'shop-web').action, 'skip');
  });

  it('a role with other labels is shared, unless they add it to others', () => {
    const roles = captured.filter((o) => o.kind === 'ClusterRole');
    const withLabels = (labels: Readonly<Record<string, string>>) => roles.map((o) => ({ ...o, metadata: { ...o.metadata, labels } }));
    assert.equal(stepOf(planned({}, { existing: withLabels({ of: 'another' }) }), 'ClusterRole', 'shop-web').action, 'skip');
    const wider = withLabels({ 'rbac.authorization.k8s.io/aggregate-to-admin': 'true' });
    assert.equal(stepOf(planned({}, { existing: wider }), 'ClusterRole', 'shop-web').action, 'conflict');
    const renaming = planned({ conflict: 'rename' }, { existing: wider });
    assert.ok(renaming.findings.some(({ hint }) => hint?.startsWith('--exclude clusterrole/shop-web')));
  });

  it('a role that differs is a blocker', () => {
    assert.deepEqual(blockers(planned({}, { existing: [rbac('shop-web', 'ClusterRole', { rules: [] })] })), ['object-exists']);
  });

  it('a binding gets a name of its own beside one of that name', () => {
    const same = captured.filter((o) => o.kind.startsWith('ClusterRole'));
    const p = planned({ namespace: 'shop-dr' }, { existing: same });
    const step = stepOf(p, 'ClusterRoleBinding', 'shop-web-shop-dr');
    assert.equal(step.action, 'create');
    assert.deepEqual(step.manifest['subjects'], [{ kind: 'ServiceAccount', name: 'web', namespace: 'shop-dr' }]);
    assert.ok(plannedRefs(shop(), emptyTarget(), { activate: true, namespace: 'shop-dr' }).some((ref) => ref.name === 'shop-web-shop-dr'));
  });

  it('a definition or a webhook that exists is never touched', () => {
    const webhook = captured.find((o) => o.kind === 'ValidatingWebhookConfiguration');
    assert.ok(webhook);
    const p = planned({ conflict: 'overwrite' }, { existing: [webhook] });
    assert.equal(stepOf(p, 'ValidatingWebhookConfiguration', 'shop').action, 'skip');
    assert.equal(found(p, 'webhook-exists').level, 'warning');
  });
});

describe('checks of the target', () => {
  it('storage class missing: candidates, the default one in the hint', () => {
    const p = planned({}, { storageClasses: [storageClass('a-slow'), storageClass('premium', true)] });
    const finding = found(p, 'storage-class-missing');
    assert.equal(finding.level, 'blocker');
    assert.match(finding.message, /^storage class fast does not exist on dr, and .*claim uploads.* candidates: premium, a-slow$/);
    assert.equal(finding.hint, '--map-storage-class fast=premium');
    assert.deepEqual(blockers(planned({ storageClassMap: { fast: 'premium' } }, { storageClasses: [storageClass('premium')] })), []);
  });

  it('no class named, or one that makes no volumes', () => {
    const finding = found(planned({}, {}, withObject(claimOf('uploads', ''))), 'storage-class-missing');
    assert.equal(finding.hint, '--map-storage-class =fast');
    const p = planned({}, { storageClasses: [storageClass('fast', false, 'kubernetes.io/no-provisioner')] });
    assert.match(found(p, 'storage-class-static').message, /makes no volumes by itself/);
  });

  it('block volumes and shared volumes on a class that cannot', () => {
    const block = put(claimOf('uploads'), ['spec', 'volumeMode'], 'Block');
    assert.deepEqual(blockers(planned({}, { storageClasses: [storageClass('fast', true, 'rancher.io/local-path')] }, withObject(block))), [
      'block-not-supported',
    ]);
    const shared = put(claimOf('uploads'), ['spec', 'accessModes'], ['ReadWriteMany']);
    assert.deepEqual(blockers(planned({}, { storageClasses: [storageClass('fast', true, 'ebs.csi.aws.com')] }, withObject(shared))), [
      'access-mode-not-supported',
    ]);
    const readOnly = put(claimOf('uploads'), ['spec', 'accessModes'], ['ReadOnlyMany']);
    assert.deepEqual(blockers(planned({}, {}, withObject(readOnly))), ['claim-read-only']);
  });

  it('a claim smaller than its data', () => {
    const backup = (mode: 'block' | 'filesystem'): BackupView => ({
      ...shop(),
      volumes: [volumeOf('data-db-0'), volumeOf('uploads', { bytes: 2 ** 31, mode })],
    });
    assert.equal(found(planned({}, {}, backup('block')), 'claim-too-small').level, 'blocker');
    assert.equal(found(planned({}, {}, backup('filesystem')), 'claim-too-small').level, 'warning', 'its files may be sparse');
  });

  it('a claim without data in the backup', () => {
    assert.match(
      found(planned({}, {}, { ...shop(), volumes: [volumeOf('uploads')] }), 'claim-without-data').message,
      /no data of claim data-db-0/,
    );
  });

  it('kinds that are not served', () => {
    const finding = found(planned({}, {}, withObject(kube('acme.io/v1', 'Db', 'main'))), 'kind-not-served');
    assert.equal(finding.message, 'the target has no kind Db.acme.io, which main would need');
    assert.equal(finding.hint, '--exclude db');
    assert.deepEqual(blockers(planned({ exclude: ['db'] }, {}, withObject(kube('acme.io/v1', 'Db', 'main')))), []);
  });

  it('a service account, a priority class or a runtime class that is missing', () => {
    const account = found(planned({}, {}, without('ServiceAccount/web')), 'service-account-missing');
    assert.equal(account.level, 'blocker');
    assert.equal(account.hint, 'kubectl create namespace shop --context dr && kubectl create serviceaccount web -n shop --context dr');
    assert.deepEqual(
      blockers(
        planned({}, { namespace: namespace(), existing: [live(kube('v1', 'ServiceAccount', 'web'))] }, without('ServiceAccount/web')),
      ),
      [],
    );
    const priority = found(planned({}, {}, podWith({ priorityClassName: 'high' })), 'priority-class-missing');
    assert.equal(priority.hint, 'kubectl create priorityclass high --value=0 --context dr');
    assert.equal(found(planned({}, {}, podWith({ runtimeClassName: 'kata' })), 'runtime-class-missing').level, 'blocker');
    const existing = [live(clusterScoped('scheduling.k8s.io/v1', 'PriorityClass', 'high'))];
    assert.deepEqual(blockers(planned({}, { existing }, podWith({ priorityClassName: 'high' }))), []);
  });

  it('a Secret that pods need', () => {
    const finding = found(planned({}, {}, without('Secret/db-password')), 'reference-missing');
    assert.equal(finding.level, 'warning');
    assert.equal(
      finding.message,
      'secret/db-password is neither in the backup nor on the target, and statefulset/db (env PASSWORD) needs it',
    );
  });

  it('an ingress class', () => {
    const ingress = kube('networking.k8s.io/v1', 'Ingress', 'web', { spec: { ingressClassName: 'nginx' } });
    assert.equal(found(planned({}, {}, withObject(ingress)), 'ingress-class-missing').level, 'warning');
    const existing = [live(clusterScoped('networking.k8s.io/v1', 'IngressClass', 'nginx'))];
    assert.ok(planned({}, { existing }, withObject(ingress)).findings.every((f) => f.code !== 'ingress-class-missing'));
  });

  it('hosts that the original still answers for', () => {
    assert.match(found(planned({ namespace: 'copy' }, { clusterId: 'cluster-a' }), 'ingress-host-shared').message, /shop.example.com/);
    assert.ok(
      planned({ namespace: 'copy' }).findings.every((f) => f.code !== 'ingress-host-shared'),
      'another cluster',
    );
  });

  it('pod security of the namespace', () => {
    const ns = namespace({ 'pod-security.kubernetes.io/enforce': 'baseline' });
    assert.deepEqual(blockers(planned({}, { namespace: ns })), []);
    const p = planned({}, { namespace: ns }, podWith({ hostNetwork: true, volumes: [{ name: 'h', hostPath: { path: '/' } }] }));
    assert.match(
      found(p, 'pod-security').message,
      /enforces pod security baseline, and pods of deployment\/web have hostNetwork, hostPath volume/,
    );
    const strict = planned({}, { namespace: namespace({ 'pod-security.kubernetes.io/enforce': 'restricted' }) });
    assert.equal(strict.findings.filter((f) => f.code === 'pod-security').length, 3);
  });

  it('quotas', () => {
    const quota = live(
      kube('v1', 'ResourceQuota', 'small', {
        spec: { hard: { 'requests.storage': '3Gi', pods: '2', cpu: '10' } },
        status: { used: { 'requests.storage': '2Gi', pods: '0', cpu: '0' } },
      }),
    );
    const p = planned({}, { namespace: namespace(), existing: [quota] });
    assert.deepEqual(
      p.findings.filter((f) => f.code === 'quota-exceeded').map((f) => f.message),
      [
        'resource quota small allows 3 GiB of requests.storage, 2 GiB are used, and the restore needs 2 GiB',
        'resource quota small allows 2 of pods, 0 are used, and the restore needs 3',
      ],
    );
  });

  it('a network policy that could cut off the movers', () => {
    const deny = live(kube('networking.k8s.io/v1', 'NetworkPolicy', 'deny', { spec: { podSelector: {}, policyTypes: ['Egress'] } }));
    assert.equal(found(planned({}, { namespace: namespace(), existing: [deny] }), 'egress-restricted').level, 'warning');
  });

  it('a namespace that is being deleted', () => {
    const ns = put(namespace(), ['metadata', 'deletionTimestamp'], 't');
    assert.equal(
      found(planned({}, { namespace: ns }), 'namespace-terminating').hint,
      'kubectl wait --for=delete namespace/shop --timeout=10m --context dr',
    );
  });

  it('rights that are missing', () => {
    const p = planned({}, { denied: [{ verb: 'create', group: 'apps', resource: 'deployments', namespace: 'shop' }] });
    assert.equal(found(p, 'access-denied').message, 'you may not create deployments.apps in namespace shop');
    assert.equal(found(p, 'access-denied').hint, 'kubectl auth can-i create deployments.apps -n shop --context dr');
  });

  it('what this identity may not read is left to the server, and told', () => {
    const unreadable = ['StorageClass.storage.k8s.io', 'PriorityClass.scheduling.k8s.io'];
    const p = planned({}, { unreadable, storageClasses: [] }, podWith({ priorityClassName: 'high' }));
    assert.deepEqual(blockers(p), []);
    assert.match(found(p, 'not-checked').message, /^you may not read StorageClass.storage.k8s.io, PriorityClass/);
  });

  it('cluster-scoped objects that this identity may not create can be left out', () => {
    const denied = [{ verb: 'create', group: 'rbac.authorization.k8s.io', resource: 'clusterroles' }];
    assert.equal(found(planned({}, { denied }), 'access-denied').hint, '--exclude clusterrole');
  });

  it('names of the old namespace, addresses, nodes and finalizers', () => {
    const service = kube('v1', 'Service', 'web', { spec: { type: 'LoadBalancer', loadBalancerIP: '192.0.2.7', selector: { app: 'web' } } });
    assert.match(found(planned({}, {}, withObject(service)), 'load-balancer-address').message, /192.0.2.7/);
    assert.match(found(planned({}, {}, podWith({ nodeName: 'n1' })), 'pinned-to-node').message, /node n1/);
    const config = put(
      kube('v1', 'ConfigMap', 'web-config', { data: { url: 'http://db.shop.svc' } }),
      ['metadata', 'finalizers'],
      ['acme.io/x'],
    );
    const p = planned({ namespace: 'copy' }, {}, withObject(config));
    assert.match(found(p, 'text-not-edited').message, /^key url of configmap\/web-config names \S+, which is \S+ after the restore$/);
    assert.equal(found(p, 'finalizer-left-out').message, 'finalizers of configmap/web-config are left to their controllers: acme.io/x');
  });

  it('reports everything at once, blockers first', () => {
    const p = planned(
      { include: ['nothing/x', '*'] },
      { storageClasses: [], namespace: put(namespace(), ['metadata', 'deletionTimestamp'], 't') },
    );
    assert.deepEqual(new Set(blockers(p)), new Set(['pattern-without-match', 'namespace-terminating', 'storage-class-missing']));
    const levels = p.findings.map((f) => ['blocker', 'warning', 'info'].indexOf(f.level));
    assert.deepEqual(
      levels,
      levels.toSorted((a, b) => a - b),
    );
  });
});

describe('the rights a plan needs', () => {
  const needs = planNeeds(planned(), emptyTarget().kinds).map(
    (a) => `${a.verb} ${a.resource}${a.group === '' ? '' : `.${a.group}`} ${a.namespace ?? '*'}`,
  );

  it('name every verb, resource and scope once', () => {
    assert.equal(new Set(needs).size, needs.length);
    for (const need of [
      'create namespaces *',
      'create secrets shop',
      'create persistentvolumeclaims shop',
      'patch persistentvolumeclaims shop',
      'create statefulsets.apps shop',
      'patch deployments.apps shop',
      'watch deployments.apps shop',
      'create clusterroles.rbac.authorization.k8s.io *',
      'create validatingwebhookconfigurations.admissionregistration.k8s.io *',
      'create jobs.batch shop',
      'get pods/log shop',
    ]) {
      assert.ok(needs.includes(need), need);
    }
  });

  it('ask for no more than reading where nothing is done', () => {
    const skipped = planned(
      { conflict: 'skip' },
      { namespace: namespace(), existing: shop().objects.map((o) => (o.metadata.namespace === undefined ? o : live(o))) },
    );
    const verbs = new Set(planNeeds(skipped, emptyTarget().kinds).map((a) => a.verb));
    assert.deepEqual(verbs, new Set(['get']));
  });
});

describe('the diff of two objects', () => {
  it('names fields as people do', () => {
    const before = kube(
      'v1',
      'Service',
      'web',
      {
        spec: {
          ports: [
            { name: 'http', port: 80 },
            { name: 'old', port: 1 },
          ],
          externalIPs: ['a', 'b'],
        },
      },
      { annotations: { 'a.b/c': 'x' } },
    );
    const after = kube(
      'v1',
      'Service',
      'web',
      {
        spec: {
          ports: [
            { name: 'http', port: 8080 },
            { name: 'new', port: 2 },
          ],
          externalIPs: ['a', 'c'],
        },
      },
      { annotations: { 'a.b/c': 'y', d: '1' } },
    );
    assert.deepEqual(describeDiff(before, after), [
      'metadata.annotations["a.b/c"]: x -> y',
      'metadata.annotations.d: 1 added',
      'spec.externalIPs[1]: b -> c',
      'spec.ports[http].port: 80 -> 8080',
      'spec.ports[new]: {"name":"new","port":2} added',
      'spec.ports[old]: {"name":"old","port":1} removed',
    ]);
  });

  it('is empty for equal objects and whole for unlike ones', () => {
    assert.deepEqual(diffFields({ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] }), []);
    assert.deepEqual(diffFields([1], { a: 1 }), [{ path: '', before: [1], after: { a: 1 } }]);
  });

  it('hides Secrets and shortens long values', () => {
    const secret = (value: string): KubeObject => kube('v1', 'Secret', 's', { data: { key: value } });
    assert.deepEqual(describeDiff(secret('aaa'), secret('bbb')), ['data.key: (hidden) -> (hidden)']);
    const [line = ''] = describeDiff(
      kube('v1', 'ConfigMap', 'c', { data: { a: 'x' } }),
      kube('v1', 'ConfigMap', 'c', { data: { a: 'y'.repeat(500) } }),
    );
    assert.ok(line.length < 110 && line.endsWith('...'));
  });
});

describe('planned refs', () => {
  it('cover everything the plan names, and what pods need', () => {
    const options = { activate: true, namespace: 'shop-dr' };
    const keys = new Set(plannedRefs(shop(), emptyTarget(), options).map((r) => `${r.kind}/${r.name}/${r.namespace ?? ''}`));
    for (const step of planned({ namespace: 'shop-dr' }).steps) {
      if (!('manifest' in step) || step.ref.kind === 'Namespace') continue;
      const { kind, name, namespace: ns } = refOf(step.manifest);
      assert.ok(keys.has(`${kind}/${name}/${ns ?? ''}`), `${kind}/${name}`);
    }
    assert.ok(keys.has('Secret/db-password/shop-dr'));
  });
});
