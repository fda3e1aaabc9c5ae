/** What is left when all clusters are gone: a bucket, its access keys, and a key. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accessFromDocument, parseLocationDocument } from '../../core/src/location/document.ts';
import { openLocationRepository } from '../../core/src/location/open.ts';
import { openedByKey, recoverDocument } from '../../core/src/location/recover.ts';
import { deriveScope, formatKey, newKey, sealSource } from '../../core/src/repository/keys/keys.ts';
import { recoveryText } from '../../core/src/repository/keys/recovery.ts';
import { createRepository } from '../../core/src/repository/repository.ts';
import { openWithKeyFile, withTargetKeyRing } from '../../core/src/standalone/repository.ts';
import { parseStoreUrl, type StoreConfig } from '../../core/src/store/config.ts';
import { FileStore } from '../../core/src/store/file.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import { openStore } from '../../core/src/store/open.ts';
import { withPrefix } from '../../core/src/store/prefix.ts';
import { parse } from '../../kubectl-plugin/src/cli.ts';
import { all, makeBackup } from '../support/repository.ts';

const SHOP = { clusterId: 'cluster-1', namespace: 'shop', context: 'prod' };
const AWS = { kind: 'aws', accessKeyId: 'A', secretAccessKey: 'S' } as const;

describe('RECOVERY.txt', () => {
  for (const [what, ofLocation, commands] of [
    ['a location', true, ['volume list', 'volume restore', 'location recover', 'backup list', 'restore create']],
    ['its own', false, ['volume list', 'volume restore']],
  ] as const) {
    it(`of a repository of ${what} says command lines that the plugin understands`, async () => {
      const lines = [
        ...recoveryText(ofLocation)
          .toString()
          .matchAll(/^ {4}kubectl dmaas (.*)$/gm),
      ].map(([, line]) => line!);
      const parsed = await Promise.all(lines.map((line) => parse(line.split(' '), 100)));
      assert.deepEqual(
        parsed.map((line) => 'command' in line && line.command.path.join(' ')),
        commands,
      );
    });
  }

  it('is written as what the repository is', async () => {
    for (const source of [undefined, Buffer.from('sealed')]) {
      const store = new MemoryStore();
      await createRepository(store, newKey(), source && { source });
      assert.equal(Buffer.from((await store.get('RECOVERY.txt'))!).toString(), recoveryText(source !== undefined).toString());
    }
  });
});

describe('a repository of a location, by its URL', () => {
  let folder: string;
  const locationKey = newKey();
  const { directory, unlock } = deriveScope(locationKey, SHOP);
  const target = (key: Uint8Array) => {
    writeFileSync(join(folder, 'key'), formatKey(key));
    return { store: { provider: 'file', path: join(folder, directory) } as const, keyFile: join(folder, 'key') };
  };
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'dmaas-recovery-'));
    mkdirSync(join(folder, directory));
    const store = new FileStore(join(folder, directory));
    const repository = await createRepository(store, unlock, { source: sealSource(locationKey, SHOP) });
    await makeBackup(repository, 1, [Buffer.from('data')]);
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  it('is opened by the key of the location as by its own', async () => {
    for (const key of [locationKey, unlock]) {
      const opened = await openWithKeyFile(target(key), { openStore });
      assert.equal((await all(opened.repository.backups())).length, 1);
      await opened.close();
      assert.equal((await withTargetKeyRing(target(key), { openStore }, (ring) => ring.list())).length, 1);
    }
  });

  it('is not opened by other keys and passphrases, and each is called what it is', async () => {
    await assert.rejects(openWithKeyFile(target(newKey()), { openStore }), {
      code: 'REPOSITORY_KEY',
      message: /^the key does not open the repository at file:/,
      hint: /made with, or one that was added/,
    });
    await assert.rejects(openWithKeyFile({ ...target(locationKey), passphrase: 'a few words' }, { openStore }), {
      code: 'REPOSITORY_KEY',
      message: /^the passphrase does not open the repository at file:/,
      hint: /use a passphrase that was added/,
    });
  });
});

describe('a location, from its bucket and its key', () => {
  const documentOf = (url: string, key: Uint8Array, env = {}, flags = {}) =>
    recoverDocument('lab', parseStoreUrl(url, env, flags), ` ${formatKey(key)}\n`);

  it('is as it was exported, without access keys', () => {
    const key = newKey();
    const common = { apiVersion: 'dmaas.io/v1', kind: 'Location', name: 'lab', bucket: 'bucket', key: formatKey(key) };
    const env = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret', AWS_REGION: 'eu-west-1' };
    const [aws, server, google] = [
      documentOf('s3://bucket/team/a/', key, env),
      documentOf('s3://bucket', key, { AWS_ENDPOINT_URL: 'https://minio:9000' }, { caPem: '-----BEGIN CERTIFICATE-----' }),
      documentOf('gs://bucket/p', key),
    ];
    assert.deepEqual(aws, { ...common, prefix: 'team/a', region: 'eu-west-1', credential: { title: 'lab', kind: 'aws' } });
    const credential = { title: 'lab', kind: 's3', endpoint: 'https://minio:9000', pathStyle: true, caPem: '-----BEGIN CERTIFICATE-----' };
    assert.deepEqual(server, { ...common, credential });
    assert.deepEqual(google, { ...common, prefix: 'p', credential: { title: 'lab', kind: 'gcp' } });
    for (const document of [aws, server, google]) assert.deepEqual(parseLocationDocument(JSON.stringify(document)), document);
  });

  it('is refused for what cannot be one', () => {
    const refused = (message: RegExp, ...args: Parameters<typeof documentOf>) => {
      assert.throws(() => documentOf(...args), { code: 'USAGE', message });
    };
    refused(/in a bucket and not in a directory/, 'file:///backups', newKey());
    refused(/pathStyle means nothing without an endpoint/, 's3://bucket', newKey(), {}, { pathStyle: true });
    assert.throws(() => recoverDocument('lab', parseStoreUrl('s3://bucket', {}), 'dmaas-key-1-x'), { code: 'REPOSITORY_KEY' });
  });

  it('is tried on what the bucket holds', async () => {
    const store = new MemoryStore();
    const deps = { openStore: ({ prefix }: StoreConfig) => (prefix === undefined ? store : withPrefix(store, prefix)) };
    const key = newKey();
    const accessOf = (url: string, unlock = key) => accessFromDocument(documentOf(url, unlock), AWS);
    const nothing = { code: 'REPOSITORY_NOT_FOUND', message: /no repository of a location at s3:\/\/bucket/, hint: /above .*RECOVERY.txt/ };
    await assert.rejects(openedByKey(accessOf('s3://bucket/p'), deps), nothing);
    const shop = await openLocationRepository(accessOf('s3://bucket/p'), SHOP, deps, { create: true });
    await shop.close();
    const { directory } = shop;
    assert.deepEqual(await openedByKey(accessOf('s3://bucket/p'), deps), [{ ...SHOP, directory }]);
    await assert.rejects(openedByKey(accessOf(`s3://bucket/p/${directory}`), deps), nothing);
    await assert.rejects(openedByKey(accessOf('s3://bucket/p', newKey()), deps), {
      code: 'REPOSITORY_KEY',
      message: 'the key opens nothing at s3://bucket/p, which has 1 repository of another key',
    });
  });
});
