/** The stores that repositories are kept in: a directory, and S3 on loopback with and without latency. */
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { startMinio } from '../support/stores/minio.ts';
import { s3Client } from '../support/stores/s3-bucket.ts';
import { startCountingProxy, type Traffic } from './counting-proxy.ts';
import type { Place } from './tools.ts';

export const STORE_NAMES = ['local', 's3', 's3-20ms'] as const;
export type StoreName = (typeof STORE_NAMES)[number];

export interface Size {
  readonly bytes: number;
  readonly objects: number;
}

export interface BenchStore {
  readonly name: StoreName;
  /** An empty place for a repository; of S3 one that was not used before. */
  place(name: string): Place;
  size(place: Place): Promise<Size>;
  /** Removes what can be removed between two runs. */
  clear(place: Place): void;
  /** What was sent since the last call; undefined where there is no network. */
  take(): Traffic | undefined;
  close(): Promise<void>;
}

const LATENCY_MS: Readonly<Record<StoreName, number>> = { local: 0, s3: 0, 's3-20ms': 20 };

export async function openBenchStore(name: StoreName, work: string): Promise<BenchStore> {
  return name === 'local' ? localStore(work) : s3Store(name, work);
}

function localStore(work: string): BenchStore {
  const remove = (place: Place): void => {
    if (place.kind === 'local') rmSync(place.dir, { recursive: true, force: true });
  };
  return {
    name: 'local',
    place(name) {
      const place: Place = { kind: 'local', dir: join(work, `repository-${name}`) };
      remove(place);
      mkdirSync(place.dir);
      return place;
    },
    size: (place) => Promise.resolve(place.kind === 'local' ? sizeOfTree(place.dir) : { bytes: 0, objects: 0 }),
    clear: remove,
    take: () => undefined,
    close: () => Promise.resolve(),
  };
}

function sizeOfTree(dir: string): Size {
  const files = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return { bytes: files.reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0), objects: files.length };
}

async function s3Store(name: StoreName, work: string): Promise<BenchStore> {
  const dataDir = join(work, 'minio');
  const server = await startMinio({ dataDir });
  const bucket = 'bench';
  await server.createBucket(bucket);
  const proxy = await startCountingProxy(new URL(server.endpoint), LATENCY_MS[name]);
  const client = await s3Client(server);
  const env = { AWS_ACCESS_KEY_ID: server.accessKey, AWS_SECRET_ACCESS_KEY: server.secretKey, AWS_REGION: server.region };
  return {
    name,
    place: (prefix) => ({ kind: 's3', endpoint: new URL(proxy.url), bucket, prefix, env }),
    async size(place) {
      let [bytes, objects] = [0, 0];
      const prefix = place.kind === 's3' ? `${place.prefix}/` : '';
      for (let token: string | undefined, more = true; more; more = token !== undefined) {
        const page = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: token }));
        for (const { Size: size } of page.Contents ?? []) [bytes, objects] = [bytes + (size ?? 0), objects + 1];
        token = page.NextContinuationToken;
      }
      return { bytes, objects };
    },
    clear(place) {
      // MinIO keeps objects in folders of their names; a server without them lists none.
      if (place.kind === 's3') rmSync(join(dataDir, bucket, place.prefix), { recursive: true, force: true });
    },
    take: () => proxy.take(),
    async close() {
      client.destroy();
      await proxy.close();
      await server.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
