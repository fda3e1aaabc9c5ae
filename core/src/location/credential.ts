import { X509Certificate } from 'node:crypto';
import * as z from 'zod';
import type { Cluster } from '../cluster/cluster.ts';
import { DmaasError } from '../errors.ts';
import type { Finding, KubeObject } from '../model.ts';
import { refOf } from '../model.ts';
import { createTitled, damaged, findTitled, listTitled, notFound, searchOrder, secretData, titledSecret } from './titled-secret.ts';
import type { Places } from './titled-secret.ts';
import { assertTitle } from './title.ts';

const keyPair = {
  accessKeyId: z.string().regex(/^\S+$/, 'must not be empty or contain spaces'),
  secretAccessKey: z.string().regex(/^\S+$/, 'must not be empty or contain spaces'),
};
const endpoint = z.string().superRefine(checkEndpoint);
const caPem = z.string().superRefine(checkCertificates);

/** What a store is opened with. All values are secret but `kind`, `endpoint`, `pathStyle` and `caPem`. */
const credentialValues = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('aws'), ...keyPair, sessionToken: z.string().min(1).exactOptional() }),
  z
    .strictObject({
      kind: z.literal('gcp'),
      /** The key file of a service account, as Google hands it out: JSON. */
      serviceAccount: z.string().superRefine(checkServiceAccount).exactOptional(),
      /** Of a server that speaks Google's protocol, e.g. fake-gcs-server; such a server wants no account. */
      endpoint: endpoint.exactOptional(),
    })
    .refine((values) => values.serviceAccount !== undefined || values.endpoint !== undefined, {
      path: ['serviceAccount'],
      error: 'is missing',
    }),
  z.strictObject({
    kind: z.literal('s3'),
    endpoint,
    /** `https://host/bucket` instead of `https://bucket.host`. */
    pathStyle: z.boolean(),
    caPem: caPem.exactOptional(),
    /** `when-required` for old servers that refuse the checksums of today's requests. */
    checksums: z.enum(['always', 'when-required']).exactOptional(),
    ...keyPair,
  }),
]);
export type CredentialValues = z.infer<typeof credentialValues>;
export type CredentialKind = CredentialValues['kind'];

export interface Credential {
  readonly title: string;
  /** Of its Secret. */
  readonly namespace: string;
  readonly createdAt?: string;
  readonly values: CredentialValues;
}

/** A credential for people: nothing in it is secret. */
export interface CredentialSummary {
  readonly title: string;
  readonly namespace: string;
  readonly kind: CredentialKind;
  readonly createdAt?: string;
  /** The key's id with its middle hidden, or the service account. */
  readonly identity: string;
  readonly endpoint?: string;
  readonly pathStyle?: boolean;
  readonly hasCa: boolean;
}

/** Checks values from a user. Throws USAGE that names the field and never its value. */
export function parseCredentialValues(input: unknown): CredentialValues {
  const parsed = credentialValues.safeParse(input);
  if (parsed.success) return parsed.data;
  throw new DmaasError('USAGE', `the credential is not valid: ${issueText(parsed.error)}`);
}

export async function createCredential(cluster: Cluster, namespace: string, title: string, values: unknown): Promise<Credential> {
  assertTitle(title);
  const checked = parseCredentialValues(values);
  return decodeCredential(await createTitled(cluster, 'credential', encodeCredential(title, namespace, checked)));
}

/** The credential of that title, looked for in the places' order. Throws USAGE when there is none. */
export async function getCredential(cluster: Cluster, title: string, places: Places): Promise<Credential> {
  const namespaces = searchOrder(places);
  const secret = await findTitled(cluster, 'credential', title, namespaces);
  if (secret === undefined) throw notFound('credential', title, namespaces);
  return decodeCredential(secret);
}

export async function listCredentials(
  cluster: Cluster,
  places: Places,
): Promise<{ readonly credentials: readonly CredentialSummary[]; readonly findings: readonly Finding[] }> {
  const { secrets, findings } = await listTitled(cluster, 'credential', searchOrder(places));
  const credentials: CredentialSummary[] = [];
  const broken: Finding[] = [];
  for (const secret of secrets) {
    try {
      credentials.push(summarizeCredential(decodeCredential(secret)));
    } catch (e) {
      if (!DmaasError.is(e)) throw e;
      broken.push({
        level: 'warning',
        code: 'credential-invalid',
        message: e.message,
        ref: refOf(secret),
        ...(e.hint ? { hint: e.hint } : {}),
      });
    }
  }
  return { credentials, findings: [...findings, ...broken] };
}

/**
 * Deletes a credential of exactly that namespace. Refused with PREFLIGHT_FAILED while a location uses it; locations in
 * namespaces whose Secrets the user may not list are not seen.
 */
export async function deleteCredential(cluster: Cluster, title: string, namespace: string): Promise<void> {
  const secret = await findTitled(cluster, 'credential', title, [namespace]);
  if (secret === undefined) throw notFound('credential', title, [namespace]);
  const [user, ...more] = await locationsUsing(cluster, secretData(secret)['title'] ?? title, namespace);
  if (user !== undefined) {
    const others = more.length === 0 ? '' : ` and ${more.length} more`;
    throw new DmaasError(
      'PREFLIGHT_FAILED',
      `credential ${title} is used by location ${user.name} in namespace ${user.namespace}${others}`,
      {
        hint: `kubectl dmaas location delete ${user.name} -n ${user.namespace}`,
      },
    );
  }
  const { uid } = secret.metadata;
  await cluster.delete(refOf(secret), uid === undefined ? {} : { uid });
}

async function locationsUsing(cluster: Cluster, title: string, namespace: string): Promise<{ name: string; namespace: string }[]> {
  return (await locationSecrets(cluster, namespace))
    .map((secret) => ({ data: secretData(secret), namespace: secret.metadata.namespace ?? '' }))
    .filter(({ data }) => data['credential'] === title && data['credentialNamespace'] === namespace)
    .map((location) => ({ name: location.data['title'] ?? '', namespace: location.namespace }));
}

/** Those of all namespaces where that is allowed, else of the one. */
async function locationSecrets(cluster: Cluster, namespace: string): Promise<readonly KubeObject[]> {
  try {
    return (await listTitled(cluster, 'location', [undefined])).secrets;
  } catch (e) {
    if (!DmaasError.is(e, 'CLUSTER_FORBIDDEN')) throw e;
    return (await listTitled(cluster, 'location', [namespace])).secrets;
  }
}

export function summarizeCredential(credential: Credential): CredentialSummary {
  const { values, ...where } = credential;
  return {
    ...where,
    kind: values.kind,
    identity: values.kind === 'gcp' ? serviceAccountEmail(values.serviceAccount ?? '') : maskKeyId(values.accessKeyId),
    ...('endpoint' in values ? { endpoint: values.endpoint } : {}),
    ...('pathStyle' in values ? { pathStyle: values.pathStyle } : {}),
    hasCa: 'caPem' in values,
  };
}

/** `AKIA…7QXB`: enough to tell two keys apart. A short one (MinIO's are often names) is shown by its first letters only. */
export function maskKeyId(id: string): string {
  return id.length >= 16 ? `${id.slice(0, 4)}…${id.slice(-4)}` : `${id.slice(0, Math.min(3, id.length >> 1))}…`;
}

export function encodeCredential(title: string, namespace: string, values: CredentialValues): KubeObject {
  const fields = Object.entries(values).map(([field, value]) => [field, String(value)]);
  return titledSecret('credential', title, namespace, Object.fromEntries(fields) as Record<string, string>);
}

export function decodeCredential(secret: KubeObject): Credential {
  const { title, ...fields } = secretData(secret);
  if (title === undefined) throw damaged('credential', secret, 'title is missing');
  const parsed = credentialValues.safeParse('pathStyle' in fields ? { ...fields, pathStyle: fields['pathStyle'] === 'true' } : fields);
  if (!parsed.success) throw damaged('credential', secret, issueText(parsed.error));
  const { namespace = '', creationTimestamp } = secret.metadata;
  return { title, namespace, ...(creationTimestamp === undefined ? {} : { createdAt: creationTimestamp }), values: parsed.data };
}

/** `endpoint is missing`: the first thing wrong, never with the value. */
function issueText(error: z.ZodError): string {
  const issue = error.issues[0];
  const field = issue?.path.join('.') ?? '';
  switch (issue?.code) {
    case 'invalid_union':
      return 'kind must be aws, gcp or s3';
    case 'unrecognized_keys':
      return `${issue.keys.join(', ')} is unknown`;
    case 'invalid_type':
      return issue.message.includes('undefined')
        ? `${field} is missing`
        : `${field === '' ? 'it' : field} must be of type ${issue.expected}`;
    default:
      return `${field} ${issue?.message ?? 'is wrong'}`;
  }
}

type Check = z.core.$RefinementCtx<string>;

function checkEndpoint(text: string, ctx: Check): void {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) ctx.addIssue('must be a URL such as https://minio.example.com:9000');
  else if (url.username !== '' || url.password !== '') ctx.addIssue('must not contain a user or password');
  else if (url.search !== '' || url.hash !== '') ctx.addIssue('must not contain a query');
}

function checkCertificates(text: string, ctx: Check): void {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) ctx.addIssue('must hold certificates in PEM form');
  for (const block of blocks) {
    try {
      new X509Certificate(block);
    } catch {
      ctx.addIssue('holds a certificate that cannot be read');
      return;
    }
  }
}

const serviceAccountFields = z.looseObject({
  type: z.literal('service_account'),
  client_email: z.string().min(1),
  private_key: z.string().min(1),
});

function checkServiceAccount(text: string, ctx: Check): void {
  const fields = serviceAccountFields.safeParse(jsonOf(text));
  if (!fields.success) ctx.addIssue('must be the JSON key file of a service account, with type, client_email and private_key');
}

function serviceAccountEmail(text: string): string {
  const fields = serviceAccountFields.safeParse(jsonOf(text));
  return fields.success ? fields.data.client_email : 'anonymous';
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
