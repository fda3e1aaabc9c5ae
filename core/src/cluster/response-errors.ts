import { DmaasError } from '../errors.ts';
import type { ErrorInit } from '../errors.ts';
import { refName } from '../model.ts';
import type { ObjectRef } from '../model.ts';
import { absent, alreadyExists, canICommand, forbidden, namespaceAbsent } from './api-errors.ts';
import type { Access } from './cluster.ts';
import { printable } from './exec-credential.ts';
import { isFields, textOf } from './kubeconfig-file.ts';
import type { Fields } from './kubeconfig-file.ts';

/** What a request was about, for the sentence that says why it failed. */
export interface Subject {
  /** URL of the server, without credentials. */
  readonly server: string;
  /** The flags with which kubectl asks the same server as the same user. */
  readonly kubectlFlags: readonly string[];
  readonly access: Access;
  readonly ref?: ObjectRef;
}

const RBAC = /User "(.*?)" cannot (\S+) (?:resource "(\S*?)"(?: in API group "(.*?)")?|path "(\S+?)")(?: in the namespace "(.*?)")?/;

/** The error for an answer of the server that is not a success. `status` is the parsed Status object, if the answer was one. */
export function responseError(code: number, status: Fields | undefined, subject: Subject, retryAfterSeconds?: number): DmaasError {
  const message = printable(textOf(status?.['message']) ?? '', 600);
  const init: ErrorInit = { details: { status: code, ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }) } };
  if (code === 403) return refusal(message, subject, init);
  if (code === 404) return missing(status, subject, init);
  if (code === 409) return conflict(status, message, subject, init);
  if (code === 429) return new DmaasError('CLUSTER_UNREACHABLE', `${subject.server} is overloaded and asks to come back later`, init);
  if (code >= 500) {
    const says = message === '' ? '' : `: ${printable(message, 300)}`;
    return new DmaasError('CLUSTER_UNREACHABLE', `${subject.server} could not ${action(subject)} (status ${code})${says}`, init);
  }
  if (status === undefined) return notAnApiServer(code, subject);
  return new DmaasError(
    'CLUSTER_REJECTED',
    `the cluster rejected ${thing(subject)}: ${causes(status, subject) ?? lowerFirst(message)}`,
    init,
  );
}

export function notAnApiServer(code: number, subject: Subject): DmaasError {
  return new DmaasError('CLUSTER_UNREACHABLE', `${subject.server} does not answer like a Kubernetes API server (status ${code})`, {
    hint: 'check the server of the kubeconfig, and the proxy in front of it',
    details: { status: code },
  });
}

/** 403 is RBAC, but also admission: a quota, pod security, a namespace that is going away. */
function refusal(message: string, subject: Subject, init: ErrorInit): DmaasError {
  const [, user, verb, resource, group, path, namespace] = RBAC.exec(message) ?? [];
  if (user !== undefined && verb !== undefined) {
    const what = path ?? resource ?? '';
    const [, name] = /^\S+ "(.*?)" is forbidden/.exec(message) ?? [];
    const access: Access = {
      verb,
      group: group ?? '',
      resource: what,
      ...(namespace === undefined || resource === 'namespaces' ? {} : { namespace }),
      ...(name === undefined || name === '' ? {} : { name }),
    };
    const isAnonymous = user === 'system:anonymous';
    const hint = isAnonymous ? 'the kubeconfig has no credentials that this cluster knows' : canICommand(access, subject.kubectlFlags);
    return forbidden(user, access, { ...init, hint });
  }
  const [, reason] = / is forbidden: (.+)$/s.exec(message) ?? [];
  if (reason === undefined && message === '') {
    return forbidden(undefined, subject.access, { ...init, hint: canICommand(subject.access, subject.kubectlFlags) });
  }
  return new DmaasError('CLUSTER_REJECTED', `the cluster refused ${thing(subject)}: ${lowerFirst(reason ?? message)}`, init);
}

function missing(status: Fields | undefined, subject: Subject, init: ErrorInit): DmaasError {
  const { ref } = subject;
  if (ref === undefined || status === undefined) return notAnApiServer(404, subject);
  const details = detailsOf(status);
  const namespace = textOf(details['name']);
  if (details['kind'] === 'namespaces' && namespace !== undefined && ref.kind !== 'Namespace') return namespaceAbsent(namespace, init);
  return absent(ref, init);
}

function conflict(status: Fields | undefined, message: string, subject: Subject, init: ErrorInit): DmaasError {
  const { ref } = subject;
  if (status?.['reason'] === 'AlreadyExists' && ref !== undefined) return alreadyExists(ref, init);
  const managed = causesOf(status).flatMap((cause) => {
    const manager = /conflict with "(.+?)"/.exec(textOf(cause['message']) ?? '')?.[1];
    return manager === undefined ? [] : [`${textOf(cause['field']) ?? 'a field'} is managed by ${manager}`];
  });
  if (managed.length > 0) return new DmaasError('CLUSTER_CONFLICT', `${thing(subject)}: ${firstFew(managed)}`, init);
  const changed = /object has been modified|precondition|uid mismatch/i.test(message);
  return new DmaasError(
    'CLUSTER_CONFLICT',
    `${thing(subject)} ${changed || message === '' ? 'changed meanwhile' : `is in conflict: ${lowerFirst(message)}`}`,
    init,
  );
}

function causes(status: Fields, subject: Subject): string | undefined {
  const list = causesOf(status).map((cause) => {
    const field = textOf(cause['field']);
    // The server quotes the offending value, which in a Secret is the secret.
    const says =
      subject.ref?.kind === 'Secret' ? (textOf(cause['reason']) ?? 'invalid') : printable(lowerFirst(textOf(cause['message']) ?? ''), 200);
    return field === undefined || field === '' ? says : `${field}: ${says}`;
  });
  return list.length === 0 ? undefined : firstFew(list);
}

function firstFew(list: readonly string[]): string {
  const rest = list.length - 3;
  return [...list.slice(0, 3), ...(rest > 0 ? [`and ${rest} more`] : [])].join('; ');
}

function detailsOf(status: Fields | undefined): Fields {
  const details = status?.['details'];
  return isFields(details) ? details : {};
}

function causesOf(status: Fields | undefined): Fields[] {
  const list = detailsOf(status)['causes'];
  return Array.isArray(list) ? list.filter(isFields) : [];
}

function thing({ ref, access }: Subject): string {
  return ref === undefined ? access.resource : refName(ref, true);
}

function action(subject: Subject): string {
  return `${subject.access.verb} ${thing(subject)}`;
}

/** The server's sentence in our style: without the wrapping its decoder adds and the regular expressions its validation explains itself with. */
function lowerFirst(text: string): string {
  const clean = text
    .replace(/^.*? cannot be handled as an? \w+: /, '')
    .replace(/ \(e\.g\. .*regex used for validation.*$/s, '')
    .replace(/\.$/, '');
  return /^[A-Z][a-z]/.test(clean) ? clean.charAt(0).toLowerCase() + clean.slice(1) : clean;
}

const NETWORK: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection broke off',
  EPIPE: 'connection broke off',
  UND_ERR_SOCKET: 'connection broke off',
  UND_ERR_CLOSED: 'connection closed',
  UND_ERR_DESTROYED: 'connection closed',
  ENOTFOUND: 'unknown host name',
  EAI_AGAIN: 'host name cannot be looked up',
  EHOSTUNREACH: 'host unreachable',
  ENETUNREACH: 'network unreachable',
  ENETDOWN: 'network down',
  ETIMEDOUT: 'connection timed out',
  UND_ERR_CONNECT_TIMEOUT: 'connection timed out',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'the answer stopped coming',
  UND_ERR_PRX_TLS: 'the proxy cannot be trusted',
  EPROTO: 'it does not speak TLS',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS',
};

const TRUST: Readonly<Record<string, string>> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is signed by an unknown authority',
  UNABLE_TO_GET_ISSUER_CERT: 'its certificate is signed by an unknown authority',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is signed by an unknown authority',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is signed by an unknown authority',
  CERT_SIGNATURE_FAILURE: 'its certificate is signed by an unknown authority',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host name',
};

/** Failures after which it is certain that the server has not seen the request. */
const NOT_SENT = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'ENETDOWN', 'UND_ERR_CONNECT_TIMEOUT']);

export interface NetworkFailure {
  readonly error: DmaasError;
  readonly isSent: boolean;
  /** Whether it can pass by itself; a certificate does not get better. */
  readonly isTransient: boolean;
}

/** The error for no answer: name resolution, TCP, TLS, timeouts. */
export function networkFailure(cause: unknown, server: string): NetworkFailure {
  const code = networkCode(cause);
  const trust = TRUST[code];
  if (trust !== undefined) {
    const hint = "name the cluster's CA in the kubeconfig (certificate-authority-data), or with --certificate-authority";
    return {
      error: new DmaasError('CLUSTER_UNREACHABLE', `${server} cannot be trusted (${trust})`, { cause, hint }),
      isSent: false,
      isTransient: false,
    };
  }
  const fact = NETWORK[code] ?? (code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS') ? 'TLS failed' : 'connection failed');
  return {
    error: new DmaasError('CLUSTER_UNREACHABLE', `no answer from ${server} (${fact})`, { cause }),
    isSent: !NOT_SENT.has(code),
    isTransient: true,
  };
}

function networkCode(cause: unknown): string {
  for (let at: unknown = cause, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const { code, errors } = at as { code?: unknown; errors?: unknown };
    // Several addresses were tried: the first one's failure stands for all.
    if (Array.isArray(errors) && errors.length > 0 && code === undefined) return networkCode(errors[0]);
    if (typeof code === 'string') return code;
    if (at.name === 'TimeoutError') return 'UND_ERR_HEADERS_TIMEOUT';
  }
  return '';
}
