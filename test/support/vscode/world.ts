import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { addData, deployDemo, removeDemo } from '../../demo/data.ts';
import { startCluster, type TestCluster } from '../cluster/cluster.ts';
import { testImages } from '../images/all.ts';
import { pluginFor, type Plugin } from '../plugin.ts';
import { startMinio } from '../stores/minio.ts';
import type { S3Server } from '../stores/server.ts';

export const BUCKET = 'backups';
export const NOTE = 'Bring flowers.\nOpen at nine.\n';
export const HUGE_BYTES = 2 * 1024 ** 3;

/** What the editor is shown: a cluster with the demo application, a bucket, and a location that `kubectl dmaas` made. */
export interface World {
  readonly cluster: TestCluster;
  readonly store: S3Server;
  readonly plugin: Plugin;
  readonly namespace: string;
  /** With the cluster as current context `source`, and `elsewhere`, which nobody answers. */
  readonly kubeconfig: string;
  /** An exported location with its access keys. */
  readonly locationFile: string;
  readonly moverImage: string;
  /** Runs `kubectl dmaas` in the application's namespace; it must succeed. */
  dmaas(args: string, env?: Readonly<Record<string, string>>): Promise<string>;
}

interface KubeconfigFile {
  readonly 'current-context': string;
  readonly clusters: readonly { readonly name: string }[];
  readonly users: readonly { readonly name: string }[];
  readonly contexts: readonly unknown[];
}

/** The kubeconfig of a cluster, with another context `elsewhere`: of the same cluster, or of a server that is not there. */
export async function withElsewhere(cluster: TestCluster, server?: string): Promise<string> {
  const own = parse(await readFile(cluster.kubeconfig, 'utf8')) as KubeconfigFile;
  const [user, there] = [own.users[0]?.name, own.clusters[0]?.name];
  return stringify({
    ...own,
    'current-context': cluster.context,
    clusters: [...own.clusters, ...(server === undefined ? [] : [{ name: 'elsewhere', cluster: { server } }])],
    contexts: [...own.contexts, { name: 'elsewhere', context: { cluster: server === undefined ? there : 'elsewhere', user } }],
  });
}

async function makeWorld(): Promise<World & { remove(): Promise<void> }> {
  const images = await testImages();
  const cluster = await startCluster('source', { images });
  const store = await startMinio({ host: cluster.hostAddress });
  await store.createBucket(BUCKET);
  const moverImage = images[0]?.name ?? '';
  const plugin = await pluginFor([cluster], moverImage);
  const namespace = `shop-${Date.now().toString(36)}`;
  const folder = await mkdtemp(join(tmpdir(), 'dmaas-world-'));
  const dmaas: World['dmaas'] = async (args, env = {}) => {
    const { code, stdout, stderr } = await plugin.run([...args.split(' '), '-n', namespace, '--context', cluster.context], env);
    if (code !== 0) throw new Error(`kubectl dmaas ${args} ended with ${String(code)}\n${stdout}\n${stderr}`);
    return stdout;
  };
  await deployDemo(cluster, namespace);
  await addData(cluster, namespace, { rows: 2000, files: 12 });
  await addFiles(cluster, namespace);
  await dmaas(`credential create-s3 lab --endpoint ${store.endpoint} --access-key-id ${store.accessKey}`, {
    AWS_SECRET_ACCESS_KEY: store.secretKey,
  });
  await dmaas(`location create lab --credential lab --bucket ${BUCKET}`);
  const locationFile = join(folder, 'lab.yaml');
  await dmaas(`location export lab --with-credentials -f ${locationFile}`);
  const kubeconfig = join(folder, 'kubeconfig');
  await writeFile(kubeconfig, await withElsewhere(cluster, 'https://127.0.0.1:1'));
  return {
    cluster,
    store,
    plugin,
    namespace,
    kubeconfig,
    locationFile,
    moverImage,
    dmaas,
    async remove() {
      for (const own of [`${namespace}-again`, `${namespace}-restored`, namespace]) await removeDemo(cluster, own);
      await plugin.remove();
      await store.stop();
      await cluster.stop();
      await rm(folder, { recursive: true });
    },
  };
}

/** A text to read in an editor, a folder, and a file that is too large for one: it is all hole, so nobody waits for its bytes. */
async function addFiles(cluster: TestCluster, namespace: string): Promise<void> {
  const script = `const fs = require('node:fs');
    fs.mkdirSync('/uploads/letters');
    fs.writeFileSync('/uploads/letters/note.txt', ${JSON.stringify(NOTE)});
    fs.writeFileSync('/uploads/disk.img', '');
    fs.truncateSync('/uploads/disk.img', ${String(HUGE_BYTES)});`;
  await cluster.kubectl('-n', namespace, 'exec', 'deployment/web', '--', '/usr/local/bin/node', '-e', script);
}

let made: ReturnType<typeof makeWorld> | undefined;

/** The world, made for the first test that asks and there for all of them. */
export function theWorld(): Promise<World> {
  made ??= makeWorld();
  return made;
}

after(async () => {
  await (await made)?.remove();
});
