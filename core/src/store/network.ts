import { getCACertificates } from 'node:tls';
import type { RetryClock, RetryPolicy } from './retry.ts';

export interface Timeouts {
  /** To reach the server, name look-up and TLS included. */
  readonly connectMs: number;
  /** Without one byte in either direction. */
  readonly stallMs: number;
}

export const DEFAULT_TIMEOUTS: Timeouts = { connectMs: 10_000, stallMs: 60_000 };
/** Connections kept to one store. About 15 fill 10 Gb/s. */
export const MAX_CONNECTIONS = 32;

/** What the network stores need from outside. */
export interface NetworkDeps {
  /** Default: PROMPT. */
  readonly retry?: RetryPolicy;
  readonly clock?: RetryClock;
  readonly timeouts?: Partial<Timeouts>;
  /** Where HTTPS_PROXY, HTTP_PROXY and NO_PROXY (and their lower-case forms) are looked up. Default: no proxy. */
  readonly proxyEnv?: Readonly<Record<string, string | undefined>>;
}

/** The certificates to trust: Node's (with NODE_EXTRA_CA_CERTS) and the user's. */
export function trustedCertificates(caPem: string | undefined): string[] | undefined {
  return caPem === undefined ? undefined : [...getCACertificates('default'), caPem];
}
