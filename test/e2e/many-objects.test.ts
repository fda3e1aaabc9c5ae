import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { connectCluster } from '../../core/src/cluster/connect.ts';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { discover } from '../../core/src/discovery/discover.ts';
import { newOperationId } from '../../core/src/operation.ts';
import type { BackupView } from '../../core/src/restore/model.ts';
import { preflightRestore } from '../../core/src/restore/preflight.ts';
import { startCluster, type TestCluster } from '../support/cluster/cluster.ts';

const COUNT = 2000;
const quiet = { emit: () => undefined };

/** Requests over HTTP, whichever client makes them. */
async function counted<T>(
  title: string,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly requests: number; readonly seconds: number }> {
  let requests = 0;
  const count = () => void (requests += 1);
  const channels = ['http.client.request.start', 'undici:request:create'];
  for (const channel of channels) subscribe(channel, count);
  const began = performance.now();
  try {
    const result = await work();
    const seconds = (performance.now() - began) / 1000;
    console.log(`      ${title}: ${requests} requests, ${seconds.toFixed(1)} s`);
    return { result, requests, seconds };
  } finally {
    for (const channel of channels) unsubscribe(channel, count);
  }
}

describe('a namespace of 2000 objects', function () {
  this.timeout(300_000);
  const namespace = `many-${Date.now().toString(36)}`;
  let lab: TestCluster;
  let cluster: Cluster;

  before(async () => {
    lab = await startCluster('source', { images: [] });
    cluster = await connectCluster({ kubeconfig: lab.kubeconfig, context: lab.context });
    for (const name of [namespace, `${namespace}-copy`]) await lab.kubectl('create', 'namespace', name);
    const items = Array.from({ length: COUNT }, (_, i) => ({
      apiVersion: 'v1',
      ...[
        { kind: 'ConfigMap', data: { url: `http://web.${namespace}.svc/${String(i)}` } },
        { kind: 'Secret', stringData: { password: String(i) } },
        { kind: 'Service', spec: { clusterIP: 'None', selector: { app: `a-${String(i)}` }, ports: [{ port: 80 }] } },
        { kind: 'ServiceAccount' },
      ][i % 4],
      metadata: { name: `o-${String(i)}`, namespace },
    }));
    // By the client and not one by one: kubectl takes minutes.
    for (let i = 0; i < items.length; i += 32) await Promise.all(items.slice(i, i + 32).map((item) => cluster.create(item as never)));
  });

  after(async () => {
    await cluster.close();
    await lab.kubectl('delete', 'namespace', namespace, `${namespace}-copy`, '--wait=false');
    await lab.stop();
  });

  it('is found and planned in seconds, with a bounded number of requests', async () => {
    const found = await counted('discovery', () => discover(cluster, { namespace, wholeNamespace: true }, quiet));
    assert.ok(found.result.members.length >= COUNT, String(found.result.members.length));
    const kinds = (await cluster.kinds()).length;
    // One for each kind, further pages for those with many objects.
    assert.ok(found.requests <= kinds * 2 + 20, `${String(found.requests)} requests for ${String(kinds)} kinds`);
    const backup: BackupView = {
      id: 'many',
      recordId: 'many',
      createdAt: new Date().toISOString(),
      app: { name: 'many', namespace, cluster: lab.context, clusterId: await cluster.id() },
      objects: found.result.members.map(({ object }) => object),
      volumes: [],
    };
    const options = { activate: true, namespace: `${namespace}-copy` };
    const planned = await counted('plan, with the server’s answers', () =>
      preflightRestore(newOperationId(), backup, cluster, options, quiet),
    );
    const created = planned.result.steps.filter((s) => s.do === 'apply' && s.action === 'create');
    assert.ok(created.length >= COUNT, String(created.length));
    assert.deepEqual(
      planned.result.findings.filter((f) => f.level === 'blocker').map((f) => f.message),
      [],
    );
    assert.ok(planned.requests <= 300, `${String(planned.requests)} requests`);
    assert.ok(found.seconds < 30 && planned.seconds < 30);
  });
});
