import { DmaasError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import { judgeNetworkError, plainCause } from './network-error.ts';
import { parseRetryAfter } from './retry.ts';
import type { Verdict } from './retry.ts';

/** What is needed to name things in messages. */
export interface S3Names {
  readonly bucket: string;
  /** URL, without credentials. */
  readonly endpoint: string;
  readonly region: string;
}

/** The parts of an SDK error that decide. */
interface S3Failure {
  /** The error code of S3, e.g. NoSuchBucket; of answers without a body only what the status tells. */
  readonly name: string;
  readonly status: number | undefined;
  readonly message: string;
  readonly region: string | undefined;
  readonly retryAfter: string | undefined;
}

export function readS3Failure(e: unknown): S3Failure {
  const headers = record(record(e, '$response'), 'headers');
  return {
    name: text(e, 'name') ?? '',
    status: number(record(e, '$metadata'), 'httpStatusCode') ?? number(record(e, '$response'), 'statusCode'),
    message: text(e, 'message') ?? '',
    region: text(headers, 'x-amz-bucket-region') ?? text(e, 'Region'),
    retryAfter: text(headers, 'retry-after'),
  };
}

/** Answers to GET and DELETE name what is missing. */
export function isNoSuchKey(e: unknown): boolean {
  return readS3Failure(e).name === 'NoSuchKey';
}

/** Answers to HEAD have no body, only a status. */
export function isNotFound(e: unknown): boolean {
  return readS3Failure(e).status === 404;
}

/** The bucket has no Object Lock, or its server none at all. */
export function hasNoLocks(e: unknown): boolean {
  const { name, status } = readS3Failure(e);
  return name === 'ObjectLockConfigurationNotFoundError' || name === 'NotImplemented' || status === 501 || status === 405;
}

export function isTaken(e: unknown): boolean {
  return readS3Failure(e).status === 412;
}

export function isOutOfRange(e: unknown): boolean {
  return readS3Failure(e).status === 416;
}

/** `action` as in "may not {action}": `write packs/ab`. */
export function judgeS3Error(e: unknown, names: S3Names, action: string): Verdict {
  const failure = readS3Failure(e);
  const { name, status } = failure;
  const cause = plainCause(e, status === undefined ? '' : `HTTP ${String(status)}`);
  const final = (code: ErrorCode, message: string, hint: string): Verdict => ({
    error: new DmaasError(code, message, { cause, hint }),
    retry: false,
  });
  const again = (message: string, hint: string): Verdict => {
    const retryAfterMs = parseRetryAfter(failure.retryAfter, new Date());
    return {
      error: new DmaasError('STORE_UNAVAILABLE', message, { cause, hint }),
      retry: true,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    };
  };

  const refusal = REFUSALS[name];
  if (refusal !== undefined) return final('STORE_ACCESS', `${names.endpoint} ${refusal.fact}`, refusal.hint);
  if (failure.region !== undefined && failure.region !== names.region && isElsewhere(failure)) {
    return final(
      'STORE_ACCESS',
      `bucket ${names.bucket} is in region ${failure.region}, not in ${names.region}`,
      `set the region to ${failure.region}`,
    );
  }
  if (name === 'PermanentRedirect' || name === 'TemporaryRedirect' || status === 301 || status === 307) {
    return final(
      'STORE_ACCESS',
      `bucket ${names.bucket} is not served by ${names.endpoint}`,
      'set the region of the bucket, and its endpoint',
    );
  }
  if (name === 'NoSuchBucket' || name === 'InvalidBucketName') {
    return final(
      'STORE_NOT_FOUND',
      `bucket ${names.bucket} does not exist at ${names.endpoint}`,
      'create the bucket, or check its name, the endpoint and the region',
    );
  }
  if (name === 'ConditionalRequestConflict' || name === 'OperationAborted')
    return again(`another writer was at work in ${names.bucket}`, 'try again');
  if (name === 'BadDigest' || name === 'XAmzContentChecksumMismatch' || failure.message.startsWith('Checksum mismatch')) {
    return again(`what was sent between here and ${names.endpoint} arrived damaged`, 'check the network; try again');
  }
  if (name === 'RequestTimeout' || status === 408)
    return again(`${names.endpoint} waited too long for the request`, 'check the network; try again');
  if (status === 507 || name === 'QuotaExceeded' || name === 'XMinioStorageFull') {
    return final(
      'STORE_UNAVAILABLE',
      `${names.endpoint} has no space left for bucket ${names.bucket}`,
      'free space in the store or raise its quota',
    );
  }
  if (status === 429 || (status !== undefined && status >= 500 && status !== 501)) {
    return again(`${names.endpoint} is overloaded or failing (HTTP ${String(status)})`, 'try again later');
  }
  if (status === 401 || status === 403) {
    return final(
      'STORE_ACCESS',
      `these credentials may not ${action} in bucket ${names.bucket}`,
      'allow s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and s3:DeleteObject on its objects',
    );
  }
  if (status === 404) return final('STORE_NOT_FOUND', `${names.endpoint} does not answer as an S3 server does`, 'check the endpoint');
  if (status !== undefined && status >= 400) {
    return final(
      'STORE_ACCESS',
      `${names.endpoint} refused to ${action} (HTTP ${String(status)}${name === '' ? '' : `, ${name}`})`,
      '"kubectl dmaas location check" shows what the store can do',
    );
  }
  return (
    judgeNetworkError(e, names.endpoint) ??
    (status === undefined
      ? final('INTERNAL', `the S3 client failed to ${action}`, 'report this with the output of -v=8')
      : again(`${names.endpoint} does not answer as an S3 server does`, 'check the endpoint'))
  );
}

function isElsewhere({ name, status }: S3Failure): boolean {
  return (
    name === 'AuthorizationHeaderMalformed' ||
    name === 'IllegalLocationConstraintException' ||
    status === 301 ||
    status === 307 ||
    status === 400
  );
}

/** Answers that say what is wrong with the credentials. The messages of the server are never shown: they quote keys and signatures. */
const REFUSALS: Readonly<Record<string, { readonly fact: string; readonly hint: string }>> = {
  InvalidAccessKeyId: {
    fact: 'does not know this access key',
    hint: 'check the access key of the credential, and that it belongs to this endpoint',
  },
  SignatureDoesNotMatch: {
    fact: 'finds that the secret key does not belong to this access key',
    hint: 'check the secret key of the credential',
  },
  ExpiredToken: { fact: 'finds that the session token has expired', hint: 'get new temporary credentials' },
  ExpiredTokenException: { fact: 'finds that the session token has expired', hint: 'get new temporary credentials' },
  TokenRefreshRequired: { fact: 'finds that the session token has expired', hint: 'get new temporary credentials' },
  InvalidTokenId: { fact: 'refuses the session token', hint: 'get new temporary credentials, or leave the token out with permanent keys' },
  InvalidToken: { fact: 'refuses the session token', hint: 'get new temporary credentials, or leave the token out with permanent keys' },
  RequestTimeTooSkewed: {
    fact: 'finds that the clock of this machine is wrong by more than 15 minutes',
    hint: 'set the clock; timedatectl shows it',
  },
  CredentialsProviderError: {
    fact: 'needs credentials, and none were found',
    hint: 'name a credential, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
  },
};

function record(e: unknown, field: string): unknown {
  return typeof e === 'object' && e !== null ? (e as Record<string, unknown>)[field] : undefined;
}

function text(e: unknown, field: string): string | undefined {
  const value = record(e, field);
  return typeof value === 'string' ? value : undefined;
}

function number(e: unknown, field: string): number | undefined {
  const value = record(e, field);
  return typeof value === 'number' ? value : undefined;
}
