import { createHash } from 'node:crypto';
import { HttpMethod, KubeConfig, RequestContext } from '@kubernetes/client-node';
import { Agent } from 'undici';
import type { Dispatcher } from 'undici';
import type { ClientOptions as WebSocketOptions } from 'ws';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import { refOf } from '../model.ts';
import type { KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import { absent, checkIsNew, timedOut, unknownKind, wrongScope } from './api-errors.ts';
import type { Access, Cluster, ExecResult, ListScope, ServerVersion } from './cluster.ts';
import { runExecPlugin } from './exec-credential.ts';
import type { Credential } from './exec-credential.ts';
import { execInPod } from './exec.ts';
import { localHost } from './host.ts';
import { Discovery } from './kinds.ts';
import { isFields, textOf } from './kubeconfig-file.ts';
import type { Fields, KubeconfigHost } from './kubeconfig-file.ts';
import { loadClusterConfig } from './kubeconfig.ts';
import type { ClusterConfig, ClusterOptions } from './kubeconfig.ts';
import { splitLines } from './lines.ts';
import { mapConcurrent } from './map-concurrent.ts';
import { collectionPath, objectPath } from './paths.ts';
import { ApiClient } from './request.ts';
import type { ApiRequest } from './request.ts';
import { Session } from './session.ts';
import type { Transport } from './session.ts';
import { stamp, watchObject } from './watch.ts';

export interface ConnectHost extends KubeconfigHost {
  /** Whether credential plugins may talk to a person through the terminal. */
  readonly isInteractive: boolean;
}

const FIELD_MANAGER = 'dmaas';
const PAGE_SIZE = 500;
const REVIEW_CONCURRENCY = 8;
const MAX_LOG_LINE_BYTES = 1 << 20;

/**
 * Opens the cluster that kubeconfig and flags name. Sends nothing yet: the first call logs in and connects. Throws USAGE when the
 * kubeconfig does not say how.
 */
export async function connectCluster(options: ClusterOptions = {}, host: Partial<ConnectHost> = {}): Promise<Cluster> {
  const all: ConnectHost = { ...localHost(), isInteractive: false, ...host };
  const config = await loadClusterConfig(options, all);
  return new KubeCluster(config, all);
}

class KubeCluster implements Cluster {
  readonly context: string;
  readonly namespace: string;
  readonly #session: Session;
  readonly #client: ApiClient;
  readonly #discovery: Discovery;

  constructor(config: ClusterConfig, host: ConnectHost) {
    this.context = config.context;
    this.namespace = config.namespace;
    const { exec } = config.user;
    this.#session = new Session(config, {
      openTransport,
      runPlugin: () => (exec === undefined ? Promise.resolve({}) : runExecPlugin(exec, config, host)),
      readFile: host.readFile,
    });
    this.#client = new ApiClient(this.#session);
    this.#discovery = new Discovery(this.#client);
  }

  async id(): Promise<string> {
    const ref = { apiVersion: 'v1', kind: 'Namespace', name: 'kube-system' };
    try {
      const namespace = await this.get(ref);
      if (namespace?.metadata.uid === undefined) throw absent(ref);
      return namespace.metadata.uid;
    } catch (e) {
      const byAuthority = DmaasError.is(e, 'CLUSTER_FORBIDDEN') ? await this.#idByAuthority() : undefined;
      if (byAuthority === undefined) throw e;
      return byAuthority;
    }
  }

  /** What a user of one namespace can tell the cluster by: its certificate authority, which Kubernetes writes into every namespace. */
  async #idByAuthority(): Promise<string | undefined> {
    const ref = { apiVersion: 'v1', kind: 'ConfigMap', name: 'kube-root-ca.crt', namespace: this.namespace };
    try {
      const data = (await this.get(ref))?.['data'];
      const authority = isFields(data) ? textOf(data['ca.crt']) : undefined;
      return authority === undefined ? undefined : `ca-${createHash('sha256').update(authority.trim()).digest('hex').slice(0, 32)}`;
    } catch (e) {
      if (DmaasError.is(e, 'CLUSTER_FORBIDDEN')) return undefined;
      throw e;
    }
  }

  async version(): Promise<ServerVersion> {
    const access = { verb: 'get', group: '', resource: '/version' };
    const answer = await this.#client.json({ method: 'GET', path: '/version', access, isRepeatable: true });
    const number = (field: string) => Number.parseInt(textOf(answer[field]) ?? '', 10); // providers write `34+`
    return { gitVersion: textOf(answer['gitVersion']) ?? '', major: number('major'), minor: number('minor') };
  }

  kinds(): Promise<readonly ResourceKind[]> {
    return this.#discovery.preferred();
  }

  async get(ref: ObjectRef): Promise<KubeObject | undefined> {
    const kind = await this.#discovery.find(ref);
    if (kind === undefined) return undefined;
    const found = await this.#client.find(this.#on('get', kind, ref, { method: 'GET', isRepeatable: true }));
    return found && asObject(found);
  }

  /** Reads all pages before the first item, so that what it yields is one consistent state. */
  async *list(kind: ResourceKind, scope: ListScope): AsyncIterable<KubeObject> {
    let items: Fields[];
    try {
      items = await this.#pages(kind, scope);
    } catch (e) {
      if (!DmaasError.is(e) || e.details['status'] !== 410) throw e;
      items = await this.#pages(kind, scope); // the server forgot the state the first pages were of
    }
    for (const item of items) yield stamp(item, kind);
  }

  async create(manifest: KubeObject, opts: { readonly dryRun?: boolean } = {}): Promise<KubeObject> {
    const ref = refOf(manifest);
    const kind = await this.#served(ref);
    checkScope(ref, kind);
    checkIsNew(manifest);
    const { namespace } = ref;
    const answer = await this.#client.json({
      method: 'POST',
      path: collectionPath(kind, namespace),
      query: { fieldManager: FIELD_MANAGER, fieldValidation: 'Strict', ...dryRun(opts) },
      body: manifest,
      access: { verb: 'create', group: kind.group, resource: kind.plural, ...(namespace === undefined ? {} : { namespace }) },
      ref,
      isRepeatable: opts.dryRun === true,
    });
    return this.#stored(kind, answer, opts.dryRun);
  }

  async apply(manifest: KubeObject, opts: { readonly dryRun?: boolean; readonly force?: boolean } = {}): Promise<KubeObject> {
    const ref = refOf(manifest);
    const kind = await this.#served(ref);
    const request = this.#on('patch', kind, ref, {
      method: 'PATCH',
      contentType: 'application/apply-patch+yaml', // JSON is YAML
      query: { fieldManager: FIELD_MANAGER, fieldValidation: 'Strict', force: opts.force ?? false, ...dryRun(opts) },
      body: manifest,
      isRepeatable: true,
    });
    const answer = await this.#client.json(request);
    return this.#stored(kind, answer, opts.dryRun);
  }

  async patch(ref: ObjectRef, merge: Readonly<Record<string, unknown>>): Promise<KubeObject> {
    const kind = await this.#served(ref, false);
    const request = this.#on('patch', kind, ref, {
      method: 'PATCH',
      contentType: 'application/merge-patch+json',
      query: { fieldManager: FIELD_MANAGER },
      body: merge,
      isRepeatable: true,
    });
    return asObject(await this.#client.json(request));
  }

  async delete(
    ref: ObjectRef,
    opts: { readonly propagation?: 'foreground' | 'background' | 'orphan'; readonly uid?: string } = {},
  ): Promise<void> {
    const kind = await this.#discovery.find(ref);
    if (kind === undefined) return;
    const policy = { foreground: 'Foreground', background: 'Background', orphan: 'Orphan' }[opts.propagation ?? 'background'];
    const body = {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      propagationPolicy: policy, // for Jobs the server's own choice would be to leave the pods
      ...(opts.uid === undefined ? {} : { preconditions: { uid: opts.uid } }),
    };
    await this.#client.find(this.#on('delete', kind, ref, { method: 'DELETE', body, isRepeatable: true }));
  }

  async waitFor(
    ref: ObjectRef,
    until: (o: KubeObject | undefined) => boolean,
    opts: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<KubeObject | undefined> {
    throwIfCancelled(opts.signal);
    const kind = await this.#discovery.find(ref);
    if (kind === undefined && until(undefined)) return undefined;
    if (kind === undefined) throw unknownKind(ref);
    checkScope(ref, kind);
    const deadline = new AbortController();
    const timer = setTimeout(() => {
      deadline.abort();
    }, opts.timeoutMs);
    let trouble: DmaasError | undefined;
    const signal = AbortSignal.any([deadline.signal, ...(opts.signal === undefined ? [] : [opts.signal])]);
    try {
      for await (const state of watchObject(this.#client, kind, ref, signal, (e) => (trouble = e))) {
        if (until(state)) return state;
        trouble = undefined;
      }
    } catch (e) {
      if (!DmaasError.is(e, 'CANCELLED') || !signal.aborted) throw e;
    } finally {
      clearTimeout(timer);
    }
    throwIfCancelled(opts.signal);
    throw timedOut(ref, opts.timeoutMs, trouble === undefined ? {} : { cause: trouble, hint: trouble.message });
  }

  async *logs(
    pod: ObjectRef,
    container: string,
    opts: { readonly signal?: AbortSignal; readonly tailLines?: number; readonly follow?: boolean } = {},
  ): AsyncIterable<string> {
    const request: ApiRequest = {
      ...this.#on('get', POD, pod, { method: 'GET', isRepeatable: true }, 'log'),
      query: { container, follow: opts.follow ?? true, tailLines: opts.tailLines },
      ...(opts.signal === undefined ? {} : { signal: opts.signal }),
    };
    const body = await this.#client.stream(request);
    try {
      for await (const line of splitLines(body, MAX_LOG_LINE_BYTES)) yield line.isCut ? `${line.text}…` : line.text;
    } catch (e) {
      throw this.#client.broken(e, request);
    } finally {
      body.destroy();
    }
  }

  exec(pod: ObjectRef, container: string, command: readonly string[], opts: { readonly signal?: AbortSignal } = {}): Promise<ExecResult> {
    return execInPod(this.#client, pod, container, command, opts.signal);
  }

  async denied(needs: readonly Access[]): Promise<readonly Access[]> {
    const answers = await mapConcurrent(needs, REVIEW_CONCURRENCY, (need) => this.#isAllowed(need));
    return needs.filter((_, i) => answers[i] !== true);
  }

  close(): Promise<void> {
    return this.#session.close();
  }

  async #isAllowed(need: Access): Promise<boolean> {
    const [resource, subresource] = need.resource.split('/', 2);
    const { verb, group, namespace, name } = need;
    const answer = await this.#client.json({
      method: 'POST',
      path: '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
      body: {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectAccessReview',
        spec: { resourceAttributes: { verb, group, resource, subresource, namespace, name } },
      },
      access: { verb: 'create', group: 'authorization.k8s.io', resource: 'selfsubjectaccessreviews' },
      isRepeatable: true, // nothing is stored
    });
    return isFields(answer['status']) && answer['status']['allowed'] === true;
  }

  async #pages(kind: ResourceKind, { namespace, labelSelector, fieldSelector }: ListScope): Promise<Fields[]> {
    if (namespace !== undefined && !kind.namespaced) throw wrongScope({ apiVersion: kind.version, kind: kind.kind, name: '*' }, kind);
    const items: Fields[] = [];
    let next: string | undefined;
    do {
      const page = await this.#client.find({
        method: 'GET',
        path: collectionPath(kind, namespace),
        query: { limit: PAGE_SIZE, continue: next, labelSelector, fieldSelector },
        access: { verb: 'list', group: kind.group, resource: kind.plural, ...(namespace === undefined ? {} : { namespace }) },
        isRepeatable: true,
      });
      for (const item of Array.isArray(page?.['items']) ? (page['items'] as unknown[]) : []) if (isFields(item)) items.push(item);
      next = isFields(page?.['metadata']) ? textOf(page['metadata']['continue']) : undefined;
    } while (next !== undefined);
    return items;
  }

  /** A request about one object. */
  #on(
    verb: string,
    kind: ResourceKind,
    ref: ObjectRef,
    rest: Omit<ApiRequest, 'path' | 'access' | 'ref'>,
    subresource?: string,
  ): ApiRequest {
    checkScope(ref, kind);
    const suffix = subresource === undefined ? '' : `/${subresource}`;
    const { namespace, name } = ref;
    const access = { verb, group: kind.group, resource: kind.plural + suffix, name, ...(namespace === undefined ? {} : { namespace }) };
    return { ...rest, path: objectPath(kind, ref) + suffix, access, ref };
  }

  async #served(ref: ObjectRef, exact = true): Promise<ResourceKind> {
    const kind = await this.#discovery.find(ref, exact);
    if (kind === undefined) throw unknownKind(ref);
    return kind;
  }

  #stored(kind: ResourceKind, answer: Fields, isDryRun = false): KubeObject {
    if (kind.kind === 'CustomResourceDefinition' && kind.group === 'apiextensions.k8s.io' && !isDryRun) this.#discovery.expect(answer);
    return asObject(answer);
  }
}

const POD: ResourceKind = { group: '', version: 'v1', kind: 'Pod', plural: 'pods', namespaced: true, verbs: [] };

function checkScope(ref: ObjectRef, kind: ResourceKind): void {
  if ((ref.namespace !== undefined) !== kind.namespaced) throw wrongScope(ref, kind);
}

function asObject(answer: Fields): KubeObject {
  return answer as unknown as KubeObject;
}

function dryRun(opts: { readonly dryRun?: boolean }): { readonly dryRun?: string } {
  return opts.dryRun === true ? { dryRun: 'All' } : {};
}

/** TLS, proxies and what else is in a login are the library's work. Its connections are kept: by itself it opens one for each request. */
async function openTransport(config: ClusterConfig, credential: Credential, reuse: Dispatcher | undefined): Promise<Transport> {
  const base64 = (pem: string) => Buffer.from(pem).toString('base64');
  const { user } = config;
  const { certificate = user.certificate, key = user.key, token = user.token } = credential;
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromOptions({
    currentContext: config.context,
    contexts: [{ name: config.context, cluster: 'cluster', user: 'user' }],
    clusters: [
      {
        name: 'cluster',
        server: config.server,
        skipTLSVerify: config.insecureSkipTlsVerify || config.server.startsWith('http:'),
        ...(config.ca === undefined ? {} : { caData: base64(config.ca) }),
        ...(config.tlsServerName === undefined ? {} : { tlsServerName: config.tlsServerName }),
        ...(config.proxyUrl === undefined ? {} : { proxyUrl: config.proxyUrl }),
      },
    ],
    users: [
      {
        name: 'user',
        ...(certificate === undefined || key === undefined ? {} : { certData: base64(certificate), keyData: base64(key) }),
        ...(token === undefined ? {} : { token }),
        ...(user.username === undefined ? {} : { username: user.username, password: user.password ?? '' }),
        ...(user.authProvider === undefined ? {} : { authProvider: user.authProvider }),
      },
    ],
  });
  const request = new RequestContext(config.server, HttpMethod.GET);
  await kubeConfig.applySecurityAuthentication(request);
  return {
    dispatcher: reuse ?? request.getDispatcher() ?? new Agent(),
    headers: request.getHeaders(),
    webSocket: async () => {
      const options: WebSocketOptions = {};
      await kubeConfig.applyToHTTPSOptions(options);
      return options;
    },
  };
}
