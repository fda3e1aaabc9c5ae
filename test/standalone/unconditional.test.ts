/** Row B8 of the fault matrix: a server that ignores If-None-Match. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ListObjectsV2Command, PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { startFaultProxy, type FaultProxy } from '../support/fault-proxy.ts';
import { pluginWithoutCluster, type Plugin } from '../support/plugin.ts';
import { startMinio } from '../support/stores/minio.ts';
import { s3Client } from '../support/stores/s3-bucket.ts';
import type { S3Server } from '../support/stores/server.ts';

describe('a store that overwrites what must be new', function () {
  this.timeout(120_000);
  let server: S3Server;
  let client: S3Client;
  let proxy: FaultProxy;
  let plugin: Plugin;
  const at = (path: string) => join(plugin.home, path);
  const env = () => ({ AWS_ACCESS_KEY_ID: server.accessKey, AWS_SECRET_ACCESS_KEY: server.secretKey });
  const run = (args: string, endpoint: string) =>
    plugin.run(
      [...args.split(' '), '--repository', 's3://backups/r', '--endpoint', endpoint, '--region', server.region, '--key-file', at('key')],
      env(),
    );
  const keys = async () =>
    ((await client.send(new ListObjectsV2Command({ Bucket: 'backups', Prefix: 'r/' }))).Contents ?? []).map(({ Key }) => Key!);

  before(async () => {
    server = await startMinio();
    client = await s3Client(server);
    proxy = await startFaultProxy(server.endpoint);
    proxy.fault = () => ({
      kind: 'overwrite',
      put: async (path, body) => {
        const key = decodeURIComponent(new URL(path, 'http://x').pathname).replace('/backups/', '');
        return (await client.send(new PutObjectCommand({ Bucket: 'backups', Key: key, Body: body }))).ETag!;
      },
    });
    plugin = await pluginWithoutCluster();
    await server.createBucket('backups');
  });
  after(async () => {
    await plugin.remove();
    client.destroy();
    await proxy.close();
    await server.stop();
  });

  it('B8: gets no repository, and nothing is left in it', async () => {
    const { code, stderr } = await run('repository init', proxy.url);
    assert.equal(code, 40, stderr);
    assert.match(stderr, /^error: s3:\/\/backups\/r overwrites objects that must be new: it ignores If-None-Match$/m);
    assert.match(stderr, /hint: use a store/);
    assert.deepEqual(await keys(), []);
  });

  it('B8: loses nothing of writers that work at the same time in a repository that was there, and no collection runs', async () => {
    const init = await run('repository init', server.endpoint);
    assert.equal(init.code, 0, init.stderr);
    assert.ok(existsSync(at('key')));
    const writers = ['one', 'two', 'three'];
    for (const name of writers) {
      mkdirSync(at(name));
      for (let i = 0; i < 20; i++) writeFileSync(at(`${name}/${i}`), `${i < 10 ? 'all' : name} ${i}`.repeat(10_000));
    }
    const made = await Promise.all(writers.map((name) => run(`volume backup ${name}`, proxy.url)));
    for (const { code, stderr } of made) assert.equal(code, 0, stderr);
    const before = await keys();
    const { code, stderr } = await run('repository prune --grace 0m', proxy.url);
    assert.equal(code, 40, stderr);
    assert.match(stderr, /overwrites objects that must be new/);
    const isData = (key: string) => /^r\/(packs|index|backups|gc)\//.test(key);
    assert.deepEqual((await keys()).filter(isData), before.filter(isData));
    const verified = await run('repository verify --read-data', proxy.url);
    assert.equal(verified.code, 0, verified.stderr);
    assert.match(verified.stdout, /^no faults found/);
    assert.equal(before.filter((key) => key.startsWith('r/backups/')).length, writers.length);
  });
});
