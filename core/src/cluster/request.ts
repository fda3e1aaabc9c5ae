import { setTimeout as sleep } from 'node:timers/promises';
import { request } from 'undici';
import type { Dispatcher } from 'undici';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { ObjectRef } from '../model.ts';
import { parseJson, stringifyJson } from '../json.ts';
import { VERSION } from '../version.ts';
import type { Access } from './cluster.ts';
import { isFields } from './kubeconfig-file.ts';
import type { Fields } from './kubeconfig-file.ts';
import { networkFailure, notAnApiServer, responseError } from './response-errors.ts';
import type { Subject } from './response-errors.ts';
import { expiredAt, impersonationHeaders } from './session.ts';
import type { Session, Transport } from './session.ts';

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
  /** What it is about, in terms of RBAC. */
  readonly access: Access;
  readonly ref?: ObjectRef;
  /** Whether a second run does no harm, so that it may be repeated although the server may have seen it. */
  readonly isRepeatable: boolean;
  readonly signal?: AbortSignal;
  /** Breaks a stream in which nothing comes for this long. */
  readonly idleTimeoutMs?: number;
}

type Body = Dispatcher.ResponseData['body'];

const USER_AGENT = `dmaas/${VERSION}`;
const DEFAULT_TIMEOUT_MS = 60_000; // the server's own limit for all requests but watches and streams
const MAX_ATTEMPTS = 6;
const MAX_RETRY_AFTER_MS = 30_000;

/** HTTP to one API server: login, retries, and errors in our own words. */
export class ApiClient {
  readonly session: Session;
  /** Without credentials, for messages. */
  readonly server: string;
  readonly #timeoutMs: number;
  #hasAnswered = false;

  constructor(session: Session) {
    this.session = session;
    const { origin, pathname } = new URL(session.config.server);
    this.server = pathname === '/' ? origin : origin + pathname;
    this.#timeoutMs = session.config.requestTimeoutMs ?? DEFAULT_TIMEOUT_MS;
  }

  /** The answer as raw JSON; `undefined` for 404. */
  async find(what: ApiRequest): Promise<Fields | undefined> {
    return this.#retrying(what, async () => {
      const { statusCode, retryAfter, text } = await this.#exchange(what);
      if (statusCode >= 300) {
        const status = statusOf(text);
        const isAbsenceAnAnswer = what.method === 'GET' || what.method === 'DELETE';
        // A 404 of something else, a proxy say, is no proof that the object is absent.
        if (statusCode === 404 && isAbsenceAnAnswer && (status !== undefined || text.startsWith('404 page not found'))) return undefined;
        throw responseError(statusCode, status, this.subject(what), retryAfter);
      }
      return this.#parse(text, statusCode, what);
    });
  }

  async json(what: ApiRequest): Promise<Fields> {
    const found = await this.find(what);
    if (found === undefined) throw responseError(404, { kind: 'Status' }, this.subject(what));
    return found;
  }

  /** The answer's body as it comes. The caller ends it. Breaks in the middle surface as errors of the stream: map them with `broken`. */
  async stream(what: ApiRequest): Promise<Body> {
    return this.#retrying(what, async () => {
      const { statusCode, headers, body } = await this.#send(what, what.signal);
      if (statusCode < 300) return body;
      throw responseError(statusCode, statusOf(await body.text()), this.subject(what), retryAfterOf(headers));
    });
  }

  /** The error for a connection that broke. */
  broken(cause: unknown, what?: { readonly signal?: AbortSignal }): DmaasError {
    if (DmaasError.is(cause)) return cause;
    if (what?.signal?.aborted === true) return new DmaasError('CANCELLED', 'stopped', { cause });
    return networkFailure(cause, this.server).error;
  }

  subject({ access, ref }: Pick<ApiRequest, 'access' | 'ref'>): Subject {
    return { server: this.server, kubectlFlags: this.session.config.kubectlFlags, access, ...(ref === undefined ? {} : { ref }) };
  }

  unauthorized(): DmaasError {
    const { kubectlFlags, user } = this.session.config;
    const since = expiredAt(user, Date.now());
    const fact =
      since === undefined
        ? `refused the credentials of ${user.name}`
        : `refused the credentials of ${user.name}, which expired at ${since} UTC`;
    return new DmaasError('CLUSTER_FORBIDDEN', `${this.server} ${fact}`, {
      hint: `log in again, then try: ${['kubectl', ...kubectlFlags, 'auth whoami'].join(' ')}`,
      details: { status: 401 },
    });
  }

  async #exchange(
    what: ApiRequest,
  ): Promise<{ readonly statusCode: number; readonly retryAfter: number | undefined; readonly text: string }> {
    const limits = [
      ...(what.signal === undefined ? [] : [what.signal]),
      ...(this.#timeoutMs > 0 ? [AbortSignal.timeout(this.#timeoutMs)] : []),
    ];
    const { statusCode, headers, body } = await this.#send(what, AbortSignal.any(limits));
    return { statusCode, retryAfter: retryAfterOf(headers), text: await body.text() };
  }

  async #send(what: ApiRequest, signal: AbortSignal | undefined): Promise<Dispatcher.ResponseData<unknown>> {
    const used = await this.session.transport();
    const answer = await this.#sendWith(used, what, signal);
    this.#hasAnswered = true;
    if (answer.statusCode !== 401) return answer;
    await answer.body.dump();
    if (!this.session.renew(used)) throw this.unauthorized();
    const second = await this.#sendWith(await this.session.transport(), what, signal);
    if (second.statusCode !== 401) return second;
    await second.body.dump();
    throw this.unauthorized();
  }

  #sendWith(transport: Transport, what: ApiRequest, signal: AbortSignal | undefined): Promise<Dispatcher.ResponseData<unknown>> {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(what.query ?? {})) if (value !== undefined) query.append(name, String(value));
    const options: Parameters<typeof request>[1] & { allowH2: boolean } = {
      dispatcher: transport.dispatcher,
      allowH2: false, // over HTTP/1.1 one broken connection breaks one request
      method: what.method,
      headers: {
        'user-agent': USER_AGENT,
        accept: what.accept ?? 'application/json',
        ...(what.body === undefined ? {} : { 'content-type': what.contentType ?? 'application/json' }),
        ...transport.headers,
        ...impersonationHeaders(this.session.config),
      },
      headersTimeout: 0, // `signal` is the limit; the log of a container that is silent sends no headers
      bodyTimeout: what.idleTimeoutMs ?? 0,
      ...(what.body === undefined ? {} : { body: stringifyJson(what.body) }),
      ...(signal === undefined ? {} : { signal }),
    };
    return request(`${this.session.config.server}${what.path}${query.size === 0 ? '' : `?${query.toString()}`}`, options);
  }

  #parse(text: string, statusCode: number, what: ApiRequest): Fields {
    let value: unknown;
    try {
      value = parseJson(text);
    } catch {
      value = undefined;
    }
    if (!isFields(value)) throw notAnApiServer(statusCode, this.subject(what));
    return value;
  }

  async #retrying<T>(what: ApiRequest, attempt: () => Promise<T>): Promise<T> {
    for (let n = 1; ; n++) {
      throwIfCancelled(what.signal);
      try {
        return await attempt();
      } catch (e) {
        const { error, waitMs } = this.#judge(e, what, n);
        if (waitMs === undefined || n >= MAX_ATTEMPTS) throw error;
        await sleep(waitMs, undefined, what.signal && { signal: what.signal }).catch(() => undefined);
      }
    }
  }

  /** The error in our words, and after how long another attempt is sensible and harmless. */
  #judge(e: unknown, what: ApiRequest, attempts: number): { readonly error: DmaasError; readonly waitMs?: number } {
    if (what.signal?.aborted === true) return { error: new DmaasError('CANCELLED', 'stopped', { cause: e }) };
    const backoffMs = Math.min(200 * 2 ** (attempts - 1), 5000) * (0.5 + Math.random());
    if (DmaasError.is(e)) {
      const { status, retryAfterSeconds = 0 } = e.details;
      const waitMs = Math.max(backoffMs, Math.min(Number(retryAfterSeconds) * 1000, MAX_RETRY_AFTER_MS));
      // 429 says that the request was not carried out; after 5xx it may have been.
      const isWorthIt = status === 429 || (what.isRepeatable && (status === 500 || status === 502 || status === 503 || status === 504));
      return isWorthIt ? { error: e, waitMs } : { error: e };
    }
    const { error, isSent, isTransient } = networkFailure(e, this.server);
    // A server that never answered is more likely misspelt than restarting: say so at once.
    const isWorthIt = isTransient && this.#hasAnswered && (what.isRepeatable || !isSent);
    return isWorthIt ? { error, waitMs: backoffMs } : { error };
  }
}

/** Seconds; the form with a date is not used by API servers. */
function retryAfterOf(headers: Dispatcher.ResponseData['headers']): number | undefined {
  const seconds = Number(headers['retry-after']);
  return Number.isFinite(seconds) ? seconds : undefined;
}

/** The Status object in the body of a refusal, if it is one. */
export function statusOf(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isFields(value) && value['kind'] === 'Status' ? value : undefined;
  } catch {
    return undefined;
  }
}
