import { readFile } from 'node:fs/promises';
import { Agent } from 'node:https';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import type { S3Server } from './server.ts';

type Access = Pick<S3Server, 'endpoint' | 'accessKey' | 'secretKey' | 'region' | 'caFile'>;

/** A client of a test server that is independent of the code under test. */
export async function s3Client(server: Access): Promise<S3Client> {
  const ca = server.caFile === undefined ? undefined : await readFile(server.caFile);
  return new S3Client({
    endpoint: server.endpoint,
    region: server.region,
    forcePathStyle: true,
    credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
    ...(ca === undefined ? {} : { requestHandler: { httpsAgent: new Agent({ ca }) } }),
  });
}

export async function createS3Bucket(server: Access, name: string): Promise<void> {
  const client = await s3Client(server);
  try {
    await client.send(new CreateBucketCommand({ Bucket: name }));
  } finally {
    client.destroy();
  }
}
