import assert from 'node:assert/strict';
import { stringify } from 'yaml';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import { createCredential } from '../../core/src/location/credential.ts';
import { accessFromDocument, exportLocation, importLocation, parseLocationDocument } from '../../core/src/location/document.ts';
import type { NewLocation } from '../../core/src/location/location.ts';
import {
  createLocation,
  deleteLocation,
  getLocation,
  getLocationAccess,
  listLocations,
  locationUrl,
  setDefaultLocation,
  toStoreConfig,
} from '../../core/src/location/location.ts';
import { formatKey, newKey } from '../../core/src/repository/keys/keys.ts';
import { parseStoreConfig } from '../../core/src/store/config.ts';

const AWS = { kind: 'aws', accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'secret-of-aws' } as const;
const S3 = {
  kind: 's3',
  endpoint: 'https://minio.example.com:9000',
  pathStyle: true,
  accessKeyId: 'minio',
  secretAccessKey: 'secret-of-minio',
} as const;
const SHOP = { namespace: 'shop' };
const EU: NewLocation = { name: 's3-eu', credential: 'prod', bucket: 'acme-backups', prefix: '/shop/', region: 'eu-central-1' };

async function cluster(): Promise<MemoryCluster> {
  const namespaces = ['shop', 'dmaas', 'other'].map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }));
  const c = new MemoryCluster({ objects: namespaces });
  await createCredential(c, 'dmaas', 'prod', AWS);
  return c;
}

const fails = (code: string, message: string | RegExp, hint?: RegExp) => (e: unknown) => {
  assert.ok(DmaasError.is(e), String(e));
  assert.equal(e.code, code);
  if (typeof message === 'string') assert.equal(e.message, message);
  else assert.match(e.message, message);
  if (hint !== undefined) assert.match(e.hint ?? '', hint);
  return true;
};

describe('a location', () => {
  it('gets a key of its own, and is read back as it was made', async () => {
    const c = await cluster();
    const made = await createLocation(c, SHOP, EU);
    assert.match(made.key, /^dmaas-key-1-[a-z2-7]+$/);
    assert.equal(made.prefix, 'shop');
    assert.equal(made.credentialNamespace, 'dmaas');
    assert.deepEqual(await getLocation(c, SHOP, 's3-eu'), made);
    const second = await createLocation(c, SHOP, { ...EU, name: 'second' });
    assert.notEqual(second.key, made.key);
  });

  it('takes a key that exists already, and refuses a mistyped one before anything is made', async () => {
    const c = await cluster();
    const key = formatKey(newKey());
    assert.equal((await createLocation(c, SHOP, { ...EU, importKey: ` ${key}\n` })).key, key);
    const wrong = key.slice(0, -1) + (key.endsWith('a') ? 'b' : 'a');
    await assert.rejects(createLocation(c, SHOP, { ...EU, name: 'b', importKey: wrong }), fails('REPOSITORY_KEY', /mistyped/));
    await assert.rejects(getLocation(c, SHOP, 'b'), fails('USAGE', 'no location b in the namespaces shop and dmaas'));
  });

  it('is refused with what is wrong with it', async () => {
    const c = await cluster();
    const bad: [Partial<NewLocation>, string | RegExp][] = [
      [{ name: '1' }, 'name "1" must start with a letter'],
      [{ credential: 'stage' }, 'no credential stage in the namespaces shop and dmaas'],
      [{ bucket: 'a bucket' }, 'the location is not valid: bucket is no valid name of a bucket'],
      [{ prefix: 'a//b' }, /^the location is not valid: prefix may contain/],
      [{ prefix: '../up' }, /^the location is not valid: prefix may contain/],
      [{ prefix: 'x'.repeat(201) }, 'the location is not valid: prefix has more than 200 characters'],
    ];
    for (const [change, message] of bad) await assert.rejects(createLocation(c, SHOP, { ...EU, ...change }), fails('USAGE', message));
    assert.deepEqual((await listLocations(c, SHOP)).locations, []);
  });

  it('is listed without its key', async () => {
    const c = await cluster();
    const made = await createLocation(c, SHOP, EU);
    await createLocation(c, { namespace: 'dmaas' }, { ...EU, name: 'home' });
    const { locations, findings } = await listLocations(c, SHOP);
    assert.deepEqual(
      locations.map((l) => [l.namespace, l.name]),
      [
        ['shop', 's3-eu'],
        ['dmaas', 'home'],
      ],
    );
    assert.ok(!JSON.stringify(locations).includes(made.key));
    assert.deepEqual(findings, []);
  });

  it('is removed from its namespace only, and given back so that its key can be kept', async () => {
    const c = await cluster();
    const made = await createLocation(c, SHOP, EU);
    await assert.rejects(deleteLocation(c, 's3-eu', 'dmaas'), fails('USAGE', 'no location s3-eu in namespace dmaas'));
    assert.equal((await deleteLocation(c, 's3-eu', 'shop')).key, made.key);
    assert.deepEqual((await listLocations(c, SHOP)).locations, []);
  });
});

describe('the default location', () => {
  it('is the only one, or the marked one, of the namespace before the home namespace', async () => {
    const c = await cluster();
    await assert.rejects(getLocation(c, SHOP), fails('USAGE', 'there is no location in namespace shop or dmaas', /location create/));
    await createLocation(c, { namespace: 'dmaas' }, { ...EU, name: 'home' });
    assert.equal((await getLocation(c, SHOP)).name, 'home');
    await createLocation(c, SHOP, { ...EU, name: 'one' });
    assert.equal((await getLocation(c, SHOP)).name, 'one');
    await createLocation(c, SHOP, { ...EU, name: 'two' });
    await assert.rejects(
      getLocation(c, SHOP),
      fails('USAGE', 'there are several locations in namespace shop (one, two), and none is named', /set-default one -n shop/),
    );
    await setDefaultLocation(c, 'two', 'shop');
    assert.equal((await getLocation(c, SHOP)).name, 'two');
    await setDefaultLocation(c, 'one', 'shop');
    assert.equal((await getLocation(c, SHOP)).name, 'one');
    assert.deepEqual(
      (await listLocations(c, SHOP)).locations.map((l) => l.isDefault),
      [true, false, false],
    );
    await assert.rejects(setDefaultLocation(c, 'home', 'shop'), fails('USAGE', 'no location home in namespace shop'));
  });
});

describe('the store of a location', () => {
  it('is configured from the location and its credential, for every provider', async () => {
    const c = await cluster();
    await createCredential(c, 'shop', 'minio', { ...S3, checksums: 'when-required' });
    await createCredential(c, 'shop', 'emulator', { kind: 'gcp', endpoint: 'http://127.0.0.1:4443' });
    await createLocation(c, SHOP, EU);
    await createLocation(c, SHOP, { name: 'local', credential: 'minio', bucket: 'b-1' });
    await createLocation(c, SHOP, { name: 'gcs', credential: 'emulator', bucket: 'b-2', prefix: 'p' });
    const configOf = async (name: string, directory?: string) =>
      parseStoreConfig(toStoreConfig(await getLocationAccess(c, SHOP, name), directory));
    assert.deepEqual(await configOf('s3-eu', 'dir'), {
      provider: 's3',
      bucket: 'acme-backups',
      prefix: 'shop/dir',
      region: 'eu-central-1',
      credentials: { accessKeyId: AWS.accessKeyId, secretAccessKey: AWS.secretAccessKey },
    });
    assert.deepEqual(await configOf('local'), {
      provider: 's3',
      bucket: 'b-1',
      endpoint: S3.endpoint,
      pathStyle: true,
      checksums: 'when-required',
      credentials: { accessKeyId: 'minio', secretAccessKey: 'secret-of-minio' },
    });
    assert.deepEqual(await configOf('gcs'), { provider: 'gcs', bucket: 'b-2', prefix: 'p', endpoint: 'http://127.0.0.1:4443' });
    assert.equal(locationUrl({ bucket: 'b', prefix: 'p' }, 'gcp'), 'gs://b/p');
    assert.equal(locationUrl({ bucket: 'b', prefix: '' }, 'aws'), 's3://b');
  });

  it('is opened with the credential that was there when the location was made, not with a namesake elsewhere', async () => {
    const c = await cluster();
    await createLocation(c, SHOP, EU);
    await createCredential(c, 'shop', 'prod', { ...AWS, accessKeyId: 'OTHER' });
    const { credential } = await getLocationAccess(c, SHOP, 's3-eu');
    assert.equal(credential.namespace, 'dmaas');
  });
});

describe('an exported location', () => {
  it('opens the bucket without a cluster, and is imported into another one, as YAML and as JSON', async () => {
    const c = await cluster();
    await createLocation(c, SHOP, EU);
    const access = await getLocationAccess(c, SHOP);
    for (const write of [stringify, JSON.stringify]) {
      const document = parseLocationDocument(write(exportLocation(access, { withCredentials: true })));
      assert.deepEqual(toStoreConfig(accessFromDocument(document)), toStoreConfig(access));
      assert.equal(accessFromDocument(document).location.key, access.location.key);
      const target = new MemoryCluster({ objects: [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }] });
      await importLocation(target, SHOP, document);
      const imported = await getLocationAccess(target, SHOP);
      assert.equal(imported.location.key, access.location.key);
      assert.deepEqual(imported.credential.values, access.credential.values);
    }
  });

  it('holds the access keys only when asked, and then needs a credential where it is imported', async () => {
    const c = await cluster();
    await createLocation(c, SHOP, EU);
    const document = exportLocation(await getLocationAccess(c, SHOP), { withCredentials: false });
    assert.ok(!JSON.stringify(document).includes(AWS.secretAccessKey));
    assert.ok(!JSON.stringify(document).includes(AWS.accessKeyId));
    const empty = new MemoryCluster({ objects: [{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } }] });
    await assert.rejects(importLocation(empty, SHOP, document), fails('USAGE', 'no credential prod in the namespaces shop and dmaas'));
    await createCredential(empty, 'shop', 'mine', AWS);
    assert.equal((await importLocation(empty, SHOP, document, { credential: 'mine', name: 'again' })).credential, 'mine');
    assert.throws(() => accessFromDocument(document), fails('USAGE', /accessKeyId is missing/));
    assert.equal(accessFromDocument(document, AWS).credential.values, AWS);
  });

  it('is refused without quoting it when it is something else', () => {
    for (const text of [
      'key: [secret',
      'secret',
      '{}',
      JSON.stringify({ apiVersion: 'dmaas.io/v1', kind: 'Location', name: 'a', key: 'secret' }),
    ]) {
      assert.throws(
        () => parseLocationDocument(text),
        (e) => fails('USAGE', /^the file is no exported location/)(e) && !(e as Error).message.includes('secret'),
      );
    }
  });
});
