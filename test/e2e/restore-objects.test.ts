import assert from 'node:assert/strict';
import { connectCluster } from '../../core/src/cluster/connect.ts';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { readKinds } from '../../core/src/discovery/inventory.ts';
import { kindId } from '../../core/src/discovery/pod-template.ts';
import { at, stringAt } from '../../core/src/discovery/read.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { refKey, refName, refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { newOperationId } from '../../core/src/operation.ts';
import { inServedApi } from '../../core/src/restore/api-versions.ts';
import { describeDiff } from '../../core/src/restore/diff.ts';
import { mapObject } from '../../core/src/restore/mapping.ts';
import type { BackupView, RestorePlan } from '../../core/src/restore/model.ts';
import { preflightRestore } from '../../core/src/restore/preflight.ts';
import { applyRestore } from '../../core/src/restore/run.ts';
import { scrub } from '../../core/src/restore/scrub.ts';
import { removeRestored } from '../../core/src/restore/undo.ts';
import { startCluster } from '../support/cluster/cluster.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';
import { imageName } from '../support/images/names.ts';
import { nodeInImage } from '../support/images/node-layer.ts';
import { buildWebImage } from '../support/images/web.ts';
import { OLD_OBJECTS } from '../support/old-objects.ts';
import { fillingMover, MemoryJournal } from '../support/restore-cluster.ts';

type Fields = Readonly<Record<string, unknown>>;
const quiet = { emit: () => undefined };

/** One of every kind that a restore has something to say about, as a namespace of users has them. */
function zoo(namespace: string): KubeObject[] {
  const of = (apiVersion: string, kind: string, name: string, fields: Fields = {}, metadata: Fields = {}): KubeObject => ({
    apiVersion,
    kind,
    metadata: { name, namespace, ...metadata },
    ...fields,
  });
  const shared = (apiVersion: string, kind: string, name: string, fields: Fields): KubeObject => ({
    apiVersion,
    kind,
    metadata: { name },
    ...fields,
  });
  const container = {
    name: 'main',
    image: imageName('web:1'),
    imagePullPolicy: 'IfNotPresent',
    command: [nodeInImage, '-e', 'setInterval(() => {}, 1e6)'],
  };
  const pod = (app: string, spec: Fields = {}, more: Fields = {}): Fields => ({
    metadata: { labels: { app } },
    spec: { terminationGracePeriodSeconds: 0, containers: [{ ...container, ...more }], ...spec },
  });
  const claimSpec = { accessModes: ['ReadWriteOnce'], storageClassName: 'csi-hostpath', resources: { requests: { storage: '8Mi' } } };
  const selector = (app: string): Fields => ({ matchLabels: { app } });
  const rbac = 'rbac.authorization.k8s.io/v1';
  const group = `${namespace}.dmaas.test`;
  return [
    of('v1', 'ServiceAccount', 'web', { imagePullSecrets: [{ name: 'registry' }] }),
    of(
      'v1',
      'Secret',
      'token',
      { type: 'kubernetes.io/service-account-token' },
      { annotations: { 'kubernetes.io/service-account.name': 'web' } },
    ),
    of('v1', 'Secret', 'password', { stringData: { password: 'hunter2' } }),
    of('v1', 'ConfigMap', 'settings', { data: { 'app.ini': 'host = db' }, immutable: true }, { finalizers: ['acme.test/hold'] }),
    of('v1', 'LimitRange', 'defaults', { spec: { limits: [{ type: 'Container', defaultRequest: { cpu: '1m', memory: '16Mi' } }] } }),
    of('v1', 'ResourceQuota', 'quota', { spec: { hard: { pods: '50', services: '20' } } }),
    of('networking.k8s.io/v1', 'NetworkPolicy', 'peers', {
      spec: {
        podSelector: {},
        ingress: [{ from: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } } }] }],
      },
    }),
    of('v1', 'Service', 'db', { spec: { clusterIP: 'None', selector: { app: 'db' }, ports: [{ port: 5432 }] } }),
    of('v1', 'Service', 'web', {
      spec: {
        type: 'NodePort',
        selector: { app: 'web' },
        ports: [
          { name: 'http', port: 80 },
          { name: 'more', port: 81, nodePort: 32123 },
        ],
      },
    }),
    of('v1', 'Service', 'balanced', {
      spec: { type: 'LoadBalancer', externalTrafficPolicy: 'Local', selector: { app: 'web' }, ports: [{ port: 80 }] },
    }),
    of('v1', 'Service', 'alias', { spec: { type: 'ExternalName', externalName: `db.${namespace}.svc.cluster.local` } }),
    of('v1', 'Service', 'outside', { spec: { ports: [{ port: 80 }] } }),
    of('v1', 'Endpoints', 'outside', { subsets: [{ addresses: [{ ip: '198.18.0.9' }], ports: [{ port: 80 }] }] }),
    of('v1', 'PersistentVolumeClaim', 'uploads', { spec: claimSpec }),
    of('apps/v1', 'StatefulSet', 'db', {
      spec: {
        replicas: 2,
        podManagementPolicy: 'Parallel',
        serviceName: 'db',
        selector: selector('db'),
        persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Delete' },
        template: pod('db', {}, { volumeMounts: [{ name: 'data', mountPath: '/data' }] }),
        volumeClaimTemplates: [{ metadata: { name: 'data' }, spec: claimSpec }],
      },
    }),
    of('apps/v1', 'Deployment', 'web', {
      spec: {
        selector: selector('web'),
        strategy: { type: 'Recreate' },
        template: pod(
          'web',
          { serviceAccountName: 'web', volumes: [{ name: 'up', persistentVolumeClaim: { claimName: 'uploads' } }] },
          {
            env: [{ name: 'DB', value: `db.${namespace}.svc:5432` }],
            envFrom: [{ secretRef: { name: 'password' } }, { configMapRef: { name: 'settings' } }],
          },
        ),
      },
    }),
    of('apps/v1', 'DaemonSet', 'agent', { spec: { selector: selector('agent'), template: pod('agent') } }),
    of('apps/v1', 'ReplicaSet', 'plain', { spec: { replicas: 1, selector: selector('plain'), template: pod('plain') } }),
    of('v1', 'ReplicationController', 'old', { spec: { replicas: 1, selector: { app: 'old' }, template: pod('old') } }),
    of('batch/v1', 'CronJob', 'nightly', {
      spec: { schedule: '0 3 * * *', jobTemplate: { spec: { template: pod('nightly', { restartPolicy: 'Never' }) } } },
    }),
    of('batch/v1', 'Job', 'import', { spec: { template: pod('import', { restartPolicy: 'Never' }) } }),
    of(
      'v1',
      'Pod',
      'single',
      { spec: pod('single', { serviceAccountName: 'web', priorityClassName: 'system-cluster-critical' })['spec'] },
      { labels: { app: 'single' } },
    ),
    of('autoscaling/v2', 'HorizontalPodAutoscaler', 'web', {
      spec: {
        maxReplicas: 3,
        scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web' },
        metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 90 } } }],
      },
    }),
    of('policy/v1', 'PodDisruptionBudget', 'db', { spec: { minAvailable: 1, selector: selector('db') } }),
    of('networking.k8s.io/v1', 'Ingress', 'web', {
      spec: {
        rules: [
          {
            host: 'shop.test',
            http: { paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 'web', port: { number: 80 } } } }] },
          },
        ],
      },
    }),
    of(rbac, 'Role', 'web', { rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get'] }] }),
    of(rbac, 'RoleBinding', 'web', {
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'web' },
      subjects: [{ kind: 'ServiceAccount', name: 'web', namespace }],
    }),
    shared(rbac, 'ClusterRole', namespace, { rules: [{ apiGroups: [''], resources: ['nodes'], verbs: ['list'] }] }),
    shared(rbac, 'ClusterRoleBinding', namespace, {
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: namespace },
      subjects: [{ kind: 'ServiceAccount', name: 'web', namespace }],
    }),
    shared('admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration', namespace, {
      webhooks: [
        {
          name: `widgets.${group}`,
          sideEffects: 'None',
          admissionReviewVersions: ['v1'],
          failurePolicy: 'Fail',
          // It would refuse every widget, were it there before they are.
          rules: [{ apiGroups: [group], apiVersions: ['*'], operations: ['CREATE'], resources: ['widgets'] }],
          clientConfig: { service: { name: 'web', namespace }, caBundle: '' },
        },
      ],
    }),
  ];
}

const definition = (namespace: string): KubeObject => {
  const group = `${namespace}.dmaas.test`;
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `widgets.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural: 'widgets', singular: 'widget', kind: 'Widget', listKind: 'WidgetList' },
      versions: [{ name: 'v1', served: true, storage: true, schema }],
    },
  };
};
const widget = (namespace: string): KubeObject => ({
  apiVersion: `${namespace}.dmaas.test/v1`,
  kind: 'Widget',
  metadata: { name: 'main', namespace },
  spec: { size: 3 },
});

describe('the objects of a restore on a real cluster', function () {
  this.timeout('15m');
  const source = `zoo-${String(process.pid)}`;
  const copy = `${source}-copy`;
  let lab: TestCluster;
  let cluster: Cluster;
  let backup: BackupView;

  /** Everything in a namespace, what controllers made included, with the cluster-scoped objects named after it. */
  async function capture(namespace: string): Promise<KubeObject[]> {
    const kinds = (await cluster.kinds()).filter((k) => k.verbs.includes('list'));
    const near = await readKinds(
      cluster,
      kinds.filter((k) => k.namespaced),
      { namespace },
      quiet,
    );
    const far = await readKinds(
      cluster,
      kinds.filter(
        (k) =>
          !k.namespaced &&
          ['rbac.authorization.k8s.io', 'admissionregistration.k8s.io', 'apiextensions.k8s.io', ''].includes(k.group) &&
          k.kind !== 'Node',
      ),
      {},
      quiet,
    );
    return [
      ...near.objects,
      ...far.objects.filter((o) => o.metadata.name === namespace || o.metadata.name === `widgets.${namespace}.dmaas.test`),
    ];
  }

  async function plan(namespace: string | undefined, more: Fields = {}): Promise<RestorePlan> {
    const p = await preflightRestore(
      newOperationId(),
      backup,
      cluster,
      {
        activate: true,
        allow: ['*'],
        startJobs: true,
        readyTimeoutMs: 120_000,
        ...(namespace === undefined ? {} : { namespace }),
        ...more,
      },
      quiet,
    );
    assert.deepEqual(
      p.findings.filter((f) => f.level === 'blocker'),
      [],
    );
    return p;
  }

  const deps = () => ({ cluster, populate: fillingMover(), journal: new MemoryJournal() });

  async function removeAll(namespace: string): Promise<void> {
    // A finalizer of nobody's, as users have them.
    await lab
      .kubectl('-n', namespace, 'patch', 'configmap', 'settings', '--type=merge', '-p', '{"metadata":{"finalizers":null}}')
      .catch(() => '');
    for (const kind of ['validatingwebhookconfiguration', 'clusterrolebinding', 'clusterrole'])
      await lab.kubectl('delete', kind, namespace, '--ignore-not-found');
    await lab.kubectl('delete', 'namespace', namespace, '--ignore-not-found');
    await lab.kubectl('delete', 'crd', `widgets.${namespace}.dmaas.test`, '--ignore-not-found');
  }

  before(async () => {
    lab = await startCluster('source', { images: [await buildWebImage()] });
    cluster = await connectCluster({ kubeconfig: lab.kubeconfig, context: lab.context });
    await lab.kubectl('create', 'namespace', source);
    await lab.kubectl('label', 'namespace', source, 'team=shop', 'pod-security.kubernetes.io/enforce=baseline');
    await lab.apply(JSON.stringify(definition(source)));
    await lab.kubectl('wait', '--for=condition=Established', `crd/widgets.${source}.dmaas.test`, '--timeout=60s');
    const items = zoo(source);
    const isWebhook = (o: KubeObject): boolean => o.kind.endsWith('WebhookConfiguration');
    await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [...items.filter((o) => !isWebhook(o)), widget(source)] }));
    await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: items.filter(isWebhook) }));
    for (const workload of ['statefulset/db', 'deployment/web', 'daemonset/agent']) {
      await lab.kubectl('-n', source, 'rollout', 'status', workload, '--timeout=180s');
    }
    await lab
      .kubectl('-n', source, 'wait', '--for=condition=Ready', 'pod/single', 'pod', '-l', 'app=import', '--timeout=180s')
      .catch(() => '');
    await lab.kubectl('-n', source, 'wait', '--for=condition=Ready', 'pod', '-l', 'app in (import,single,plain,old)', '--timeout=180s');
    await lab.kubectl(
      '-n',
      source,
      'debug',
      'single',
      '--image',
      imageName('web:1'),
      '--image-pull-policy=IfNotPresent',
      '--attach=false',
      '--profile=baseline',
      '--',
      nodeInImage,
      '-e',
      '0',
    );
    await lab.kubectl(
      '-n',
      source,
      'patch',
      'serviceaccount',
      'default',
      '--type=merge',
      '-p',
      '{"imagePullSecrets":[{"name":"registry"}]}',
    );
    const owner = JSON.parse(await lab.kubectl('-n', source, 'get', 'deployment', 'web', '-o', 'json')) as KubeObject;
    const reference = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web', uid: owner.metadata.uid };
    await lab.kubectl(
      '-n',
      source,
      'patch',
      'secret',
      'password',
      '--type=merge',
      '-p',
      JSON.stringify({ metadata: { ownerReferences: [reference] } }),
    );
    backup = {
      id: 'backup-1',
      recordId: 'record-1',
      createdAt: '2026-01-01T00:00:00Z',
      app: { name: 'zoo', namespace: source, cluster: cluster.context, clusterId: await cluster.id() },
      objects: await capture(source),
      volumes: [],
    };
  });

  after(async () => {
    await removeAll(source);
    await removeAll(copy);
    await cluster.close();
    await lab.stop();
  });

  /** The restored object against the captured one, both without what servers and controllers write. */
  function differences(captured: KubeObject, restored: KubeObject | undefined, namespace: string): readonly string[] {
    if (restored === undefined) return [`${refName(refOf(captured))} is missing`];
    const expected = mapObject(scrub(captured).object, { from: source, to: namespace, storageClasses: {} }).object;
    return describeDiff(expected, scrub(restored).object).map((line) => `${refName(refOf(captured))} ${line}`);
  }

  async function assertRestored(p: RestorePlan): Promise<void> {
    const { namespace } = p.target;
    const now = new Map((await capture(namespace)).map((o) => [refKey(refOf(o)), o]));
    const all = p.steps.flatMap((step) => {
      if (step.do !== 'apply' && step.do !== 'create-claim') return [];
      const captured = backup.objects.find(
        (o) => kindId(o) === kindId(step.ref) && (o.metadata.name === step.ref.name || kindId(o) === 'Namespace'),
      );
      if (captured === undefined || step.action === 'skip') return [];
      return differences(captured, now.get(refKey(step.ref)), namespace);
    });
    assert.deepEqual(all, []);
  }

  it('all of them come back, equal but for what the cluster gives anew, and everything runs', async () => {
    await removeAll(source);
    const p = await plan(undefined);
    const report = await applyRestore(p, deps(), quiet);
    assert.equal(report.skipped, 0);
    await assertRestored(p);
    const names = new Set((await capture(source)).map((o) => refName(refOf(o))));
    for (const object of [...zoo(source), definition(source), widget(source)])
      assert.ok(names.has(refName(refOf(object))), refName(refOf(object)));
  });

  it('the finer points', async () => {
    const get = async (kind: string, name: string): Promise<KubeObject> =>
      JSON.parse(await lab.kubectl('-n', source, 'get', kind, name, '-o', 'json')) as KubeObject;
    const web = await get('service', 'web');
    const ports = (at(web, 'spec', 'ports') as { nodePort: number }[]).map((p) => p.nodePort);
    assert.equal(ports[1], 32123, 'the node port that a person chose');
    assert.ok(stringAt(web, 'spec', 'clusterIP'));
    assert.ok(at(await get('secret', 'token'), 'data', 'token'), 'the token controller has filled it again');
    const [owner] = (await get('secret', 'password')).metadata.ownerReferences ?? [];
    assert.equal(owner?.uid, (await get('deployment', 'web')).metadata.uid, 'the owner reference points to the new owner');
    assert.equal(
      (await get('persistentvolumeclaim', 'data-db-0')).metadata.ownerReferences?.[0]?.uid,
      (await get('statefulset', 'db')).metadata.uid,
    );
    assert.deepEqual((await get('serviceaccount', 'default'))['imagePullSecrets'], [{ name: 'registry' }]);
    assert.equal((await get('namespace', source)).metadata.labels?.['team'], 'shop');
    const job = await get('job', 'import');
    assert.equal(at(job, 'spec', 'selector', 'matchLabels', 'batch.kubernetes.io/controller-uid'), job.metadata.uid);
    assert.equal(at(job, 'spec', 'suspend'), false);
    assert.equal(at(await get('pod', 'single'), 'spec', 'ephemeralContainers'), undefined);
    assert.ok(stringAt(await get('pod', 'single'), 'spec', 'nodeName'));
  });

  it('a second run of the same plan has nothing to do', async () => {
    const p = await plan(undefined, { conflict: 'skip' });
    assert.ok(p.steps.every((s) => ('action' in s ? s.action !== 'create' : true)));
    // Events come and go by themselves, and controllers make the endpoints of a Service when they get to it.
    const uids = async (): Promise<unknown[]> =>
      (await capture(source))
        .filter((o) => !['Event', 'Endpoints', 'EndpointSlice'].includes(o.kind))
        .map((o) => [refKey(refOf(o)), o.metadata.uid])
        .sort();
    const before = await uids();
    await applyRestore(p, deps(), quiet);
    assert.deepEqual(await uids(), before);
  });

  it('objects of APIs that left Kubernetes are accepted in those that replaced them', async () => {
    for (const old of OLD_OBJECTS) {
      const local = old.metadata.namespace === undefined ? old : { ...old, metadata: { ...old.metadata, namespace: source } };
      await assert.rejects(cluster.create(local, { dryRun: true }), `${old.apiVersion} ${old.kind} is served`);
      const { object } = scrub(inServedApi(local, (await cluster.version()).minor));
      await cluster.create(
        {
          ...object,
          metadata: { ...object.metadata, name: old.kind === 'CustomResourceDefinition' ? old.metadata.name : `old-${source}` },
        },
        { dryRun: true },
      );
    }
  });

  it('the original in place is a conflict, named object by object', async () => {
    const p = await preflightRestore(newOperationId(), backup, cluster, { activate: true, allow: ['*'] }, quiet);
    const blockers = p.findings.filter((f) => f.level === 'blocker').map((f) => f.message);
    assert.ok(blockers.includes(`deployment/web exists in namespace ${source}`));
    assert.ok(blockers.includes(`claim data-db-0 exists in namespace ${source}, and a restore never writes over data`));
    const e = await applyRestore(p, deps(), quiet).catch((error: unknown) => error);
    assert.ok(DmaasError.is(e, 'PREFLIGHT_FAILED'));
  });

  it('a copy beside it, tried on the server first, cut off on the way, resumed, and undone', async () => {
    await lab.kubectl('create', 'namespace', copy);
    const exclude = ['validatingwebhookconfiguration/*'];
    // Node ports belong to the whole cluster: the chosen one is taken. The original's webhook does not answer, so nobody can make
    // widgets. The server says both before anything changes.
    const refused = await preflightRestore(
      newOperationId(),
      backup,
      cluster,
      { activate: true, allow: ['*'], startJobs: true, namespace: copy, exclude },
      quiet,
    );
    assert.deepEqual(
      refused.findings.filter((f) => f.level === 'blocker').map((f) => [f.code, f.ref?.name]),
      [
        ['refused-by-server', 'web'],
        ['refused-by-server', 'main'],
      ],
    );
    const p = await plan(copy, { exclude: [...exclude, 'service/web', 'widget/main'] });
    assert.ok(
      p.findings.some((f) => f.code === 'text-not-edited' && f.message.startsWith(`env DB of deployment/web names db.${source}.svc`)),
    );

    const cut = new AbortController();
    const stopped = await applyRestore(p, deps(), {
      signal: cut.signal,
      emit: (event) => {
        if (event.type === 'step' && event.title === 'create statefulset/db' && event.state === 'done') cut.abort();
      },
    }).catch((error: unknown) => error);
    assert.ok(DmaasError.is(stopped, 'CANCELLED'));
    const report = await applyRestore(p, deps(), quiet);
    assert.ok(report.skipped > 0 && report.created > 0);
    await assertRestored(p);
    const binding = JSON.parse(await lab.kubectl('get', 'clusterrolebinding', `${source}-${copy}`, '-o', 'json')) as KubeObject;
    assert.deepEqual(binding['subjects'], [{ kind: 'ServiceAccount', name: 'web', namespace: copy }]);

    const uids = new Map((await capture(source)).map((o) => [refKey(refOf(o)), o.metadata.uid]));
    const removal = await removeRestored(cluster, { id: p.id, namespace: copy }, quiet);
    assert.deepEqual(
      removal.findings.filter((f) => f.level !== 'info'),
      [],
    );
    const left = (await capture(copy)).filter((o) => !/^(Event|Endpoints|EndpointSlice|Lease)$/.test(o.kind)).map((o) => refName(refOf(o)));
    assert.deepEqual(left.sort(), [`configmap/kube-root-ca.crt`, `namespace/${copy}`, 'serviceaccount/default']);
    for (const o of await capture(source))
      if (o.kind !== 'Event') assert.equal(uids.get(refKey(refOf(o))), o.metadata.uid, refName(refOf(o)));
  });

  it('a workload that cannot start: why, in words', async () => {
    const broken = `${source}-broken`;
    const web = backup.objects.find((o) => o.kind === 'Deployment');
    assert.ok(web);
    const spec = JSON.parse(JSON.stringify(web['spec']).replaceAll(imageName('web:1'), 'dmaas.test/no-such:1')) as Fields;
    const objects = [
      ...backup.objects.filter((o) => ['Secret', 'ConfigMap', 'ServiceAccount', 'PersistentVolumeClaim'].includes(o.kind)),
      { ...web, spec },
    ];
    const options = { activate: true, allow: ['*'], namespace: broken, readyTimeoutMs: 8000 };
    try {
      const p = await preflightRestore(newOperationId(), { ...backup, objects }, cluster, options, quiet);
      const e = await applyRestore(p, deps(), quiet).catch((error: unknown) => error);
      assert.ok(DmaasError.is(e, 'RESTORE_STEP_FAILED'), String(e));
      assert.match(
        e.message,
        /^deployment\/web is not ready after 8 s: container main of pod web-\S+ cannot pull image dmaas\.test\/no-such:1: /,
      );
      assert.match(e.hint ?? '', /image pull secret.*; then go on with "kubectl dmaas restore resume/);
    } finally {
      await lab.kubectl('delete', 'namespace', broken, '--wait=false');
    }
  });
});
