import { DmaasError } from '../errors.ts';
import { shellWord } from '../shell.ts';
import { localHost } from './host.ts';
import { isFields, readKubeconfig, resolvePath, textOf } from './kubeconfig-file.ts';
import type { Entry, Fields, Kubeconfig, KubeconfigHost } from './kubeconfig-file.ts';
import { proxyFromEnv } from './proxy.ts';

/** kubectl's global flags, by their names. Each overrides what the kubeconfig says. */
export interface ClusterOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly cluster?: string;
  readonly user?: string;
  readonly namespace?: string;
  readonly server?: string;
  readonly token?: string;
  readonly as?: string;
  readonly asGroups?: readonly string[];
  readonly asUid?: string;
  readonly certificateAuthority?: string;
  readonly clientCertificate?: string;
  readonly clientKey?: string;
  readonly insecureSkipTlsVerify?: boolean;
  readonly tlsServerName?: string;
  /** Seconds, or a duration such as `1m30s`; `0` is no limit. */
  readonly requestTimeout?: string;
}

/** How to reach one cluster as one user. Certificates and keys are PEM; nothing refers to a file but `tokenFile`, whose content rotates. */
export interface ClusterConfig {
  readonly context: string;
  readonly namespace: string;
  readonly server: string;
  readonly ca?: string;
  readonly tlsServerName?: string;
  readonly insecureSkipTlsVerify: boolean;
  readonly proxyUrl?: string;
  readonly user: UserConfig;
  readonly impersonate?: Impersonation;
  readonly requestTimeoutMs?: number;
  /** For hints: the flags that make kubectl choose the same cluster and user, as far as they were given. */
  readonly kubectlFlags: readonly string[];
}

export interface UserConfig {
  /** For messages: `user "admin"` or `--token`. */
  readonly name: string;
  readonly certificate?: string;
  readonly key?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly username?: string;
  readonly password?: string;
  readonly exec?: ExecPlugin;
  /** The legacy `auth-provider` stanza, e.g. `oidc`. */
  readonly authProvider?: Fields;
}

export interface ExecPlugin {
  readonly apiVersion: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly installHint?: string;
  readonly provideClusterInfo: boolean;
  readonly interactiveMode: 'Never' | 'IfAvailable' | 'Always';
  /** What the kubeconfig's cluster stanza holds for the plugin. */
  readonly clusterExtension?: unknown;
}

export interface Impersonation {
  readonly user: string;
  readonly groups: readonly string[];
  readonly uid?: string;
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

export interface ContextInfo {
  readonly name: string;
  readonly cluster: string;
  readonly namespace: string;
  readonly isCurrent: boolean;
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const EXEC_EXTENSION = 'client.authentication.k8s.io/exec';

/** The contexts of the kubeconfig, for completion and pickers. */
export async function listContexts(
  options: Pick<ClusterOptions, 'kubeconfig'> = {},
  host: KubeconfigHost = localHost(),
): Promise<ContextInfo[]> {
  const config = await readKubeconfig(options.kubeconfig, host);
  return [...config.contexts].map(([name, { fields }]) => ({
    name,
    cluster: textOf(fields['cluster']) ?? '',
    namespace: textOf(fields['namespace']) ?? 'default',
    isCurrent: name === config.currentContext,
  }));
}

/**
 * Chooses cluster and user as kubectl does, by kubeconfig and flags; without any of these, in a pod, the pod's service account.
 * Throws USAGE, naming what is missing.
 */
export async function loadClusterConfig(options: ClusterOptions, host: KubeconfigHost): Promise<ClusterConfig> {
  const config = await readKubeconfig(options.kubeconfig, host);
  const names = choose(options, config);
  const cluster = names.cluster === undefined ? undefined : config.clusters.get(names.cluster);
  const server = options.server ?? textOf(cluster?.fields['server']);
  if (server === undefined) {
    if (names.context === undefined && names.cluster === undefined && (await isInCluster(host))) return inCluster(options, host);
    throw noServer(names, config);
  }
  const url = parseServer(server);
  const user = (names.user === undefined ? undefined : config.users.get(names.user)) ?? { fields: {}, directory: '' };
  const proxyUrl = textOf(cluster?.fields['proxy-url']) ?? proxyFromEnv(url, host.env);
  const tlsServerName =
    options.server === undefined ? (options.tlsServerName ?? textOf(cluster?.fields['tls-server-name'])) : options.tlsServerName;
  const extension = execExtension(cluster);
  return {
    context: names.context ?? url.host,
    namespace: options.namespace ?? names.namespace ?? 'default',
    server: url.href.replace(/\/+$/, ''),
    ...(await trust(options, cluster, host)),
    ...(tlsServerName === undefined ? {} : { tlsServerName }),
    ...(proxyUrl === undefined ? {} : { proxyUrl: checkProxy(proxyUrl) }),
    user: await readUser(names.user === undefined ? 'the flags' : `user "${names.user}"`, options, user, extension, host),
    ...impersonation(options, user.fields),
    ...timeout(options),
    kubectlFlags: kubectlFlags(options),
  };
}

function kubectlFlags(options: ClusterOptions): string[] {
  const { kubeconfig, context, cluster, user, as, asGroups = [] } = options;
  const given = { kubeconfig, context, cluster, user, as };
  const flags = Object.entries(given).flatMap(([flag, value]) => (value === undefined ? [] : [[flag, value] as const]));
  return [...flags, ...asGroups.map((group) => ['as-group', group] as const)].map(([flag, value]) => `--${flag}=${shellWord(value)}`);
}

interface Names {
  readonly context: string | undefined;
  readonly cluster: string | undefined;
  readonly user: string | undefined;
  readonly namespace: string | undefined;
}

function choose(options: ClusterOptions, config: Kubeconfig): Names {
  const context = options.context ?? config.currentContext;
  const entry = context === undefined ? undefined : config.contexts.get(context);
  if (context !== undefined && entry === undefined) throw unknown('context', context, config);
  const cluster = options.cluster ?? textOf(entry?.fields['cluster']);
  const user = options.user ?? textOf(entry?.fields['user']);
  if (cluster !== undefined && !config.clusters.has(cluster) && options.server === undefined) throw unknown('cluster', cluster, config);
  if (user !== undefined && !config.users.has(user)) throw unknown('user', user, config);
  return { context, cluster, user, namespace: textOf(entry?.fields['namespace']) };
}

function unknown(noun: 'context' | 'cluster' | 'user', name: string, config: Kubeconfig): DmaasError {
  const known = [...config[`${noun}s`].keys()];
  const hint = known.length === 0 ? `the kubeconfig has no ${noun}s` : `${noun}s there: ${known.slice(0, 20).join(', ')}`;
  return new DmaasError('USAGE', `${noun} "${name}" does not exist in ${places(config)}`, { hint });
}

function noServer(names: Names, config: Kubeconfig): DmaasError {
  if (names.cluster !== undefined) return new DmaasError('USAGE', `cluster "${names.cluster}" in ${places(config)} names no server`);
  if (config.contexts.size > 0) {
    return new DmaasError('USAGE', `no context is chosen in ${places(config)}`, {
      hint: `kubectl config use-context ${[...config.contexts.keys()][0] ?? 'NAME'}`,
    });
  }
  return new DmaasError('USAGE', `no cluster is configured (looked in ${config.sought.join(', ')})`, {
    hint: 'name a kubeconfig with --kubeconfig FILE or the environment variable KUBECONFIG',
  });
}

function places(config: Kubeconfig): string {
  return (config.files.length > 0 ? config.files : config.sought).join(', ');
}

function parseServer(server: string): URL {
  const url = URL.parse(server.includes('://') ? server : `http://${server}`);
  if (url === null || !/^https?:$/.test(url.protocol)) throw new DmaasError('USAGE', `"${server}" is not the URL of an API server`);
  return url;
}

function checkProxy(proxy: string): string {
  const url = URL.parse(proxy);
  if (url !== null && /^(https?|socks5h?|socks):$/.test(url.protocol)) return proxy;
  throw new DmaasError('USAGE', `the proxy of the cluster has an unsupported address (${url === null ? 'not a URL' : url.protocol})`, {
    hint: 'proxies are http://, https:// or socks5://',
  });
}

async function trust(
  options: ClusterOptions,
  cluster: Entry | undefined,
  host: KubeconfigHost,
): Promise<Pick<ClusterConfig, 'ca' | 'insecureSkipTlsVerify'>> {
  if (options.insecureSkipTlsVerify === true) return { insecureSkipTlsVerify: true };
  if (options.certificateAuthority !== undefined) {
    return { insecureSkipTlsVerify: false, ca: await readPem(options.certificateAuthority, host) };
  }
  const ca = cluster && (await dataOrFile(cluster, 'certificate-authority', host));
  const skip = cluster?.fields['insecure-skip-tls-verify'] === true;
  return { insecureSkipTlsVerify: skip, ...(ca === undefined ? {} : { ca }) };
}

/** An explicit token is the whole identity: it must not compete with a certificate or a plugin of the kubeconfig. */
async function readUser(name: string, options: ClusterOptions, user: Entry, extension: unknown, host: KubeconfigHost): Promise<UserConfig> {
  if (options.token !== undefined) return { name: '--token', token: options.token };
  const { fields } = user;
  const certificate =
    options.clientCertificate === undefined
      ? await dataOrFile(user, 'client-certificate', host)
      : await readPem(options.clientCertificate, host);
  const key = options.clientKey === undefined ? await dataOrFile(user, 'client-key', host) : await readPem(options.clientKey, host);
  if ((certificate === undefined) !== (key === undefined)) {
    throw new DmaasError(
      'USAGE',
      `${name} has a client ${key === undefined ? 'certificate without its key' : 'key without its certificate'}`,
    );
  }
  const token = textOf(fields['token']);
  const tokenFile = textOf(fields['tokenFile']);
  const username = textOf(fields['username']);
  const hasOwn = token !== undefined || tokenFile !== undefined || username !== undefined || certificate !== undefined;
  const { exec, 'auth-provider': authProvider } = fields;
  return {
    name,
    ...(certificate === undefined || key === undefined ? {} : { certificate, key }),
    ...(token === undefined ? {} : { token }),
    ...(token !== undefined || tokenFile === undefined ? {} : { tokenFile: resolvePath(user, tokenFile) }),
    ...(username === undefined ? {} : { username, password: textOf(fields['password']) ?? '' }),
    ...(isFields(exec) && !hasOwn ? { exec: execPlugin(name, exec, user, extension) } : {}),
    ...(isFields(authProvider) ? { authProvider } : {}),
  };
}

function execPlugin(user: string, exec: Fields, entry: Entry, clusterExtension: unknown): ExecPlugin {
  const command = textOf(exec['command']);
  if (command === undefined) throw new DmaasError('USAGE', `the credential plugin of ${user} names no command`);
  const apiVersion = textOf(exec['apiVersion']) ?? '';
  if (!/^client\.authentication\.k8s\.io\/v1(beta1)?$/.test(apiVersion)) {
    throw new DmaasError('USAGE', `the credential plugin of ${user} has the unsupported version "${apiVersion}"`, {
      hint: 'a current version of the plugin writes client.authentication.k8s.io/v1 or v1beta1 into the kubeconfig',
    });
  }
  const env: Record<string, string> = {};
  for (const item of Array.isArray(exec['env']) ? (exec['env'] as unknown[]) : []) {
    const variable = isFields(item) ? textOf(item['name']) : undefined;
    if (isFields(item) && variable !== undefined) env[variable] = textOf(item['value']) ?? '';
  }
  const mode = exec['interactiveMode'];
  const installHint = textOf(exec['installHint']);
  return {
    apiVersion,
    // A bare name is looked up on PATH; with a folder in it, it starts from the kubeconfig's folder.
    command: /[\\/]/.test(command) ? resolvePath(entry, command) : command,
    args: Array.isArray(exec['args']) ? (exec['args'] as unknown[]).map((arg) => textOf(arg) ?? '') : [],
    env,
    ...(installHint === undefined ? {} : { installHint }),
    provideClusterInfo: exec['provideClusterInfo'] === true,
    interactiveMode: mode === 'Never' || mode === 'Always' ? mode : 'IfAvailable',
    ...(clusterExtension === undefined ? {} : { clusterExtension }),
  };
}

function execExtension(cluster: Entry | undefined): unknown {
  const list = cluster?.fields['extensions'];
  if (!Array.isArray(list)) return undefined;
  return list.filter(isFields).find((item) => item['name'] === EXEC_EXTENSION)?.['extension'];
}

function impersonation(options: ClusterOptions, user: Fields): Pick<ClusterConfig, 'impersonate'> {
  const as = options.as ?? textOf(user['as']);
  const groups = options.asGroups ?? strings(user['as-groups']);
  const uid = options.asUid ?? textOf(user['as-uid']);
  if (as === undefined) {
    if (groups.length === 0 && uid === undefined) return {};
    throw new DmaasError('USAGE', 'groups or a uid can be impersonated only together with a user', { hint: 'add --as=USER' });
  }
  const extra: Record<string, readonly string[]> = {};
  if (isFields(user['as-user-extra'])) {
    for (const [key, values] of Object.entries(user['as-user-extra'])) extra[key] = strings(values);
  }
  return { impersonate: { user: as, groups, ...(uid === undefined ? {} : { uid }), extra } };
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.flatMap((item) => textOf(item) ?? []) : [];
}

function timeout(options: ClusterOptions): Pick<ClusterConfig, 'requestTimeoutMs'> {
  const { requestTimeout } = options;
  if (requestTimeout === undefined) return {};
  if (/^\d+$/.test(requestTimeout)) return { requestTimeoutMs: Number(requestTimeout) * 1000 };
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(requestTimeout)) {
    throw new DmaasError('USAGE', `"${requestTimeout}" is not a time`, { hint: 'write seconds, or a time such as 30s, 2m or 1h30m' });
  }
  const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  let requestTimeoutMs = 0;
  for (const [, amount, unit] of requestTimeout.matchAll(/([\d.]+)(ms|s|m|h)/g))
    requestTimeoutMs += Number(amount) * (unitsMs[unit ?? ''] ?? 0);
  return { requestTimeoutMs };
}

async function dataOrFile(entry: Entry, field: string, host: KubeconfigHost): Promise<string | undefined> {
  const data = textOf(entry.fields[`${field}-data`]);
  if (data !== undefined) return Buffer.from(data, 'base64').toString();
  const path = textOf(entry.fields[field]);
  return path === undefined ? undefined : readPem(resolvePath(entry, path), host);
}

async function readPem(path: string, host: KubeconfigHost): Promise<string> {
  try {
    return new TextDecoder().decode(await host.readFile(path));
  } catch (cause) {
    throw new DmaasError('USAGE', `${path}, which the kubeconfig or a flag names, cannot be read`, { cause });
  }
}

async function isInCluster(host: KubeconfigHost): Promise<boolean> {
  if (!host.env['KUBERNETES_SERVICE_HOST'] || !host.env['KUBERNETES_SERVICE_PORT']) return false;
  return host.readFile(`${SERVICE_ACCOUNT}/token`).then(
    () => true,
    () => false,
  );
}

async function inCluster(options: ClusterOptions, host: KubeconfigHost): Promise<ClusterConfig> {
  const address = host.env['KUBERNETES_SERVICE_HOST'] ?? '';
  const own = await host.readFile(`${SERVICE_ACCOUNT}/namespace`).then(
    (bytes) => new TextDecoder().decode(bytes).trim(),
    () => undefined,
  );
  return {
    context: 'in-cluster',
    namespace: options.namespace ?? host.env['POD_NAMESPACE'] ?? own ?? 'default',
    server: `https://${address.includes(':') ? `[${address}]` : address}:${host.env['KUBERNETES_SERVICE_PORT'] ?? ''}`,
    ca: await readPem(options.certificateAuthority ?? `${SERVICE_ACCOUNT}/ca.crt`, host),
    insecureSkipTlsVerify: false,
    user: {
      name: 'the service account',
      ...(options.token === undefined ? { tokenFile: `${SERVICE_ACCOUNT}/token` } : { token: options.token }),
    },
    ...impersonation(options, {}),
    ...timeout(options),
    kubectlFlags: kubectlFlags(options),
  };
}
