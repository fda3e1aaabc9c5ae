import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { GoogleAuth, JWT } from 'google-auth-library';
import type { AuthClient } from 'google-auth-library';
import { Agent, EnvHttpProxyAgent, fetch as undiciFetch, request as httpRequest } from 'undici';
import type { Dispatcher } from 'undici';
import * as z from 'zod';
import { DmaasError } from '../errors.ts';
import type { GcsConfig } from './config.ts';
import { GcsFailure, judgeGcsError, TokenFailure } from './gcs-error.ts';
import type { GcsNames } from './gcs-error.ts';
import { assertIntact, assertKey, assertKeyPrefix, assertRange, existsError, isKey, rangeError } from './keys.ts';
import type { ByteRange } from './keys.ts';
import { listInOrder } from './list-order.ts';
import type { ListPage } from './list-order.ts';
import { DEFAULT_TIMEOUTS, MAX_CONNECTIONS } from './network.ts';
import type { NetworkDeps } from './network.ts';
import type { CallOptions, ObjectInfo, ObjectStore, PutOptions } from './object-store.ts';
import { PROMPT, withRetry } from './retry.ts';

/** Bodies are handed over in slices, so that each slice sent counts as progress. */
const SLICE_BYTES = 256 * 1024;
const PAGE_OBJECTS = 1000;
const SCOPE = 'https://www.googleapis.com/auth/devstorage.read_write';

type Authorize = (url: string) => Promise<Record<string, string>>;

/**
 * The whole bucket: a prefix in the configuration is left to `withPrefix`. Google's library finds the credentials and keeps the
 * tokens. The five requests to the JSON API are made here and not by @google-cloud/storage: its requests (8.4) ignore their
 * time-outs and cannot be cancelled, so that a server which stops answering would hold a mover for ever, and it prints.
 */
export function openGcsStore(config: GcsConfig, deps: NetworkDeps = {}): ObjectStore {
  const { connectMs, stallMs } = { ...DEFAULT_TIMEOUTS, ...deps.timeouts };
  const agent = {
    connections: MAX_CONNECTIONS,
    connect: { timeout: connectMs },
    headersTimeout: stallMs,
    bodyTimeout: stallMs,
    allowH2: false,
  };
  const dispatcher = deps.proxyEnv === undefined ? new Agent(agent) : new EnvHttpProxyAgent({ ...agent, ...proxies(deps.proxyEnv) });
  const endpoint = config.endpoint?.replace(/\/+$/, '') ?? `https://storage.${config.credentials?.universe_domain ?? 'googleapis.com'}`;
  const anonymous = config.endpoint !== undefined && config.credentials === undefined;
  const authorize = anonymous ? () => Promise.resolve({}) : authorizeAs(config.credentials, dispatcher);
  return new GcsStore(dispatcher, authorize, { bucket: config.bucket, endpoint }, deps);
}

interface Request {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Below the endpoint. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: readonly Uint8Array[];
  readonly signal?: AbortSignal | undefined;
}

interface Answer {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Uint8Array;
}

class GcsStore implements ObjectStore {
  readonly location: string;
  readonly #dispatcher: Dispatcher;
  readonly #authorize: Authorize;
  readonly #names: GcsNames;
  readonly #deps: NetworkDeps;
  /** Something was found in the bucket, so it exists. */
  #bucketSeen = false;

  constructor(dispatcher: Dispatcher, authorize: Authorize, names: GcsNames, deps: NetworkDeps) {
    this.location = `gs://${names.bucket}`;
    this.#dispatcher = dispatcher;
    this.#authorize = authorize;
    this.#names = names;
    this.#deps = deps;
  }

  async put(key: string, body: Uint8Array, opts: PutOptions = {}): Promise<void> {
    assertKey(key);
    const request = uploadRequest(this.#names.bucket, key, body, opts);
    await this.#call(`write ${key}`, opts.signal, async (attempt) => {
      assertIntact(this.location, key, body, opts);
      try {
        const { body: answer } = await this.#request(request);
        if (objectInfo(objectSchema.parse(parseJson(answer))).size !== body.length) throw new BadAnswer();
      } catch (e) {
        if (opts.ifAbsent !== true || !hasStatus(e, 412)) throw e;
        // An earlier try may have been carried out although its answer was lost.
        if (attempt === 1 || !(await this.#holds(key, body, opts.signal))) throw existsError(this.location, key);
      }
    });
    this.#bucketSeen = true;
  }

  async get(key: string, opts: CallOptions & { readonly range?: ByteRange } = {}): Promise<Uint8Array | undefined> {
    assertKey(key);
    if (opts.range !== undefined) assertRange(opts.range);
    const body = await this.#call(`read ${key}`, opts.signal, () => this.#getOnce(key, opts.range, opts.signal));
    return body ?? this.#absent(opts);
  }

  async stat(key: string, opts: CallOptions = {}): Promise<ObjectInfo | undefined> {
    assertKey(key);
    const info = await this.#call(`read ${key}`, opts.signal, () =>
      orAbsent(async () => {
        const { body } = await this.#request({
          method: 'GET',
          path: this.#objectPath(key),
          query: { fields: 'name,size,updated' },
          signal: opts.signal,
        });
        return objectInfo(objectSchema.parse(parseJson(body)));
      }),
    );
    return info ?? this.#absent(opts);
  }

  list(prefix: string, opts: CallOptions = {}): AsyncIterable<ObjectInfo> {
    assertKeyPrefix(prefix);
    return listInOrder((query) => this.#page(query, PAGE_OBJECTS, opts), prefix, this.location);
  }

  async delete(key: string, opts: CallOptions = {}): Promise<void> {
    assertKey(key);
    const deleted = await this.#call(`delete ${key}`, opts.signal, () =>
      orAbsent(() => this.#request({ method: 'DELETE', path: this.#objectPath(key), signal: opts.signal })),
    );
    if (deleted === undefined) await this.#absent(opts);
  }

  async close(): Promise<void> {
    await this.#dispatcher.destroy();
  }

  #objectPath(key: string): string {
    return `/storage/v1/b/${this.#names.bucket}/o/${encodeURIComponent(key)}`;
  }

  async #getOnce(key: string, range: ByteRange | undefined, signal: AbortSignal | undefined): Promise<Uint8Array | undefined> {
    const headers = range === undefined ? {} : { range: `bytes=${String(range.offset)}-${String(range.offset + range.length - 1)}` };
    let answer: Answer;
    try {
      answer = await this.#request({ method: 'GET', path: this.#objectPath(key), query: { alt: 'media' }, headers, signal });
    } catch (e) {
      if (hasStatus(e, 404)) return undefined;
      if (range !== undefined && hasStatus(e, 416)) throw rangeError(this.location, key, range);
      throw e;
    }
    const { body } = answer;
    if (answer.headers['x-goog-generation'] === undefined) throw new BadAnswer();
    this.#bucketSeen = true;
    if (range === undefined) return body;
    const [, first, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(String(answer.headers['content-range'])) ?? [];
    if (Number(total) < range.offset + range.length) throw rangeError(this.location, key, range, Number(total));
    if (Number(first) !== range.offset || body.length !== range.length) throw new BadAnswer();
    return body;
  }

  async #holds(key: string, body: Uint8Array, signal: AbortSignal | undefined): Promise<boolean> {
    const stored = await this.#getOnce(key, undefined, signal);
    return stored !== undefined && Buffer.compare(stored, body) === 0;
  }

  /** Absence is an answer only if the bucket is there: 404 says which of the two is missing to people alone. */
  async #absent(opts: CallOptions): Promise<undefined> {
    if (!this.#bucketSeen) await this.#page({ prefix: '', byFolder: false, token: undefined }, 1, opts);
    return undefined;
  }

  async #page(query: { prefix: string; byFolder: boolean; token: string | undefined }, size: number, opts: CallOptions): Promise<ListPage> {
    const page = await this.#call(`list ${query.prefix === '' ? 'objects' : query.prefix}`, opts.signal, async () => {
      const { body } = await this.#request({
        method: 'GET',
        path: `/storage/v1/b/${this.#names.bucket}/o`,
        query: {
          prefix: query.prefix,
          maxResults: String(size),
          delimiter: query.byFolder ? '/' : undefined,
          pageToken: query.token,
          fields: 'kind,items(name,size,updated),prefixes,nextPageToken',
        },
        signal: opts.signal,
      });
      return pageSchema.parse(parseJson(body));
    });
    this.#bucketSeen = true;
    return {
      objects: (page.items ?? []).filter((item) => isKey(item.name)).map(objectInfo),
      folders: (page.prefixes ?? []).filter((folder) => isKey(`${folder}x`)),
      next: page.nextPageToken === '' ? undefined : page.nextPageToken,
    };
  }

  async #request(request: Request): Promise<Answer> {
    const query = new URLSearchParams(
      Object.entries(request.query ?? {}).filter((entry): entry is [string, string] => entry[1] !== undefined),
    );
    const url = `${this.#names.endpoint}${request.path}${query.size === 0 ? '' : `?${query.toString()}`}`;
    const answer = await httpRequest(url, {
      dispatcher: this.#dispatcher,
      method: request.method,
      headers: { ...(await this.#authorize(url)), ...request.headers },
      body: request.body === undefined ? null : Readable.from(slices(request.body)),
      signal: request.signal ?? null,
    });
    if (answer.statusCode < 200 || answer.statusCode > 299) {
      await answer.body.dump();
      throw new GcsFailure(answer.statusCode, single(answer.headers['retry-after']));
    }
    const received = await answer.body.bytes();
    const promised = single(answer.headers['content-length']);
    if (promised !== undefined && Number(promised) !== received.length) throw new BadAnswer();
    return { headers: answer.headers, body: received };
  }

  #call<T>(action: string, signal: AbortSignal | undefined, attempt: (n: number) => Promise<T>): Promise<T> {
    const judge = (e: unknown) =>
      e instanceof BadAnswer || e instanceof z.ZodError || e instanceof SyntaxError
        ? {
            retry: true,
            error: new DmaasError('STORE_UNAVAILABLE', `${this.#names.endpoint} sent an answer of the wrong form or length`, {
              hint: 'check the endpoint, and proxies in between',
            }),
          }
        : judgeGcsError(e, this.#names, action);
    const { retry: policy = PROMPT, clock } = this.#deps;
    return withRetry(attempt, judge, { policy, signal, ...(clock === undefined ? {} : { clock }) });
  }
}

/** An answer without the bytes that its own headers promise. */
class BadAnswer extends Error {}

const objectSchema = z.object({ name: z.string(), size: z.string().regex(/^\d+$/), updated: z.iso.datetime({ offset: true }) });
const pageSchema = z.object({
  kind: z.literal('storage#objects'),
  items: z.array(objectSchema).optional(),
  prefixes: z.array(z.string()).optional(),
  nextPageToken: z.string().optional(),
});

function objectInfo(object: z.infer<typeof objectSchema>): ObjectInfo {
  return { key: object.name, size: Number(object.size), modifiedAt: new Date(object.updated) };
}

/** One request with metadata and body; the server checks the MD5 and refuses what arrives damaged. */
function uploadRequest(bucket: string, key: string, body: Uint8Array, opts: CallOptions & { readonly ifAbsent?: boolean }): Request {
  const boundary = `dmaas-${randomBytes(16).toString('hex')}`;
  const metadata = { name: key, contentType: 'application/octet-stream', md5Hash: createHash('md5').update(body).digest('base64') };
  const head = `--${boundary}\r\ncontent-type: application/json\r\n\r\n${JSON.stringify(metadata)}\r\n--${boundary}\r\ncontent-type: application/octet-stream\r\n\r\n`;
  const parts = [Buffer.from(head), body, Buffer.from(`\r\n--${boundary}--`)];
  return {
    method: 'POST',
    path: `/upload/storage/v1/b/${bucket}/o`,
    query: { uploadType: 'multipart', ifGenerationMatch: opts.ifAbsent === true ? '0' : undefined },
    headers: {
      'content-type': `multipart/related; boundary=${boundary}`,
      'content-length': String(parts.reduce((sum, part) => sum + part.length, 0)),
    },
    body: parts,
    signal: opts.signal,
  };
}

function* slices(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  for (const part of parts) {
    for (let at = 0; at < part.length; at += SLICE_BYTES) yield part.subarray(at, at + SLICE_BYTES);
  }
}

/**
 * As the service account; without one, as whoever this process is (application default credentials). Requests for tokens go the
 * same way as those for objects. Google's library repeats them up to three times itself, and cannot be told not to.
 */
function authorizeAs(key: GcsConfig['credentials'], dispatcher: Dispatcher): Authorize {
  const fetchImplementation = ((url: string, init: object) => undiciFetch(url, { ...init, dispatcher })) as unknown as typeof fetch;
  const options = { scopes: [SCOPE], transporterOptions: { fetchImplementation } };
  let client: Promise<Pick<AuthClient, 'getRequestHeaders'>> | undefined;
  const find = () =>
    key === undefined
      ? new GoogleAuth({ scopes: options.scopes, clientOptions: options }).getClient()
      : Promise.resolve(new JWT({ email: key.client_email, key: key.private_key, ...options }));
  return async (url) => {
    try {
      const headers = await (await (client ??= find())).getRequestHeaders(url);
      return Object.fromEntries(headers.entries());
    } catch (e) {
      client = undefined;
      throw new TokenFailure('no token', { cause: e });
    }
  };
}

function proxies(env: Readonly<Record<string, string | undefined>>) {
  const of = (name: string) => env[name.toLowerCase()] ?? env[name] ?? '';
  return { httpProxy: of('HTTP_PROXY'), httpsProxy: of('HTTPS_PROXY'), noProxy: of('NO_PROXY') };
}

async function orAbsent<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (e) {
    if (hasStatus(e, 404)) return undefined;
    throw e;
  }
}

function hasStatus(e: unknown, status: number): boolean {
  return e instanceof GcsFailure && e.status === status;
}

function parseJson(body: Uint8Array): unknown {
  return JSON.parse(new TextDecoder().decode(body));
}

function single(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
