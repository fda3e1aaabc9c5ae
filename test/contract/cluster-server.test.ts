import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DmaasError } from '../../core/src/errors.ts';
import { parseJson, stringifyJson } from '../../core/src/json.ts';
import { refOf } from '../../core/src/model.ts';
import type { KubeObject, ObjectRef } from '../../core/src/model.ts';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { connectCluster } from '../../core/src/cluster/kube-cluster.ts';
import type { ConnectHost } from '../../core/src/cluster/kube-cluster.ts';
import type { ClusterOptions } from '../../core/src/cluster/kubeconfig.ts';
import { mapConcurrent } from '../../core/src/cluster/map-concurrent.ts';
import { startCluster } from '../support/cluster/cluster.ts';
import type { TestCluster } from '../support/cluster/cluster.ts';
import { collect, configMap, kindOf, TcpProxy } from './cluster-tools.ts';

const WAIT = { timeoutMs: 30_000 };
const NS = 'server';

describe('KubeCluster on a real API server', function () {
  this.timeout(240_000);
  let server: TestCluster;
  let api: URL;
  let cluster: Cluster;
  let dir: string;
  const opened: Cluster[] = [];
  const proxies: TcpProxy[] = [];

  const open = async (options: ClusterOptions = {}, host: Partial<ConnectHost> = {}): Promise<Cluster> => {
    const connected = await connectCluster({ kubeconfig: server.kubeconfig, ...options }, host);
    opened.push(connected);
    return connected;
  };
  const proxied = async (): Promise<{ proxy: TcpProxy; through: Cluster }> => {
    const proxy = new TcpProxy(api);
    await proxy.start();
    proxies.push(proxy);
    return { proxy, through: await open({ server: proxy.url, tlsServerName: 'kubernetes.default' }) };
  };
  const failure = async (promise: Promise<unknown>): Promise<DmaasError> => {
    const error: unknown = await promise.then(
      () => undefined,
      (e: unknown) => e,
    );
    assert.ok(DmaasError.is(error), `expected a DmaasError, got ${String(error)}`);
    return error;
  };
  const data = (o: KubeObject | undefined) => o?.['data'] as Record<string, string> | undefined;

  before(async () => {
    server = await startCluster('cl');
    api = new URL((await server.kubectl('config', 'view', '-o', 'jsonpath={.clusters[0].cluster.server}')).trim());
    dir = await mkdtemp(join(tmpdir(), 'dmaas-cluster-'));
    cluster = await open();
    await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: NS } });
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((c) => (c === cluster ? Promise.resolve(opened.push(c)) : c.close())));
    await Promise.all(proxies.splice(0).map((p) => p.stop()));
  });
  after(async () => {
    await cluster.delete({ apiVersion: 'v1', kind: 'Namespace', name: NS });
    await cluster.close();
    await rm(dir, { recursive: true });
    await server.stop();
  });

  describe('objects', () => {
    it('come as the server sends them, to the byte', async () => {
      const lease = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { name: 'exact', namespace: NS },
        spec: { holderIdentity: 'a', renewTime: '2026-01-02T03:04:05.123456Z', leaseTransitions: 3 },
      };
      await cluster.apply(lease);
      const raw = await server.kubectl('get', '--raw', `/apis/coordination.k8s.io/v1/namespaces/${NS}/leases/exact`);
      assert.match(raw, /05\.123456Z/);
      assert.match(raw, /managedFields/);
      assert.equal(stringifyJson(await cluster.get(refOf(lease))), raw.trim());
    });

    it('keep fields nobody knows, and long integers, through get, delete and apply', async () => {
      const crd = {
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name: 'gadgets.dmaas.test' },
        spec: {
          group: 'dmaas.test',
          names: { kind: 'Gadget', plural: 'gadgets', singular: 'gadget' },
          scope: 'Namespaced',
          versions: ['v1', 'v1alpha1'].map((name) => ({
            name,
            served: true,
            storage: name === 'v1',
            schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
          })),
        },
      };
      assert.equal(await cluster.get({ apiVersion: 'dmaas.test/v1', kind: 'Gadget', name: 'g', namespace: NS }), undefined);
      await cluster.apply(crd);
      const isServed = (o: KubeObject | undefined) => {
        const conditions = (o?.['status'] as { conditions?: { type: string; status: string }[] } | undefined)?.conditions ?? [];
        return conditions.some((c) => c.type === 'Established' && c.status === 'True');
      };
      await cluster.waitFor(refOf(crd), isServed, WAIT);
      const spec = `{"brandNew2030":{"deep":[{"x":null},[],{}],"on":true},"float":1.5,"id":9223372036854775807,"min":-9007199254740993,"text":"ü\\n"}`;
      const manifest = parseJson(
        `{"apiVersion":"dmaas.test/v1","kind":"Gadget","metadata":{"name":"g","namespace":"${NS}"},"spec":${spec}}`,
      );
      // The new kind is found although kinds were read before it was there.
      await cluster.apply(manifest as KubeObject);
      const raw = () => server.kubectl('get', '--raw', `/apis/dmaas.test/v1/namespaces/${NS}/gadgets/g`);
      const specOf = (text: string) => text.slice(text.indexOf('"spec":'));
      const first = await raw();
      assert.match(first, /9223372036854775807/);
      const got = await cluster.get({ apiVersion: 'dmaas.test/v1', kind: 'Gadget', name: 'g', namespace: NS });
      assert.ok(got);
      await cluster.delete(refOf(got), { uid: got.metadata.uid! });
      await cluster.apply({ ...got, metadata: { name: 'g', namespace: NS } });
      assert.equal(specOf(await raw()), specOf(first));
      const listed = await collect(cluster.list(await kindOf(cluster, 'Gadget', 'dmaas.test'), { namespace: NS }));
      assert.deepEqual(
        listed.map((o) => o['spec']),
        [got['spec']],
      );
      const other = await cluster.get({ apiVersion: 'dmaas.test/v1alpha1', kind: 'Gadget', name: 'g', namespace: NS });
      assert.equal(other?.apiVersion, 'dmaas.test/v1alpha1');
      const gone = await cluster.get({ apiVersion: 'dmaas.test/v0', kind: 'Gadget', name: 'g', namespace: NS });
      assert.equal(gone?.apiVersion, 'dmaas.test/v1', 'a version that is served no more is read in one that is');
      await cluster.delete(refOf(crd));
      await cluster.waitFor(refOf(crd), (o) => o === undefined, WAIT);
      assert.deepEqual(
        await collect(cluster.list({ ...(await kindOf(cluster, 'ConfigMap')), group: 'dmaas.test', plural: 'gadgets' }, {})),
        [],
      );
    });

    it('with fields the server does not know are refused, not stripped', async () => {
      const error = await failure(cluster.create(configMap(NS, 'strict', { brandNew2030: true })));
      assert.equal(error.code, 'CLUSTER_REJECTED');
      assert.match(
        error.message,
        /^the cluster rejected configmap\/strict in namespace server: strict decoding error: unknown field "brandNew2030"$/,
      );
    });

    it('are listed over several pages', async () => {
      const labels = { page: 'yes' };
      const numbers = Array.from({ length: 1100 }, (_, i) => i);
      const { proxy, through } = await proxied();
      await mapConcurrent(numbers, 10, (i) => through.create(configMap(NS, `page-${i}`, { labels })));
      assert.ok(proxy.connections <= 40, `${proxy.connections} connections for 1100 requests, 10 at a time`);
      const found = await collect(cluster.list(await kindOf(cluster, 'ConfigMap'), { namespace: NS, labelSelector: 'page=yes' }));
      assert.equal(found.length, 1100);
      assert.equal(new Set(found.map((o) => o.metadata.name)).size, 1100);
    });

    it('are fought over in the open: conflicts name the field and its manager', async () => {
      await server.apply(JSON.stringify(configMap(NS, 'owned', { data: { x: '1' } })), '--server-side', '--field-manager=helm');
      const mine = configMap(NS, 'owned', { data: { x: '2' } });
      const error = await failure(cluster.apply(mine));
      assert.equal(error.code, 'CLUSTER_CONFLICT');
      assert.equal(error.message, 'configmap/owned in namespace server: .data.x is managed by helm');
      assert.deepEqual(data(await cluster.apply(mine, { force: true })), { x: '2' });
    });

    it('that policy refuses are not blamed on the user', async () => {
      const quota = { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'few', namespace: NS }, spec: { hard: { secrets: '0' } } };
      await cluster.apply(quota);
      await cluster.waitFor(refOf(quota), (o) => o?.['status'] !== undefined && 'hard' in (o['status'] as object), WAIT);
      const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', namespace: NS } };
      const error = await failure(cluster.create(secret));
      assert.equal(error.code, 'CLUSTER_REJECTED');
      assert.match(error.message, /^the cluster refused secret\/s in namespace server: exceeded quota: few, /);
      await cluster.delete(refOf(quota));
    });

    it('of kind Secret do not show their content in errors', async () => {
      const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', namespace: NS }, data: { 'bad key!': 'aHVudGVyMg==' } };
      const error = await failure(cluster.create(secret));
      assert.equal(error.code, 'CLUSTER_REJECTED');
      assert.match(error.message, /^the cluster rejected secret\/s in namespace server: data\[bad key!\]: /);
      assert.doesNotMatch(error.message, /hunter2|aHVudGVyMg/);
    });
  });

  describe('connections', () => {
    it('are kept: a hundred requests use a few', async () => {
      const { proxy, through } = await proxied();
      for (let i = 0; i < 100; i++) await through.get({ apiVersion: 'v1', kind: 'Namespace', name: NS });
      // Two as a rule. One that was idle for four seconds, as happens on a busy machine, is closed and made anew.
      assert.ok(proxy.connections <= 10, `${proxy.connections} connections`);
    });

    it('that were cut are made anew, and a watch goes on where it was', async () => {
      const { proxy, through } = await proxied();
      const ref = refOf(await cluster.apply(configMap(NS, 'watched', { data: { n: '0' } })));
      const seen: (string | undefined)[] = [];
      const until = (o: KubeObject | undefined) => (seen.push(data(o)?.['n']), data(o)?.['n'] === '4');
      const done = through.waitFor(ref, until, WAIT);
      for (const n of ['1', '2', '3', '4']) {
        await sleep(300);
        proxy.cut();
        await cluster.patch(ref, { data: { n } });
        if (n === '2') {
          await proxy.stop();
          await sleep(500);
          await proxy.start();
        }
      }
      assert.equal(data(await done)?.['n'], '4');
      assert.equal(seen[0], '0');
      assert.deepEqual(await through.get(ref), await cluster.get(ref));
    });

    it('to a server that stays away end a wait in time, with the reason', async () => {
      const { proxy, through } = await proxied();
      const ref = refOf(configMap(NS, 'never'));
      await through.get(ref);
      const waiting = failure(through.waitFor(ref, (o) => o !== undefined, { timeoutMs: 1500 }));
      await sleep(300);
      await proxy.stop();
      const error = await waiting;
      assert.equal(error.code, 'TIMEOUT');
      assert.match(error.hint ?? '', /^no answer from https:\/\/127.0.0.1:\d+ \(connection (refused|broke off)\)$/);
    });

    it('survive the restart of the API server', async () => {
      const ref = refOf(await cluster.apply(configMap(NS, 'restart', { data: { n: '0' } })));
      const waiting = cluster.waitFor(ref, (o) => data(o)?.['n'] === '1', { timeoutMs: 120_000 });
      const { proxy, through } = await proxied();
      await through.get(ref);
      await proxy.stop();
      const back = sleep(1500).then(() => proxy.start());
      const read = await through.get(ref); // while the server is away
      assert.equal(data(read)?.['n'], '0');
      await back;
      await through.patch(ref, { data: { n: '1' } });
      assert.equal(data(await waiting)?.['n'], '1');
    });

    it('to nothing fail at once and say what was tried', async () => {
      const error = await failure((await open({ server: 'https://127.0.0.1:1' })).version());
      assert.equal(error.code, 'CLUSTER_UNREACHABLE');
      assert.equal(error.message, 'no answer from https://127.0.0.1:1 (connection refused)');
      const unknown = await failure((await open({ server: 'https://api.dmaas.invalid' })).version());
      assert.match(unknown.message, /^no answer from https:\/\/api.dmaas.invalid \((unknown host name|host name cannot be looked up)\)$/);
    });

    it('to a server that nobody vouches for are not made', async () => {
      const nobody = { kubeconfig: join(dir, 'empty') };
      await writeFile(nobody.kubeconfig, '');
      const error = await failure((await open({ ...nobody, server: api.origin })).version());
      assert.equal(error.message, `${api.origin} cannot be trusted (its certificate is signed by an unknown authority)`);
      const named = await failure((await open({ tlsServerName: 'other.example' })).version());
      assert.equal(named.message, `${api.origin} cannot be trusted (its certificate is for another host name)`);
      assert.ok((await (await open({ ...nobody, server: api.origin, insecureSkipTlsVerify: true })).version()).minor);
    });
  });

  describe('users', () => {
    const serviceAccount = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'robot', namespace: NS } };
    const nobody: ClusterOptions = {};
    const token = () => server.kubectl('-n', NS, 'create', 'token', 'robot').then((t) => t.trim());
    const whoIs = async (c: Cluster) => (await failure(c.get({ apiVersion: 'v1', kind: 'Node', name: 'x' }))).message;
    const robot = `user system:serviceaccount:${NS}:robot may not get nodes/x`;
    /** A kubeconfig of the same cluster whose user is given. */
    const withUser = async (name: string, user: Readonly<Record<string, unknown>>): Promise<string> => {
      const view = JSON.parse(await server.kubectl('config', 'view', '--raw', '-o', 'json')) as {
        users: unknown;
        clusters: { name: string }[];
      };
      const path = join(dir, name);
      const contexts = [{ name: 'c', context: { cluster: view.clusters[0]!.name, user: 'u', namespace: 'robots' } }];
      await writeFile(path, JSON.stringify({ ...view, contexts, 'current-context': 'c', users: [{ name: 'u', user }] }));
      return path;
    };

    before(async () => {
      await cluster.apply(serviceAccount);
    });

    it('are impersonated with groups and uid', async () => {
      const review = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview', metadata: {} } as unknown as KubeObject;
      const jane = await open({ as: 'jane', asGroups: ['dev', 'ops'], asUid: 'u-1' });
      const answer = await jane.create(review);
      const { userInfo } = answer['status'] as { userInfo: unknown };
      assert.deepEqual(userInfo, { username: 'jane', uid: 'u-1', groups: ['dev', 'ops', 'system:authenticated'] });
      const error = await failure(jane.id());
      assert.equal(error.message, 'user jane may not get namespaces/kube-system');
      assert.match(
        error.hint ?? '',
        /^kubectl --kubeconfig=\S+ --as=jane --as-group=dev --as-group=ops auth can-i get namespaces\/kube-system$/,
      );
    });

    it('who may not impersonate are told so', async () => {
      const error = await failure((await open({ token: await token(), as: 'jane' })).version());
      assert.equal(error.code, 'CLUSTER_FORBIDDEN');
      assert.equal(error.message, `user system:serviceaccount:${NS}:robot may not impersonate users/jane`);
    });

    it('come with --token, which beats the certificate of the kubeconfig', async () => {
      assert.equal(await whoIs(await open({ token: await token() })), robot);
    });

    it('with an expired token are told since when', async () => {
      const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
      const expired = `${part({ alg: 'RS256' })}.${part({ exp: 1767323045 })}.sig`;
      const error = await failure((await open({ token: expired })).version());
      assert.equal(error.code, 'CLUSTER_FORBIDDEN');
      assert.equal(error.message, `${api.origin} refused the credentials of --token, which expired at 2026-01-02 03:04 UTC`);
      assert.match(error.hint ?? '', /kubectl --kubeconfig=\S+ auth whoami$/);
      assert.doesNotMatch(JSON.stringify([error.message, error.hint, error.details]), new RegExp(expired));
    });

    it('without credentials are told so', async () => {
      const error = await failure((await open({ ...nobody, kubeconfig: await withUser('anonymous', {}) })).kinds());
      assert.equal(error.code, 'CLUSTER_FORBIDDEN');
      assert.equal(error.hint, 'the kubeconfig has no credentials that this cluster knows');
    });

    it('log in through a credential plugin, again when the server refuses what it gave', async () => {
      const script = `#!/bin/sh
echo run >>"$LOG"; printf %s "$KUBERNETES_EXEC_INFO" >"$LOG.info"
[ "$(wc -l <"$LOG")" = 1 ] && token=bad || token=$TOKEN
echo "{\\"apiVersion\\":\\"client.authentication.k8s.io/v1\\",\\"kind\\":\\"ExecCredential\\",\\"status\\":{\\"token\\":\\"$token\\"}}"
`;
      await writeFile(join(dir, 'login'), script, { mode: 0o755 });
      const log = join(dir, 'log');
      const exec = {
        apiVersion: 'client.authentication.k8s.io/v1',
        command: './login', // from the folder of the kubeconfig
        env: Object.entries({ LOG: log, TOKEN: await token() }).map(([name, value]) => ({ name, value })),
        provideClusterInfo: true,
        interactiveMode: 'IfAvailable',
      };
      const c = await open({ kubeconfig: await withUser('plugin', { exec }) });
      assert.equal(c.namespace, 'robots');
      assert.equal(await whoIs(c), robot);
      await Promise.all([whoIs(c), whoIs(c), whoIs(c)]);
      assert.equal(await readFile(log, 'utf8'), 'run\nrun\n');
      const info = JSON.parse(await readFile(`${log}.info`, 'utf8')) as { spec: { interactive: boolean; cluster: Record<string, string> } };
      assert.equal(info.spec.interactive, false);
      assert.equal(info.spec.cluster['server'], api.origin);
      assert.match(Buffer.from(info.spec.cluster['certificate-authority-data'] ?? '', 'base64').toString(), /^-----BEGIN CERTIFICATE/);
    });

    it('log in through a plugin that gives a certificate', async () => {
      const view = await server.kubectl('config', 'view', '--raw', '-o', 'json');
      const { users } = JSON.parse(view) as { users: { user: Record<string, string> }[] };
      const pem = (field: string) => Buffer.from(users[0]!.user[field]!, 'base64').toString();
      const status = { clientCertificateData: pem('client-certificate-data'), clientKeyData: pem('client-key-data') };
      await writeFile(
        join(dir, 'answer'),
        JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1beta1', kind: 'ExecCredential', status }),
      );
      const exec = { apiVersion: 'client.authentication.k8s.io/v1beta1', command: 'cat', args: [join(dir, 'answer')] };
      assert.ok(await (await open({ kubeconfig: await withUser('certificate', { exec }) })).id());
    });

    it('whose plugin is missing get its installation hint', async () => {
      const exec = {
        apiVersion: 'client.authentication.k8s.io/v1',
        command: 'dmaas-no-such-plugin',
        interactiveMode: 'Never',
        installHint: 'install it with:\n\u001b[1mapt install plugin\u001b[0m',
      };
      const error = await failure((await open({ kubeconfig: await withUser('missing', { exec }) })).version());
      assert.equal(error.code, 'CLUSTER_FORBIDDEN');
      assert.equal(error.message, 'credential plugin dmaas-no-such-plugin is not installed');
      assert.equal(error.hint, 'install it with: apt install plugin');
    });

    it('in a pod are its service account', async () => {
      const view = await server.kubectl('config', 'view', '--raw', '-o', 'jsonpath={.clusters[0].cluster.certificate-authority-data}');
      const files: Record<string, string> = {
        token: await token(),
        'ca.crt': Buffer.from(view, 'base64').toString(),
        namespace: NS,
      };
      const host = {
        env: { KUBERNETES_SERVICE_HOST: api.hostname, KUBERNETES_SERVICE_PORT: api.port },
        homeDirectory: dir,
        readFile: (path: string) => {
          const [, name] = /^\/var\/run\/secrets\/kubernetes.io\/serviceaccount\/(.*)$/.exec(path) ?? [];
          const text = files[name ?? ''];
          return text === undefined
            ? Promise.reject(Object.assign(new Error(path), { code: 'ENOENT' }))
            : Promise.resolve(Buffer.from(text));
        },
      };
      const c = await connectCluster({}, host);
      opened.push(c);
      assert.deepEqual([c.context, c.namespace], ['in-cluster', NS]);
      assert.equal(await whoIs(c), robot);
    });

    it('are found over several KUBECONFIG files', async () => {
      const users = await withUser('a', { token: await token() });
      const broken = join(dir, 'b');
      await writeFile(broken, JSON.stringify({ contexts: [{ name: 'c', context: { cluster: 'x', user: 'x' } }], 'current-context': 'x' }));
      const env = { KUBECONFIG: [join(dir, 'missing-file'), users, broken].join(delimiter) };
      const c = await connectCluster({}, { env });
      opened.push(c);
      assert.equal(c.context, 'c');
      assert.equal(await whoIs(c), robot);
    });
  });

  describe('pods', () => {
    const pod: ObjectRef = { apiVersion: 'v1', kind: 'Pod', name: 'shell', namespace: NS };
    const sh = (script: string) => ['/bin/sh', '-c', script];
    const isRunning = (o: KubeObject | undefined) => (o?.['status'] as { phase?: string } | undefined)?.phase === 'Running';
    const started = 'echo first; echo second; while [ ! -e /tmp/stop ]; do sleep 0.1; done; printf last; exit 0';

    before(async () => {
      // The image has no programs: those of the node are lent to it.
      const programs = ['/bin', '/lib', '/lib64', '/usr'];
      const nameOf = (path: string) => path.slice(1);
      await cluster.apply({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: pod.name, namespace: NS },
        spec: {
          restartPolicy: 'Never',
          terminationGracePeriodSeconds: 0,
          containers: [
            {
              name: 'main',
              image: 'dmaas.test/pause:1',
              imagePullPolicy: 'Never',
              command: sh(started),
              volumeMounts: [
                ...programs.map((path) => ({ name: nameOf(path), mountPath: path, readOnly: true })),
                { name: 'tmp', mountPath: '/tmp' },
              ],
            },
          ],
          volumes: [...programs.map((path) => ({ name: nameOf(path), hostPath: { path } })), { name: 'tmp', emptyDir: {} }],
        },
      });
      await cluster.waitFor(pod, isRunning, { timeoutMs: 120_000 });
    });

    it('run commands: output, arguments, exit codes', async () => {
      assert.deepEqual(await cluster.exec(pod, 'main', sh('printf out; printf err >&2')), { exitCode: 0, stdout: 'out', stderr: 'err' });
      assert.equal((await cluster.exec(pod, 'main', sh('exit 3'))).exitCode, 3);
      assert.equal((await cluster.exec(pod, 'main', sh('kill -9 $$'))).exitCode, 137);
      assert.equal((await cluster.exec(pod, 'main', ['/bin/echo', 'a b', '$x', 'ü&=?'])).stdout, 'a b $x ü&=?\n');
      const long = await cluster.exec(pod, 'main', sh('head -c 1000000 /dev/zero | tr "\\0" x'));
      assert.equal(long.stdout, 'x'.repeat(1_000_000));
    });

    it('refuse commands that cannot run', async () => {
      const missing = await failure(cluster.exec(pod, 'main', ['/no/such/program']));
      assert.equal(missing.code, 'CLUSTER_REJECTED');
      assert.match(missing.message, /^"\/no\/such\/program" in pod\/shell in namespace server could not be run: .*no such file/);
      const container = await failure(cluster.exec(pod, 'other', sh('true')));
      assert.equal(container.code, 'CLUSTER_REJECTED');
      assert.match(container.message, /container other is not valid for pod shell/i);
      const absent = await failure(cluster.exec({ ...pod, name: 'none' }, 'main', sh('true')));
      assert.equal(absent.message, 'pod/none in namespace server does not exist');
      const jane = await open({ as: 'jane' });
      const denied = await failure(jane.exec(pod, 'main', sh('true')));
      assert.equal(denied.code, 'CLUSTER_FORBIDDEN');
      assert.match(denied.message, /^user jane may not (get|create) pods\/shell\/exec in namespace server$/);
      const bad = await failure((await open({ token: 'bad' })).exec(pod, 'main', sh('true')));
      assert.match(bad.message, /refused the credentials of --token$/);
    });

    it('do not fill the memory with output', async () => {
      const error = await failure(cluster.exec(pod, 'main', sh('cat /dev/zero')));
      assert.equal(error.message, '"/bin/sh" in pod/shell in namespace server printed more than 1 MiB to stdout');
    });

    it('whose connection breaks have not succeeded', async () => {
      const { proxy, through } = await proxied();
      await through.get(pod);
      const running = failure(through.exec(pod, 'main', sh('touch /tmp/began; sleep 60')));
      while ((await cluster.exec(pod, 'main', sh('test -e /tmp/began'))).exitCode !== 0) await sleep(50);
      proxy.cut();
      const error = await running;
      assert.equal(error.code, 'CLUSTER_UNREACHABLE');
      assert.match(error.message, /connection broke off/);
    });

    it('can be cancelled in a command', async () => {
      const error = await failure(cluster.exec(pod, 'main', sh('sleep 60'), { signal: AbortSignal.timeout(300) }));
      assert.equal(error.code, 'CANCELLED');
    });

    it('give their logs: what is there, the tail, and what comes', async () => {
      const lines = (opts: Parameters<Cluster['logs']>[2]) => collect(cluster.logs(pod, 'main', opts));
      assert.deepEqual(await lines({ follow: false }), ['first', 'second']);
      assert.deepEqual(await lines({ follow: false, tailLines: 1 }), ['second']);
      const followed: string[] = [];
      for await (const line of cluster.logs(pod, 'main')) {
        followed.push(line);
        if (line === 'second') await cluster.exec(pod, 'main', sh('touch /tmp/stop'));
      }
      assert.deepEqual(followed, ['first', 'second', 'last']);
    });

    it('give no log that does not exist, and end one on request', async () => {
      const error = await failure(collect(cluster.logs({ ...pod, name: 'none' }, 'main')));
      assert.equal(error.message, 'pod/none in namespace server does not exist');
      const container = await failure(collect(cluster.logs(pod, 'other')));
      assert.match(container.message, /container other is not valid for pod shell/i);
    });
  });
});
