import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { MemoryCluster } from '../../core/src/cluster/memory-cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';
import {
  createCredential,
  deleteCredential,
  getCredential,
  listCredentials,
  maskKeyId,
  parseCredentialValues,
} from '../../core/src/location/credential.ts';
import { brokenRule, suggestTitle, titledObjectName } from '../../core/src/location/title.ts';
import { titledSecret } from '../../core/src/location/titled-secret.ts';

const AWS = { kind: 'aws', accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' } as const;
const S3 = {
  kind: 's3',
  endpoint: 'https://minio.example.com:9000',
  pathStyle: true,
  accessKeyId: 'minio',
  secretAccessKey: 'minio-secret',
} as const;
const privateKey = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' });
const GCP = {
  kind: 'gcp',
  serviceAccount: JSON.stringify({ type: 'service_account', client_email: 'backup@acme.iam.gserviceaccount.com', private_key: privateKey }),
} as const;
const SHOP = { namespace: 'shop' };

function cluster(options: ConstructorParameters<typeof MemoryCluster>[0] = {}): MemoryCluster {
  const namespaces = ['shop', 'dmaas'].map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }));
  return new MemoryCluster({ ...options, objects: [...namespaces, ...(options.objects ?? [])] });
}

const isError = (code: string, message: string | RegExp, hint?: string | RegExp) => (e: unknown) => {
  assert.ok(DmaasError.is(e), String(e));
  assert.equal(e.code, code);
  if (typeof message === 'string') assert.equal(e.message, message);
  else assert.match(e.message, message);
  if (typeof hint === 'string') assert.equal(e.hint, hint);
  else if (hint !== undefined) assert.match(e.hint ?? '', hint);
  return true;
};

describe('the title of a credential', () => {
  it('says which rule is broken', () => {
    assert.equal(brokenRule('1prod'), 'title "1prod" must start with a letter');
    assert.equal(brokenRule('my_key'), 'title "my_key" may contain only letters, digits and "-"');
    assert.equal(brokenRule('a'.repeat(31)), 'title is 31 characters long, at most 24 are allowed');
    assert.equal(brokenRule(''), 'title "" must start with a letter');
    assert.equal(brokenRule('prod\n'), 'title "prod\n" may contain only letters, digits and "-"');
  });

  it('is accepted up to 24 characters, with capitals and a final hyphen', () => {
    for (const title of ['a', 'Prod-EU-1', 'x-', 'Z'.repeat(24)]) assert.equal(brokenRule(title), undefined, title);
  });

  it('has a suggestion that keeps the rules whenever there is one', () => {
    assert.equal(suggestTitle('1prod'), 'prod');
    assert.equal(suggestTitle('my_key'), 'my-key');
    assert.equal(suggestTitle('Schlüssel für Köln'), 'Schlussel-fur-Koln');
    assert.equal(suggestTitle('123'), undefined);
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), (text) => {
        const suggestion = suggestTitle(text);
        assert.ok(suggestion === undefined || brokenRule(suggestion) === undefined);
      }),
    );
  });

  it('gives names that Kubernetes accepts; two titles share one only when they differ in capitals alone', () => {
    const title = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,23}$/);
    fc.assert(
      fc.property(title, title, (a, b) => {
        const [nameA, nameB] = [titledObjectName('credential', a), titledObjectName('credential', b)];
        assert.match(nameA, /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
        assert.ok(nameA.length <= 63);
        assert.equal(nameA === nameB, a.toLowerCase() === b.toLowerCase());
      }),
    );
    assert.notEqual(titledObjectName('credential', 'a'), titledObjectName('credential', 'a-'));
    assert.notEqual(titledObjectName('credential', 'a--'), titledObjectName('credential', 'a-'));
  });
});

describe('the values of a credential', () => {
  it('are kept as they are, for every kind', async () => {
    for (const values of [AWS, { ...AWS, sessionToken: 't/+=' }, S3, { ...S3, pathStyle: false }, GCP]) {
      const c = cluster();
      await createCredential(c, 'shop', 'prod', values);
      assert.deepEqual((await getCredential(c, 'prod', SHOP)).values, values);
    }
  });

  it('are refused with the field that is wrong, and without its value', () => {
    const bad: [unknown, string][] = [
      [{ kind: 'azure' }, 'kind must be aws, gcp or s3'],
      [{ ...AWS, secretAccessKey: undefined }, 'secretAccessKey is missing'],
      [{ ...AWS, accessKeyId: 'hidden value' }, 'accessKeyId must not be empty or contain spaces'],
      [{ ...AWS, secretAccessKey: '' }, 'secretAccessKey must not be empty or contain spaces'],
      [{ ...AWS, secret: 'hidden' }, 'secret is unknown'],
      [{ ...S3, endpoint: 'hidden.example.com:9000' }, 'endpoint must be a URL such as https://minio.example.com:9000'],
      [{ ...S3, endpoint: 'https://user:hidden@example.com' }, 'endpoint must not contain a user or password'],
      [{ ...S3, caPem: 'hidden' }, 'caPem must hold certificates in PEM form'],
      [{ ...S3, caPem: '-----BEGIN CERTIFICATE-----\nhidden\n-----END CERTIFICATE-----' }, 'caPem holds a certificate that cannot be read'],
      [
        { kind: 'gcp', serviceAccount: '{"type":"authorized_user","refresh_token":"hidden"}' },
        /^serviceAccount must be the JSON key file/.source,
      ],
      [{ kind: 'gcp', serviceAccount: 'hidden' }, /^serviceAccount must be the JSON key file/.source],
      ['hidden', 'it must be of type object'],
    ];
    for (const [values, message] of bad) {
      assert.throws(
        () => parseCredentialValues(values),
        (e) => {
          assert.ok(DmaasError.is(e, 'USAGE'));
          assert.ok(e.message.startsWith('the credential is not valid: '), e.message);
          assert.match(
            e.message.slice('the credential is not valid: '.length),
            new RegExp(message.startsWith('^') ? message : `^${message}$`),
          );
          assert.ok(!`${e.message} ${e.hint ?? ''}`.includes('hidden'));
          return true;
        },
      );
    }
  });

  it('are not in what is shown', async () => {
    const c = cluster();
    for (const [title, values] of Object.entries({ aws: AWS, s3: S3, gcp: GCP })) await createCredential(c, 'shop', title, values);
    const { credentials } = await listCredentials(c, SHOP);
    const shown = JSON.stringify(credentials);
    for (const secret of [AWS.accessKeyId, AWS.secretAccessKey, S3.secretAccessKey, 'PRIVATE KEY'])
      assert.ok(!shown.includes(secret), secret);
    assert.deepEqual(
      credentials.map(({ title, kind, identity, endpoint, pathStyle }) => ({ title, kind, identity, endpoint, pathStyle })),
      [
        { title: 'aws', kind: 'aws', identity: 'AKIA…MPLE', endpoint: undefined, pathStyle: undefined },
        { title: 'gcp', kind: 'gcp', identity: 'backup@acme.iam.gserviceaccount.com', endpoint: undefined, pathStyle: undefined },
        { title: 's3', kind: 's3', identity: 'mi…', endpoint: 'https://minio.example.com:9000', pathStyle: true },
      ],
    );
    assert.equal(maskKeyId('a'), '…');
  });
});

describe('credentials in a cluster', () => {
  it('are found in the namespace first, then in the home namespace', async () => {
    const c = cluster();
    await createCredential(c, 'dmaas', 'prod', { ...AWS, accessKeyId: 'HOME' });
    assert.equal((await getCredential(c, 'prod', SHOP)).namespace, 'dmaas');
    await createCredential(c, 'shop', 'prod', { ...AWS, accessKeyId: 'SHOP' });
    assert.equal((await getCredential(c, 'prod', SHOP)).namespace, 'shop');
    assert.equal((await getCredential(c, 'prod', { namespace: 'shop', homeNamespace: 'other' })).namespace, 'shop');
    await assert.rejects(
      getCredential(c, 'stage', SHOP),
      isError('USAGE', 'no credential stage in the namespaces shop and dmaas', 'kubectl dmaas credential list -n shop'),
    );
  });

  it('are refused when the title is taken, also by other capitals', async () => {
    const c = cluster();
    await createCredential(c, 'shop', 'Prod', AWS);
    await assert.rejects(createCredential(c, 'shop', 'Prod', AWS), isError('USAGE', 'credential Prod exists in namespace shop'));
    await assert.rejects(
      createCredential(c, 'shop', 'prod', AWS),
      isError('USAGE', 'credential Prod exists in namespace shop and differs from prod in capitals only'),
    );
    await assert.rejects(createCredential(c, 'shop', 'my_key', AWS), isError('USAGE', /may contain only/, 'for example my-key'));
    await assert.rejects(createCredential(c, 'nowhere', 'prod', AWS), isError('CLUSTER_REJECTED', 'namespace nowhere does not exist'));
  });

  it('that somebody broke do not hide the others', async () => {
    const c = cluster({ objects: [titledSecret('credential', 'broken', 'shop', { kind: 'aws', accessKeyId: 'A' })] });
    await createCredential(c, 'shop', 'prod', AWS);
    const { credentials, findings } = await listCredentials(c, SHOP);
    assert.deepEqual(
      credentials.map((x) => x.title),
      ['prod'],
    );
    assert.deepEqual(
      findings.map((f) => [f.level, f.code, f.message]),
      [
        [
          'warning',
          'credential-invalid',
          'secret/dmaas-credential-broken in namespace shop is no valid credential: secretAccessKey is missing',
        ],
      ],
    );
  });

  it('of a home namespace that may not be read are a finding, those of the namespace itself an error', async () => {
    const c = cluster({ forbid: [{ resource: 'secrets', namespace: 'dmaas' }] });
    await createCredential(c, 'shop', 'prod', AWS);
    const { credentials, findings } = await listCredentials(c, SHOP);
    assert.equal(credentials.length, 1);
    assert.deepEqual(
      findings.map((f) => f.code),
      ['credentials-hidden'],
    );
    await assert.rejects(
      listCredentials(cluster({ forbid: [{ resource: 'secrets', namespace: 'shop' }] }), SHOP),
      isError('CLUSTER_FORBIDDEN', /may not list secrets/),
    );
  });

  it('are deleted only when no location uses them', async () => {
    const place = { bucket: 'b', prefix: '', key: 'k' };
    const c = cluster({
      objects: [titledSecret('location', 'eu', 'shop', { ...place, credential: 'prod', credentialNamespace: 'dmaas' })],
    });
    await createCredential(c, 'dmaas', 'prod', AWS);
    await createCredential(c, 'shop', 'prod', AWS);
    await assert.rejects(
      deleteCredential(c, 'prod', 'dmaas'),
      isError('PREFLIGHT_FAILED', 'credential prod is used by location eu in namespace shop', 'kubectl dmaas location delete eu -n shop'),
    );
    await deleteCredential(c, 'prod', 'shop');
    await assert.rejects(deleteCredential(c, 'prod', 'shop'), isError('USAGE', 'no credential prod in namespace shop'));
    assert.equal((await getCredential(c, 'prod', SHOP)).namespace, 'dmaas');
  });
});
