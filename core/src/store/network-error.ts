import { DmaasError } from '../errors.ts';
import type { Verdict } from './retry.ts';

/** What a failed connection's code means to people. Absent codes are shown as they are. */
const MEANINGS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ENOTFOUND: 'unknown host',
  EAI_AGAIN: 'the host name cannot be resolved now',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  ECONNRESET: 'connection lost',
  EPIPE: 'connection lost',
  ECONNABORTED: 'connection lost',
  ERR_STREAM_PREMATURE_CLOSE: 'connection lost',
  UND_ERR_SOCKET: 'connection lost',
  ERR_PROXY_TUNNEL: 'the proxy refuses the connection',
  UND_ERR_ABORTED: 'the proxy refuses the connection',
  ETIMEDOUT: 'timed out',
  UND_ERR_CONNECT_TIMEOUT: 'timed out',
  UND_ERR_HEADERS_TIMEOUT: 'timed out',
  UND_ERR_BODY_TIMEOUT: 'timed out',
};

/** Certificates that OpenSSL (through Node) does not trust because it does not know who signed them. */
const UNKNOWN_SIGNER = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_SIGNATURE_FAILURE',
]);

/**
 * The verdict on a request to `endpoint` that got no whole answer; undefined if `e` is something else. A connection may come
 * back; a certificate that is not trusted stays so.
 */
export function judgeNetworkError(e: unknown, endpoint: string): Verdict | undefined {
  const code = networkCode(e);
  if (code === undefined) return undefined;
  const cause = plainCause(e);
  const final = (message: string, hint: string): Verdict => ({
    error: new DmaasError('STORE_UNAVAILABLE', message, { cause, hint }),
    retry: false,
  });
  if (UNKNOWN_SIGNER.has(code)) {
    return final(
      `the certificate of ${endpoint} is signed by nobody known here`,
      'give the certificate of its authority (PEM) as the CA of the location',
    );
  }
  if (code === 'CERT_HAS_EXPIRED')
    return final(`the certificate of ${endpoint} has expired`, 'renew it on the server; check the clock of this machine');
  if (code === 'CERT_NOT_YET_VALID') return final(`the certificate of ${endpoint} is not valid yet`, 'check the clock of this machine');
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return final(`the certificate of ${endpoint} is for another host`, 'use a host name that the certificate names');
  if (code === 'EPROTO' || code.startsWith('ERR_SSL_'))
    return final(`${endpoint} does not speak TLS`, 'if it serves plain HTTP, write http:// in the endpoint');
  if (code.startsWith('HPE_'))
    return final(`${endpoint} does not answer in HTTP`, 'if it serves TLS, write https:// in the endpoint; check the port');
  const message = `no answer from ${endpoint} (${MEANINGS[code] ?? code})`;
  const hint = 'check the endpoint and that it can be reached from here';
  return { error: new DmaasError('STORE_UNAVAILABLE', message, { cause, hint }), retry: true };
}

/** The code of the innermost cause that has one; a library's own time-outs count as ETIMEDOUT. */
function networkCode(e: unknown): string | undefined {
  if (!(e instanceof Error)) return undefined;
  if (e.name === 'TimeoutError') return 'ETIMEDOUT';
  if (e instanceof AggregateError && e.errors.length > 0) return networkCode(e.errors[0]); // one error for each address of the host
  if ('code' in e && typeof e.code === 'string' && /^[A-Z][A-Z_0-9]+$/.test(e.code)) return e.code;
  if (e.message === 'aborted' || e.message === 'socket hang up') return 'ECONNRESET';
  return networkCode(e.cause);
}

/** An error's name and code alone: what libraries attach to errors holds request headers and keys. */
export function plainCause(e: unknown, facts = ''): Error {
  const name = e instanceof Error ? e.name : typeof e;
  const code = networkCode(e);
  const cause = new Error([name, code, facts].filter((part) => part !== undefined && part !== '').join(' '));
  delete cause.stack;
  return cause;
}
