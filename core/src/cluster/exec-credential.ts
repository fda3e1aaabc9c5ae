import { spawn } from 'node:child_process';
import { DmaasError } from '../errors.ts';
import { isFields, textOf } from './kubeconfig-file.ts';
import type { ClusterConfig, ExecPlugin } from './kubeconfig.ts';

/** What logs a user in for a while. Certificate and key are PEM. */
export interface Credential {
  readonly token?: string;
  readonly certificate?: string;
  readonly key?: string;
  /** Milliseconds since the epoch; absent when it does not expire. */
  readonly expiresAtMs?: number;
}

export interface ExecHost {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether a person is at the terminal: then the plugin may use stdin and stderr, to ask or to show a device code. */
  readonly isInteractive: boolean;
}

const MAX_OUTPUT_BYTES = 1 << 20;
const TIMEOUT_MS = 60_000;
/** A person who has to type a code into a browser takes longer; providers let codes expire after 15 minutes. */
const INTERACTIVE_TIMEOUT_MS = 15 * 60_000;

/**
 * Runs a credential plugin by the protocol of client.authentication.k8s.io: what the plugin may know goes in through
 * KUBERNETES_EXEC_INFO, an ExecCredential comes out on stdout. Throws CLUSTER_FORBIDDEN when there is no credential to be had.
 */
export async function runExecPlugin(plugin: ExecPlugin, config: ClusterConfig, host: ExecHost): Promise<Credential> {
  if (plugin.interactiveMode === 'Always' && !host.isInteractive) {
    throw new DmaasError('CLUSTER_FORBIDDEN', `credential plugin ${plugin.command} needs a terminal to log in`, {
      hint: `log in with a terminal first: ${['kubectl', ...config.kubectlFlags, 'auth whoami'].join(' ')}`,
    });
  }
  const interactive = host.isInteractive && plugin.interactiveMode !== 'Never';
  const info = { apiVersion: plugin.apiVersion, kind: 'ExecCredential', spec: { interactive, ...clusterInfo(plugin, config) } };
  const env = { ...host.env, ...plugin.env, KUBERNETES_EXEC_INFO: JSON.stringify(info) };
  return readCredential(plugin, await run(plugin, env, interactive));
}

function clusterInfo(plugin: ExecPlugin, config: ClusterConfig): { readonly cluster?: Readonly<Record<string, unknown>> } {
  if (!plugin.provideClusterInfo) return {};
  return {
    cluster: {
      server: config.server,
      ...(config.tlsServerName === undefined ? {} : { 'tls-server-name': config.tlsServerName }),
      ...(config.insecureSkipTlsVerify ? { 'insecure-skip-tls-verify': true } : {}),
      ...(config.ca === undefined ? {} : { 'certificate-authority-data': Buffer.from(config.ca).toString('base64') }),
      ...(config.proxyUrl === undefined ? {} : { 'proxy-url': config.proxyUrl }),
      ...(plugin.clusterExtension === undefined ? {} : { config: plugin.clusterExtension }),
    },
  };
}

function run(plugin: ExecPlugin, env: NodeJS.ProcessEnv, interactive: boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (fact: string, hint = plugin.installHint && printable(plugin.installHint, 500), cause?: unknown) => {
      const init = { ...(hint === undefined ? {} : { hint }), ...(cause === undefined ? {} : { cause }) };
      reject(new DmaasError('CLUSTER_FORBIDDEN', `credential plugin ${plugin.command} ${fact}`, init));
    };
    const child = spawn(plugin.command, plugin.args, {
      env,
      stdio: [interactive ? 'inherit' : 'ignore', 'pipe', interactive ? 'inherit' : 'pipe'],
      timeout: interactive ? INTERACTIVE_TIMEOUT_MS : TIMEOUT_MS,
    });
    let out = '';
    let complaint = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      out += text;
      if (out.length > MAX_OUTPUT_BYTES) child.kill();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-4096);
    });
    child.on('error', (cause: NodeJS.ErrnoException) => {
      const isMissing = cause.code === 'ENOENT';
      fail(isMissing ? 'is not installed' : `cannot be started (${cause.code ?? 'unknown reason'})`, undefined, cause);
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve(out);
      else fail(`failed (${signal === null ? `exit code ${String(code)}` : `ended by ${signal}`})${lastLine(complaint)}`);
    });
  });
}

function readCredential(plugin: ExecPlugin, out: string): Credential {
  const fail = (fact: string) => new DmaasError('CLUSTER_FORBIDDEN', `credential plugin ${plugin.command} ${fact}`);
  let answer: unknown;
  try {
    answer = JSON.parse(out);
  } catch {
    throw fail('did not answer with JSON'); // no cause: it would quote the answer, which may hold a token
  }
  if (!isFields(answer) || answer['kind'] !== 'ExecCredential') throw fail('did not answer with an ExecCredential');
  if (answer['apiVersion'] !== plugin.apiVersion) {
    throw fail(`answered in ${textOf(answer['apiVersion']) ?? 'no version'}, the kubeconfig says ${plugin.apiVersion}`);
  }
  const status = isFields(answer['status']) ? answer['status'] : {};
  const token = textOf(status['token']);
  const certificate = textOf(status['clientCertificateData']);
  const key = textOf(status['clientKeyData']);
  if (token === undefined && certificate === undefined) throw fail('returned neither a token nor a certificate');
  if ((certificate === undefined) !== (key === undefined)) throw fail('returned a certificate or a key, not both');
  const expiresAtMs = Date.parse(textOf(status['expirationTimestamp']) ?? '');
  return {
    ...(token === undefined ? {} : { token }),
    ...(certificate === undefined || key === undefined ? {} : { certificate, key }),
    ...(Number.isNaN(expiresAtMs) ? {} : { expiresAtMs }),
  };
}

function lastLine(text: string): string {
  const line = text.trimEnd().split('\n').at(-1) ?? '';
  return line === '' ? '' : `: ${printable(line, 200)}`;
}

/** Without terminal escapes and control characters, and not longer than `max`. */
export function printable(text: string, max: number): string {
  const clean = text
    // eslint-disable-next-line no-control-regex -- these are what must go
    .replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '')
    .replace(/\p{Cc}+/gu, ' ')
    .trim();
  return clean.length > max ? `${clean.slice(0, max - 1)}…` : clean;
}
