import type { IncomingMessage } from 'node:http';
import { WebSocket } from 'ws';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import { refName } from '../model.ts';
import type { ObjectRef } from '../model.ts';
import type { Access, ExecResult } from './cluster.ts';
import { printable } from './exec-credential.ts';
import { isFields, textOf } from './kubeconfig-file.ts';
import type { Fields } from './kubeconfig-file.ts';
import { statusOf } from './request.ts';
import type { ApiClient } from './request.ts';
import { responseError } from './response-errors.ts';
import { impersonationHeaders } from './session.ts';
import type { Transport } from './session.ts';

const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
const STDOUT = 1;
const STDERR = 2;
const STATUS = 3;

/** Commands run here are hooks and probes. What prints more than this belongs in a mover. */
const MAX_OUTPUT_BYTES = 1 << 20;
const MAX_REFUSAL_BYTES = 64 << 10;
const HANDSHAKE_TIMEOUT_MS = 30_000;
const PING_INTERVAL_MS = 15_000;

/**
 * Runs a command in a container and returns what it printed, and its exit code as the server reports it. A connection that ends before
 * that report is an error: the command may be running, may have failed, and must not look as if it had succeeded.
 */
export async function execInPod(
  client: ApiClient,
  pod: ObjectRef,
  container: string,
  command: readonly string[],
  signal: AbortSignal | undefined,
): Promise<ExecResult> {
  throwIfCancelled(signal);
  const run = new ExecRun(client, pod, container, command, signal);
  const first = await client.session.transport();
  const result = await run.with(first);
  if (result !== 'unauthorized') return result;
  if (!client.session.renew(first)) throw client.unauthorized();
  const second = await run.with(await client.session.transport());
  if (second === 'unauthorized') throw client.unauthorized();
  return second;
}

class ExecRun {
  readonly #client: ApiClient;
  readonly #pod: ObjectRef;
  readonly #url: string;
  readonly #command: readonly string[];
  readonly #signal: AbortSignal | undefined;

  constructor(client: ApiClient, pod: ObjectRef, container: string, command: readonly string[], signal: AbortSignal | undefined) {
    this.#client = client;
    this.#pod = pod;
    this.#command = command;
    this.#signal = signal;
    const query = new URLSearchParams({ container, stdout: 'true', stderr: 'true' });
    for (const word of command) query.append('command', word);
    const path = `/api/v1/namespaces/${encodeURIComponent(pod.namespace ?? '')}/pods/${encodeURIComponent(pod.name)}/exec`;
    this.#url = `${client.session.config.server.replace(/^http/, 'ws')}${path}?${query.toString()}`;
  }

  async with(transport: Transport): Promise<ExecResult | 'unauthorized'> {
    const options = await transport.webSocket();
    throwIfCancelled(this.#signal);
    const socket = new WebSocket(this.#url, PROTOCOLS, {
      ...options,
      headers: { ...transport.headers, ...impersonationHeaders(this.#client.session.config) } as Record<string, string>,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      perMessageDeflate: false,
    });
    return new Promise((resolve, reject) => {
      const output = { [STDOUT]: new BoundedOutput(), [STDERR]: new BoundedOutput() };
      const cancel = () => {
        fail(new DmaasError('CANCELLED', 'stopped', { cause: this.#signal?.reason }));
      };
      const finish = () => {
        clearInterval(heart);
        this.#signal?.removeEventListener('abort', cancel);
        socket.terminate();
      };
      const fail = (error: unknown) => {
        reject(error instanceof Error ? error : new Error('exec failed', { cause: error }));
        finish();
      };
      const heart = heartbeat(socket);
      this.#signal?.addEventListener('abort', cancel, { once: true });
      socket.on('unexpected-response', (_request, response) => {
        this.#refusal(response).then((error) => {
          if (error === 'unauthorized') resolve(error);
          else reject(error);
          finish();
        }, fail);
      });
      socket.on('message', (data: Buffer) => {
        const channel = data[0];
        const bytes = data.subarray(1);
        if (channel === STATUS) {
          const exit = this.#exitCode(bytes.toString());
          if (exit instanceof DmaasError) fail(exit);
          else resolve({ exitCode: exit, stdout: output[STDOUT].text(), stderr: output[STDERR].text() });
          finish();
        } else if ((channel === STDOUT || channel === STDERR) && !output[channel].add(bytes)) {
          const name = channel === STDOUT ? 'stdout' : 'stderr';
          fail(
            new DmaasError('CLUSTER_REJECTED', `${this.#what()} printed more than 1 MiB to ${name}`, {
              hint: 'redirect its output to a file',
            }),
          );
        }
      });
      socket.on('error', (e) => {
        fail(this.#client.broken(e));
      });
      socket.on('close', () => {
        fail(new DmaasError('CLUSTER_UNREACHABLE', `the connection broke off while ${this.#what()} ran; how it ended is unknown`));
      });
    });
  }

  async #refusal(response: IncomingMessage): Promise<DmaasError | 'unauthorized'> {
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of response as AsyncIterable<Buffer>) {
      parts.push(part);
      if ((size += part.length) > MAX_REFUSAL_BYTES) break;
    }
    const code = response.statusCode ?? 0;
    if (code === 401) return 'unauthorized';
    const { namespace = '', name } = this.#pod;
    const access: Access = { verb: 'get', group: '', resource: 'pods/exec', namespace, name };
    return responseError(code, statusOf(Buffer.concat(parts).toString()), this.#client.subject({ access, ref: this.#pod }));
  }

  #exitCode(text: string): number | DmaasError {
    let status: unknown;
    try {
      status = JSON.parse(text);
    } catch {
      status = undefined;
    }
    if (!isFields(status)) return new DmaasError('CLUSTER_UNREACHABLE', `how ${this.#what()} ended is unknown: its report makes no sense`);
    if (status['status'] === 'Success') return 0;
    const code = status['reason'] === 'NonZeroExitCode' ? exitCodeCause(status) : undefined;
    if (code !== undefined) return code;
    const message = textOf(status['message']) ?? 'no reason given';
    // Each of the programs that handed it on has put its own words before the fact.
    const [, fact = message] = /exec: ".*?": (.+?)(?:: unknown)?$/s.exec(message) ?? [];
    return new DmaasError('CLUSTER_REJECTED', `${this.#what()} could not be run: ${printable(fact, 300)}`);
  }

  #what(): string {
    return `"${printable(this.#command[0] ?? '', 60)}" in ${refName(this.#pod, true)}`;
  }
}

function exitCodeCause(status: Fields): number | undefined {
  const details = isFields(status['details']) ? status['details'] : {};
  const causes = Array.isArray(details['causes']) ? details['causes'].filter(isFields) : [];
  const code = Number(textOf(causes.find((cause) => cause['reason'] === 'ExitCode')?.['message']) ?? NaN);
  return Number.isInteger(code) ? code : undefined;
}

class BoundedOutput {
  readonly #parts: Buffer[] = [];
  #size = 0;

  /** False when it is too much. */
  add(bytes: Buffer): boolean {
    this.#size += bytes.length;
    if (this.#size > MAX_OUTPUT_BYTES) return false;
    this.#parts.push(bytes);
    return true;
  }

  text(): string {
    return Buffer.concat(this.#parts).toString();
  }
}

/** Ends a connection whose other side is gone without a word: a quiet command sends nothing by itself. */
function heartbeat(socket: WebSocket): NodeJS.Timeout {
  let isAlive = true;
  socket.on('pong', () => (isAlive = true));
  socket.on('message', () => (isAlive = true));
  return setInterval(() => {
    if (socket.readyState !== WebSocket.OPEN) return;
    if (!isAlive) socket.terminate();
    isAlive = false;
    socket.ping();
  }, PING_INTERVAL_MS);
}
