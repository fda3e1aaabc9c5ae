import assert from 'node:assert/strict';
import { DmaasError } from '../../core/src/errors.ts';
import { refOf } from '../../core/src/model.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import type { Write } from '../../core/src/cluster/memory-cluster.ts';

const claim = (name: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: { name, namespace: 'shop' },
  spec: { resources: { requests: { storage: '1Gi' } } },
});

describe('MemoryCluster', () => {
  it('starts with the objects given, as they are, and the namespaces they are in', async () => {
    const bound = { ...claim('data'), status: { phase: 'Bound' } };
    const cluster = new MemoryCluster({ objects: [bound], context: 'east', namespace: 'blue', id: 'cluster-1' });
    assert.deepEqual([cluster.context, cluster.namespace, await cluster.id()], ['east', 'blue', 'cluster-1']);
    assert.deepEqual((await cluster.get(refOf(bound)))?.['status'], { phase: 'Bound' });
    for (const name of ['shop', 'blue', 'default', 'kube-system']) {
      assert.ok(await cluster.get({ apiVersion: 'v1', kind: 'Namespace', name }), name);
    }
  });

  it('lets tests play controllers', async () => {
    const cluster = new MemoryCluster({ objects: [claim('other')] });
    const writes: string[] = [];
    const stop = cluster.onWrite(({ type, object }: Write) => {
      writes.push(`${type} ${object.kind}/${object.metadata.name}`);
      if (type === 'created') cluster.put({ ...object, status: { phase: 'Bound' } });
    });
    const waiting = cluster.waitFor(refOf(claim('data')), (o) => o?.['status'] !== undefined, { timeoutMs: 5000 });
    await cluster.create(claim('data'));
    assert.deepEqual((await waiting)?.['status'], { phase: 'Bound' });
    await cluster.settle();
    stop();
    await cluster.delete(refOf(claim('data')));
    assert.deepEqual(writes, ['created PersistentVolumeClaim/data', 'updated PersistentVolumeClaim/data']);
  });

  it('reports what a hook threw', async () => {
    const cluster = new MemoryCluster();
    cluster.onWrite(() => {
      throw new Error('the test is wrong');
    });
    await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
    await assert.rejects(cluster.settle(), /the test is wrong/);
    await cluster.settle();
  });

  it('counts generations of the spec, not of status and labels', async () => {
    const cluster = new MemoryCluster({ objects: [claim('data')] });
    const ref = refOf(claim('data'));
    const generation = async () => (await cluster.get(ref))?.metadata['generation'];
    assert.equal(await generation(), 1);
    await cluster.patch(ref, { metadata: { labels: { a: 'b' } }, status: { phase: 'Lost' } });
    assert.equal(await generation(), 1);
    assert.equal((await cluster.get(ref))?.['status'], undefined);
    await cluster.patch(ref, { spec: { volumeName: 'pv' } });
    assert.equal(await generation(), 2);
  });

  it('injects faults, call by call', async () => {
    const calls: string[] = [];
    const cluster = new MemoryCluster({
      objects: [claim('data')],
      before: ({ verb, resource, name }) => {
        calls.push(`${verb} ${resource}/${name ?? ''}`);
        if (verb === 'delete') throw new DmaasError('CLUSTER_UNREACHABLE', 'no answer');
      },
    });
    await cluster.get(refOf(claim('data')));
    await assert.rejects(cluster.delete(refOf(claim('data'))), (e) => DmaasError.is(e, 'CLUSTER_UNREACHABLE'));
    assert.ok(await cluster.get(refOf(claim('data'))));
    assert.deepEqual(calls, ['get persistentvolumeclaims/data', 'delete persistentvolumeclaims/data', 'get persistentvolumeclaims/data']);
  });

  it('forbids what the rules match, no more', async () => {
    const cluster = new MemoryCluster({ objects: [claim('data')], forbid: [{ verb: 'get', resource: 'secrets' }, { group: 'apps' }] });
    const secret = { apiVersion: 'v1', kind: 'Secret', name: 's', namespace: 'shop' };
    await assert.rejects(cluster.get(secret), { message: 'user tester may not get secrets/s in namespace shop' });
    await cluster.delete(secret);
    await assert.rejects(
      cluster.delete({ apiVersion: 'apps/v1', kind: 'StatefulSet', name: 's', namespace: 'shop' }),
      /statefulsets.apps\/s/,
    );
    assert.ok(await cluster.get(refOf(claim('data'))));
  });

  it('serves more kinds on demand', async () => {
    const kind = { group: 'example.org', version: 'v1', kind: 'Gadget', plural: 'gadgets', namespaced: true, verbs: ['get', 'list'] };
    const gadget = { apiVersion: 'example.org/v1', kind: 'Gadget', metadata: { name: 'g', namespace: 'shop' }, status: { kept: true } };
    const cluster = new MemoryCluster({ kinds: [kind], objects: [claim('data')] });
    await cluster.apply(gadget);
    assert.deepEqual((await cluster.get(refOf(gadget)))?.['status'], { kept: true });
    assert.ok((await cluster.kinds()).includes(kind));
    await assert.rejects(new MemoryCluster().apply(gadget), { message: 'the cluster has no kind Gadget in example.org/v1' });
  });

  it('empties a namespace that is deleted, and deletes dependents of dependents', async () => {
    const cluster = new MemoryCluster({ objects: [claim('data')] });
    const owned = (name: string, uid: string): KubeObject => ({
      ...claim(name),
      metadata: { name, namespace: 'shop', ownerReferences: [{ apiVersion: 'v1', kind: 'PersistentVolumeClaim', name: 'x', uid }] },
    });
    const data = await cluster.get(refOf(claim('data')));
    const child = await cluster.create(owned('child', data!.metadata.uid!));
    await cluster.create(owned('grandchild', child.metadata.uid!));
    await cluster.create(claim('stranger'));
    await cluster.delete(refOf(data!));
    const claims = () => cluster.objects().filter((o) => o.kind === 'PersistentVolumeClaim');
    assert.deepEqual(
      claims().map((o) => o.metadata.name),
      ['stranger'],
    );
    await cluster.delete({ apiVersion: 'v1', kind: 'Namespace', name: 'shop' });
    assert.deepEqual(claims(), []);
  });

  it('gives logs and runs commands as told', async () => {
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'shop' } };
    const cluster = new MemoryCluster({
      objects: [pod],
      logs: () => ['a', 'b', 'c'],
      exec: (_pod, _container, [word]) => ({ exitCode: word === 'false' ? 1 : 0, stdout: '', stderr: '' }),
    });
    const lines: string[] = [];
    for await (const line of cluster.logs(refOf(pod), 'main', { tailLines: 2 })) lines.push(line);
    assert.deepEqual(lines, ['b', 'c']);
    assert.equal((await cluster.exec(refOf(pod), 'main', ['false'])).exitCode, 1);
    await assert.rejects(cluster.exec({ ...refOf(pod), name: 'q' }, 'main', ['true']), {
      message: 'pod/q in namespace shop does not exist',
    });
  });
});
