import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import { refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { connectCluster } from '../../core/src/cluster/kube-cluster.ts';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { collect, configMap, kindOf } from './cluster-tools.ts';
import { startCluster } from '../support/cluster/cluster.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';

interface Subject {
  readonly cluster: Cluster;
  /** The same cluster as a user without any rights. */
  readonly stranger: Cluster;
}

const WAIT = { timeoutMs: 20_000 };

function contract(name: string, start: () => Promise<Subject>, stop: () => Promise<void>): void {
  describe(`Cluster: ${name}`, function () {
    this.timeout(240_000);
    let cluster: Cluster;
    let stranger: Cluster;
    let ns: string;
    let count = 0;

    before(async () => {
      ({ cluster, stranger } = await start());
    });
    after(stop);
    beforeEach(async () => {
      ns = `contract-${++count}`;
      await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: ns } });
    });
    afterEach(async () => {
      await cluster.delete({ apiVersion: 'v1', kind: 'Namespace', name: ns });
    });

    const fails = (promise: Promise<unknown>, code: string, message: RegExp) =>
      assert.rejects(promise, (e: unknown) => {
        assert.ok(DmaasError.is(e), String(e));
        assert.equal(e.code, code, e.message);
        assert.match(e.message, message);
        return true;
      });

    it('has an identity, a version and kinds', async () => {
      const system = await cluster.get({ apiVersion: 'v1', kind: 'Namespace', name: 'kube-system' });
      assert.equal(await cluster.id(), system?.metadata.uid);
      const { gitVersion, major, minor } = await cluster.version();
      assert.match(gitVersion, new RegExp(`^v${major}\\.${minor}\\.`));
      const kinds = await cluster.kinds();
      const claim = kinds.find((k) => k.kind === 'PersistentVolumeClaim');
      assert.deepEqual(
        { ...claim, verbs: [...(claim?.verbs ?? [])].sort() },
        {
          ...{ group: '', version: 'v1', kind: 'PersistentVolumeClaim', plural: 'persistentvolumeclaims', namespaced: true },
          verbs: ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'],
        },
      );
      assert.equal(kinds.find((k) => k.kind === 'HorizontalPodAutoscaler')?.version, 'v2');
      assert.equal(new Set(kinds.map((k) => `${k.group}/${k.kind}`)).size, kinds.length, 'a kind is listed in two versions');
      assert.ok(!kinds.some((k) => k.kind === 'SelfSubjectAccessReview'), 'that cannot be listed');
    });

    it('creates, and reads back what it created', async () => {
      const created = await cluster.create(configMap(ns, 'a', { data: { x: '1' }, labels: { app: 'web' } }));
      assert.match(created.metadata.uid ?? '', /^[0-9a-f-]{36}$/);
      assert.ok(created.metadata.resourceVersion);
      const read = await cluster.get(refOf(created));
      assert.deepEqual(read, created);
      assert.deepEqual(created['data'], { x: '1' });
    });

    it('hands out copies', async () => {
      const created = await cluster.create(configMap(ns, 'a', { data: { x: '1' } }));
      (created['data'] as Record<string, string>)['x'] = '2';
      assert.deepEqual((await cluster.get(refOf(created)))?.['data'], { x: '1' });
    });

    it('answers undefined for what is absent: object, namespace, kind', async () => {
      assert.equal(await cluster.get(refOf(configMap(ns, 'none'))), undefined);
      assert.equal(await cluster.get(refOf(configMap('no-such-namespace', 'none'))), undefined);
      assert.equal(await cluster.get({ apiVersion: 'example.org/v1', kind: 'Nothing', name: 'none', namespace: ns }), undefined);
    });

    it('refuses to create what exists, or where nothing can be', async () => {
      await cluster.create(configMap(ns, 'a'));
      await fails(cluster.create(configMap(ns, 'a')), 'CLUSTER_CONFLICT', new RegExp(`^configmap/a in namespace ${ns} already exists$`));
      await fails(cluster.create(configMap('nowhere', 'a')), 'CLUSTER_REJECTED', /^namespace nowhere does not exist$/);
      await fails(cluster.apply(configMap('nowhere', 'a')), 'CLUSTER_REJECTED', /^namespace nowhere does not exist$/);
      const alien = { apiVersion: 'example.org/v1', kind: 'Alien', metadata: { name: 'a', namespace: ns } };
      await fails(cluster.create(alien), 'CLUSTER_REJECTED', /^the cluster has no kind Alien in example.org\/v1$/);
      const versioned = configMap(ns, 'b');
      const stale = { ...versioned, metadata: { ...versioned.metadata, resourceVersion: '1' } };
      await fails(cluster.create(stale), 'CLUSTER_REJECTED', /resourceVersion/);
    });

    it('makes names from generateName', async () => {
      const manifest = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { generateName: 'run-', namespace: ns } } as unknown as KubeObject;
      const [a, b] = [await cluster.create(manifest), await cluster.create(manifest)];
      assert.match(a.metadata.name, /^run-[a-z0-9]{5}$/);
      assert.notEqual(a.metadata.name, b.metadata.name);
      assert.ok(await cluster.get(refOf(a)));
    });

    it('applies: creates, merges, changes nothing the second time', async () => {
      const first = await cluster.apply(configMap(ns, 'a', { data: { x: '1' } }));
      await cluster.patch(refOf(first), { data: { y: '2' } });
      const second = await cluster.apply(configMap(ns, 'a', { data: { x: '3' } }));
      assert.deepEqual(second['data'], { x: '3', y: '2' });
      assert.equal(second.metadata.uid, first.metadata.uid);
      const third = await cluster.apply(configMap(ns, 'a', { data: { x: '3' } }));
      assert.equal(third.metadata.resourceVersion, second.metadata.resourceVersion);
    });

    it('changes nothing in a dry run', async () => {
      const dry = await cluster.apply(configMap(ns, 'a', { data: { x: '1' } }), { dryRun: true });
      assert.deepEqual(dry['data'], { x: '1' });
      await cluster.create(configMap(ns, 'b'), { dryRun: true });
      assert.equal(await cluster.get(refOf(configMap(ns, 'a'))), undefined);
      assert.equal(await cluster.get(refOf(configMap(ns, 'b'))), undefined);
      const real = await cluster.create(configMap(ns, 'a', { data: { x: '1' } }));
      await cluster.apply(configMap(ns, 'a', { data: { x: '2' } }), { dryRun: true, force: true });
      assert.deepEqual(await cluster.get(refOf(real)), real);
      await fails(cluster.create(configMap(ns, 'a'), { dryRun: true }), 'CLUSTER_CONFLICT', /already exists/);
    });

    it('patches by merging, null removes', async () => {
      const created = await cluster.create(configMap(ns, 'a', { data: { x: '1', y: '2' }, labels: { app: 'web' } }));
      const patched = await cluster.patch(refOf(created), { metadata: { labels: { tier: 'db' } }, data: { x: null, y: '3' } });
      assert.deepEqual(patched['data'], { y: '3' });
      assert.deepEqual(patched.metadata.labels, { app: 'web', tier: 'db' });
      await fails(cluster.patch(refOf(configMap(ns, 'none')), {}), 'CLUSTER_REJECTED', /^configmap\/none in namespace \S+ does not exist$/);
      const stale = { metadata: { resourceVersion: created.metadata.resourceVersion }, data: { y: '4' } };
      await fails(cluster.patch(refOf(created), stale), 'CLUSTER_CONFLICT', /^configmap\/a in namespace \S+ changed meanwhile$/);
    });

    it('leaves status to controllers', async () => {
      const claim = {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'data', namespace: ns },
        spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'none', resources: { requests: { storage: '1Gi' } } },
        status: { phase: 'Bound', capacity: { storage: '5Gi' } },
      };
      const created = await cluster.create(claim);
      assert.notEqual((created['status'] as { phase?: string } | undefined)?.phase, 'Bound');
    });

    it('deletes: what is absent too, what was replaced not', async () => {
      const created = await cluster.create(configMap(ns, 'a'));
      const ref = refOf(created);
      await fails(cluster.delete(ref, { uid: '00000000-0000-4000-8000-ffffffffffff' }), 'CLUSTER_CONFLICT', /changed meanwhile/);
      assert.ok(await cluster.get(ref));
      await cluster.delete(ref, { uid: created.metadata.uid! });
      assert.equal(await cluster.get(ref), undefined);
      await cluster.delete(ref);
      await cluster.delete({ apiVersion: 'example.org/v1', kind: 'Nothing', name: 'none', namespace: ns });
    });

    it('deletes dependents with their owner, or leaves them as orphans', async () => {
      const make = async (propagation: 'background' | 'foreground' | 'orphan') => {
        const owner = await cluster.create(configMap(ns, `owner-${propagation}`));
        const ownerReferences = [{ apiVersion: 'v1', kind: 'ConfigMap', name: owner.metadata.name, uid: owner.metadata.uid! }];
        const plain = configMap(ns, `child-${propagation}`);
        const child = await cluster.create({ ...plain, metadata: { ...plain.metadata, ownerReferences } });
        await cluster.delete(refOf(owner), { propagation });
        await cluster.waitFor(refOf(owner), (o) => o === undefined, WAIT);
        return refOf(child);
      };
      await cluster.waitFor(await make('background'), (o) => o === undefined, WAIT);
      await cluster.waitFor(await make('foreground'), (o) => o === undefined, WAIT);
      const orphan = await cluster.waitFor(await make('orphan'), (o) => (o?.metadata.ownerReferences ?? []).length === 0, WAIT);
      assert.equal(orphan?.metadata.name, 'child-orphan');
    });

    it('lists by namespace, labels and name, with apiVersion and kind', async () => {
      await cluster.create(configMap(ns, 'a', { labels: { app: ns, tier: 'front' } }));
      await cluster.create(configMap(ns, 'b', { labels: { app: ns, tier: 'db' } }));
      await cluster.create(configMap(ns, 'c', { labels: { app: 'other' } }));
      const kind = await kindOf(cluster, 'ConfigMap');
      const names = async (labelSelector: string, namespace: string | undefined = ns) => {
        const found = await collect(cluster.list(kind, { labelSelector, ...(namespace === '' ? {} : { namespace }) }));
        assert.ok(found.every((o) => o.apiVersion === 'v1' && o.kind === 'ConfigMap' && o.metadata.uid));
        return found.map((o) => o.metadata.name);
      };
      assert.deepEqual(await names(`app=${ns}`), ['a', 'b']);
      assert.deepEqual(await names(`app==${ns},tier!=db`), ['a']);
      assert.deepEqual(await names(`app in (${ns}, other),tier notin (db)`), ['a', 'c']);
      assert.deepEqual(await names('app,!tier'), ['c']);
      assert.deepEqual(await names(`app=${ns}`, ''), ['a', 'b']);
      assert.deepEqual(await names('app=nothing'), []);
      const byName = await collect(cluster.list(kind, { namespace: ns, fieldSelector: 'metadata.name=b' }));
      assert.deepEqual(
        byName.map((o) => o.metadata.name),
        ['b'],
      );
      await fails(names('app=(web'), 'CLUSTER_REJECTED', /./);
    });

    it('waits for what is, comes, changes and goes', async () => {
      const ref = refOf(configMap(ns, 'a'));
      assert.equal(await cluster.waitFor(ref, (o) => o === undefined, WAIT), undefined);
      const comes = cluster.waitFor(ref, (o) => o !== undefined, WAIT);
      await cluster.create(configMap(ns, 'a', { data: { x: '1' } }));
      assert.deepEqual((await comes)?.['data'], { x: '1' });
      assert.ok(await cluster.waitFor(ref, (o) => o !== undefined, WAIT));
      const changes = cluster.waitFor(ref, (o) => (o?.['data'] as { x?: string } | undefined)?.x === '2', WAIT);
      await cluster.patch(ref, { data: { x: '2' } });
      assert.equal((await changes)?.kind, 'ConfigMap');
      const goes = cluster.waitFor(ref, (o) => o === undefined, WAIT);
      await cluster.delete(ref);
      assert.equal(await goes, undefined);
      const unserved = { apiVersion: 'example.org/v1', kind: 'Nothing', name: 'a', namespace: ns };
      assert.equal(await cluster.waitFor(unserved, (o) => o === undefined, WAIT), undefined);
    });

    it('stops waiting: too long, cancelled, or when the condition throws', async () => {
      const ref = refOf(configMap(ns, 'a'));
      const never = (o: KubeObject | undefined) => o !== undefined;
      await fails(cluster.waitFor(ref, never, { timeoutMs: 300 }), 'TIMEOUT', /^configmap\/a in namespace \S+ was not ready within 0.3 s$/);
      const stop = new AbortController();
      const waiting = cluster.waitFor(ref, never, { timeoutMs: 20_000, signal: stop.signal });
      setTimeout(() => {
        stop.abort();
      }, 200);
      await fails(waiting, 'CANCELLED', /^stopped$/);
      await fails(cluster.waitFor(ref, never, { timeoutMs: 20_000, signal: stop.signal }), 'CANCELLED', /^stopped$/);
      const failFast = () => {
        throw new DmaasError('MOVER_FAILED', 'the pod failed');
      };
      await fails(cluster.waitFor(ref, failFast, WAIT), 'MOVER_FAILED', /^the pod failed$/);
    });

    it('says what the identity lacks, and refuses it with one sentence', async () => {
      const needs = [
        { verb: 'list', group: '', resource: 'secrets', namespace: ns },
        { verb: 'create', group: '', resource: 'pods/exec', namespace: ns },
        { verb: 'patch', group: 'apps', resource: 'statefulsets', namespace: ns, name: 'db' },
        { verb: 'list', group: '', resource: 'nodes' },
      ];
      assert.deepEqual(await cluster.denied(needs), []);
      assert.deepEqual(await stranger.denied(needs), needs);
      const secrets = await kindOf(cluster, 'Secret');
      await assert.rejects(collect(stranger.list(secrets, { namespace: ns })), (e: unknown) => {
        assert.ok(DmaasError.is(e, 'CLUSTER_FORBIDDEN'));
        assert.equal(e.message, `user jane may not list secrets in namespace ${ns}`);
        assert.match(e.hint ?? '', new RegExp(`^kubectl .*auth can-i list secrets -n ${ns}$`));
        return true;
      });
      const db = { apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', namespace: ns };
      await fails(stranger.get(db), 'CLUSTER_FORBIDDEN', /^user jane may not get statefulsets.apps\/db in namespace \S+$/);
      await fails(
        stranger.waitFor(db, () => true, WAIT),
        'CLUSTER_FORBIDDEN',
        /^user jane may not (list|watch) statefulsets.apps/,
      );
    });

    it('refuses refs whose scope is not that of their kind', async () => {
      await fails(cluster.get({ apiVersion: 'v1', kind: 'ConfigMap', name: 'a' }), 'INTERNAL', /lacks its namespace/);
      await fails(cluster.get({ apiVersion: 'v1', kind: 'Namespace', name: 'a', namespace: ns }), 'INTERNAL', /cluster-scoped/);
      await fails(collect(cluster.list(await kindOf(cluster, 'Node'), { namespace: ns })), 'INTERNAL', /cluster-scoped/);
    });
  });
}

{
  const objects = [{ apiVersion: 'v1', kind: 'Node', metadata: { name: 'node' } }];
  const forbid = [{}];
  contract(
    'in memory',
    () => Promise.resolve({ cluster: new MemoryCluster({ objects }), stranger: new MemoryCluster({ objects, forbid, user: 'jane' }) }),
    () => Promise.resolve(),
  );
}

{
  let server: TestCluster | undefined;
  let clusters: Cluster[] = [];
  contract(
    'real API server',
    async () => {
      server = await startCluster('cl');
      const { kubeconfig } = server;
      const [cluster, stranger] = [await connectCluster({ kubeconfig }), await connectCluster({ kubeconfig, as: 'jane' })];
      clusters = [cluster, stranger];
      return { cluster, stranger };
    },
    async () => {
      await Promise.all(clusters.map((c) => c.close()));
      await server?.stop();
    },
  );
}
