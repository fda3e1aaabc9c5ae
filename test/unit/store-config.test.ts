import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DmaasError } from '../../core/src/errors.ts';
import { parseStoreConfig, parseStoreUrl } from '../../core/src/store/config.ts';

const KEY = { type: 'service_account', client_email: 'a@b', private_key: '-----BEGIN PRIVATE KEY-----\nSECRET', project_id: 'p' };

function usage(call: () => unknown, message: RegExp): void {
  assert.throws(call, (e) => {
    assert.ok(DmaasError.is(e, 'USAGE'), String(e));
    assert.match(e.message, message);
    assert.doesNotMatch(`${e.message} ${e.hint ?? ''}`, /SECRET/);
    return true;
  });
}

describe('parseStoreUrl', () => {
  it('reads the three kinds of URLs', () => {
    assert.deepEqual(parseStoreUrl('s3://bucket', {}), { provider: 's3', bucket: 'bucket' });
    assert.deepEqual(parseStoreUrl('s3://bucket/', {}), { provider: 's3', bucket: 'bucket' });
    assert.deepEqual(parseStoreUrl('s3://bucket/a/b/', {}), { provider: 's3', bucket: 'bucket', prefix: 'a/b' });
    assert.deepEqual(parseStoreUrl('gs://bucket/a', {}), { provider: 'gcs', bucket: 'bucket', prefix: 'a' });
    assert.deepEqual(parseStoreUrl('file:///var/data%20x', {}), { provider: 'file', path: '/var/data x' });
  });

  it('takes endpoint, region and keys from the environment it is given', () => {
    const env = {
      AWS_ENDPOINT_URL: 'http://127.0.0.1:9000',
      AWS_REGION: 'eu-west-1',
      AWS_ACCESS_KEY_ID: 'id',
      AWS_SECRET_ACCESS_KEY: 'SECRET',
      AWS_SESSION_TOKEN: 'token',
    };
    assert.deepEqual(parseStoreUrl('s3://bucket/p', env), {
      provider: 's3',
      bucket: 'bucket',
      prefix: 'p',
      endpoint: 'http://127.0.0.1:9000',
      region: 'eu-west-1',
      credentials: { accessKeyId: 'id', secretAccessKey: 'SECRET', sessionToken: 'token' },
    });
    assert.deepEqual(parseStoreUrl('s3://bucket', { AWS_ACCESS_KEY_ID: 'id', AWS_REGION: '', AWS_SESSION_TOKEN: 'token' }), {
      provider: 's3',
      bucket: 'bucket',
    });
    assert.deepEqual(parseStoreUrl('gs://bucket/p', { STORAGE_EMULATOR_HOST: 'localhost:4443' }), {
      provider: 'gcs',
      bucket: 'bucket',
      prefix: 'p',
      endpoint: 'http://localhost:4443',
    });
  });

  it('takes the key of a Google service account along, and leaves other kinds to Google', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'dmaas-config-'));
    const path = join(folder, 'key.json');
    const env = { GOOGLE_APPLICATION_CREDENTIALS: path };
    try {
      usage(() => parseStoreUrl('gs://bucket', env), /cannot be read$/);
      await writeFile(path, '{"private_key": SECRET');
      usage(() => parseStoreUrl('gs://bucket', env), /is not JSON$/);
      await writeFile(path, JSON.stringify(KEY));
      assert.deepEqual(parseStoreUrl('gs://bucket', env), { provider: 'gcs', bucket: 'bucket', credentials: KEY });
      await writeFile(path, JSON.stringify({ type: 'external_account' }));
      assert.deepEqual(parseStoreUrl('gs://bucket', env), { provider: 'gcs', bucket: 'bucket' });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('refuses everything else without repeating a password', () => {
    for (const url of ['', 'bucket', 'http://bucket', 's3:/bucket', 's3://id:SECRET@bucket/p', 's3://bucket/p?key=SECRET']) {
      usage(() => parseStoreUrl(url, {}), /^that is not the URL of a store$/);
    }
    usage(() => parseStoreUrl('s3:///p', {}), /names no bucket$/);
    usage(() => parseStoreUrl('file://data/x', {}), /names no directory$/);
    usage(() => parseStoreUrl('s3://bucket/a//b', {}), /^prefix of the store configuration is not valid/);
    usage(() => parseStoreUrl('s3://bucket/../b', {}), /^prefix of the store configuration is not valid/);
    usage(
      () => parseStoreUrl('s3://bucket', { AWS_ENDPOINT_URL: 'http://id:SECRET@host' }),
      /^endpoint of the store configuration is not valid/,
    );
    usage(() => parseStoreUrl('s3://bucket', { AWS_ENDPOINT_URL: 'ftp://SECRET' }), /^endpoint of the store configuration is not valid/);
    for (const endpoint of ['127.0.0.1:9000', 'minio', 'http://', 'http://a b'])
      usage(() => parseStoreUrl('s3://bucket', {}, { endpoint }), /not valid: an endpoint begins with http:\/\/ or https:\/\/$/);
  });
});

describe('parseStoreConfig', () => {
  it('names the field that is wrong, never its value', () => {
    usage(() => parseStoreConfig(undefined), /^the store/);
    usage(() => parseStoreConfig({ provider: 'azure' }), /^provider/);
    usage(() => parseStoreConfig({ provider: 's3' }), /^bucket/);
    usage(
      () => parseStoreConfig({ provider: 's3', bucket: 'bucket', credentials: { accessKeyId: 'SECRET' } }),
      /^credentials\.secretAccessKey/,
    );
    usage(() => parseStoreConfig({ provider: 's3', bucket: 'bucket', secretKey: 'SECRET' }), /^the store/);
    usage(() => parseStoreConfig({ provider: 's3', bucket: 'bucket', caPem: 'SECRET' }), /^caPem/);
    usage(
      () => parseStoreConfig({ provider: 'gcs', bucket: 'bucket', credentials: { ...KEY, type: 'authorized_user' } }),
      /^credentials\.type/,
    );
    usage(
      () => parseStoreConfig({ provider: 'gcs', bucket: 'bucket', credentials: { ...KEY, private_key: 'SECRET' } }),
      /^credentials\.private_key/,
    );
    usage(() => parseStoreConfig({ provider: 'file', path: 'relative' }), /^path/);
  });

  it('keeps what is right', () => {
    const config = {
      provider: 's3',
      bucket: 'bucket',
      prefix: 'a/b',
      pathStyle: true,
      checksums: 'when-required',
      endpoint: 'https://s3.example:9000',
    };
    assert.deepEqual(parseStoreConfig(config), config);
  });
});
