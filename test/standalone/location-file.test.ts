/** The repositories of a location, from its exported file alone: when all clusters are gone. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
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

  it('verifies, prunes and repairs every repository of the location, and says which is damaged', async () => {
    const whole = await call('repository verify --read-data --everywhere');
    assert.equal(whole.code, 0, whole.stderr);
    const lines = ['blog', 'shop'].map((namespace) => `no faults found in prod/${namespace} (all data read)`);
    assert.deepEqual(whole.stdout.trim().split('\n').sort(), lines);
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
  });
});
