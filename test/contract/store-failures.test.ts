import assert from 'node:assert/strict';
import { crc32 } from 'node:zlib';
import { generateKeyPairSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { inspect } from 'node:util';
import { DmaasError } from '../../core/src/errors.ts';
import type { ErrorCode } from '../../core/src/errors.ts';
import type { StoreConfig } from '../../core/src/store/config.ts';
import { openStore } from '../../core/src/store/open.ts';
import type { NetworkDeps } from '../../core/src/store/network.ts';
import type { ObjectStore } from '../../core/src/store/object-store.ts';
import type { RetryClock } from '../../core/src/store/retry.ts';
import { startFaultProxy } from '../support/fault-proxy.ts';
import type { FaultProxy, HttpFault } from '../support/fault-proxy.ts';
import { startFakeGcs } from '../support/stores/fake-gcs.ts';
import { startMinio } from '../support/stores/minio.ts';
import { freePorts } from '../support/stores/server.ts';
import type { GcsServer, S3Server } from '../support/stores/server.ts';

type S3Config = Extract<StoreConfig, { provider: 's3' }>;

/** Waits take no time but are remembered. */
function fakeClock(): RetryClock & { readonly waits: number[] } {
  const waits: number[] = [];
  return {
    waits,
    now: () => waits.reduce((sum, ms) => sum + ms, 0),
    random: () => 0.5,
    sleep: (ms) => {
      waits.push(ms);
      return Promise.resolve();
    },
  };
}

const SECRETS = [
  'dmaas-test-access',
  'dmaas-test-secret',
  'another-access-key',
  'another-secret-key',
  'a-session-token',
  'BEGIN PRIVATE KEY',
];

/** Fails unless `call` fails as expected, with a hint, and without a credential anywhere in the error. */
async function rejects(call: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<DmaasError> {
  const error = await call.then(
    () => undefined,
    (e: unknown) => e,
  );
  assert.ok(DmaasError.is(error), `not a DmaasError: ${inspect(error)}`);
  assert.match(error.message, message);
  assert.equal(error.code, code, error.message);
  assert.ok(error.hint !== undefined && error.hint !== '', 'no hint');
  const everything = inspect(error, { depth: 20, showHidden: true, getters: true });
  for (const secret of SECRETS) assert.ok(!everything.includes(secret), `the error shows ${secret}`);
  return error;
}

async function first(store: ObjectStore): Promise<string | undefined> {
  for await (const object of store.list('')) return object.key;
  return undefined;
}

/** Opens a store for the length of one test. */
async function using<T>(config: StoreConfig, deps: NetworkDeps, use: (store: ObjectStore) => Promise<T>): Promise<T> {
  const store = await openStore(config, deps);
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

const BODY = Uint8Array.from({ length: 100_000 }, (_, i) => (i * 31) % 251);

describe('stores that cannot be used', function () {
  this.timeout(120_000);
  let minio: S3Server;
  let tls: S3Server;
  let fakeGcs: GcsServer;
  let plain: S3Config;
  let deps: NetworkDeps;

  before(async () => {
    minio = await startMinio();
    tls = await startMinio({ tls: true, region: 'eu-west-1' });
    fakeGcs = await startFakeGcs();
    await Promise.all([minio.createBucket('here'), tls.createBucket('here'), fakeGcs.createBucket('here')]);
    plain = { provider: 's3', bucket: 'here', endpoint: minio.endpoint, region: 'us-east-1', credentials: keys(minio) };
  });

  after(async () => {
    await Promise.all([minio.stop(), tls.stop(), fakeGcs.stop()]);
  });

  beforeEach(() => {
    deps = { clock: fakeClock() };
  });

  const keys = (server: S3Server) => ({ accessKeyId: server.accessKey, secretAccessKey: server.secretKey });

  it('says that the access key is unknown', () =>
    using({ ...plain, credentials: { accessKeyId: 'another-access-key', secretAccessKey: 'another-secret-key' } }, deps, async (store) => {
      await rejects(store.get('a'), 'STORE_ACCESS', /^http:\S+ does not know this access key$/);
      await rejects(first(store), 'STORE_ACCESS', /does not know this access key/);
      await rejects(store.put('a', BODY), 'STORE_ACCESS', /does not know this access key/);
      await rejects(store.stat('a'), 'STORE_ACCESS', /^these credentials may not read a in bucket here$/); // HEAD says no more
    }));

  it('says that the secret key is wrong', () =>
    using({ ...plain, credentials: { accessKeyId: minio.accessKey, secretAccessKey: 'another-secret-key' } }, deps, (store) =>
      rejects(store.get('a'), 'STORE_ACCESS', /secret key does not belong to this access key$/),
    ));

  it('B9: says that a session token is refused', () =>
    using({ ...plain, credentials: { ...keys(minio), sessionToken: 'a-session-token' } }, deps, (store) =>
      rejects(store.get('a'), 'STORE_ACCESS', /refuses the session token|does not know this access key/),
    ));

  it('says that the bucket does not exist, whatever is asked first', async () => {
    for (const config of [
      { ...plain, bucket: 'not-here' },
      { provider: 'gcs', bucket: 'not-here', endpoint: fakeGcs.endpoint },
    ] as const) {
      for (const ask of [
        (store: ObjectStore) => store.get('a'),
        (store: ObjectStore) => store.stat('a'),
        (store: ObjectStore) => first(store),
        (store: ObjectStore) => store.put('a', BODY, { ifAbsent: true }),
        (store: ObjectStore) => store.get('a', { range: { offset: 5, length: 5 } }),
        (store: ObjectStore) => store.delete('a'),
      ]) {
        await using(config, deps, (store) =>
          rejects(ask(store), 'STORE_NOT_FOUND', /^bucket not-here does not exist at http:\/\/127\.0\.0\.1:\d+$/),
        );
      }
    }
  });

  it('says that the bucket is in another region', () =>
    tlsConfig().then((config) =>
      using({ ...config, region: 'us-east-1' }, deps, async (store) => {
        const error = await rejects(store.get('a'), 'STORE_ACCESS', /^bucket here is in region eu-west-1, not in us-east-1$/);
        assert.match(error.hint ?? '', /eu-west-1/);
      }),
    ));

  it('says that nobody answers, after the tries of the policy', async () => {
    const [port] = await freePorts('127.0.0.1', 1);
    const endpoint = `http://127.0.0.1:${port}`;
    for (const config of [
      { ...plain, endpoint },
      { provider: 'gcs', bucket: 'here', endpoint },
    ] as const) {
      const clock = fakeClock();
      await using(config, { clock, retry: { attempts: 3, totalMs: 60_000, baseMs: 100, capMs: 1000 } }, async (store) => {
        await rejects(store.put('a', BODY), 'STORE_UNAVAILABLE', new RegExp(`^no answer from ${endpoint} \\(connection refused\\)$`));
      });
      assert.deepEqual(clock.waits, [50, 100]);
    }
  });

  it('says that the server is no store', async () => {
    const proxy = await startFaultProxy(minio.endpoint);
    try {
      proxy.fault = () => ({ kind: 'answer', status: 404, headers: { 'content-type': 'text/html' }, body: '<html>not found</html>' });
      await using({ ...plain, endpoint: proxy.url }, deps, async (store) => {
        await rejects(store.get('a'), 'STORE_NOT_FOUND', /does not answer as an S3 server does$/);
        await rejects(store.put('a', BODY), 'STORE_NOT_FOUND', /does not answer as an S3 server does$/);
      });
      proxy.fault = () => ({ kind: 'answer', status: 200, headers: { 'content-type': 'text/html' }, body: '<html>hello</html>' });
      // A portal that answers everything with its own page must not look like an empty store, or like one that stored something.
      for (const config of [
        { ...plain, endpoint: proxy.url },
        { provider: 'gcs', bucket: 'here', endpoint: proxy.url },
      ] as const) {
        await using(config, deps, async (store) => {
          for (const call of [() => first(store), () => store.get('a'), () => store.stat('a'), () => store.put('a', BODY)]) {
            await rejects(
              call(),
              'STORE_UNAVAILABLE',
              /^http:\S+ (sent an answer of the wrong form or length|does not answer as an S3 server does)$/,
            );
          }
        });
      }
    } finally {
      await proxy.close();
    }
  });

  async function tlsConfig(): Promise<S3Config> {
    return { ...plain, endpoint: tls.endpoint, region: 'eu-west-1', caPem: await readFile(tls.caFile!, 'utf8') };
  }

  it('uses TLS with the right CA', async () =>
    using(await tlsConfig(), deps, async (store) => {
      await store.put('tls', BODY, { ifAbsent: true });
      assert.deepEqual(await store.get('tls'), BODY);
    }));

  it('says that the certificate is not trusted, without the CA and with another', async () => {
    const other = await startMinio({ tls: true });
    try {
      for (const caPem of [undefined, await readFile(other.caFile!, 'utf8')]) {
        const { caPem: _, ...config } = await tlsConfig();
        const clock = fakeClock();
        await using({ ...config, ...(caPem === undefined ? {} : { caPem }) }, { clock }, (store) =>
          rejects(store.get('a'), 'STORE_UNAVAILABLE', /^the certificate of https:\S+ is signed by nobody known here$/),
        );
        assert.deepEqual(clock.waits, [], 'it was tried again');
      }
    } finally {
      await other.stop();
    }
  });

  it('says that http and https were mixed up', async () => {
    await using({ ...plain, endpoint: minio.endpoint.replace('http:', 'https:') }, deps, (store) =>
      rejects(store.get('a'), 'STORE_UNAVAILABLE', /^https:\S+ does not speak TLS$/),
    );
  });

  it('goes through the proxy of the environment', async () => {
    const proxy = await startFaultProxy(minio.endpoint);
    try {
      const proxyEnv = { HTTPS_PROXY: proxy.url, http_proxy: proxy.url, NO_PROXY: 'example.invalid' };
      await using(await tlsConfig(), { ...deps, proxyEnv }, (store) => store.put('through', BODY));
      assert.deepEqual(proxy.requests, [`CONNECT ${new URL(tls.endpoint).host}`]);
      await using({ provider: 'gcs', bucket: 'here', endpoint: fakeGcs.endpoint }, { ...deps, proxyEnv }, (store) =>
        store.put('through', BODY),
      );
      assert.equal(proxy.requests.length > 1, true, 'the requests to GCS went another way');
      const seen = proxy.requests.length;
      await using(await tlsConfig(), { ...deps, proxyEnv: { ...proxyEnv, NO_PROXY: '127.0.0.1' } }, (store) => store.put('direct', BODY));
      assert.equal(proxy.requests.length, seen);
    } finally {
      await proxy.close();
    }
  });

  it('asks the region of AWS that the configuration names, whatever the environment says', async () => {
    const proxy = await startFaultProxy(minio.endpoint);
    const before = process.env['AWS_ENDPOINT_URL'];
    process.env['AWS_ENDPOINT_URL'] = minio.endpoint;
    try {
      const { endpoint: _, ...aws } = plain;
      await using({ ...aws, region: 'eu-central-1' }, { ...deps, proxyEnv: { https_proxy: proxy.url } }, (store) =>
        rejects(store.get('a'), 'STORE_UNAVAILABLE', /^no answer from https:\/\/s3\.eu-central-1\.amazonaws\.com \(/),
      );
      assert.equal(proxy.requests[0], 'CONNECT here.s3.eu-central-1.amazonaws.com:443');
    } finally {
      if (before === undefined) delete process.env['AWS_ENDPOINT_URL'];
      else process.env['AWS_ENDPOINT_URL'] = before;
      await proxy.close();
    }
  });

  it('asks Google for a token, through the proxy as well', async () => {
    const proxy = await startFaultProxy(minio.endpoint);
    const { privateKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    const credentials = { type: 'service_account' as const, client_email: 'x@y.iam.gserviceaccount.com', private_key: privateKey };
    try {
      await using({ provider: 'gcs', bucket: 'here', credentials }, { ...deps, proxyEnv: { https_proxy: proxy.url } }, (store) =>
        rejects(store.get('a'), 'STORE_UNAVAILABLE', /^no answer from Google for a token \(/),
      );
      assert.ok(
        proxy.requests.length > 0 && proxy.requests.every((request) => request === 'CONNECT oauth2.googleapis.com:443'),
        proxy.requests.join(),
      );
    } finally {
      await proxy.close();
    }
  });

  it('says that a Google key is not usable, without showing it', async () => {
    const credentials = {
      type: 'service_account' as const,
      client_email: 'x@y.iam.gserviceaccount.com',
      private_key: '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n',
    };
    await using({ provider: 'gcs', bucket: 'here', endpoint: fakeGcs.endpoint, credentials }, deps, (store) =>
      rejects(store.get('a'), 'STORE_ACCESS', /^no usable Google credentials$/),
    );
  });
});

/** The same misfortunes for both network stores, each behind a proxy that causes them. */
for (const provider of ['s3', 'gcs'] as const) {
  describe(`misfortunes on the way: ${provider}`, function () {
    this.timeout(120_000);
    let server: S3Server | GcsServer;
    let proxy: FaultProxy;
    let store: ObjectStore;
    let clock: ReturnType<typeof fakeClock>;
    let serial = 0;
    const retry = { attempts: 4, totalMs: 60_000, baseMs: 100, capMs: 1000 };

    before(async () => {
      server = provider === 's3' ? await startMinio() : await startFakeGcs();
      await server.createBucket('here');
    });

    after(() => server.stop());

    beforeEach(async () => {
      clock = fakeClock();
      proxy = await startFaultProxy(server.endpoint);
      store = await openStore(config(), { clock, retry });
    });

    afterEach(async () => {
      await store.close();
      await proxy.close();
    });

    function config(): StoreConfig {
      if (!('accessKey' in server)) return { provider: 'gcs', bucket: 'here', prefix: 'p', endpoint: proxy.url };
      const credentials = { accessKeyId: server.accessKey, secretAccessKey: server.secretKey };
      return { provider: 's3', bucket: 'here', prefix: 'p', endpoint: proxy.url, region: 'us-east-1', credentials };
    }

    /** A store that takes a second of silence for a failure. */
    const impatient = () => openStore(config(), { clock, retry, timeouts: { stallMs: 1000 } });
    const newKey = () => `k${++serial}`;
    const times = (n: number, fault: HttpFault) => (_: unknown, request: number) => (request <= n ? fault : undefined);
    const slowDown: HttpFault = {
      kind: 'answer',
      status: 503,
      headers: { 'content-type': 'application/xml' },
      body: '<Error><Code>SlowDown</Code></Error>',
    };

    it('B1: repeats what the store was too busy for', async () => {
      const key = newKey();
      proxy.fault = times(3, slowDown);
      await store.put(key, BODY, { ifAbsent: true });
      assert.deepEqual(clock.waits, [50, 100, 200]);
      assert.equal(proxy.requests.length, 4, 'another policy is at work as well');
      assert.deepEqual(await store.get(key), BODY);
    });

    it('gives up after the tries of the policy', async () => {
      proxy.fault = () => slowDown;
      await rejects(store.put(newKey(), BODY), 'STORE_UNAVAILABLE', /^http:\S+ is overloaded or failing \(HTTP 503\)$/);
      assert.equal(proxy.requests.length, 4);
    });

    it('B1: waits as long as the store asks', async () => {
      proxy.fault = times(1, { ...slowDown, status: 429, headers: { 'retry-after': '7' } });
      await store.put(newKey(), BODY);
      assert.deepEqual(clock.waits, [7000]);
    });

    it('B4: repeats what a broken connection left undone', async () => {
      const key = newKey();
      proxy.fault = times(2, { kind: 'drop' });
      await store.put(key, BODY, { ifAbsent: true });
      assert.deepEqual(await store.get(key), BODY);
    });

    it('A6: knows its own object again when the answer was lost', async () => {
      const key = newKey();
      proxy.fault = times(1, { kind: 'lose-answer' });
      await store.put(key, BODY, { ifAbsent: true });
      assert.deepEqual(await store.get(key), BODY);
    });

    it('A6: does not take the object of another for its own', async () => {
      const key = newKey();
      await store.put(key, BODY.subarray(1));
      proxy.requests.length = 0;
      proxy.fault = times(1, { kind: 'drop' });
      const error: unknown = await store.put(key, BODY, { ifAbsent: true }).catch((e: unknown) => e);
      assert.ok(DmaasError.is(error, 'STORE_EXISTS'), inspect(error));
      assert.deepEqual(await store.get(key), BODY.subarray(1));
    });

    it('A6: repeats a delete whose answer was lost', async () => {
      const key = newKey();
      await store.put(key, BODY);
      proxy.requests.length = 0;
      proxy.fault = times(1, { kind: 'lose-answer' });
      await store.delete(key);
      assert.equal(await store.get(key), undefined);
    });

    for (const kind of ['cut', 'drop', 'stall', 'stall-in-body'] as const) {
      it(`B4, B5: reads again what was disturbed: ${kind}`, async () => {
        await store.close();
        store = await impatient();
        const key = newKey();
        await store.put(key, BODY);
        proxy.requests.length = 0;
        proxy.fault = times(2, { kind });
        assert.deepEqual(await store.get(key), BODY);
        assert.equal(proxy.requests.length, 3);
        proxy.requests.length = 0;
        assert.deepEqual(await store.get(key, { range: { offset: 1000, length: 90_000 } }), BODY.subarray(1000, 91_000));
      });
    }

    it('B5: notices a range that is too short', async () => {
      const key = newKey();
      await store.put(key, BODY);
      proxy.requests.length = 0;
      proxy.fault = times(2, { kind: 'shorten' });
      assert.deepEqual(await store.get(key, { range: { offset: 1000, length: 90_000 } }), BODY.subarray(1000, 91_000));
      assert.equal(proxy.requests.length, 3);
    });

    it('lists again what was disturbed', async () => {
      const key = newKey();
      await store.put(`${key}/a`, BODY);
      proxy.requests.length = 0;
      proxy.fault = times(2, { kind: 'cut' });
      const keys: string[] = [];
      for await (const object of store.list(`${key}/`)) keys.push(object.key);
      assert.deepEqual(keys, [`${key}/a`]);
    });

    it('B2: says that a silent store timed out', async () => {
      await store.close();
      store = await impatient();
      proxy.fault = () => ({ kind: 'stall' });
      await rejects(store.put(newKey(), BODY), 'STORE_UNAVAILABLE', /^no answer from http:\S+ \(timed out\)$/);
      assert.equal(proxy.requests.length, 4);
    });

    it('stops at once when cancelled', async () => {
      const cancel = new AbortController();
      proxy.fault = () => {
        setImmediate(() => {
          cancel.abort();
        });
        return { kind: 'stall' };
      };
      const patient = await openStore(config(), { timeouts: { stallMs: 600_000 } });
      try {
        for (const call of [patient.put(newKey(), BODY, { signal: cancel.signal }), patient.get('k1', { signal: cancel.signal })]) {
          const error: unknown = await call.catch((e: unknown) => e);
          assert.ok(DmaasError.is(error, 'CANCELLED'), inspect(error));
        }
      } finally {
        await patient.close();
      }
    });

    it('serves many calls at once over few connections', async () => {
      const key = newKey();
      await Promise.all(Array.from({ length: 100 }, (_, i) => store.put(`${key}/${i}`, BODY.subarray(i), { ifAbsent: true })));
      const bodies = await Promise.all(Array.from({ length: 100 }, (_, i) => store.get(`${key}/${i}`)));
      bodies.forEach((body, i) => {
        assert.deepEqual(body, BODY.subarray(i));
      });
      assert.ok(proxy.peakConnections() <= 32, `${proxy.peakConnections()} connections`);
    });

    if (provider === 's3') {
      it('C6: tells the server the checksum that was computed when the body was made', async () => {
        const told: unknown[] = [];
        proxy.fault = ({ headers }) => {
          told.push(headers['x-amz-checksum-crc32']);
          return undefined;
        };
        await store.put(newKey(), BODY, { ifAbsent: true, crc32: crc32(BODY) });
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32BE(crc32(BODY));
        assert.deepEqual(told, [bytes.toString('base64')]);
      });

      it('B5: notices bytes that arrive damaged or cut under a fitting length', async () => {
        const key = newKey();
        await store.put(key, BODY);
        for (const kind of ['damage', 'shorten'] as const) {
          proxy.requests.length = 0;
          proxy.fault = times(2, { kind });
          assert.deepEqual(await store.get(key), BODY);
          assert.equal(proxy.requests.length, 3);
        }
        proxy.fault = () => ({ kind: 'damage' });
        await rejects(store.get(key), 'STORE_UNAVAILABLE', /arrived damaged$/);
      });

      it('repeats a create that met another', async () => {
        proxy.fault = times(1, { kind: 'answer', status: 409, body: '<Error><Code>ConditionalRequestConflict</Code></Error>' });
        await store.put(newKey(), BODY, { ifAbsent: true });
        assert.equal(proxy.requests.length, 2);
      });

      it('names the region that the store names', async () => {
        proxy.fault = () => ({
          kind: 'answer',
          status: 301,
          headers: { 'x-amz-bucket-region': 'eu-central-1' },
          body: '<Error><Code>PermanentRedirect</Code></Error>',
        });
        await rejects(store.get('a'), 'STORE_ACCESS', /^bucket here is in region eu-central-1, not in us-east-1$/);
        await rejects(store.stat('a'), 'STORE_ACCESS', /^bucket here is in region eu-central-1, not in us-east-1$/);
      });

      it('B9, B11: tells expired tokens, wrong clocks and full stores from each other', async () => {
        for (const [status, code, expected, message] of [
          [400, 'ExpiredToken', 'STORE_ACCESS', /session token has expired$/],
          [403, 'RequestTimeTooSkewed', 'STORE_ACCESS', /clock of this machine is wrong/],
          [403, 'AccessDenied', 'STORE_ACCESS', /^these credentials may not write p\/a in bucket here$/],
          [507, 'XMinioStorageFull', 'STORE_UNAVAILABLE', /no space left/],
          [501, 'NotImplemented', 'STORE_ACCESS', /refused to write p\/a \(HTTP 501, NotImplemented\)$/],
        ] as const) {
          proxy.requests.length = 0;
          proxy.fault = () => ({
            kind: 'answer',
            status,
            body: `<Error><Code>${code}</Code><AWSAccessKeyId>dmaas-test-access</AWSAccessKeyId><Message>dmaas-test-secret</Message></Error>`,
          });
          await rejects(store.put('a', BODY), expected, message);
          assert.equal(proxy.requests.length, 1);
        }
      });
    }
  });
}
