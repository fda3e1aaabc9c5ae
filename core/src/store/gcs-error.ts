import { DmaasError } from '../errors.ts';
import type { ErrorCode } from '../errors.ts';
import { judgeNetworkError, plainCause } from './network-error.ts';
import { parseRetryAfter } from './retry.ts';
import type { Verdict } from './retry.ts';

export interface GcsNames {
  readonly bucket: string;
  /** URL, without a path. */
  readonly endpoint: string;
}

/** An answer that is not a success. The body stays out of it: it may quote the request. */
export class GcsFailure extends Error {
  override readonly name = 'GcsFailure';
  readonly status: number;
  readonly retryAfter: string | undefined;

  constructor(status: number, retryAfter: string | undefined) {
    super(`HTTP ${String(status)}`);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** No token could be had. */
export class TokenFailure extends Error {
  override readonly name = 'TokenFailure';
}

/** `action` as in "may not {action}": `write packs/ab`. */
export function judgeGcsError(e: unknown, names: GcsNames, action: string): Verdict {
  if (e instanceof TokenFailure) return judgeTokenFailure(e.cause);
  if (!(e instanceof GcsFailure)) {
    return (
      judgeNetworkError(e, names.endpoint) ?? {
        error: new DmaasError('INTERNAL', `the GCS client failed to ${action}`, { cause: plainCause(e) }),
        retry: false,
      }
    );
  }
  const { status } = e;
  const final = (code: ErrorCode, message: string, hint: string): Verdict => ({
    error: new DmaasError(code, message, { cause: plainCause(e, e.message), hint }),
    retry: false,
  });
  if (status === 429 || status === 408 || status >= 500) {
    const retryAfterMs = parseRetryAfter(e.retryAfter, new Date());
    const { error } = final('STORE_UNAVAILABLE', `${names.endpoint} is overloaded or failing (HTTP ${String(status)})`, 'try again later');
    return { error, retry: true, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) };
  }
  if (status === 401)
    return final('STORE_ACCESS', `${names.endpoint} does not accept these credentials`, 'check the service account key: it may be revoked');
  if (status === 403) {
    return final(
      'STORE_ACCESS',
      `these credentials may not ${action} in bucket ${names.bucket}`,
      'grant the role roles/storage.objectAdmin on the bucket to the service account',
    );
  }
  if (status === 404)
    return final(
      'STORE_NOT_FOUND',
      `bucket ${names.bucket} does not exist at ${names.endpoint}`,
      'create the bucket, or check its name and the endpoint',
    );
  return final(
    'STORE_ACCESS',
    `${names.endpoint} refused to ${action} (HTTP ${String(status)})`,
    '"kubectl dmaas location check" shows what the store can do',
  );
}

/** The library's own messages quote the key file; only what kind of failure it is gets out. */
function judgeTokenFailure(e: unknown): Verdict {
  const status = statusOf(e);
  const cause = plainCause(e, status === undefined ? '' : `HTTP ${String(status)}`);
  const final = (message: string, hint: string): Verdict => ({
    error: new DmaasError('STORE_ACCESS', message, { cause, hint }),
    retry: false,
  });
  if (status !== undefined && status >= 500) {
    return {
      error: new DmaasError('STORE_UNAVAILABLE', `Google gives no token now (HTTP ${String(status)})`, { cause, hint: 'try again later' }),
      retry: true,
    };
  }
  if (status !== undefined)
    return final(
      `Google refuses the service account (HTTP ${String(status)})`,
      'check that the service account exists and its key is not revoked; check the clock of this machine',
    );
  const network = judgeNetworkError(e, 'Google for a token');
  if (network?.retry === true && !isKeyError(e)) return network;
  return final('no usable Google credentials', 'give the JSON key of a service account, or set GOOGLE_APPLICATION_CREDENTIALS');
}

function statusOf(e: unknown): number | undefined {
  const status = typeof e === 'object' && e !== null && 'status' in e ? e.status : undefined;
  return typeof status === 'number' ? status : undefined;
}

/** OpenSSL's complaint about a private key. */
function isKeyError(e: unknown): boolean {
  return e instanceof Error && 'code' in e && typeof e.code === 'string' && e.code.startsWith('ERR_');
}
