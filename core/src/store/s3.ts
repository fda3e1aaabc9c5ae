import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  GetObjectLockConfigurationCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  PutObjectRetentionCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import type { GetObjectCommandOutput, ObjectLockMode, ObjectLockRule } from '@aws-sdk/client-s3';
import { DmaasError } from '../errors.ts';
import type { S3Config } from './config.ts';
import { assertIntact, assertKey, assertKeyPrefix, assertRange, existsError, isKey, rangeError } from './keys.ts';
import type { ByteRange } from './keys.ts';
import { listInOrder } from './list-order.ts';
import type { ListPage } from './list-order.ts';
import { DEFAULT_TIMEOUTS, MAX_CONNECTIONS, trustedCertificates } from './network.ts';
import type { NetworkDeps } from './network.ts';
import type { CallOptions, ObjectInfo, ObjectLocks, ObjectStore, PutOptions } from './object-store.ts';
import { readBody } from './read-body.ts';
import { PROMPT, withRetry } from './retry.ts';
import { hasNoLocks, isNoSuchKey, isNotFound, isOutOfRange, isTaken, judgeS3Error } from './s3-error.ts';
import type { S3Names } from './s3-error.ts';

/** The whole bucket: a prefix in the configuration is left to `withPrefix`. */
export function openS3Store(config: S3Config, deps: NetworkDeps = {}): ObjectStore {
  const region = config.region ?? DEFAULT_REGION;
  const names = { bucket: config.bucket, region, endpoint: config.endpoint ?? `https://s3.${region}.amazonaws.com` };
  return new S3Store(clientFor(config, deps), names, config.checksums !== 'when-required', deps);
}

const DEFAULT_REGION = 'us-east-1';

function clientFor(config: S3Config, deps: NetworkDeps): S3Client {
  const timeouts = { ...DEFAULT_TIMEOUTS, ...deps.timeouts };
  const ca = trustedCertificates(config.caPem);
  const agent = { keepAlive: true, maxSockets: MAX_CONNECTIONS, ...(deps.proxyEnv === undefined ? {} : { proxyEnv: deps.proxyEnv }) };
  return new S3Client({
    region: config.region ?? DEFAULT_REGION,
    ...(config.endpoint === undefined ? {} : { endpoint: config.endpoint }),
    // The configuration is the whole truth: an endpoint in the environment must not divert a stored location.
    ignoreConfiguredEndpointUrls: true,
    forcePathStyle: config.pathStyle ?? config.endpoint !== undefined,
    ...(config.credentials === undefined ? {} : { credentials: definedFields(config.credentials) }),
    ...(config.checksums === 'when-required'
      ? { requestChecksumCalculation: 'WHEN_REQUIRED' as const, responseChecksumValidation: 'WHEN_REQUIRED' as const }
      : {}),
    expectContinueHeader: false,
    maxAttempts: 1, // withRetry is the one policy
    requestHandler: {
      connectionTimeout: timeouts.connectMs,
      logger: SILENT, // the handler's own default prints warnings
      socketTimeout: timeouts.stallMs,
      httpAgent: new HttpAgent(agent),
      httpsAgent: new HttpsAgent({ ...agent, ...(ca === undefined ? {} : { ca }) }),
    },
  });
}

class S3Store implements ObjectStore {
  readonly location: string;
  readonly locks: ObjectLocks = {
    days: async (opts) => {
      try {
        const rule = await this.#lockRule(opts);
        this.#lockMode = rule?.DefaultRetention?.Mode;
        return daysOf(rule);
      } catch (e) {
        // Few policies name this right, and most buckets have no such rule.
        if (DmaasError.is(e, 'STORE_ACCESS')) return undefined;
        throw e;
      }
    },
    extend: (key, time, opts) => this.#extendLock(key, time, opts),
  };
  readonly #client: S3Client;
  readonly #names: S3Names;
  readonly #deps: NetworkDeps;
  readonly #sendsChecksums: boolean;
  /** Of the bucket's rule, when it was last asked for. */
  #lockMode: ObjectLockMode | undefined;
  /** Something was found in the bucket, so it exists. */
  #bucketSeen = false;

  constructor(client: S3Client, names: S3Names, sendsChecksums: boolean, deps: NetworkDeps) {
    this.#sendsChecksums = sendsChecksums;
    this.location = `s3://${names.bucket}`;
    this.#client = client;
    this.#names = names;
    this.#deps = deps;
  }

  async put(key: string, body: Uint8Array, opts: PutOptions = {}): Promise<void> {
    assertKey(key);
    await this.#call(`write ${key}`, opts.signal, async (attempt) => {
      assertIntact(this.location, key, body, opts);
      const condition = opts.ifAbsent === true ? { IfNoneMatch: '*' } : {};
      // What was computed when the body was made, so that the server finds what changes from here on.
      const checksum = opts.crc32 !== undefined && this.#sendsChecksums ? { ChecksumCRC32: checksumText(opts.crc32) } : {};
      const command = new PutObjectCommand({ Bucket: this.#names.bucket, Key: key, Body: body, ...condition, ...checksum });
      if (checksum.ChecksumCRC32 !== undefined) leaveBodyUnsigned(command);
      try {
        const answer = await this.#client.send(command, abortOptions(opts));
        if (answer.ETag === undefined) throw new BadAnswer();
      } catch (e) {
        if (opts.ifAbsent !== true || !isTaken(e)) throw e;
        // An earlier try may have been carried out although its answer was lost.
        if (attempt === 1 || !(await this.#holds(key, body, opts))) throw existsError(this.location, key);
      }
    });
    this.#bucketSeen = true;
  }

  async get(key: string, opts: CallOptions & { readonly range?: ByteRange } = {}): Promise<Uint8Array | undefined> {
    assertKey(key);
    if (opts.range !== undefined) assertRange(opts.range);
    return this.#call(`read ${key}`, opts.signal, () => this.#getOnce(key, opts));
  }

  async stat(key: string, opts: CallOptions = {}): Promise<ObjectInfo | undefined> {
    assertKey(key);
    const info = await this.#call(`read ${key}`, opts.signal, async () => {
      try {
        const head = await this.#client.send(new HeadObjectCommand({ Bucket: this.#names.bucket, Key: key }), abortOptions(opts));
        if (head.ContentLength === undefined || head.LastModified === undefined) throw new BadAnswer();
        return { key, size: head.ContentLength, modifiedAt: head.LastModified };
      } catch (e) {
        if (isNotFound(e)) return undefined;
        throw e;
      }
    });
    // The answer to HEAD has no body that tells a missing object from a missing bucket.
    if (info === undefined && !this.#bucketSeen) await this.#requireBucket(opts);
    this.#bucketSeen = true;
    return info;
  }

  list(prefix: string, opts: CallOptions = {}): AsyncIterable<ObjectInfo> {
    assertKeyPrefix(prefix);
    return listInOrder((query) => this.#page(query, opts), prefix, this.location);
  }

  async delete(key: string, opts: CallOptions = {}): Promise<void> {
    assertKey(key);
    await this.#call(`delete ${key}`, opts.signal, async () => {
      try {
        await this.#client.send(new DeleteObjectCommand({ Bucket: this.#names.bucket, Key: key }), abortOptions(opts));
      } catch (e) {
        if (!isNoSuchKey(e)) throw e; // AWS answers 204, some others 404
      }
    });
  }

  close(): Promise<void> {
    this.#client.destroy();
    return Promise.resolve();
  }

  async #lockRule(opts: CallOptions = {}): Promise<ObjectLockRule | undefined> {
    return this.#call('read the lock', opts.signal, async () => {
      try {
        const answer = await this.#client.send(new GetObjectLockConfigurationCommand({ Bucket: this.#names.bucket }), abortOptions(opts));
        return answer.ObjectLockConfiguration?.Rule;
      } catch (e) {
        if (hasNoLocks(e)) return undefined;
        throw e;
      }
    });
  }

  async #extendLock(key: string, { until, enough }: { until: Date; enough: Date }, opts: CallOptions = {}): Promise<boolean> {
    assertKey(key);
    const Bucket = this.#names.bucket;
    return this.#call(`lock ${key}`, opts.signal, async () => {
      try {
        const head = await this.#client.send(new HeadObjectCommand({ Bucket, Key: key }), abortOptions(opts));
        if ((head.ObjectLockRetainUntilDate ?? new Date(0)) >= enough) return false;
        // A lock keeps its mode: one that nobody may take away cannot become one that some may.
        const Mode = head.ObjectLockMode ?? this.#lockMode ?? 'GOVERNANCE';
        const Retention = { Mode, RetainUntilDate: until };
        await this.#client.send(new PutObjectRetentionCommand({ Bucket, Key: key, Retention }), abortOptions(opts));
        return true;
      } catch (e) {
        if (isNotFound(e)) return false;
        throw e;
      }
    });
  }

  async #getOnce(key: string, opts: CallOptions & { readonly range?: ByteRange }): Promise<Uint8Array | undefined> {
    const { range } = opts;
    const header = range === undefined ? {} : { Range: `bytes=${String(range.offset)}-${String(range.offset + range.length - 1)}` };
    let answer: GetObjectCommandOutput;
    try {
      answer = await this.#client.send(new GetObjectCommand({ Bucket: this.#names.bucket, Key: key, ...header }), abortOptions(opts));
    } catch (e) {
      if (isNoSuchKey(e)) return undefined;
      if (range !== undefined && isOutOfRange(e)) throw rangeError(this.location, key, range);
      throw e;
    }
    const body = await bodyOf(answer, range);
    if (body === undefined || answer.ETag === undefined) throw new BadAnswer();
    this.#bucketSeen = true;
    if (range === undefined) return body;
    const [, first, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.ContentRange ?? '') ?? [];
    if (Number(total) < range.offset + range.length) throw rangeError(this.location, key, range, Number(total));
    if (Number(first) !== range.offset || body.length !== range.length) throw new BadAnswer();
    return body;
  }

  async #holds(key: string, body: Uint8Array, opts: CallOptions): Promise<boolean> {
    const stored = await this.#getOnce(key, opts.signal === undefined ? {} : { signal: opts.signal });
    return stored !== undefined && Buffer.compare(stored, body) === 0;
  }

  async #page(query: { prefix: string; byFolder: boolean; token: string | undefined }, opts: CallOptions): Promise<ListPage> {
    const answer = await this.#call(`list ${query.prefix === '' ? 'objects' : query.prefix}`, opts.signal, async () => {
      const page = await this.#client.send(
        new ListObjectsV2Command({
          Bucket: this.#names.bucket,
          Prefix: query.prefix,
          EncodingType: 'url', // names that others gave may hold what XML cannot
          ...(query.byFolder ? { Delimiter: '/' } : {}),
          ...(query.token === undefined ? {} : { ContinuationToken: query.token }),
        }),
        abortOptions(opts),
      );
      // To the SDK a web page is an empty listing; an empty listing says that all backups are gone.
      if (page.IsTruncated === undefined || (page.IsTruncated && page.NextContinuationToken === undefined)) throw new BadAnswer();
      return page;
    });
    this.#bucketSeen = true;
    const objects = (answer.Contents ?? []).map((object) => ({
      key: decode(object.Key),
      size: object.Size ?? 0,
      modifiedAt: object.LastModified ?? new Date(0),
    }));
    const folders = (answer.CommonPrefixes ?? []).map((folder) => decode(folder.Prefix));
    return {
      objects: objects.filter((object) => isKey(object.key)),
      folders: folders.filter((folder) => isKey(`${folder}x`)),
      next: answer.NextContinuationToken,
    };
  }

  async #requireBucket(opts: CallOptions): Promise<void> {
    await this.#call('look', opts.signal, async () => {
      try {
        await this.#client.send(new HeadBucketCommand({ Bucket: this.#names.bucket }), abortOptions(opts));
      } catch (e) {
        if (!isNotFound(e)) throw e;
        throw Object.assign(new Error(), { name: 'NoSuchBucket' });
      }
    });
  }

  #call<T>(action: string, signal: AbortSignal | undefined, attempt: (n: number) => Promise<T>): Promise<T> {
    const judge = (e: unknown) =>
      e instanceof BadAnswer
        ? {
            retry: true,
            error: new DmaasError('STORE_UNAVAILABLE', `${this.#names.endpoint} sent an answer of the wrong form or length`, {
              hint: 'check the endpoint, and proxies in between',
            }),
          }
        : judgeS3Error(e, this.#names, action);
    const { retry: policy = PROMPT, clock } = this.#deps;
    return withRetry(attempt, judge, { policy, signal, ...(clock === undefined ? {} : { clock }) });
  }
}

/**
 * Has the signature cover the checksum that is sent along, and not a SHA-256 of the body, which would take a quarter of the time of a large
 * upload: what is stored proves itself when it is read, whoever was in between.
 */
function leaveBodyUnsigned(command: PutObjectCommand): void {
  command.middlewareStack.add(
    (next) => (args) => {
      const { headers } = args.request as { readonly headers: Record<string, string> };
      headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD';
      return next(args);
    },
    { step: 'build' },
  );
}

/** Undefined when it is not as long as the answer says. */
function bodyOf(
  { Body: stream, ContentLength: length }: GetObjectCommandOutput,
  range: ByteRange | undefined,
): Promise<Uint8Array | undefined> {
  if (stream === undefined) return Promise.resolve(new Uint8Array(0));
  // In Node it always is a stream of Node's.
  return length === undefined ? stream.transformToByteArray() : readBody(stream as Readable, length, range?.length);
}

function daysOf(rule: ObjectLockRule | undefined): number | undefined {
  const { Days: days, Years: years } = rule?.DefaultRetention ?? {};
  return days ?? (years === undefined ? undefined : years * 365);
}

/** Four bytes, the highest first, in base64. */
function checksumText(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return bytes.toString('base64');
}

const quiet = () => undefined;
const SILENT = { trace: quiet, debug: quiet, info: quiet, warn: quiet, error: quiet };

/** An answer that no S3 server gives: without the bytes that its headers promise, or from something else under that address. */
class BadAnswer extends Error {}

function abortOptions(opts: CallOptions): { abortSignal?: AbortSignal } {
  return opts.signal === undefined ? {} : { abortSignal: opts.signal };
}

function decode(encoded: string | undefined): string {
  try {
    return decodeURIComponent(encoded ?? '');
  } catch {
    return ''; // a server that does not encode, and a name that is none of ours
  }
}

function definedFields(credentials: NonNullable<S3Config['credentials']>) {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
}
