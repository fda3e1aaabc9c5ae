import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectCluster } from '../../core/src/cluster/kube-cluster.ts';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import type { Application } from '../../core/src/discovery/application.ts';
import { listApplications } from '../../core/src/discovery/applications.ts';
import { discover } from '../../core/src/discovery/discover.ts';
import { demoApp } from '../demo/application.ts';
import { removeDemo } from '../demo/data.ts';
import { startCluster } from '../support/cluster/cluster.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';
import { buildPostgresImage } from '../support/images/postgres.ts';
import { buildWebImage } from '../support/images/web.ts';

const quiet = { emit: () => undefined };
const members = (app: Application) => app.members.map(({ object }) => `${object.kind}/${object.metadata.name}`);

describe('discovery on a real cluster', function () {
  this.timeout('10m');
  const namespace = `discovery-${process.pid}`;
  const all = [
    ...[`ClusterRole/shop-${namespace}`, `ClusterRoleBinding/shop-${namespace}`, 'ConfigMap/db', 'ConfigMap/site', 'Deployment/web'],
    ...['Ingress/web', 'PersistentVolumeClaim/data-db-0', 'PersistentVolumeClaim/uploads', 'Role/web', 'RoleBinding/web', 'Secret/db'],
    ...['Service/db', 'Service/web', 'ServiceAccount/web', 'StatefulSet/db'],
  ];
  let lab: TestCluster;
  let cluster: Cluster;
  let directory: string;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'dmaas-discovery-'));
    lab = await startCluster('source', { images: [await buildPostgresImage(), await buildWebImage()] });
    await lab.kubectl('create', 'namespace', namespace);
    await lab.apply(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: demoApp(namespace) }));
    for (const workload of ['statefulset/db', 'deployment/web']) {
      await lab.kubectl('-n', namespace, 'rollout', 'status', workload, '--timeout=180s');
    }
    cluster = await connectCluster({ kubeconfig: lab.kubeconfig, context: lab.context });
  });

  after(async () => {
    await cluster.close();
    await removeDemo(lab, namespace);
    await lab.stop();
    await rm(directory, { recursive: true });
  });

  it('finds the application by its label, with nothing that the server or its controllers have added', async () => {
    const app = await discover(cluster, { namespace, labelSelector: 'app=shop' }, quiet);
    assert.deepEqual(members(app), all);
    assert.deepEqual(app.findings, []);
    assert.match(app.cluster.id, /^[0-9a-f-]{36}$/);
    assert.deepEqual(
      app.volumes.map((v) => [v.claim.name, v.phase, v.driver, v.capacityBytes, v.security.runAsUser, v.consumers.map((c) => c.name)]),
      [
        ['data-db-0', 'Bound', 'hostpath.csi.dmaas.test', 2 ** 30, 999, ['db']],
        ['uploads', 'Bound', 'hostpath.csi.dmaas.test', 2 ** 28, 65532, ['web']],
      ],
    );
    const [{ metadata }] = JSON.parse(await lab.kubectl('get', 'nodes', '-o', 'jsonpath=[{.items[0]}]')) as [
      { metadata: { labels: Record<string, string> } },
    ];
    assert.deepEqual(new Set(app.volumes.map((v) => v.node)), new Set([metadata.labels['kubernetes.io/hostname']]));
  });

  it('finds the same by namespace, and the database by its workload', async () => {
    const whole = await discover(cluster, { namespace, wholeNamespace: true }, quiet);
    assert.deepEqual(members(whole), [...all, `Namespace/${namespace}`].sort());
    const database = await discover(cluster, { namespace, workload: { kind: 'sts', name: 'db' } }, quiet);
    assert.deepEqual(members(database), ['ConfigMap/db', 'PersistentVolumeClaim/data-db-0', 'Secret/db', 'Service/db', 'StatefulSet/db']);
  });

  it('lists it', async () => {
    const { applications } = await listApplications(cluster, { namespace }, quiet);
    assert.deepEqual(
      applications.map((a) => [a.name, a.selectedBy, a.volumes, a.findings]),
      [['shop', '-l app=shop', 2, []]],
    );
  });

  it('serves a user who may only view the namespace, and says what that hides', async () => {
    const user = await viewerOf(namespace);
    try {
      const app = await discover(user, { namespace, labelSelector: 'app=shop' }, quiet);
      assert.deepEqual(
        members(app),
        all.filter((m) => !/^(Cluster|Role|Secret)/.test(m)),
      );
      assert.deepEqual(
        app.findings.map((f) => `${f.level} ${f.code} ${f.message.split(';')[0] ?? ''}`.split(':')[0]),
        [
          `warning kind-forbidden this identity may not list rolebindings.rbac.authorization.k8s.io in namespace ${namespace}`,
          `warning kind-forbidden this identity may not list roles.rbac.authorization.k8s.io in namespace ${namespace}`,
          `warning kind-forbidden this identity may not list secrets in namespace ${namespace}`,
          'info cluster-scope-unread kinds that belong to no namespace could not be searched for parts of the application',
          'info storage-unread where the volumes can be reached is known in part only',
        ],
      );
    } finally {
      await user.close();
    }
  });

  async function viewerOf(where: string): Promise<Cluster> {
    await lab.kubectl('-n', where, 'create', 'serviceaccount', 'viewer');
    await lab.kubectl('-n', where, 'create', 'rolebinding', 'viewer', '--clusterrole=view', `--serviceaccount=${where}:viewer`);
    const token = (await lab.kubectl('-n', where, 'create', 'token', 'viewer')).trim();
    const config = JSON.parse(await lab.kubectl('config', 'view', '--raw', '--minify', '-o', 'json')) as { users: { user: object }[] };
    const [entry] = config.users;
    assert.ok(entry !== undefined);
    entry.user = { token };
    const file = join(directory, 'viewer');
    await writeFile(file, JSON.stringify(config), { mode: 0o600 });
    return connectCluster({ kubeconfig: file });
  }
});
