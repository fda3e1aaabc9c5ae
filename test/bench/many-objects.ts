/** How long it takes to find an application of many objects and to plan its restore, and how many requests the API server gets for it. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { connectCluster } from '../../core/src/cluster/connect.ts';
import { discover } from '../../core/src/discovery/discover.ts';
import type { KubeObject } from '../../core/src/model.ts';
import { newOperationId } from '../../core/src/operation.ts';
import type { BackupView, RestorePlan } from '../../core/src/restore/model.ts';
import { preflightRestore } from '../../core/src/restore/preflight.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';

const quiet = { emit: () => undefined };

export interface Counted {
  readonly requests: number;
  readonly seconds: number;
}

export interface ManyObjects {
  /** Found, with what every namespace has. */
  readonly objects: number;
  /** That the server has. */
  readonly kinds: number;
  readonly discovery: Counted;
  /** To another namespace, with the server's answer for each object. */
  readonly plan: Counted;
  readonly planned: RestorePlan;
}

/** Of four kinds, each with a name of its own. */
export function manyObjects(namespace: string, count: number): readonly KubeObject[] {
  return Array.from({ length: count }, (_, i): KubeObject => {
    const metadata = { name: `o-${String(i)}`, namespace };
    const kinds: KubeObject[] = [
      { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { url: `http://web.${namespace}.svc/${String(i)}` } },
      { apiVersion: 'v1', kind: 'Secret', metadata, stringData: { password: String(i) } },
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata,
        spec: { clusterIP: 'None', selector: { app: metadata.name }, ports: [{ port: 80 }] },
      },
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    ];
    return kinds[i % kinds.length]!;
  });
}

/** By the client, and many at a time: kubectl, which makes one after the other, takes minutes. */
export async function createMany(cluster: Cluster, objects: readonly KubeObject[]): Promise<void> {
  for (let i = 0; i < objects.length; i += 32) await Promise.all(objects.slice(i, i + 32).map((o) => cluster.create(o)));
}

/** Makes a namespace of so many objects and takes it away again. */
export async function measureManyObjects(lab: TestCluster, count: number): Promise<ManyObjects> {
  const namespace = `many-${Date.now().toString(36)}`;
  const copy = `${namespace}-copy`;
  const cluster = await connectCluster({ kubeconfig: lab.kubeconfig, context: lab.context });
  try {
    for (const name of [namespace, copy]) await lab.kubectl('create', 'namespace', name);
    await createMany(cluster, manyObjects(namespace, count));
    const found = await counted(() => discover(cluster, { namespace, wholeNamespace: true }, quiet));
    const objects = found.result.members.map(({ object }) => object);
    const backup: BackupView = {
      id: 'many',
      recordId: 'many',
      createdAt: new Date().toISOString(),
      app: { name: 'many', namespace, cluster: lab.context, clusterId: await cluster.id() },
      objects,
      volumes: [],
    };
    const options = { activate: true, namespace: copy };
    const planned = await counted(() => preflightRestore(newOperationId(), backup, cluster, options, quiet));
    return {
      objects: objects.length,
      kinds: (await cluster.kinds()).length,
      discovery: found.cost,
      plan: planned.cost,
      planned: planned.result,
    };
  } finally {
    await cluster.close();
    await lab.kubectl('delete', 'namespace', namespace, copy, '--ignore-not-found', '--wait=false');
  }
}

/** As a table for people. */
export function manyObjectsTable({ objects, discovery, plan }: ManyObjects): string {
  const row = (what: string, { requests, seconds }: Counted) => `| ${what} | ${seconds.toFixed(1)} | ${requests} |`;
  return [
    `An application of ${objects} objects, on a real API server:`,
    '',
    '| work | seconds | API requests |',
    '| --- | --- | --- |',
    row('discovery', discovery),
    row('plan of a restore, with the server’s answer for each object', plan),
    '',
  ].join('\n');
}

/** Requests over HTTP, whichever client makes them. */
async function counted<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly cost: Counted }> {
  let requests = 0;
  const count = () => void (requests += 1);
  const channels = ['http.client.request.start', 'undici:request:create'];
  for (const channel of channels) subscribe(channel, count);
  const began = performance.now();
  try {
    const result = await work();
    return { result, cost: { requests, seconds: (performance.now() - began) / 1000 } };
  } finally {
    for (const channel of channels) unsubscribe(channel, count);
  }
}
