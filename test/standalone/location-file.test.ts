/** The repositories of a location, from its exported file alone: when all clusters are gone. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DeleteObjectCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';
import { stringify } from 'yaml';
import { accessFromDocument, parseLocationDocument } from '../../core/src/location/document.ts';
import { openLocationRepository } from '../../core/src/location/open.ts';
import { formatKey, newKey } from '../../core/src/repository/keys/keys.ts';
import { openStore } from '../../core/src/store/open.ts';
import { pluginWithoutCluster, type Plugin } from '../support/plugin.ts';
import { makeBackup, seededRandom } from '../support/repository.ts';
import { startMinio } from '../support/stores/minio.ts';
import { s3Client } from '../support/stores/s3-bucket.ts';
import type { S3Server } from '../support/stores/server.ts';

describe('kubectl dmaas repository with --location-file', function () {
  this.timeout(120_000);
  const random = seededRandom(4);
  let server: S3Server;
  let client: S3Client;
  let plugin: Plugin;
  const call = (args: string) => plugin.run([...args.split(' '), '--location-file', join(plugin.home, 'lab.yaml')]);

  before(async () => {
    server = await startMinio();
    client = await s3Client(server);
    await server.createBucket('backups');
    plugin = await pluginWithoutCluster();
    const { endpoint, region, accessKey: accessKeyId, secretKey: secretAccessKey } = server;
    const credential = { title: 'lab', kind: 's3', pathStyle: true, endpoint, accessKeyId, secretAccessKey };
    const text = stringify({
      apiVersion: 'dmaas.io/v1',
      kind: 'Location',
      name: 'lab',
      bucket: 'backups',
      region,
      key: formatKey(newKey()),
      credential,
    });
    writeFileSync(join(plugin.home, 'lab.yaml'), text, { mode: 0o600 });
    const access = accessFromDocument(parseLocationDocument(text));
    for (const namespace of ['shop', 'blog']) {
      const open = await openLocationRepository(access, { clusterId: 'c', namespace, context: 'prod' }, { openStore }, { create: true });
      await makeBackup(open.repository, 1, [Buffer.from(random(5000)), Buffer.from(namespace)]);
      await open.close();
    }
  });
  after(async () => {
    await plugin.remove();
    client.destroy();
    await server.stop();
  });

  it('is made anew from the bucket and the key, and both open what is there', async () => {
    const { key } = parseLocationDocument(readFileSync(join(plugin.home, 'lab.yaml'), 'utf8'));
    const [keyFile, file] = [join(plugin.home, 'key'), join(plugin.home, 'recovered.yaml')];
    writeFileSync(keyFile, `${key}\n`);
    const env = { AWS_ACCESS_KEY_ID: server.accessKey, AWS_SECRET_ACCESS_KEY: server.secretKey };
    const at = `--endpoint ${server.endpoint} --region ${server.region} --key-file ${keyFile}`;
    const dmaas = (args: string) => plugin.run(args.split(' '), env);
    const recovered = await dmaas(`location recover lab --url s3://backups ${at} -f ${file}`);
    assert.equal(recovered.code, 0, recovered.stderr);
    assert.match(recovered.stderr, /the key opens the backups of prod\/blog, prod\/shop\n$/);
    assert.ok(!readFileSync(file, 'utf8').includes(server.secretKey));
    const listed = await dmaas(`backup list --location-file ${file} -o name`);
    assert.deepEqual([listed.code, listed.stdout.split('\n').length], [0, 3], listed.stderr);

    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: 'backups' }));
    const directory = Contents.map(({ Key }) => Key!)
      .find((name) => name.endsWith('/RECOVERY.txt'))!
      .replace('/RECOVERY.txt', '');
    const volumes = await dmaas(`volume list --repository s3://backups/${directory} ${at}`);
    assert.match(volumes.stdout, / data +filesystem /, volumes.stderr);
    const tooDeep = await dmaas(`location recover lab --url s3://backups/${directory} ${at}`);
    assert.deepEqual([tooDeep.code, tooDeep.stdout], [10, ''], tooDeep.stderr);
  });

  it('says who opens each repository, and how much it holds', async () => {
    for (const namespace of ['shop', 'blog']) {
      const keys = await call(`key list -n ${namespace} -o json`);
      assert.equal((JSON.parse(keys.stdout) as { items: unknown[] }).items.length, 1, keys.stderr);
    }
    const unclear = await call('key list');
    assert.equal(unclear.code, 2);
    assert.match(unclear.stderr, /hint: choose one: -n blog --context prod, -n shop --context prod;/);
    const stats = await call('repository stats --everywhere -o json');
    const { items } = JSON.parse(stats.stdout) as { items: { repository: string; backups: number }[] };
    assert.deepEqual(items.map(({ repository, backups }) => `${repository} ${backups}`).sort(), ['prod/blog 1', 'prod/shop 1']);
  });

  it('verifies, prunes and repairs every repository of the location, and says which is damaged', async () => {
    const whole = await call('repository verify --read-data --everywhere');
    assert.equal(whole.code, 0, whole.stderr);
    const lines = ['blog', 'shop'].map((namespace) => `no faults found in prod/${namespace} (all data read)`);
    assert.deepEqual(whole.stdout.trim().split('\n').sort(), lines);
    const typo = await call('repository verify -n shpo');
    assert.equal(typo.code, 10, typo.stdout);
    assert.match(typo.stderr, /error: location lab holds no repository of namespace shpo\nhint: it holds those of prod\//);
    const pruned = await call('repository prune --everywhere');
    assert.equal(pruned.code, 0, pruned.stderr);

    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: 'backups' }));
    const packs = Contents.filter(({ Key }) => Key!.includes('/packs/'));
    const [first] = packs;
    await client.send(new DeleteObjectCommand({ Bucket: 'backups', Key: first!.Key }));
    const damaged = await call('repository verify --everywhere -o json');
    assert.equal(damaged.code, 13, damaged.stderr);
    const { items } = JSON.parse(damaged.stdout) as { items: { repository: string; findings: { level: string }[] }[] };
    assert.deepEqual(items.map(({ findings }) => findings.length).sort(), [0, 1]);

    const repaired = await call('repository repair --yes --everywhere');
    assert.equal(repaired.code, 13, repaired.stderr);
    for (const namespace of ['blog', 'shop']) assert.ok(repaired.stdout.includes(` prod/${namespace}\n`), repaired.stdout);
    assert.match(repaired.stdout, /Packs given up: +1;/);

    const [identity] = Contents.filter(({ Key }) => Key!.endsWith('/dmaas.json'));
    await client.send(new DeleteObjectCommand({ Bucket: 'backups', Key: identity!.Key }));
    const rest = await call('repository prune --everywhere -o json');
    assert.equal(rest.code, 13, rest.stderr);
    const others = (JSON.parse(rest.stdout) as { items: { repository: string; findings: { code: string }[] }[] }).items;
    assert.deepEqual(others.map(({ repository }) => repository).sort(), ['prod/blog', 'prod/shop']);
    assert.deepEqual(
      others.flatMap(({ findings }) => findings.map(({ code }) => code)),
      ['repository-corrupt'],
    );
  });
});
