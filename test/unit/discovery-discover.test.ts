import assert from 'node:assert/strict';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import type { MemoryClusterOptions } from '../../core/src/cluster/memory-cluster.ts';
import type { Application, AppSelector } from '../../core/src/discovery/application.ts';
import { discover } from '../../core/src/discovery/discover.ts';
import { explain } from '../../core/src/discovery/explain.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { ErrorCode } from '../../core/src/errors.ts';
import type { DmaasEvent } from '../../core/src/events.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { demoApp } from '../demo/application.ts';
import { manifest, ownedBy, workload } from '../support/manifests.ts';
import { runningDemo } from '../support/running-demo.ts';

type Choice = AppSelector extends infer S ? (S extends AppSelector ? Omit<S, 'namespace'> : never) : never;

const SHOP = { labelSelector: 'app=shop' };
const WHOLE = { wholeNamespace: true } as const;
const quiet = { emit: () => undefined };

function inShop(choice: Choice): AppSelector {
  return { namespace: 'shop', ...choice };
}

async function find(objects: readonly KubeObject[], choice: Choice, options: MemoryClusterOptions = {}): Promise<Application> {
  return discover(new MemoryCluster({ objects, ...options }), inShop(choice), quiet);
}

const named = (o: { readonly kind: string; readonly name: string }) => `${o.kind}/${o.name}`;
const members = (app: Application) => app.members.map(({ object }) => named({ kind: object.kind, name: object.metadata.name }));
const findings = (app: Application, code: string) => app.findings.filter((f) => f.code === code);
const reasons = (app: Application) => Object.fromEntries(app.leftOut.map((l) => [named(l.ref), l.reason]));
const path = (app: Application, member: string) =>
  app.members.find((m) => named({ kind: m.object.kind, name: m.object.metadata.name }) === member)?.because.map((e) => e.name);

async function fails(objects: readonly KubeObject[], choice: Choice, options: MemoryClusterOptions = {}): Promise<DmaasError> {
  const error: unknown = await find(objects, choice, options).then(
    () => assert.fail('it was found'),
    (e: unknown) => e,
  );
  assert.ok(DmaasError.is(error), String(error));
  return error;
}

function refuses(error: DmaasError, code: ErrorCode, message: RegExp, hint: RegExp): void {
  assert.equal(error.code, code);
  assert.match(error.message, message);
  assert.match(error.hint ?? '', hint);
}

const ALL_OF_SHOP = [
  ...['ClusterRole/shop-shop', 'ClusterRoleBinding/shop-shop', 'ConfigMap/db', 'ConfigMap/site', 'Deployment/web', 'Ingress/web'],
  ...['PersistentVolumeClaim/data-db-0', 'PersistentVolumeClaim/uploads', 'Role/web', 'RoleBinding/web', 'Secret/db', 'Service/db'],
  ...['Service/web', 'ServiceAccount/web', 'StatefulSet/db'],
];

describe('discover: the demo application', () => {
  it('by its label, cluster-scoped objects included, nothing that controllers make', async () => {
    const app = await find(runningDemo(), SHOP);
    assert.deepEqual(members(app), ALL_OF_SHOP);
    assert.deepEqual(app.findings, []);
    assert.equal(app.name, 'shop');
    assert.deepEqual(
      app.dependencies.map((d) => named(d.ref)),
      ['PersistentVolume/pv-data', 'PersistentVolume/pv-uploads', 'StorageClass/csi-hostpath'],
    );
    assert.equal(reasons(app)['Pod/db-0'], 'is made by statefulset/db');
    assert.equal(reasons(app)['ReplicaSet/web-7c9'], 'is made by deployment/web');
    assert.equal(reasons(app)['Endpoints/web'], 'is made by a controller');
  });

  it('without the roles and bindings of another installation that bears the same label', async () => {
    const other = demoApp('elsewhere').filter((o) => o.metadata.namespace === undefined);
    const app = await find([...runningDemo(), ...other], SHOP);
    assert.deepEqual(members(app), ALL_OF_SHOP);
    assert.deepEqual(app.findings, []);
    assert.equal(reasons(app)['ClusterRole/shop-elsewhere'], 'is there for other namespaces');
    assert.equal(reasons(app)['ClusterRoleBinding/shop-elsewhere'], 'is there for other namespaces');
  });

  it('with a labelled role that nothing binds, and a binding that names a user', async () => {
    const rbac = 'rbac.authorization.k8s.io';
    const free = { apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata: { name: 'free', labels: { app: 'shop' } }, rules: [] };
    const binding = {
      apiVersion: `${rbac}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name: 'people', labels: { app: 'shop' } },
      roleRef: { apiGroup: rbac, kind: 'ClusterRole', name: 'free' },
      subjects: [
        { kind: 'User', name: 'alice', apiGroup: rbac },
        { kind: 'ServiceAccount', name: 'web', namespace: 'elsewhere' },
      ],
    };
    const app = await find([...runningDemo(), free, binding], SHOP);
    assert.deepEqual(
      members(app).filter((m) => !ALL_OF_SHOP.includes(m)),
      ['ClusterRole/free', 'ClusterRoleBinding/people'],
    );
  });

  it('by namespace: the same, with the namespace itself', async () => {
    const app = await find(runningDemo(), WHOLE);
    assert.deepEqual(members(app), [...ALL_OF_SHOP, 'Namespace/shop'].sort());
    assert.deepEqual(app.findings, []);
    assert.equal(reasons(app)['ServiceAccount/default'], 'is made in every namespace');
    assert.equal(reasons(app)['ConfigMap/kube-root-ca.crt'], 'is made in every namespace');
  });

  it('describes the volumes, where they are and who uses them', async () => {
    const { volumes } = await find(runningDemo(), SHOP);
    assert.equal(volumes.length, 2);
    const [data, uploads] = volumes;
    assert.deepEqual(
      { ...data, nodeAffinity: undefined },
      {
        claim: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name: 'data-db-0', namespace: 'shop' },
        mode: 'filesystem',
        capacityBytes: 2 ** 30,
        storageClass: 'csi-hostpath',
        accessModes: ['ReadWriteOnce'],
        phase: 'Bound',
        volumeName: 'pv-data',
        driver: 'hostpath.csi.dmaas.test',
        nodeAffinity: undefined,
        mountedBy: [{ apiVersion: 'v1', kind: 'Pod', name: 'db-0', namespace: 'shop' }],
        consumers: [{ apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', namespace: 'shop' }],
        node: 'node-a',
        security: { runAsUser: 999, runAsGroup: 999, fsGroup: 999, fsGroupChangePolicy: 'OnRootMismatch' },
        scheduling: {},
      },
    );
    assert.deepEqual(Object.keys(data?.nodeAffinity ?? {}), ['required']);
    assert.deepEqual(uploads?.consumers.map(named), ['Deployment/web']);
    assert.deepEqual(uploads.mountedBy.map(named), ['Pod/web-7c9-x1']);
  });

  it('is plain JSON', async () => {
    const app = await find(runningDemo(), SHOP);
    assert.deepEqual(JSON.parse(JSON.stringify(app)), app);
  });

  it('says when it starts, is done, or has failed', async () => {
    const events: DmaasEvent[] = [];
    const run = { emit: (e: DmaasEvent) => events.push(e) };
    const cluster = new MemoryCluster({ objects: runningDemo() });
    await discover(cluster, inShop(SHOP), run);
    await assert.rejects(discover(cluster, inShop({ labelSelector: 'app=none' }), run));
    assert.deepEqual(
      events.map((e) => (e.type === 'phase' ? e.state : e.type)),
      ['start', 'done', 'start', 'failed'],
    );
  });
});

describe('discover: references', () => {
  it('draws in what a workload needs and what stands before it, labels or none', async () => {
    const app = await find(unlabelled(runningDemo()), { workload: { kind: 'deploy', name: 'web' } });
    assert.deepEqual(members(app), [
      ...['ClusterRole/shop-shop', 'ClusterRoleBinding/shop-shop', 'ConfigMap/site', 'Deployment/web', 'Ingress/web'],
      ...['PersistentVolumeClaim/uploads', 'Role/web', 'RoleBinding/web', 'Service/web', 'ServiceAccount/web'],
    ]);
    assert.deepEqual(path(app, 'Deployment/web'), []);
    assert.deepEqual(path(app, 'Ingress/web'), ['selects', 'routes-to']);
    assert.deepEqual(path(app, 'ClusterRole/shop-shop'), ['runs-as', 'binds', 'grants']);
  });

  it('accepts kinds as kubectl does', async () => {
    for (const kind of ['statefulset', 'StatefulSet', 'statefulsets', 'sts', 'statefulsets.apps', 'sts.apps']) {
      const app = await find(runningDemo(), { workload: { kind, name: 'db' } });
      assert.ok(members(app).includes('PersistentVolumeClaim/data-db-0'), kind);
      assert.equal(app.name, 'db');
    }
  });

  it('from labelled pods to the workload that makes them', async () => {
    const objects = runningDemo().map((o) => (o.kind === 'Pod' && o.metadata.name === 'db-0' ? labelled(o, { find: 'me' }) : o));
    const app = await find(objects, { labelSelector: 'find=me' });
    assert.deepEqual(path(app, 'StatefulSet/db'), ['owned-by']);
    assert.ok(members(app).includes('Secret/db'));
  });

  it('keeps the claims of ordinals that no longer run', async () => {
    const left = manifest('PersistentVolumeClaim', 'data-db-7', { status: { phase: 'Bound' }, spec: { accessModes: ['ReadWriteOnce'] } });
    const other = manifest('PersistentVolumeClaim', 'data-db-x', { status: { phase: 'Bound' } });
    const app = await find([...runningDemo(), left, other], { workload: { kind: 'sts', name: 'db' } });
    assert.ok(members(app).includes('PersistentVolumeClaim/data-db-7'));
    assert.ok(!members(app).includes('PersistentVolumeClaim/data-db-x'));
    const volume = app.volumes.find((v) => v.claim.name === 'data-db-7');
    assert.equal(volume?.security.runAsUser, 999);
    assert.deepEqual(volume.mountedBy, []);
  });

  it('a claim that nothing uses can be an application', async () => {
    const app = await find([...runningDemo(), claim('bare')], { workload: { kind: 'pvc', name: 'bare' } });
    assert.deepEqual(members(app), ['PersistentVolumeClaim/bare']);
    assert.deepEqual(app.volumes[0]?.consumers, []);
  });

  it('a Service for one replica belongs to its StatefulSet, also when no pod runs', async () => {
    const service = manifest('Service', 'db-first', { spec: { selector: { 'statefulset.kubernetes.io/pod-name': 'db-0' } } });
    const stopped = runningDemo().filter((o) => o.kind !== 'Pod');
    const app = await find([...stopped, service], { workload: { kind: 'sts', name: 'db' } });
    assert.ok(members(app).includes('Service/db-first'));
  });

  it('an Ingress drawn in does not draw in the other applications it serves, and says so', async () => {
    const path = (name: string) => ({ path: `/${name}`, backend: { service: { name, port: { number: 80 } } } });
    const objects = [
      workload('Deployment', 'a'),
      workload('Deployment', 'b'),
      manifest('Service', 'a', { spec: { selector: { tier: 'a' } } }),
      manifest('Service', 'b', { spec: { selector: { tier: 'b' } } }),
      manifest('Ingress', 'both', { spec: { rules: [{ http: { paths: [path('a'), path('b')] } }] } }),
      manifest('NetworkPolicy', 'all', { spec: { podSelector: {} } }),
    ];
    const app = await find(objects, { workload: { kind: 'deployment', name: 'a' } });
    assert.deepEqual(members(app), ['Deployment/a', 'Ingress/both', 'NetworkPolicy/all', 'Service/a']);
    assert.deepEqual(
      findings(app, 'object-shared').map((f) => f.message),
      [
        'ingress/both also routes to service/b, not part of this application',
        'networkpolicy/all also limits deployment/b, not part of this application',
      ],
    );
    const selected = await find(objects, { workload: { kind: 'ingress', name: 'both' } });
    assert.deepEqual(
      members(selected).filter((m) => m.startsWith('Deployment')),
      ['Deployment/a', 'Deployment/b'],
    );
  });

  it('a policy that is selected does not select all its pods', async () => {
    const policy = manifest('NetworkPolicy', 'all', { metadata: { labels: { app: 'a' } }, spec: { podSelector: {} } });
    const objects = [workload('Deployment', 'a', {}, { metadata: { labels: { app: 'a' } } }), workload('Deployment', 'b'), policy];
    assert.deepEqual(members(await find(objects, { labelSelector: 'app=a' })), ['Deployment/a', 'NetworkPolicy/all']);
  });

  it('two workloads that read one Secret stay two applications, and it is noted', async () => {
    const reads = { containers: [{ name: 'main', envFrom: [{ secretRef: { name: 'common' } }] }] };
    const objects = [workload('Deployment', 'a', reads), workload('Deployment', 'b', reads), manifest('Secret', 'common')];
    const app = await find(objects, { workload: { kind: 'deployment', name: 'a' } });
    assert.deepEqual(members(app), ['Deployment/a', 'Secret/common']);
    assert.deepEqual(
      findings(app, 'object-shared').map((f) => [f.level, f.message]),
      [['info', 'secret/common is also used by deployment/b, not part of this application']],
    );
  });

  it('follows a custom resource to what its operator made, and names its definition as a dependency', async () => {
    const kind = {
      group: 'example.com',
      version: 'v1',
      kind: 'Database',
      plural: 'databases',
      namespaced: true,
      verbs: ['get', 'list', 'create', 'delete'],
    };
    const cr: KubeObject = {
      apiVersion: 'example.com/v1',
      kind: 'Database',
      metadata: { name: 'main', namespace: 'shop', uid: 'cr', labels: { app: 'db' } },
    };
    const pod = manifest('Pod', 'main-1', {
      metadata: ownedBy(cr),
      spec: { containers: [{ name: 'x' }], volumes: [{ name: 'd', persistentVolumeClaim: { claimName: 'main-1' } }] },
      status: { phase: 'Running' },
    });
    const app = await find(
      [cr, pod, claim('main-1'), manifest('Secret', 'main-auth', { metadata: ownedBy(cr) })],
      { labelSelector: 'app=db' },
      { kinds: [kind] },
    );
    assert.deepEqual(members(app), ['Database/main', 'PersistentVolumeClaim/main-1', 'Secret/main-auth']);
    assert.deepEqual(
      app.dependencies.map((d) => named(d.ref)),
      ['CustomResourceDefinition/databases.example.com'],
    );
    assert.deepEqual(app.volumes[0]?.consumers.map(named), ['Database/main']);
  });

  it('an owner is the one with that uid, not the next one with that name', async () => {
    const old = workload('Deployment', 'web', {}, { metadata: { uid: 'old' } });
    const objects = [
      workload('Deployment', 'web', {}, { metadata: { uid: 'new' } }),
      manifest('ConfigMap', 'left', { metadata: ownedBy(old) }),
    ];
    assert.deepEqual(members(await find(objects, { workload: { kind: 'deployment', name: 'web' } })), ['Deployment/web']);
  });

  it('webhooks and cluster roles of other namespaces stay outside', async () => {
    const hook = (name: string, namespace: string) =>
      manifest('ValidatingWebhookConfiguration', name, { webhooks: [{ clientConfig: { service: { name: 'web', namespace } } }] });
    const elsewhere = demoApp('other').filter((o) => o.metadata.namespace === undefined);
    const app = await find([...runningDemo(), ...unlabelled(elsewhere), hook('ours', 'shop'), hook('theirs', 'other')], WHOLE);
    assert.deepEqual(
      members(app).filter((m) => m.startsWith('Cluster') || m.startsWith('Validating')),
      ['ClusterRole/shop-shop', 'ClusterRoleBinding/shop-shop', 'ValidatingWebhookConfiguration/ours'],
    );
  });

  it('built-in roles are used, not captured', async () => {
    const binding = manifest('RoleBinding', 'viewer', {
      subjects: [{ kind: 'ServiceAccount', name: 'web' }],
      roleRef: { kind: 'ClusterRole', name: 'view' },
    });
    const app = await find([...runningDemo(), binding], SHOP);
    assert.ok(members(app).includes('RoleBinding/viewer'));
    assert.equal(reasons(app)['ClusterRole/view'], 'is part of Kubernetes');
  });
});

describe('discover: what is left out', () => {
  it('what is labelled so, with what only it refers to', async () => {
    for (const labels of [{ 'dmaas.io/exclude': 'true' }, { 'velero.io/exclude-from-backup': 'true' }]) {
      const objects = runningDemo().map((o) => (o.kind === 'Deployment' ? labelled(o, labels) : o));
      const app = await find(unlabelled(objects, 'Deployment', 'StatefulSet'), SHOP);
      assert.ok(!members(app).includes('Deployment/web'));
      assert.ok(!members(app).includes('ConfigMap/site'));
      assert.ok(members(app).includes('StatefulSet/db'));
      assert.match(reasons(app)['Deployment/web'] ?? '', /is labelled .*=true/);
    }
  });

  it('what the selector excludes, by kind, name or label', async () => {
    const app = await find(runningDemo(), { ...SHOP, exclude: { objects: ['ingresses', 'cm/*'], labelSelector: 'tier=db' } });
    assert.ok(!members(app).some((m) => /^(Ingress|ConfigMap)/.test(m) || m === 'PersistentVolumeClaim/data-db-0'));
    assert.equal(reasons(app)['Ingress/web'], 'is excluded by the selection');
    assert.deepEqual(findings(app, 'reference-missing'), []);
  });

  it('what the selector does not include, though it leads to what is', async () => {
    const app = await find(runningDemo(), { ...SHOP, include: { objects: ['pvc', 'secret/d*'], labelSelector: 'nothing=here' } });
    assert.deepEqual(members(app), ['PersistentVolumeClaim/data-db-0', 'PersistentVolumeClaim/uploads', 'Secret/db']);
    assert.equal(reasons(app)['StatefulSet/db'], 'is not included by the selection');
    assert.deepEqual(findings(app, 'reference-missing'), []);
  });

  it('objects of DMaaS', async () => {
    const secret = manifest('Secret', 'dmaas-location', { metadata: { labels: { 'dmaas.io/role': 'location' } } });
    const app = await find([...runningDemo(), secret], WHOLE);
    assert.equal(reasons(app)['Secret/dmaas-location'], 'belongs to DMaaS');
  });

  it('objects that are being deleted, with a finding; pods without one', async () => {
    const going = (o: KubeObject): KubeObject => ({ ...o, metadata: { ...o.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } });
    const objects = runningDemo().map((o) =>
      o.metadata.name === 'db-0' || (o.kind === 'Ingress' && o.metadata.name === 'web') ? going(o) : o,
    );
    const app = await find(objects, SHOP);
    assert.ok(!members(app).includes('Ingress/web'));
    assert.deepEqual(
      findings(app, 'object-terminating').map((f) => [f.level, f.message]),
      [['warning', 'ingress/web is being deleted and is left out']],
    );
    assert.ok(members(app).includes('StatefulSet/db'));
  });

  it('tokens and Helm history, but not what people made', async () => {
    const token = (name: string) =>
      manifest('Secret', name, {
        metadata: { annotations: { 'kubernetes.io/service-account.name': 'web' } },
        type: 'kubernetes.io/service-account-token',
      });
    const release = (version: string, status: string) =>
      manifest('Secret', `sh.helm.release.v1.shop.v${version}`, {
        metadata: { labels: { owner: 'helm', name: 'shop', status, version } },
        type: 'helm.sh/release.v1',
      });
    const extra = [token('web-token-ab2de'), token('for-ci'), release('1', 'superseded'), release('2', 'deployed')];
    const app = await find([...runningDemo(), ...extra], WHOLE);
    assert.deepEqual(
      members(app).filter((m) => m.startsWith('Secret')),
      ['Secret/db', 'Secret/for-ci', 'Secret/sh.helm.release.v1.shop.v2'],
    );
    assert.equal(reasons(app)['Secret/sh.helm.release.v1.shop.v1'], 'is a past revision of a Helm release');
  });

  it('Jobs of a CronJob, but not objects that merely go when their owner goes', async () => {
    const cron = workload('CronJob', 'nightly', {}, { metadata: { uid: 'cj' } });
    const objects = [
      cron,
      manifest('Job', 'nightly-1', { metadata: ownedBy(cron) }),
      manifest('Secret', 'tied', { metadata: ownedBy(cron) }),
    ];
    const app = await find(objects, { workload: { kind: 'cj', name: 'nightly' } });
    assert.deepEqual(members(app), ['CronJob/nightly', 'Secret/tied']);
    assert.deepEqual(reasons(app), { 'Job/nightly-1': 'is made by cronjob/nightly' });
  });

  it('addresses that a controller keeps, not those of a Service without selector', async () => {
    const endpoint = { addresses: ['192.0.2.7'] };
    const objects = [
      manifest('Service', 'outside', { spec: { ports: [{ port: 80 }] } }),
      manifest('Endpoints', 'outside', { subsets: [{ addresses: [{ ip: '192.0.2.7' }] }] }),
      manifest('EndpointSlice', 'outside-1', { metadata: { labels: { 'kubernetes.io/service-name': 'outside' } }, endpoints: [endpoint] }),
      manifest('Endpoints', 'elected', { metadata: { annotations: { 'control-plane.alpha.kubernetes.io/leader': '{}' } } }),
    ];
    const app = await find([...runningDemo(), ...objects], WHOLE);
    assert.deepEqual(
      members(app).filter((m) => m.startsWith('Endpoint')),
      ['EndpointSlice/outside-1', 'Endpoints/outside'],
    );
  });

  it('a default service account, unless someone changed it', async () => {
    const objects = runningDemo().map((o) =>
      o.kind === 'ServiceAccount' && o.metadata.name === 'default' ? { ...o, imagePullSecrets: [{ name: 'db' }] } : o,
    );
    assert.ok(members(await find(objects, WHOLE)).includes('ServiceAccount/default'));
  });

  it('finished pods, static pods, claims that die with their pod', async () => {
    const run = (name: string, metadata: object, phase: string) =>
      manifest('Pod', name, { metadata, spec: { containers: [{ name: 'x' }] }, status: { phase } });
    const bare = run('bare', {}, 'Running');
    const objects = [
      bare,
      run('done', {}, 'Succeeded'),
      run('static', { annotations: { 'kubernetes.io/config.mirror': 'x' } }, 'Running'),
      { ...claim('bare-scratch'), metadata: { name: 'bare-scratch', namespace: 'shop', ...ownedBy(bare) } },
    ];
    const app = await find(objects, WHOLE);
    assert.deepEqual(members(app), ['Namespace/shop', 'Pod/bare']);
    assert.deepEqual(reasons(app), {
      'PersistentVolumeClaim/bare-scratch': 'lives and dies with pod/bare',
      'Pod/done': 'has finished',
      'Pod/static': 'is a static pod of its node',
    });
  });
});

describe('discover: Helm', () => {
  it('what the release installed, with its record', async () => {
    const annotations = { 'meta.helm.sh/release-name': 'rel', 'meta.helm.sh/release-namespace': 'shop' };
    const labels = { 'app.kubernetes.io/managed-by': 'Helm' };
    const objects = [
      ...runningDemo().map((o) => (o.kind === 'StatefulSet' ? { ...o, metadata: { ...o.metadata, annotations } } : o)),
      manifest('StorageClass', 'of-release', { metadata: { annotations, labels } }),
      manifest('StorageClass', 'of-another', {
        metadata: { annotations: { ...annotations, 'meta.helm.sh/release-namespace': 'x' }, labels },
      }),
      manifest('Secret', 'sh.helm.release.v1.rel.v1', {
        metadata: { labels: { name: 'rel', status: 'deployed' } },
        type: 'helm.sh/release.v1',
      }),
    ];
    const app = await find(objects, { helmRelease: 'rel' });
    assert.deepEqual(members(app), [
      ...['ConfigMap/db', 'PersistentVolumeClaim/data-db-0', 'Secret/db', 'Secret/sh.helm.release.v1.rel.v1', 'Service/db'],
      ...['StatefulSet/db', 'StorageClass/of-release'],
    ]);
    refuses(await fails(objects, { helmRelease: 'rell' }), 'APP_NOT_FOUND', /no Helm release "rell"/, /rel/);
  });
});

describe('discover: findings', () => {
  it('what is referenced but missing, once for each thing; optional references are no fault', async () => {
    const spec = {
      serviceAccountName: 'gone',
      volumes: [
        { name: 'a', secret: { secretName: 'tls' } },
        { name: 'b', persistentVolumeClaim: { claimName: 'lost' } },
        { name: 'c', configMap: { name: 'maybe', optional: true } },
      ],
      containers: [{ name: 'x', envFrom: [{ secretRef: { name: 'tls' } }, { configMapRef: { name: 'conf' } }] }],
    };
    const web = workload('StatefulSet', 'web', spec, { spec: { serviceName: 'none' } });
    const pod = manifest('Pod', 'web-0', { metadata: ownedBy(web), spec, status: { phase: 'Pending' } });
    const app = await find([web, pod], { workload: { kind: 'sts', name: 'web' } });
    assert.deepEqual(
      findings(app, 'reference-missing').map((f) => `${f.level}: ${f.message}`),
      [
        'warning: configmap/conf does not exist, but statefulset/web reads its environment from it',
        'warning: persistentvolumeclaim/lost does not exist, but statefulset/web mounts it',
        'warning: secret/tls does not exist, but statefulset/web mounts it, statefulset/web reads its environment from it',
        'warning: service/none does not exist, but statefulset/web is governed by it',
        'warning: serviceaccount/gone does not exist, but statefulset/web runs as it',
      ],
    );
    assert.deepEqual(app.missing.map((m) => named(m.ref)).sort(), [
      'ConfigMap/conf',
      'PersistentVolumeClaim/lost',
      'Secret/tls',
      'Service/none',
      'ServiceAccount/gone',
    ]);
  });

  it('claims that are Pending or Lost block', async () => {
    const objects = [claim('waits', 'Pending'), claim('gone', 'Lost'), claim('fine')].map((o) => labelled(o, { app: 'x' }));
    const app = await find(objects, { labelSelector: 'app=x' });
    assert.deepEqual(
      app.findings.map((f) => [f.level, f.code, f.ref?.name]),
      [
        ['blocker', 'claim-lost', 'gone'],
        ['blocker', 'claim-not-bound', 'waits'],
      ],
    );
    assert.match(app.findings[1]?.hint ?? '', /kubectl describe pvc waits -n shop/);
  });

  it('data that no claim tells of', async () => {
    const container = (readOnly: boolean) => ({ containers: [{ name: 'x', volumeMounts: [{ name: 'v', mountPath: '/v', readOnly }] }] });
    const volumes = [{ name: 'v', hostPath: { path: '/var/lib/x' } }];
    const app = await find(
      [
        workload('Deployment', 'writes', { ...container(false), volumes }),
        workload('Deployment', 'reads', { ...container(true), volumes }),
        workload('Deployment', 'socket', {
          ...container(false),
          volumes: [{ name: 'v', hostPath: { path: '/run/x.sock', type: 'Socket' } }],
        }),
        workload('Deployment', 'scratch', { ...container(false), volumes: [{ name: 'v', emptyDir: {} }] }),
      ],
      WHOLE,
    );
    assert.deepEqual(
      app.findings.map((f) => `${f.level}: ${f.message}`),
      ['warning: deployment/writes writes to hostPath /var/lib/x (volume v), which is no claim and is not captured'],
    );
  });

  it('a kind that may not be read is a warning that names what is referred to, and not "missing"', async () => {
    const app = await find(runningDemo(), SHOP, { forbid: [{ group: '', resource: 'secrets' }] });
    assert.deepEqual(findings(app, 'reference-missing'), []);
    assert.deepEqual(
      findings(app, 'kind-forbidden').map((f) => `${f.level}: ${f.message}`),
      ['warning: this identity may not list secrets in namespace shop; the application refers to secret/db'],
    );
  });

  it('works for a user of one namespace: what lies outside is remarked on', async () => {
    const clusterScoped = [
      'clusterroles',
      'clusterrolebindings',
      'storageclasses',
      'persistentvolumes',
      'nodes',
      'namespaces',
      'ingressclasses',
    ];
    const more = ['customresourcedefinitions', 'priorityclasses', 'mutatingwebhookconfigurations', 'validatingwebhookconfigurations'];
    const forbid = [...clusterScoped, ...more].map((resource) => ({ resource }));
    const cluster = new MemoryCluster({ objects: runningDemo(), forbid });
    cluster.id = () => Promise.reject(new DmaasError('CLUSTER_FORBIDDEN', 'may not get namespaces'));
    const app = await discover(cluster, inShop(SHOP), quiet);
    assert.deepEqual(
      members(app),
      ALL_OF_SHOP.filter((m) => !m.startsWith('Cluster')),
    );
    assert.deepEqual(
      app.findings.map((f) => [f.level, f.code]),
      [
        ['info', 'cluster-scope-unread'],
        ['info', 'storage-unread'],
      ],
    );
    assert.equal(app.cluster.id, '');
    assert.equal(app.volumes[0]?.node, 'node-a.internal');
  });

  it('a cluster role that is referred to and may not be read is a warning', async () => {
    const binding = manifest('RoleBinding', 'r', {
      subjects: [{ kind: 'ServiceAccount', name: 'web' }],
      roleRef: { kind: 'ClusterRole', name: 'custom' },
    });
    const app = await find([...runningDemo(), binding], SHOP, { forbid: [{ resource: 'clusterroles' }] });
    assert.deepEqual(
      findings(app, 'kind-forbidden').map((f) => f.message),
      [
        'this identity may not list clusterroles.rbac.authorization.k8s.io; the application refers to clusterrole/custom, clusterrole/shop-shop',
      ],
    );
  });

  it('an API extension that does not answer is a finding; a cluster that does not is an error', async () => {
    const kind = {
      group: 'example.com',
      version: 'v1',
      kind: 'Thing',
      plural: 'things',
      namespaced: true,
      verbs: ['get', 'list', 'create', 'delete'],
    };
    const down = (resource: string): MemoryClusterOptions => ({
      kinds: [kind],
      before: (access) => {
        if (access.resource === resource) throw new DmaasError('CLUSTER_UNREACHABLE', 'no answer');
      },
    });
    const app = await find(runningDemo(), SHOP, down('things'));
    assert.deepEqual(
      app.findings.map((f) => [f.level, f.code, f.message]),
      [['warning', 'kind-unavailable', 'the API that serves things.example.com does not answer']],
    );
    assert.equal((await fails(runningDemo(), SHOP, down('pods'))).code, 'CLUSTER_UNREACHABLE');
  });
});

describe('discover: bad input', () => {
  it('an empty selector and one that catches nearly everything', async () => {
    for (const labelSelector of ['', ' , '])
      refuses(await fails(runningDemo(), { labelSelector }), 'USAGE', /empty label selector/, /--all/);
    for (const labelSelector of ['app!=x', '!nope', 'app notin (x,y),!z']) {
      refuses(await fails(runningDemo(), { labelSelector }), 'USAGE', /nearly everything/, /-l app=/);
    }
    refuses(await fails(runningDemo(), { labelSelector: '((' }), 'USAGE', /is not a label selector/, /kubectl get -l/);
    const app = await find(runningDemo(), { labelSelector: 'app,app!=x,tier notin (none)' });
    assert.deepEqual(members(app), ALL_OF_SHOP);
  });

  it('a label that nothing has: names the labels that come nearest', async () => {
    refuses(
      await fails(runningDemo(), { labelSelector: 'app=shp' }),
      'APP_NOT_FOUND',
      /matches the label selector "app=shp"/,
      /labels found there: app=shop/,
    );
    const onlyCluster = [...runningDemo(), manifest('ClusterRole', 'x', { metadata: { labels: { only: 'cluster' } } })];
    assert.equal((await fails(onlyCluster, { labelSelector: 'only=cluster' })).code, 'APP_NOT_FOUND');
  });

  it('a workload that does not exist: names candidates', async () => {
    refuses(
      await fails(runningDemo(), { workload: { kind: 'sts', name: 'dbb' } }),
      'APP_NOT_FOUND',
      /no sts\/dbb in namespace shop/,
      /there is statefulset\/db/,
    );
    refuses(
      await fails(runningDemo(), { workload: { kind: 'deployment', name: 'db' } }),
      'APP_NOT_FOUND',
      /no deployment\/db/,
      /statefulset\/db/,
    );
    refuses(await fails(runningDemo(), { workload: { kind: 'nonsense', name: 'db' } }), 'USAGE', /no kind "nonsense"/, /api-resources/);
    refuses(await fails(runningDemo(), { ...SHOP, exclude: { objects: ['nonsense/x'] } }), 'USAGE', /no kind "nonsense"/, /api-resources/);
  });

  it('a selection of which everything is excluded says why', async () => {
    const objects = runningDemo().map((o) => labelled(o, { 'dmaas.io/exclude': 'true' }));
    refuses(
      await fails(objects, { workload: { kind: 'sts', name: 'db' } }),
      'APP_NOT_FOUND',
      /statefulset\/db is labelled dmaas.io\/exclude=true/,
      /app list/,
    );
  });

  it('a namespace that does not exist', async () => {
    const error = await discover(new MemoryCluster({ objects: runningDemo() }), { namespace: 'shpo', ...WHOLE }, quiet).catch(
      (e: unknown) => e,
    );
    refuses(error as DmaasError, 'APP_NOT_FOUND', /no namespace shpo/, /it has shop/);
  });

  it('a namespace of which nothing may be read', async () => {
    refuses(
      await fails(runningDemo(), WHOLE, { forbid: [{ verb: 'list' }] }),
      'CLUSTER_FORBIDDEN',
      /may read nothing in namespace shop/,
      /can-i --list -n shop/,
    );
  });

  it('stops when it is cancelled', async () => {
    const cluster = new MemoryCluster({ objects: runningDemo() });
    const run = { emit: () => undefined, signal: AbortSignal.abort() };
    await assert.rejects(discover(cluster, inShop(SHOP), run), (e) => DmaasError.is(e, 'CANCELLED'));
  });
});

describe('discover: scale', () => {
  it('2 000 objects: as many requests as for one', async () => {
    const many: KubeObject[] = [];
    for (let i = 0; i < 400; i++) {
      const volumes = [
        { name: 'a', configMap: { name: `c${i}` } },
        { name: 'b', persistentVolumeClaim: { claimName: `p${i}` } },
      ];
      many.push(
        workload('Deployment', `d${i}`, { volumes }, { metadata: { labels: { app: 'big' } }, labels: { n: `d${i}` } }),
        manifest('ConfigMap', `c${i}`),
        { ...claim(`p${i}`), spec: { accessModes: ['ReadWriteOnce'], volumeName: `v${i}`, storageClassName: `class${i % 3}` } },
        manifest('Service', `s${i}`, { spec: { selector: { n: `d${i}` } } }),
        manifest('PersistentVolume', `v${i}`, { spec: { csi: { driver: 'x' } } }),
        manifest('Pod', `d${i}-pod`, {
          metadata: { labels: { n: `d${i}` } },
          spec: { containers: [{ name: 'x' }], nodeName: `n${i}` },
          status: { phase: 'Running' },
        }),
      );
    }
    const count = async (objects: readonly KubeObject[]) => {
      let requests = 0;
      const app = await find(
        objects,
        { labelSelector: 'app=big' },
        {
          before: () => {
            requests++;
          },
        },
      );
      return { requests, app };
    };
    const one = await count(many.slice(0, 6));
    const all = await count(many);
    assert.equal(all.app.members.length, 1600);
    assert.equal(all.app.volumes.filter((v) => v.driver === 'x').length, 400);
    assert.ok(all.requests <= one.requests + 3, `${all.requests} requests for many, ${one.requests} for one`);
    assert.ok(all.requests < 60, `${all.requests} requests`);
  });
});

function claim(name: string, phase = 'Bound'): KubeObject {
  return manifest('PersistentVolumeClaim', name, { spec: { accessModes: ['ReadWriteOnce'] }, status: { phase } });
}

function labelled(o: KubeObject, labels: Readonly<Record<string, string>>): KubeObject {
  return { ...o, metadata: { ...o.metadata, labels: { ...o.metadata.labels, ...labels } } };
}

/** Takes the common label off all objects but those of some kinds; pods and templates keep theirs. */
function unlabelled(objects: readonly KubeObject[], ...but: readonly string[]): KubeObject[] {
  return objects.map((o) => {
    if (o.kind === 'Pod' || but.includes(o.kind)) return o;
    const { app: _, ...labels } = o.metadata.labels ?? {};
    return { ...o, metadata: { ...o.metadata, labels } };
  });
}

describe('discover: several seeds', () => {
  const both = { anyOf: [{ workload: { kind: 'sts', name: 'db' } }, { labelSelector: 'app=other' }] };
  const other = workload('Deployment', 'other', {}, { metadata: { labels: { app: 'other' } } });

  it('are one application, with a name made of all', async () => {
    const app = await find([...runningDemo(), other], both);
    assert.equal(app.name, 'db-other');
    assert.ok(['Deployment/other', 'StatefulSet/db', 'PersistentVolumeClaim/data-db-0'].every((m) => members(app).includes(m)));
    assert.ok(!members(app).includes('Deployment/web'));
  });

  it('each choose something, or the one that does not is named', async () => {
    refuses(await fails(runningDemo(), both), 'APP_NOT_FOUND', /matches the label selector "app=other"/, /labels found there: app=/);
    refuses(await fails(runningDemo(), { anyOf: [] }), 'USAGE', /nothing is selected/, /labels, a workload or a Helm release/);
  });

  it('a Helm release beside something else keeps its record', async () => {
    const annotations = { 'meta.helm.sh/release-name': 'r', 'meta.helm.sh/release-namespace': 'shop' };
    const record = manifest('Secret', 'sh.helm.release.v1.r.v1', {
      type: 'helm.sh/release.v1',
      metadata: { labels: { name: 'r', status: 'deployed' } },
    });
    const objects = [...runningDemo(), other, record, manifest('ConfigMap', 'of-r', { metadata: { annotations } })];
    const app = await find(objects, { anyOf: [{ helmRelease: 'r' }, { labelSelector: 'app=other' }] });
    assert.deepEqual(members(app), ['ConfigMap/of-r', 'Deployment/other', 'Secret/sh.helm.release.v1.r.v1']);
  });
});

describe('discover: custom resources', () => {
  const kind = {
    group: 'db.test',
    version: 'v1',
    kind: 'Postgres',
    plural: 'postgreses',
    namespaced: true,
    verbs: ['list', 'get', 'create', 'delete'],
  };
  const definition = manifest('CustomResourceDefinition', 'postgreses.db.test', {
    spec: { conversion: { webhook: { clientConfig: { service: { name: 'web', namespace: 'shop' } } } } },
  });
  const resource = { apiVersion: 'db.test/v1', kind: 'Postgres', metadata: { name: 'main', namespace: 'shop', labels: { app: 'crs' } } };

  it('take their definition along, and not what serves other definitions', async () => {
    const objects = [...runningDemo(), resource, definition, manifest('CustomResourceDefinition', 'others.db.test')];
    const app = await find(objects, { labelSelector: 'app=crs' }, { kinds: [kind] });
    assert.deepEqual(members(app), ['CustomResourceDefinition/postgreses.db.test', 'Postgres/main']);
    assert.deepEqual(path(app, 'CustomResourceDefinition/postgreses.db.test'), ['defined-by']);
  });

  it('whose definition may not be read depend on it', async () => {
    const forbid = [{ resource: 'customresourcedefinitions' }];
    const app = await find([...runningDemo(), resource, definition], { labelSelector: 'app=crs' }, { kinds: [kind], forbid });
    assert.deepEqual(members(app), ['Postgres/main']);
    assert.deepEqual(
      app.dependencies.map((d) => named(d.ref)),
      ['CustomResourceDefinition/postgreses.db.test'],
    );
  });
});

describe('explain', () => {
  const of = (app: Application, kindName: string) => explain(app, (ref) => named(ref) === kindName);

  it('tells the path to a member, a dependency, and what is left out', async () => {
    const app = await find(runningDemo(), { workload: { kind: 'statefulset', name: 'db' } });
    const [secret] = of(app, 'Secret/db');
    assert.deepEqual([secret?.role, secret?.path.map((e) => e.name)], ['member', ['reads-env']]);
    const [storageClass] = of(app, 'StorageClass/csi-hostpath');
    assert.equal(storageClass?.role, 'dependency');
    assert.equal(storageClass.path.at(-1)?.name, 'stored-by');
    const [pod] = of(app, 'Pod/db-0');
    assert.deepEqual([pod?.role, pod?.reason], ['left-out', 'is made by statefulset/db']);
    assert.ok((pod?.edges.length ?? 0) > 1);
    assert.deepEqual(of(app, 'StatefulSet/db')[0]?.path, []);
    assert.deepEqual(of(app, 'Deployment/none'), []);
  });

  it('tells who misses what is missing', async () => {
    const app = await find(
      runningDemo().filter((o) => !(o.kind === 'Secret' && o.metadata.name === 'db')),
      SHOP,
    );
    const [secret] = of(app, 'Secret/db');
    assert.deepEqual([secret?.role, named(secret?.path.at(-1)?.from ?? { kind: '', name: '' })], ['missing', 'StatefulSet/db']);
  });
});
