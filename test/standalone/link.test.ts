/** Rows B3 and B10 of the fault matrix: a slow link, and a bucket in which nothing can be overwritten or deleted. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  ListObjectVersionsCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectLockConfigurationCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { startFaultProxy, type FaultProxy } from '../support/fault-proxy.ts';
import { pluginWithoutCluster, type Plugin } from '../support/plugin.ts';
import { startMinio } from '../support/stores/minio.ts';
import { s3Client } from '../support/stores/s3-bucket.ts';
import type { S3Server } from '../support/stores/server.ts';

describe('kubectl dmaas volume over a difficult store', function () {
  this.timeout(180_000);
  let server: S3Server;
  let client: S3Client;
  let proxy: FaultProxy;
  let plugin: Plugin;
  const at = (path: string) => join(plugin.home, path);
  const where = (bucket: string, endpoint = server.endpoint) => [
    ...['--repository', `s3://${bucket}/r`, '--endpoint', endpoint, '--region', server.region, '--key-file', at('key')],
  ];
  const env = () => ({ AWS_ACCESS_KEY_ID: server.accessKey, AWS_SECRET_ACCESS_KEY: server.secretKey });
  async function ok(args: string, ...more: Parameters<typeof where>): Promise<string> {
    const { code, stdout, stderr } = await plugin.run([...args.split(' '), ...where(...more)], env());
    assert.equal(code, 0, `${args}: ${stderr}`);
    return stdout;
  }

  before(async () => {
    server = await startMinio();
    client = await s3Client(server);
    proxy = await startFaultProxy(server.endpoint);
  });
  after(async () => {
    client.destroy();
    await proxy.close();
    await server.stop();
  });
  beforeEach(async () => {
    plugin = await pluginWithoutCluster();
    mkdirSync(at('source'));
  });
  afterEach(() => plugin.remove());

  it('B3: over a slow link a backup goes on, shows how far it is, keeps little in memory, and restores', async () => {
    await server.createBucket('slow');
    await ok('repository init', 'slow');
    for (let i = 0; i < 12; i++) writeFileSync(at(`source/${i}`), randomBytes(8 << 20));
    proxy.fault = () => ({ kind: 'slow', bytesPerSecond: 8 << 20, latencyMs: 200 });
    const running = plugin.start(['volume', 'backup', 'source', ...where('slow', proxy.url)], env());
    let peakKiB = 0;
    const watch = setInterval(() => {
      try {
        const status = readFileSync(`/proc/${String(running.pid)}/status`, 'utf8');
        peakKiB = Math.max(peakKiB, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0));
      } catch {
        // It has ended.
      }
    }, 100);
    await running.saw(/source {2}[1-9]/);
    const { code, stderr } = await running.ended;
    clearInterval(watch);
    assert.equal(code, 0, stderr);
    assert.ok(peakKiB > 0 && peakKiB < 512 << 10, `${peakKiB} KiB`);
    proxy.fault = () => ({ kind: 'slow', bytesPerSecond: 32 << 20, latencyMs: 100 });
    await ok('volume restore latest out', 'slow', proxy.url);
    for (let i = 0; i < 12; i++) assert.ok(readFileSync(at(`out/${i}`)).equals(readFileSync(at(`source/${i}`))));
  });

  it('B3: with 30 KB/s and half a second for each request, a small backup is made and read', async () => {
    await server.createBucket('slower');
    await ok('repository init', 'slower');
    writeFileSync(at('source/small'), randomBytes(60_000));
    proxy.fault = () => ({ kind: 'slow', bytesPerSecond: 30_000, latencyMs: 500 });
    await ok('volume backup source', 'slower', proxy.url);
    proxy.fault = () => undefined;
    await ok('volume restore latest out', 'slower');
    assert.ok(readFileSync(at('out/small')).equals(readFileSync(at('source/small'))));
  });

  it('B10: under Object Lock everything works, and what is deleted can be brought back while the lock lasts', async () => {
    await client.send(new CreateBucketCommand({ Bucket: 'locked', ObjectLockEnabledForBucket: true }));
    const lockRule = (days: number | undefined) =>
      client.send(
        new PutObjectLockConfigurationCommand({
          Bucket: 'locked',
          ObjectLockConfiguration: {
            ObjectLockEnabled: 'Enabled',
            ...(days !== undefined && { Rule: { DefaultRetention: { Mode: 'COMPLIANCE' as const, Days: days } } }),
          },
        }),
      );
    await lockRule(1);
    const init = await plugin.run(['repository', 'init', ...where('locked')], env());
    assert.equal(init.code, 0, init.stderr);
    assert.match(init.stderr, /the bucket locks what is written for 1 day; repository prune, once a day, keeps what backups need locked/);
    writeFileSync(at('source/kept'), randomBytes(1 << 20));
    writeFileSync(at('source/old'), randomBytes(8 << 20));
    const old = readFileSync(at('source/old'));
    const { id } = JSON.parse(await ok('volume backup source -o json', 'locked')) as { id: string };
    writeFileSync(at('source/old'), 'now');
    await ok('volume backup source', 'locked');
    await client.send(new DeleteObjectCommand({ Bucket: 'locked', Key: `r/backups/${id}` }));
    for (let n = 0; n < 3; n++) {
      await sleep(1100);
      assert.match(
        await ok('repository prune --grace 0m', 'locked'),
        /locked again: {2}0 objects, until /,
        'more than half of the day is left',
      );
    }
    assert.match(await ok('repository verify --read-data', 'locked'), /^no faults found/);

    await lockRule(undefined);
    await ok('volume backup source', 'locked'); // what it writes has no lock at all
    assert.ok(!(await ok('repository prune --grace 0m', 'locked')).includes('locked again'));
    const inUse = new Set(
      (await client.send(new ListObjectsV2Command({ Bucket: 'locked', Prefix: 'r/' }))).Contents!.map(({ Key }) => Key!),
    );
    await lockRule(10);
    proxy.fault = ({ method, url }) => (method === 'PUT' && url!.includes('retention') ? { kind: 'answer', status: 403 } : undefined);
    const denied = await plugin.run(['repository', 'prune', '--grace', '0m', ...where('locked', proxy.url)], env());
    assert.equal(denied.code, 0, denied.stderr);
    assert.match(
      denied.stderr,
      /locks of what backups need were not made longer: these credentials may not lock .*\n.*allow s3:GetObjectRetention/,
    );
    proxy.fault = ({ url }) => (url!.includes('object-lock') ? { kind: 'answer', status: 403 } : undefined);
    const unasked = await plugin.run(['repository', 'prune', '--grace', '0m', ...where('locked', proxy.url)], env());
    assert.deepEqual([unasked.code, /locked again|locks of/.test(unasked.stdout + unasked.stderr)], [0, false], unasked.stderr);
    proxy.fault = () => undefined;
    const { items } = JSON.parse(await ok('repository prune --grace 0m -o json', 'locked')) as { items: { locks: { extended: number } }[] };
    const isLong = async (Key: string, VersionId?: string) => {
      const { ObjectLockRetainUntilDate: until } = await client.send(new HeadObjectCommand({ Bucket: 'locked', Key, VersionId }));
      return until! > new Date(Date.now() + 9 * 24 * 3_600_000);
    };
    const long = new Set<string>();
    for (const key of inUse) if (await isLong(key)) long.add(key);
    // Of the index that is enough which replaces the rest.
    for (const key of inUse) if (!key.startsWith('r/index/')) assert.equal(long.has(key), !/^r\/(runs|sessions)\//.test(key), key);
    assert.ok([...long].some((key) => key.startsWith('r/index/')));
    assert.equal(items[0]!.locks.extended, long.size);
    assert.match(await ok('repository prune --grace 0m', 'locked'), /locked again: {2}0 objects/);
    await ok('volume restore latest out', 'locked');
    assert.equal(readFileSync(at('out/old'), 'utf8'), 'now');

    const versions = await client.send(new ListObjectVersionsCommand({ Bucket: 'locked', Prefix: 'r/' }));
    const body = versions.Versions!.find(({ Key }) => Key === `r/backups/${id}`)!;
    await assert.rejects(
      client.send(new DeleteObjectCommand({ Bucket: 'locked', Key: body.Key, VersionId: body.VersionId })),
      'the lock holds',
    );
    assert.equal(await isLong(body.Key!, body.VersionId), false, 'what no backup needs is not locked again');
    // Without the delete markers the repository is what it was: the deleted backup and its packs are back.
    for (const { Key, VersionId } of versions.DeleteMarkers ?? []) {
      if (/^r\/(packs|backups|index)\//.test(Key!)) await client.send(new DeleteObjectCommand({ Bucket: 'locked', Key, VersionId }));
    }
    await ok(`volume restore ${id} back`, 'locked');
    assert.ok(readFileSync(at('back/old')).equals(old));
  });
});
