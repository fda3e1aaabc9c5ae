import { X509Certificate } from 'node:crypto';
import type { Dispatcher } from 'undici';
import type { ClientOptions as WebSocketOptions } from 'ws';
import { DmaasError } from '../errors.ts';
import type { Credential } from './exec-credential.ts';
import type { ClusterConfig } from './kubeconfig.ts';

/** Connections to one server that carry one credential. */
export interface Transport {
  readonly dispatcher: Dispatcher;
  /** With the credential in it. */
  readonly headers: Readonly<Record<string, string>>;
  readonly webSocket: () => Promise<WebSocketOptions>;
}

export interface SessionHost {
  readonly openTransport: (config: ClusterConfig, credential: Credential, reuse: Dispatcher | undefined) => Promise<Transport>;
  readonly runPlugin: () => Promise<Credential>;
  readonly readFile: (path: string) => Promise<Uint8Array>;
}

/** Service account tokens are replaced in their file well before they expire; client-go reads it once a minute too. */
const TOKEN_FILE_TTL_MS = 60_000;
/** The library refreshes OIDC tokens when it is asked for headers, so it is asked often. */
const AUTH_PROVIDER_TTL_MS = 10_000;
/** A credential is not used in its last seconds: the request has to arrive, and clocks differ. */
const EXPIRY_MARGIN_MS = 10_000;

/**
 * The one login of a client: gets a credential when the first request needs it, keeps connections while it lasts, replaces it when
 * it expires or the server refuses it.
 */
export class Session {
  readonly config: ClusterConfig;
  readonly #host: SessionHost;
  #current: { readonly transport: Transport; readonly tls: string; readonly expiresAtMs: number } | undefined;
  #pending: Promise<Transport> | undefined;
  #isClosed = false;

  constructor(config: ClusterConfig, host: SessionHost) {
    this.config = config;
    this.#host = host;
  }

  async transport(): Promise<Transport> {
    if (this.#isClosed) throw new DmaasError('INTERNAL', 'the connection to the cluster is closed');
    if (this.#current !== undefined && Date.now() < this.#current.expiresAtMs) return this.#current.transport;
    // One login at a time: a plugin may be asking a person.
    this.#pending ??= this.#login().finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  /** After the server refused the credential of `used`: whether another one can be had, so that the request is worth repeating. */
  renew(used: Transport): boolean {
    const { exec, tokenFile, authProvider } = this.config.user;
    if (exec === undefined && tokenFile === undefined && authProvider === undefined) return false;
    if (this.#current?.transport === used) this.#current = { ...this.#current, expiresAtMs: 0 };
    return true;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#pending?.catch(() => undefined);
    await this.#current?.transport.dispatcher.destroy();
  }

  async #login(): Promise<Transport> {
    const { credential, ttlMs } = await this.#credential();
    const tls = JSON.stringify([credential.certificate, credential.key]);
    const previous = this.#current;
    const reuse = previous?.tls === tls ? previous.transport.dispatcher : undefined;
    const transport = await this.#host.openTransport(this.config, credential, reuse);
    if (previous !== undefined && previous.transport.dispatcher !== transport.dispatcher) {
      // Requests under way end as they began; nobody waits for that.
      previous.transport.dispatcher.close().catch(() => undefined);
    }
    const expiresAtMs = Math.min(Date.now() + ttlMs, (credential.expiresAtMs ?? Infinity) - EXPIRY_MARGIN_MS);
    this.#current = { transport, tls, expiresAtMs };
    return transport;
  }

  async #credential(): Promise<{ readonly credential: Credential; readonly ttlMs: number }> {
    const { user } = this.config;
    if (user.exec !== undefined) return { credential: await this.#host.runPlugin(), ttlMs: Infinity };
    const { tokenFile, ...fixed } = user;
    if (tokenFile === undefined) return { credential: fixed, ttlMs: user.authProvider === undefined ? Infinity : AUTH_PROVIDER_TTL_MS };
    const bytes = await this.#host.readFile(tokenFile).catch((cause: unknown) => {
      throw new DmaasError('CLUSTER_FORBIDDEN', `the token file ${tokenFile} cannot be read`, { cause });
    });
    return { credential: { ...fixed, token: new TextDecoder().decode(bytes).trim() }, ttlMs: TOKEN_FILE_TTL_MS };
  }
}

/** The headers that make the server treat a request as somebody else's. */
export function impersonationHeaders({ impersonate }: ClusterConfig): Record<string, string | string[]> {
  if (impersonate === undefined) return {};
  const extra = Object.entries(impersonate.extra).map(
    ([key, values]) => [`Impersonate-Extra-${encodeURIComponent(key)}`, [...values]] as const,
  );
  return {
    'Impersonate-User': impersonate.user,
    ...(impersonate.groups.length === 0 ? {} : { 'Impersonate-Group': [...impersonate.groups] }),
    ...(impersonate.uid === undefined ? {} : { 'Impersonate-Uid': impersonate.uid }),
    ...Object.fromEntries(extra),
  };
}

/** When a credential says itself that it is past its time: the date, for messages. */
export function expiredAt(
  { certificate, token }: { readonly certificate?: string; readonly token?: string },
  nowMs: number,
): string | undefined {
  const expiresAtMs = token === undefined ? certificateExpiryMs(certificate) : tokenExpiryMs(token);
  return expiresAtMs !== undefined && expiresAtMs < nowMs ? new Date(expiresAtMs).toISOString().slice(0, 16).replace('T', ' ') : undefined;
}

function certificateExpiryMs(certificate: string | undefined): number | undefined {
  if (certificate === undefined) return undefined;
  try {
    return new X509Certificate(certificate).validToDate.getTime();
  } catch {
    return undefined;
  }
}

function tokenExpiryMs(token: string): number | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString());
    const { exp } = claims as { exp?: unknown };
    return typeof exp === 'number' ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}
