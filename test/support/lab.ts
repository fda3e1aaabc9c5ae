import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { accessFromDocument, parseLocationDocument } from '../../core/src/location/document.ts';
import { openLocationRepository, type LocationRepository } from '../../core/src/location/open.ts';
import { openStore } from '../../core/src/store/open.ts';
import { startCluster, type TestCluster } from './cluster/cluster.ts';
import { testImages } from './images/all.ts';
import { pluginFor, type Plugin } from './plugin.ts';
import { startMinio } from './stores/minio.ts';
import type { S3Server } from './stores/server.ts';

/** Two clusters, an object store that their pods reach, and the plugin: what it takes to move an application. */
export interface Lab {
  readonly source: TestCluster;
  readonly target: TestCluster;
  readonly store: S3Server;
  readonly plugin: Plugin;
  /** The exported location, with its credential and key. */
  readonly locationFile: string;
  /** Runs `kubectl dmaas` and returns its standard output; any other exit code fails with all that was said. */
  dmaas(args: string, exit?: number, env?: Readonly<Record<string, string>>): Promise<string>;
  /** There, and empty. */
  readonly bucket: string;
  /** Makes a location in the bucket, keeps it in `namespace` of the source and exports it to `locationFile`. */
  makeLocation(namespace: string): Promise<void>;
  /** The repository of `namespace` of a cluster, the source unless another is named, opened without it. */
  repository(namespace: string, cluster?: TestCluster): Promise<LocationRepository>;
  stop(): Promise<void>;
}

const BUCKET = 'lab';

export async function startLab(): Promise<Lab> {
  const images = await testImages();
  const [source, target] = await Promise.all([startCluster('source', { images }), startCluster('target', { images })]);
  const store = await startMinio({ host: source.hostAddress });
  await store.createBucket(BUCKET);
  const plugin = await pluginFor([source, target], images[0]?.name ?? '');
  const locationFile = join(plugin.home, 'lab.yaml');
  const dmaas = async (args: string, exit = 0, env: Readonly<Record<string, string>> = {}): Promise<string> => {
    const { code, stdout, stderr } = await plugin.run(args.split(' '), env);
    assert.equal(code, exit, `kubectl dmaas ${args}\n${stdout}\n${stderr}`);
    return stdout;
  };
  return {
    ...{ source, target, store, bucket: BUCKET, plugin, locationFile, dmaas },
    async makeLocation(namespace) {
      const here = `-n ${namespace} --context ${source.context}`;
      await dmaas(`credential create-s3 lab --endpoint ${store.endpoint} --access-key-id ${store.accessKey} ${here}`, 0, {
        AWS_SECRET_ACCESS_KEY: store.secretKey,
      });
      await dmaas(`location create lab --credential lab --bucket ${BUCKET} ${here}`);
      await dmaas(`location export lab --with-credentials -f ${locationFile} ${here}`);
    },
    async repository(namespace, cluster = source) {
      const access = accessFromDocument(parseLocationDocument(await readFile(locationFile, 'utf8')));
      const { metadata } = JSON.parse(await cluster.kubectl('get', 'namespace', 'kube-system', '-o', 'json')) as {
        metadata: { uid: string };
      };
      const scope = { clusterId: metadata.uid, namespace };
      return openLocationRepository(access, { ...scope, context: cluster.context }, { openStore: (config) => openStore(config) });
    },
    async stop() {
      await plugin.remove();
      await store.stop();
      await source.stop();
      await target.stop();
    },
  };
}
