import assert from 'node:assert/strict';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import type { MemoryClusterOptions } from '../../core/src/cluster/memory-cluster.ts';
import { listApplications } from '../../core/src/discovery/applications.ts';
import type { AppList } from '../../core/src/discovery/applications.ts';
import { discover } from '../../core/src/discovery/discover.ts';
import { applicationTree } from '../../core/src/discovery/tree.ts';
import type { TreeNode } from '../../core/src/discovery/tree.ts';
import { DmaasError } from '../../core/src/errors.ts';
import type { Access } from '../../core/src/cluster/cluster.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { manifest, workload } from '../support/manifests.ts';
import { runningDemo } from '../support/running-demo.ts';

const quiet = { emit: () => undefined };

function list(
  objects: readonly KubeObject[],
  options: MemoryClusterOptions = {},
  scope: { readonly namespace?: string } = {},
): Promise<AppList> {
  return listApplications(new MemoryCluster({ objects, ...options }), scope, quiet);
}

const rows = ({ applications }: AppList) =>
  applications.map((a) => {
    const workloads = a.workloads.map((w) => `${w.kind}/${w.name}`).join(',');
    return `${a.namespace} ${a.name} [${a.selectedBy}] ${workloads} ${a.volumes} ${a.sizeBytes / 2 ** 20}Mi ${a.findings.length}`;
  });

const claim = (name: string, metadata: object = {}) =>
  manifest('PersistentVolumeClaim', name, {
    metadata,
    spec: { accessModes: ['ReadWriteOnce'] },
    status: { phase: 'Bound', capacity: { storage: '1Mi' } },
  });
const mounting = (name: string) => ({ volumes: [{ name: 'v', persistentVolumeClaim: { claimName: name } }] });

describe('listApplications', () => {
  it('shows what has a common label as one application', async () => {
    assert.deepEqual(rows(await list([...runningDemo(), ...runningDemo('other')])), [
      'other shop [-l app=shop] Deployment/web,StatefulSet/db 2 1280Mi 0',
      'shop shop [-l app=shop] Deployment/web,StatefulSet/db 2 1280Mi 0',
    ]);
    assert.equal((await list([...runningDemo(), ...runningDemo('other')], {}, { namespace: 'other' })).applications.length, 1);
  });

  it('groups by Helm release before labels, by the more telling label first, and leaves stateful workloads and bare claims by themselves', async () => {
    const annotations = { 'meta.helm.sh/release-name': 'rel', 'meta.helm.sh/release-namespace': 'shop' };
    const objects = [
      workload('Deployment', 'a', {}, { metadata: { annotations, labels: { app: 'x' } } }),
      workload('Deployment', 'b', {}, { metadata: { labels: { app: 'x', 'app.kubernetes.io/instance': 'inst' } } }),
      workload('Deployment', 'stateless'),
      workload('Deployment', 'alone', mounting('one')),
      claim('one'),
      claim('bare'),
      claim('left', { labels: { app: 'old' } }),
    ];
    assert.deepEqual(rows(await list(objects)), [
      'shop alone [deployment/alone] Deployment/alone 1 1Mi 0',
      'shop bare [persistentvolumeclaim/bare]  1 1Mi 0',
      'shop inst [-l app.kubernetes.io/instance=inst] Deployment/b 0 0Mi 0',
      'shop old [-l app=old]  1 1Mi 0',
      'shop rel [--helm-release rel] Deployment/a 0 0Mi 0',
    ]);
  });

  it('each selector discovers what the list shows', async () => {
    const cluster = new MemoryCluster({ objects: [...runningDemo(), workload('StatefulSet', 'alone', mounting('one')), claim('one')] });
    const { applications } = await listApplications(cluster, {}, quiet);
    assert.equal(applications.length, 2);
    for (const summary of applications) {
      const app = await discover(cluster, summary.selector, quiet);
      assert.equal(app.name, summary.name);
      assert.equal(app.volumes.length, summary.volumes);
    }
  });

  it('counts what is wrong, as far as workloads and claims tell', async () => {
    const pending = { ...claim('one'), status: { phase: 'Pending' } };
    const [app] = (await list([workload('Deployment', 'web', mounting('one')), pending, workload('Deployment', 'gone', mounting('none'))]))
      .applications;
    assert.deepEqual(
      app?.findings.map((f) => f.code),
      ['claim-not-bound'],
    );
  });

  it('leaves out what belongs to DMaaS', async () => {
    const mover = workload('Job', 'mover', mounting('one'), { metadata: { labels: { 'dmaas.io/role': 'mover', app: 'x' } } });
    assert.deepEqual(rows(await list([mover, claim('one', { labels: { 'dmaas.io/role': 'staged-claim' } })])), []);
  });

  it('reads each kind once, and no Secrets', async () => {
    const requests: Access[] = [];
    await list([...runningDemo(), ...runningDemo('b'), ...runningDemo('c')], { before: (access) => void requests.push(access) });
    assert.ok(requests.every((r) => r.verb === 'list' && r.resource !== 'secrets'));
    assert.equal(new Set(requests.map((r) => r.resource)).size, requests.length);
  });

  it('says what it may not see; fails when that is all, or the namespace does not exist', async () => {
    const { applications, findings } = await list(runningDemo(), { forbid: [{ resource: 'statefulsets' }] });
    assert.equal(applications.length, 1);
    assert.deepEqual(
      findings.map((f) => f.message),
      ['this identity may not list statefulsets; applications that consist of them are not shown'],
    );
    await assert.rejects(
      list(runningDemo(), { forbid: [{ verb: 'list' }] }),
      (e) => DmaasError.is(e, 'CLUSTER_FORBIDDEN') && /-n/.test(e.hint ?? ''),
    );
    await assert.rejects(list(runningDemo(), {}, { namespace: 'none' }), (e) => DmaasError.is(e, 'APP_NOT_FOUND'));
  });
});

describe('applicationTree', () => {
  const draw = (nodes: readonly TreeNode[], indent = ''): string[] =>
    nodes.flatMap((n) => [
      `${indent}${n.ref.kind}/${n.ref.name}${n.edge === undefined ? '' : ` ${n.direction ?? ''} ${n.edge}`}${n.role === 'member' ? '' : ` (${n.role})`}`,
      ...draw(n.children, `${indent}  `),
    ]);
  const treeOf = async (objects: readonly KubeObject[], labelSelector = 'app=shop') =>
    applicationTree(await discover(new MemoryCluster({ objects }), { namespace: 'shop', labelSelector }, quiet));

  it('stands workloads at the top, each object once, whatever was selected', async () => {
    const withoutSecret = runningDemo().filter((o) => o.kind !== 'Secret');
    assert.deepEqual(draw(await treeOf(withoutSecret)), [
      'Deployment/web',
      '  ConfigMap/site down mounts',
      '  PersistentVolumeClaim/uploads down mounts',
      '    PersistentVolume/pv-uploads down stored-by (dependency)',
      '  Service/web up selects',
      '    Endpoints/web up addresses (left-out)',
      '    EndpointSlice/web-1 up addresses (left-out)',
      '    Ingress/web up routes-to',
      '  ServiceAccount/web down runs-as',
      '    ClusterRoleBinding/shop-shop up binds',
      '      ClusterRole/shop-shop down grants',
      '    RoleBinding/web up binds',
      '      Role/web down grants',
      '  ReplicaSet/web-7c9 up owned-by (left-out)',
      '    Pod/web-7c9-x1 up owned-by (left-out)',
      'StatefulSet/db',
      '  ConfigMap/db down mounts',
      '  PersistentVolumeClaim/data-db-0 down claims',
      '    PersistentVolume/pv-data down stored-by (dependency)',
      '  Pod/db-0 up owned-by (left-out)',
      '  Secret/db down reads-env (missing)',
      '  Service/db down governed-by',
      '  ServiceAccount/default down runs-as (left-out)',
      '  StorageClass/csi-hostpath down stored-by (dependency)',
    ]);
  });

  it('shows what is tied to nothing at the top', async () => {
    const loose = manifest('ConfigMap', 'loose', { metadata: { labels: { app: 'shop' } } });
    assert.ok((await treeOf([...runningDemo(), loose])).some((n) => n.ref.name === 'loose' && n.children.length === 0));
  });
});
