import assert from 'node:assert/strict';
import { stringify } from 'yaml';
import { DmaasError } from '../../core/src/errors.ts';
import type { KubeconfigHost } from '../../core/src/cluster/kubeconfig-file.ts';
import { listContexts, loadClusterConfig } from '../../core/src/cluster/kubeconfig.ts';
import type { ClusterOptions } from '../../core/src/cluster/kubeconfig.ts';

type Files = Readonly<Record<string, unknown>>;

/** A world of these files; what is not a string is written as YAML. */
function world(files: Files, env: Readonly<Record<string, string>> = {}): KubeconfigHost {
  return {
    env,
    homeDirectory: '/home/ann',
    pathDelimiter: ':',
    readFile: (path) => {
      const content = files[path];
      if (content === undefined) return Promise.reject(Object.assign(new Error(`no ${path}`), { code: 'ENOENT' }));
      return Promise.resolve(Buffer.from(typeof content === 'string' ? content : stringify(content)));
    },
  };
}

const base64 = (text: string) => Buffer.from(text).toString('base64');

const one = (name: string, extra: { cluster?: object; user?: object; context?: object } = {}) => ({
  clusters: [{ name: 'kubernetes', cluster: { server: `https://${name}:6443`, ...extra.cluster } }],
  users: [{ name: 'admin', user: { token: `token-of-${name}`, ...extra.user } }],
  contexts: [{ name, context: { cluster: 'kubernetes', user: 'admin', ...extra.context } }],
  'current-context': name,
});

const HOME = '/home/ann/.kube/config';

async function refusal(options: ClusterOptions, host: KubeconfigHost): Promise<DmaasError> {
  const error: unknown = await loadClusterConfig(options, host).then(
    () => undefined,
    (e: unknown) => e,
  );
  assert.ok(DmaasError.is(error, 'USAGE'), String(error));
  return error;
}

describe('kubeconfig', () => {
  it('is ~/.kube/config', async () => {
    const config = await loadClusterConfig({}, world({ [HOME]: one('a', { context: { namespace: 'shop' } }) }));
    assert.deepEqual(config, {
      context: 'a',
      namespace: 'shop',
      server: 'https://a:6443',
      insecureSkipTlsVerify: false,
      user: { name: 'user "admin"', token: 'token-of-a' },
      kubectlFlags: [],
    });
  });

  it('merges the files of KUBECONFIG: the first that defines a name wins, missing ones do not matter', async () => {
    const files = { '/1': one('a'), '/2': one('b', { cluster: { server: 'https://never' } }), '/3': 'contexts: []\n' };
    const host = world(files, { KUBECONFIG: '/none::/1:/2:/1:/3' });
    assert.equal((await loadClusterConfig({}, host)).context, 'a');
    const b = await loadClusterConfig({ context: 'b' }, host);
    assert.equal(b.server, 'https://a:6443', 'both name their cluster kubernetes');
    assert.deepEqual(b.user, { name: 'user "admin"', token: 'token-of-a' });
    assert.deepEqual(await listContexts({}, host), [
      { name: 'a', cluster: 'kubernetes', namespace: 'default', isCurrent: true },
      { name: 'b', cluster: 'kubernetes', namespace: 'default', isCurrent: false },
    ]);
  });

  it('takes the current context from the first file that has one', async () => {
    const { 'current-context': _, ...without } = one('a');
    const host = world({ '/1': without, '/2': { 'current-context': 'a' } }, { KUBECONFIG: '/1:/2' });
    assert.equal((await loadClusterConfig({}, host)).context, 'a');
  });

  it('is the file that --kubeconfig names, alone', async () => {
    const host = world({ '/x': one('x'), [HOME]: one('a') }, { KUBECONFIG: '/1' });
    assert.equal((await loadClusterConfig({ kubeconfig: '/x' }, host)).context, 'x');
    assert.equal((await refusal({ kubeconfig: '/none' }, host)).message, 'kubeconfig /none does not exist');
    assert.equal((await refusal({ kubeconfig: '/x', context: 'a' }, host)).message, 'context "a" does not exist in /x');
  });

  it('resolves paths from the folder of the file they are in', async () => {
    const files = {
      '/conf/one': one('a', { cluster: { 'certificate-authority': 'ca.pem' } }),
      '/conf/ca.pem': 'CA',
      '/other/two': { users: [{ name: 'u', user: { 'client-certificate': '../pki/u.pem', 'client-key': '/pki/u.key' } }] },
      '/pki/u.pem': 'CERT',
      '/pki/u.key': 'KEY',
    };
    const config = await loadClusterConfig({ user: 'u' }, world(files, { KUBECONFIG: '/conf/one:/other/two' }));
    assert.equal(config.ca, 'CA');
    assert.deepEqual(config.user, { name: 'user "u"', certificate: 'CERT', key: 'KEY' });
    const gone = await refusal({}, world({ [HOME]: one('a', { cluster: { 'certificate-authority': 'ca.pem' } }) }));
    assert.equal(gone.message, '/home/ann/.kube/ca.pem, which the kubeconfig or a flag names, cannot be read');
  });

  it('prefers data to files', async () => {
    const cluster = { 'certificate-authority': '/none', 'certificate-authority-data': base64('CA') };
    const user = { 'client-certificate-data': base64('CERT'), 'client-key-data': base64('KEY') };
    const config = await loadClusterConfig({}, world({ [HOME]: one('a', { cluster, user }) }));
    assert.equal(config.ca, 'CA');
    assert.equal(config.user.certificate, 'CERT');
  });

  it('gives way to flags', async () => {
    const files = {
      [HOME]: {
        ...one('a', { cluster: { 'certificate-authority-data': base64('OLD'), 'tls-server-name': 'old' } }),
        clusters: [
          {
            name: 'kubernetes',
            cluster: { server: 'https://a:6443', 'certificate-authority-data': base64('OLD'), 'tls-server-name': 'old' },
          },
          { name: 'second', cluster: { server: 'https://second/k8s/c-1/', 'insecure-skip-tls-verify': true } },
        ],
      },
      '/ca': 'NEW',
    };
    const load = (options: ClusterOptions) => loadClusterConfig(options, world(files));
    assert.equal((await load({ cluster: 'second' })).server, 'https://second/k8s/c-1');
    assert.equal((await load({ cluster: 'second' })).insecureSkipTlsVerify, true);
    assert.equal((await load({})).tlsServerName, 'old');
    assert.equal((await load({ server: 'https://b' })).tlsServerName, undefined, 'that name was for the other server');
    assert.equal((await load({ server: 'https://b', tlsServerName: 'new' })).tlsServerName, 'new');
    assert.equal((await load({ certificateAuthority: '/ca' })).ca, 'NEW');
    assert.equal((await load({ insecureSkipTlsVerify: true })).ca, undefined);
    assert.equal((await load({ namespace: 'n' })).namespace, 'n');
    assert.deepEqual((await load({ token: 't' })).user, { name: '--token', token: 't' });
    const flags = { context: 'a', as: "o'brien", asGroups: ['x', 'y'], asUid: '7' };
    assert.deepEqual((await load(flags)).impersonate, { user: "o'brien", groups: ['x', 'y'], uid: '7', extra: {} });
    assert.deepEqual((await load(flags)).kubectlFlags, ['--context=a', `--as='o'\\''brien'`, '--as-group=x', '--as-group=y']);
    assert.equal((await refusal({ asGroups: ['x'] }, world(files))).hint, 'add --as=USER');
    assert.equal((await refusal({ server: 'ftp://x' }, world(files))).message, '"ftp://x" is not the URL of an API server');
  });

  it('knows impersonation too', async () => {
    const user = { as: 'jane', 'as-groups': ['dev'], 'as-user-extra': { scopes: ['view'] } };
    const config = await loadClusterConfig({}, world({ [HOME]: one('a', { user }) }));
    assert.deepEqual(config.impersonate, { user: 'jane', groups: ['dev'], extra: { scopes: ['view'] } });
  });

  it('reads times as kubectl does', async () => {
    const host = world({ [HOME]: one('a') });
    const ms = async (requestTimeout: string) => (await loadClusterConfig({ requestTimeout }, host)).requestTimeoutMs;
    assert.deepEqual(
      [await ms('0'), await ms('5'), await ms('1m30s'), await ms('500ms'), await ms('1.5h')],
      [0, 5000, 90_000, 500, 5_400_000],
    );
    assert.equal((await refusal({ requestTimeout: 'soon' }, host)).message, '"soon" is not a time');
  });

  it('says what is missing, and what there is', async () => {
    const two = { ...one('a'), contexts: [...one('a').contexts, ...one('b').contexts] };
    const unknown = await refusal({ context: 'foo' }, world({ [HOME]: two }));
    assert.equal(unknown.message, `context "foo" does not exist in ${HOME}`);
    assert.equal(unknown.hint, 'contexts there: a, b');
    const none = await refusal({}, world({ [HOME]: { ...two, 'current-context': '' } }));
    assert.equal(none.message, `no context is chosen in ${HOME}`);
    assert.equal(none.hint, 'kubectl config use-context a');
    const nothing = await refusal({}, world({}, { KUBECONFIG: '/1:/2' }));
    assert.equal(nothing.message, 'no cluster is configured (looked in /1, /2)');
    assert.match(nothing.hint ?? '', /--kubeconfig FILE/);
    const torn = await refusal({}, world({ [HOME]: { ...two, clusters: [] } }));
    assert.equal(torn.message, `cluster "kubernetes" does not exist in ${HOME}`);
    assert.equal((await refusal({ user: 'x' }, world({ [HOME]: two }))).message, `user "x" does not exist in ${HOME}`);
    const half = { 'client-certificate-data': base64('C') };
    assert.match(
      (await refusal({}, world({ [HOME]: one('a', { user: half }) }))).message,
      /^user "admin" has a client certificate without its key$/,
    );
  });

  it('does not show secrets when it is broken', async () => {
    const broken = await refusal({}, world({ [HOME]: 'users:\n- name: a\n  user: {token: s3cret\nx: [' }));
    assert.match(broken.message, /^kubeconfig \S+ is not valid YAML \(line \d\)$/);
    assert.doesNotMatch(broken.message + String(broken.cause), /s3cret/);
    assert.equal((await refusal({}, world({ [HOME]: '- a' }))).message, `${HOME} is not a kubeconfig`);
    const twice = { clusters: [...one('a').clusters, ...one('b').clusters] };
    assert.equal((await refusal({}, world({ [HOME]: twice }))).message, `kubeconfig ${HOME} names cluster "kubernetes" twice`);
  });

  it('describes credential plugins', async () => {
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: 'bin/login',
      args: ['--cluster', 7],
      env: [{ name: 'A', value: 'b' }],
      provideClusterInfo: true,
      interactiveMode: 'Never',
    };
    const extensions = [{ name: 'client.authentication.k8s.io/exec', extension: { audience: 'x' } }];
    const file = { ...one('a', { cluster: { extensions } }), users: [{ name: 'admin', user: { exec } }] };
    const config = await loadClusterConfig({}, world({ [HOME]: file }));
    assert.deepEqual(config.user.exec, {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: '/home/ann/.kube/bin/login',
      args: ['--cluster', '7'],
      env: { A: 'b' },
      provideClusterInfo: true,
      interactiveMode: 'Never',
      clusterExtension: { audience: 'x' },
    });
    const withToken = await loadClusterConfig({}, world({ [HOME]: one('a', { user: { exec } }) }));
    assert.equal(withToken.user.exec, undefined, 'kubectl does not run the plugin of a user who has a token');
    const old = { ...file, users: [{ name: 'admin', user: { exec: { ...exec, apiVersion: 'client.authentication.k8s.io/v1alpha1' } } }] };
    assert.match((await refusal({}, world({ [HOME]: old }))).message, /unsupported version/);
  });

  it('falls back to the service account in a pod, and only when there is nothing else', async () => {
    const account = '/var/run/secrets/kubernetes.io/serviceaccount';
    const files = { [`${account}/token`]: 't', [`${account}/ca.crt`]: 'CA', [`${account}/namespace`]: 'shop\n' };
    const env = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };
    assert.deepEqual(await loadClusterConfig({}, world(files, env)), {
      context: 'in-cluster',
      namespace: 'shop',
      server: 'https://[fd00::1]:443',
      ca: 'CA',
      insecureSkipTlsVerify: false,
      user: { name: 'the service account', tokenFile: `${account}/token` },
      kubectlFlags: [],
    });
    assert.equal((await loadClusterConfig({ namespace: 'n' }, world(files, env))).namespace, 'n');
    assert.equal((await loadClusterConfig({}, world({ ...files, [HOME]: one('a') }, env))).context, 'a');
    assert.match((await refusal({}, world(files))).message, /^no cluster is configured/);
  });

  it('goes through the proxy of the cluster, else of the environment', async () => {
    const env = { HTTPS_PROXY: 'proxy.corp:3128', NO_PROXY: 'intern' };
    const proxyOf = async (file: unknown, options: ClusterOptions = {}) =>
      (await loadClusterConfig(options, world({ [HOME]: file }, env))).proxyUrl;
    assert.equal(await proxyOf(one('a')), 'http://proxy.corp:3128');
    assert.equal(await proxyOf(one('a.intern')), undefined);
    assert.equal(await proxyOf(one('a.intern', { cluster: { 'proxy-url': 'socks5://p:1080' } })), 'socks5://p:1080');
    const bad = await refusal({}, world({ [HOME]: one('a', { cluster: { 'proxy-url': 'gopher://user:s3cret@p' } }) }));
    assert.doesNotMatch(bad.message, /s3cret/);
  });
});
