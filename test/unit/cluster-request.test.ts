import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { DmaasError } from '../../core/src/errors.ts';
import type { KubeObject } from '../../core/src/model.ts';
import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { connectCluster } from '../../core/src/cluster/kube-cluster.ts';
import type { ClusterOptions } from '../../core/src/cluster/kubeconfig.ts';

type Answer = readonly [status: number, body: unknown, headers?: Readonly<Record<string, string>>] | 'break' | { readonly begins: string };

const KINDS = {
  kind: 'APIGroupDiscoveryList',
  items: [
    {
      metadata: {},
      versions: [
        {
          version: 'v1',
          resources: [
            {
              resource: 'configmaps',
              responseKind: { kind: 'ConfigMap' },
              scope: 'Namespaced',
              verbs: ['get', 'list', 'watch', 'create', 'delete'],
            },
            { resource: 'bindings', responseKind: { kind: 'Binding' }, scope: 'Namespaced', verbs: ['create'] },
          ],
        },
      ],
    },
  ],
};
const NO_GROUPS = { kind: 'APIGroupDiscoveryList', items: [] };

const status = (code: number, reason: string, message = reason): unknown => ({ kind: 'Status', status: 'Failure', code, reason, message });
const map = (name: string, resourceVersion = '1'): KubeObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, namespace: 'n', uid: `uid-${name}`, resourceVersion },
});

describe('requests to an API server that has troubles', function () {
  this.timeout(60_000);
  let server: Server;
  let cluster: Cluster;
  let seen: string[];
  let seenHeaders: IncomingMessage['headers'][];
  let answer: (method: string, url: URL, body: string) => Answer | Promise<Answer>;
  const opened: Cluster[] = [];
  const ref = { apiVersion: 'v1', kind: 'ConfigMap', name: 'a', namespace: 'n' };

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    const url = new URL(request.url ?? '/', 'http://x');
    const discovery = url.pathname === '/api' ? KINDS : url.pathname === '/apis' ? NO_GROUPS : undefined;
    if (discovery === undefined) {
      seen.push(`${request.method ?? ''} ${url.pathname}${url.search}`);
      seenHeaders.push(request.headers);
    }
    const given = discovery !== undefined && !legacy ? ([200, discovery] as const) : await answer(request.method ?? '', url, body);
    if (given === 'break') {
      request.socket.destroy();
      return;
    }
    if ('begins' in given) {
      response.write(given.begins, () => setTimeout(() => request.socket.destroy(), 50));
      return;
    }
    const [code, content, headers = {}] = given;
    response.writeHead(code, { 'content-type': 'application/json', ...headers });
    response.end(typeof content === 'string' ? content : JSON.stringify(content));
  }
  let legacy = false;

  const open = async (options: ClusterOptions = {}, env: Readonly<Record<string, string>> = {}): Promise<Cluster> => {
    const { port } = server.address() as AddressInfo;
    const readFile = () => Promise.reject(Object.assign(new Error('none'), { code: 'ENOENT' }));
    const c = await connectCluster({ server: `http://127.0.0.1:${port}`, ...options }, { env, readFile });
    opened.push(c);
    return c;
  };
  const failure = async (promise: Promise<unknown>): Promise<DmaasError> => {
    const error: unknown = await promise.then(
      () => undefined,
      (e: unknown) => e,
    );
    assert.ok(DmaasError.is(error), String(error));
    return error;
  };
  const names = async (c: Cluster) => {
    const kind = (await c.kinds())[0]!;
    const found: string[] = [];
    for await (const o of c.list(kind, { namespace: 'n' })) found.push(o.metadata.name);
    return found;
  };

  beforeEach(async () => {
    seen = [];
    seenHeaders = [];
    legacy = false;
    server = createServer((request, response) => void respond(request, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cluster = await open();
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((c) => c.close()));
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  });

  it('are repeated after 429, 5xx and a broken connection, as long as the server asks', async () => {
    const troubles: Answer[] = [
      [429, status(429, 'TooManyRequests'), { 'retry-after': '1' }],
      [503, 'busy'],
      'break',
      [500, status(500, 'InternalError')],
    ];
    const timesMs: number[] = [];
    answer = () => {
      timesMs.push(performance.now());
      return troubles.shift() ?? [200, map('a')];
    };
    assert.equal((await cluster.get(ref))?.metadata.name, 'a');
    assert.equal(seen.length, 5);
    assert.ok(timesMs[1]! - timesMs[0]! > 990, 'Retry-After was ignored: by itself the first pause is shorter than 0.3 s');
  });

  it('are given up after a while', async () => {
    answer = () => [503, status(503, 'ServiceUnavailable', 'etcd is away')];
    const error = await failure(cluster.get(ref));
    assert.equal(error.code, 'CLUSTER_UNREACHABLE');
    assert.match(error.message, /^http:\/\/127.0.0.1:\d+ could not get configmap\/a in namespace n \(status 503\): etcd is away$/);
    assert.equal(seen.length, 6);
  });

  it('that create are repeated only when the server has certainly not done them', async () => {
    const troubles: Answer[] = [[429, status(429, 'TooManyRequests')]];
    answer = () => troubles.shift() ?? [201, map('a')];
    await cluster.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'n' } });
    assert.equal(seen.length, 2);
    const manifest = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'b', namespace: 'n' } };
    for (const trouble of [[503, 'busy'], 'break'] as Answer[]) {
      seen.length = 0;
      troubles.push(trouble);
      assert.equal((await failure(cluster.create(manifest))).code, 'CLUSTER_UNREACHABLE');
      assert.equal(seen.length, 1);
      troubles.push(trouble);
      await cluster.create(manifest, { dryRun: true });
      assert.equal(seen.length, 3);
    }
  });

  it('are not repeated when they are wrong', async () => {
    answer = () => [422, status(422, 'Invalid', 'no')];
    assert.equal((await failure(cluster.apply(map('a')))).code, 'CLUSTER_REJECTED');
    assert.equal(seen.length, 1);
  });

  it("take nobody else's 404 for absence", async () => {
    answer = () => [404, '<html>not here</html>'];
    const error = await failure(cluster.get(ref));
    assert.equal(error.code, 'CLUSTER_UNREACHABLE');
    assert.match(error.message, /does not answer like a Kubernetes API server \(status 404\)$/);
    answer = () => [200, '<html>log in</html>'];
    assert.match((await failure(cluster.get(ref))).message, /does not answer like a Kubernetes API server/);
    answer = () => [404, status(404, 'NotFound')];
    assert.equal(await cluster.get(ref), undefined);
    answer = () => [404, '404 page not found\n'];
    assert.equal(await cluster.get(ref), undefined);
  });

  it('end when --request-timeout is over', async () => {
    const hasty = await open({ requestTimeout: '100ms' });
    await hasty.kinds();
    answer = () => new Promise(() => undefined);
    const error = await failure(hasty.create({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'b', namespace: 'n' } }));
    assert.match(error.message, /^no answer from http:\/\/127.0.0.1:\d+ \(no answer in time\)$/);
  });

  it('for lists begin again, once, when the server forgot what it was listing', async () => {
    let expired = 1;
    answer = (_method, url) => {
      assert.equal(url.searchParams.get('limit'), '500');
      const next = url.searchParams.get('continue');
      if (next === null) return [200, { metadata: { continue: 'more' }, items: [{ metadata: { name: `first-${seen.length}` } }] }];
      return expired-- > 0 ? [410, status(410, 'Expired')] : [200, { metadata: {}, items: [{ metadata: { name: 'second' } }] }];
    };
    assert.deepEqual(await names(cluster), ['first-3', 'second'], 'nothing of the first attempt is left');
    expired = 2;
    assert.equal((await failure(names(cluster))).details['status'], 410);
  });

  it('for watches list again when the version is forgotten, and do not stop for nonsense', async () => {
    const events = (...list: unknown[]) => list.map((e) => JSON.stringify(e)).join('\n') + '\n';
    const watches: Answer[] = [
      [200, events({ type: 'MODIFIED', object: map('a', '6') }, { type: 'BOOKMARK', object: { metadata: { resourceVersion: '9' } } })],
      [200, events({ type: 'ERROR', object: status(410, 'Expired') })],
      [410, status(410, 'Gone')],
      [200, '{"type":"MODIF'],
      [500, 'oops'],
      'break',
    ];
    const lists: string[] = [];
    answer = (_method, url) => {
      if (url.searchParams.get('watch') === null) {
        lists.push(`list ${watches.length}`);
        return [200, { metadata: { resourceVersion: '5' }, items: [map('a', '5')] }];
      }
      lists.push(`watch ${url.searchParams.get('resourceVersion') ?? ''}`);
      assert.equal(url.searchParams.get('allowWatchBookmarks'), 'true');
      return watches.shift() ?? [200, events({ type: 'DELETED', object: map('a', '20') })];
    };
    const states: string[] = [];
    await cluster.waitFor(ref, (o) => (states.push(o?.metadata.resourceVersion ?? 'absent'), o === undefined), { timeoutMs: 50_000 });
    assert.deepEqual(lists.slice(0, 6), ['list 6', 'watch 5', 'watch 9', 'list 4', 'watch 5', 'list 3']);
    assert.ok(
      lists.slice(6).every((call) => call === 'watch 5'),
      'a broken watch goes on where it was',
    );
    assert.deepEqual(states, ['5', '6', '5', '5', 'absent']);
  });

  it('find kinds on servers older than aggregated discovery', async () => {
    legacy = true;
    const resource = (name: string, kind: string, verbs = ['get', 'list']) => ({ name, kind, namespaced: true, verbs });
    const paths: Record<string, unknown> = {
      '/api': { kind: 'APIVersions', versions: ['v1'] },
      '/api/v1': { resources: [resource('pods', 'Pod'), resource('pods/log', 'Pod', ['get'])] },
      '/apis': {
        kind: 'APIGroupList',
        groups: [
          {
            name: 'x.org',
            versions: [{ groupVersion: 'x.org/v1beta1' }, { groupVersion: 'x.org/v1' }],
            preferredVersion: { groupVersion: 'x.org/v1' },
          },
        ],
      },
      '/apis/x.org/v1': { resources: [resource('as', 'A')] },
      '/apis/x.org/v1beta1': { resources: [resource('as', 'A'), resource('bs', 'B')] },
    };
    answer = (_method, url) => (url.pathname in paths ? [200, paths[url.pathname]] : [404, status(404, 'NotFound')]);
    const kinds = (await cluster.kinds()).map((k) => `${k.plural} ${k.group}/${k.version}`);
    assert.deepEqual(kinds, ['pods /v1', 'as x.org/v1', 'bs x.org/v1beta1']);
    const count = seen.length;
    await cluster.kinds();
    assert.equal(seen.length, count, 'kinds are cached');
  });

  it('for logs do not take a broken connection for the end', async () => {
    answer = () => ({ begins: 'one\ntwo\nthr' });
    const lines: string[] = [];
    const reading = (async () => {
      for await (const line of cluster.logs({ apiVersion: 'v1', kind: 'Pod', name: 'p', namespace: 'n' }, 'main')) lines.push(line);
    })();
    assert.equal((await failure(reading)).code, 'CLUSTER_UNREACHABLE');
    assert.deepEqual(lines, ['one', 'two']);
  });

  it('carry impersonation, several groups too, and no credentials in errors', async () => {
    answer = () => [200, map('a')];
    const c = await open({ as: 'jane', asGroups: ['a', 'b'], asUid: '7', token: 's3cret' });
    await c.get(ref);
    const headers = seenHeaders[0]!;
    assert.equal(headers['impersonate-user'], 'jane');
    assert.equal(headers['impersonate-group'], 'a, b');
    assert.equal(headers['impersonate-uid'], '7');
    assert.equal(headers.authorization, 'Bearer s3cret');
    assert.match(headers['user-agent'] ?? '', /^dmaas\/\d/);
    answer = () => [401, status(401, 'Unauthorized')];
    const error = await failure(c.get(ref));
    assert.equal(error.code, 'CLUSTER_FORBIDDEN');
    assert.doesNotMatch(JSON.stringify([error.message, error.hint, error.details, String(error.cause)]), /s3cret/);
  });

  it('go through a proxy', async () => {
    const asked: string[] = [];
    const tunnels: Duplex[] = [];
    const proxy = createServer((request, response) => {
      asked.push(`${request.method ?? ''} ${request.url ?? ''}`);
      const target = new URL(request.url ?? '');
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(target.pathname === '/api' ? KINDS : target.pathname === '/apis' ? NO_GROUPS : map('through')));
    });
    proxy.on('connect', (request: IncomingMessage, near: Duplex) => {
      asked.push(`CONNECT ${request.url ?? ''}`);
      const far = connect((server.address() as AddressInfo).port, '127.0.0.1', () => {
        near.write('HTTP/1.1 200 OK\r\n\r\n');
        far.pipe(near).pipe(far);
      });
      far.on('error', () => near.destroy());
      near.on('error', () => far.destroy());
      tunnels.push(near, far);
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    try {
      const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
      const plain = await open({ server: 'http://cluster.invalid' }, { HTTP_PROXY: url });
      assert.equal((await plain.get(ref))?.metadata.name, 'through');
      assert.ok(asked.includes('GET http://cluster.invalid/api/v1/namespaces/n/configmaps/a'), asked.join());
      // The other end speaks no TLS, but that it was asked for shows the way.
      const secure = await open({ server: 'https://cluster.invalid' }, { HTTPS_PROXY: url });
      assert.match((await failure(secure.version())).message, /^no answer from https:\/\/cluster.invalid \(/);
      assert.ok(asked.includes('CONNECT cluster.invalid:443'), asked.join());
    } finally {
      for (const socket of tunnels) socket.destroy();
      const closed = once(proxy, 'close');
      proxy.close();
      proxy.closeAllConnections();
      await closed;
    }
  });
});
