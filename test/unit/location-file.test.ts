/** Commands with --location-file, where no cluster is. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LocationDocument } from '../../core/src/location/document.ts';
import { formatKey, newKey } from '../../core/src/repository/keys/keys.ts';
import { chooseSource } from '../../kubectl-plugin/src/commands/key.ts';
import { credentialFromEnvironment } from '../../kubectl-plugin/src/credential-env.ts';
import { callPlugin } from '../support/plugin-call.ts';

describe('without a cluster, with a location file', () => {
  let folder: string;
  let server: Server;
  /** A bucket in which nothing is. */
  before(async () => {
    server = createServer((_request, response) => {
      response.end('<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>');
    });
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    folder = mkdtempSync(join(tmpdir(), 'dmaas-location-'));
    const { port } = server.address() as AddressInfo;
    const credential = { title: 'lab', kind: 's3', endpoint: `http://127.0.0.1:${port}`, pathStyle: true };
    const access = { accessKeyId: 'id', secretAccessKey: 'secret' };
    const document = { apiVersion: 'dmaas.io/v1', kind: 'Location', name: 'lab', bucket: 'backups', key: formatKey(newKey()) };
    writeFileSync(join(folder, 'lab.yaml'), JSON.stringify({ ...document, credential: { ...credential, ...access } }));
  });
  after(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  const call = (args: string) =>
    callPlugin([...args.split(' '), '--location-file', join(folder, 'lab.yaml')], { env: { KUBECONFIG: join(folder, 'none') } });

  for (const args of ['key list', 'key remove x --yes -n shop', 'key rotate -n shop', 'key add --recipient x -n shop']) {
    it(`${args} looks into the bucket`, async () => {
      const { code, stderr } = await call(args);
      assert.equal(code, 10, stderr);
      assert.match(stderr, /^error: location lab holds no repository/);
    });
  }

  it('repository stats looks into the bucket', async () => {
    const { stderr } = await call('repository stats --everywhere');
    assert.doesNotMatch(stderr, /unknown argument|no cluster/);
    assert.match(stderr, /no repository/);
  });
});

describe('whose keys are meant by a location file', () => {
  const [prod, dr, blog] = [
    { clusterId: '1', namespace: 'shop', context: 'prod' },
    { clusterId: '2', namespace: 'shop', context: 'dr' },
    { clusterId: '2', namespace: 'blog' },
  ];
  it('is said by --context, or clear', () => {
    assert.equal(chooseSource([dr], undefined), dr);
    assert.equal(chooseSource([prod, dr], 'prod'), prod);
    assert.equal(chooseSource([prod, dr], '2'), dr);
  });

  it('is asked for when it is not, with what there is', () => {
    assert.throws(() => chooseSource([prod, dr], undefined), {
      code: 'USAGE',
      message: 'it is not said whose repository is meant',
      hint: /^choose one: -n shop --context dr, -n shop --context prod;/,
    });
    assert.throws(() => chooseSource([prod, blog], 'x'), {
      code: 'USAGE',
      message: 'no repository is of context x',
      hint: /^choose one: -n blog --context 2, -n shop --context prod;/,
    });
  });
});

describe('access keys for a location file that holds none', () => {
  const documentOf = (credential: LocationDocument['credential']) => ({ credential }) as LocationDocument;
  const aws = documentOf({ title: 'prod', kind: 'aws' });
  const env = { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret' };

  it('are temporary ones when there is a session token', async () => {
    const values = { kind: 'aws', accessKeyId: 'id', secretAccessKey: 'secret' };
    assert.deepEqual(await credentialFromEnvironment(aws, { ...env, AWS_SESSION_TOKEN: 'token' }), { ...values, sessionToken: 'token' });
    assert.deepEqual(await credentialFromEnvironment(aws, { ...env, AWS_SESSION_TOKEN: '' }), values);
  });

  it('are an access key and its secret for a server that knows no tokens', async () => {
    const server = { kind: 's3', endpoint: 'https://minio:9000', pathStyle: true } as const;
    const values = await credentialFromEnvironment(documentOf({ title: 'lab', ...server }), { ...env, AWS_SESSION_TOKEN: 'token' });
    assert.deepEqual(values, { ...server, accessKeyId: 'id', secretAccessKey: 'secret' });
  });
});
