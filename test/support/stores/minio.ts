import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureMinio } from '../setup/go.ts';
import { createS3Bucket, s3Client } from './s3-bucket.ts';
import { freePorts, type S3Options, type S3Server, ServerProcess, temporaryDir } from './server.ts';
import { makeCertificate } from './tls.ts';
import { ListBucketsCommand } from '@aws-sdk/client-s3';

export interface MinioOptions extends S3Options {
  /** Requests signed for another region are refused. Default us-east-1. */
  readonly region?: string;
}

/** MinIO on one drive. */
export async function startMinio(options: MinioOptions = {}): Promise<S3Server> {
  const host = options.host ?? '127.0.0.1';
  const minio = await ensureMinio();
  const work = await temporaryDir('minio');
  const data = options.dataDir ?? join(work.path, 'data');
  const certificates = join(work.path, 'certs');
  await mkdir(data, { recursive: true });
  await mkdir(certificates);
  const certificate = options.tls ? await makeCertificate(work.path, host) : undefined;
  if (certificate !== undefined) {
    await copyFile(certificate.certFile, join(certificates, 'public.crt'));
    await copyFile(certificate.keyFile, join(certificates, 'private.key'));
  }
  const [port, consolePort] = await freePorts(host, 2);
  const server = {
    accessKey: 'dmaas-test-access',
    secretKey: 'dmaas-test-secret',
    region: options.region ?? 'us-east-1',
    endpoint: `${certificate === undefined ? 'http' : 'https'}://${host}:${port!}`,
    caFile: certificate?.caFile,
  };
  const process = new ServerProcess({
    name: 'MinIO',
    command: minio,
    args: [
      'server',
      '--quiet',
      '--certs-dir',
      certificates,
      '--address',
      `${host}:${port!}`,
      '--console-address',
      `${host}:${consolePort!}`,
      data,
    ],
    env: {
      MINIO_ROOT_USER: server.accessKey,
      MINIO_ROOT_PASSWORD: server.secretKey,
      MINIO_REGION: server.region,
      MINIO_BROWSER: 'off',
      MINIO_UPDATE: 'off',
      HOME: work.path,
    },
    logFile: join(work.path, 'log'),
    isReady: async () => {
      const client = await s3Client(server);
      try {
        await client.send(new ListBucketsCommand());
        return true;
      } finally {
        client.destroy();
      }
    },
  });
  await process.start();
  return {
    ...server,
    createBucket: (name) => createS3Bucket(server, name),
    stop: () => process.kill().then(() => work.remove()),
    kill: () => process.kill(),
    restart: () => process.restart(),
  };
}
