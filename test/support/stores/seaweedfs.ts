import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureSeaweedfs } from '../setup/seaweedfs.ts';
import { createS3Bucket } from './s3-bucket.ts';
import { accepts, freePorts, type S3Options, type S3Server, ServerProcess, temporaryDir } from './server.ts';
import { makeCertificate } from './tls.ts';

const VOLUME_SIZE_MB = 512;
const MAX_VOLUMES = 200;

/** SeaweedFS with its S3 gateway: master, volume server, filer and gateway in one process. */
export async function startSeaweedfs(options: S3Options = {}): Promise<S3Server> {
  const host = options.host ?? '127.0.0.1';
  const weed = await ensureSeaweedfs();
  const work = await temporaryDir('seaweedfs');
  const data = options.dataDir ?? join(work.path, 'data');
  await mkdir(data, { recursive: true });
  const access = { accessKey: 'dmaas-test-access', secretKey: 'dmaas-test-secret', region: 'us-east-1' };
  const config = join(work.path, 's3.json');
  const identity = {
    name: 'test',
    credentials: [{ accessKey: access.accessKey, secretKey: access.secretKey }],
    actions: ['Admin', 'Read', 'Write', 'List', 'Tagging'],
  };
  await writeFile(config, JSON.stringify({ identities: [identity] }));
  const certificate = options.tls ? await makeCertificate(work.path, host) : undefined;
  const names = [
    'master.port',
    'master.port.grpc',
    'volume.port',
    'volume.port.grpc',
    'filer.port',
    'filer.port.grpc',
    's3.port',
    's3.port.grpc',
  ];
  const numbers = await freePorts(host, names.length);
  const port = (name: string): number => numbers[names.indexOf(name)]!;
  const args = [
    `-logtostderr=true`,
    `server`,
    `-ip=${host}`,
    `-ip.bind=${host}`,
    `-dir=${data}`,
    `-master.volumeSizeLimitMB=${VOLUME_SIZE_MB}`,
    `-volume.max=${MAX_VOLUMES}`,
    `-master.peers=none`,
    `-master.telemetry=false`,
    `-filer`,
    `-s3`,
    `-s3.config=${config}`,
    `-s3.port.iceberg=0`,
    `-s3.port.lance=0`,
    ...names.map((name) => `-${name}=${port(name)}`),
    ...(certificate === undefined ? [] : [`-s3.cert.file=${certificate.certFile}`, `-s3.key.file=${certificate.keyFile}`]),
  ];
  const scheme = certificate === undefined ? 'http' : 'https';
  const server = { ...access, endpoint: `${scheme}://${host}:${port('s3.port')}`, caFile: certificate?.caFile };
  const filer = `http://${host}:${port('filer.port')}/ready`;
  const process = new ServerProcess({
    name: 'SeaweedFS',
    command: weed,
    args,
    logFile: join(work.path, 'log'),
    // Only a write shows that the volume server has joined.
    isReady: async () =>
      (await accepts(host, port('s3.port'))) &&
      (await fetch(filer, { method: 'PUT', body: 'ready' })).ok &&
      (await fetch(filer, { method: 'DELETE' })).ok,
  });
  await process.start();
  return {
    ...server,
    createBucket: (name) => createS3Bucket(server, name),
    async stop() {
      await process.kill();
      // It puts a socket in /tmp for each of its ports, wherever TMPDIR points.
      for (const name of names)
        await rm(`/tmp/seaweedfs-${name.replace(/\.port(\.grpc)?$/, (_, grpc) => (grpc ? '-grpc' : ''))}-${port(name)}.sock`, {
          force: true,
        });
      await work.remove();
    },
    kill: () => process.kill(),
    restart: () => process.restart(),
  };
}
