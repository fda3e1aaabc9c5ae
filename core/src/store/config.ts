import { readFileSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as z from 'zod';
import { DmaasError } from '../errors.ts';
import { isKey } from './keys.ts';

const bucket = z.string().regex(/^[a-z0-9A-Z][a-z0-9A-Z._-]{1,221}$/, 'a bucket name has letters, digits, ".", "_" and "-"');
const prefix = z.string().refine(isKey, 'a prefix has letters, digits, "-", "_", ".", "=" and "!", and single slashes between its parts');
const endpoint = z.url({ protocol: /^https?$/, error: 'an endpoint begins with http:// or https://', abort: true }).refine((url) => {
  const { username, password, search, hash } = new URL(url);
  return username + password + search + hash === '';
}, 'an endpoint has no user, password, query or fragment');

const s3Schema = z.strictObject({
  provider: z.literal('s3'),
  bucket,
  prefix: prefix.optional(),
  region: z.string().min(1).optional(),
  /** Absent: AWS. */
  endpoint: endpoint.optional(),
  /** The bucket in the path of the URL, not in the host name. Default: true with an endpoint, false on AWS. */
  pathStyle: z.boolean().optional(),
  /** Certificates trusted besides the system's. */
  caPem: z.string().includes('-----BEGIN CERTIFICATE-----').optional(),
  /** `when-required`: for old servers that refuse or garble the CRC-32 of today's requests. Default: always. */
  checksums: z.enum(['always', 'when-required']).optional(),
  /** Absent: the SDK's usual sources, e.g. the pod's own identity. */
  credentials: z
    .strictObject({ accessKeyId: z.string().min(1), secretAccessKey: z.string().min(1), sessionToken: z.string().min(1).optional() })
    .optional(),
});

const gcsSchema = z.strictObject({
  provider: z.literal('gcs'),
  bucket,
  prefix: prefix.optional(),
  /** Absent: Google. With an endpoint and no credentials requests are anonymous, as emulators want them. */
  endpoint: endpoint.optional(),
  /** A service account's JSON key as Google gives it out. Absent: application default credentials. */
  credentials: z
    .looseObject({
      type: z.literal('service_account', 'only the key of a service account can be stored'),
      client_email: z.string().min(1),
      private_key: z.string().includes('PRIVATE KEY'),
      /** Of sovereign clouds; elsewhere googleapis.com. */
      universe_domain: z.string().optional(),
    })
    .optional(),
});

const fileSchema = z.strictObject({
  provider: z.literal('file'),
  path: z.string().refine(isAbsolute, 'a path begins with /'),
  prefix: prefix.optional(),
});

/** Where a store is and how to get in: plain JSON, kept in Secrets and in the input of movers. Holds credentials: never print it. */
export const storeConfigSchema = z.discriminatedUnion('provider', [s3Schema, gcsSchema, fileSchema]);
export type StoreConfig = z.infer<typeof storeConfigSchema>;
export type S3Config = z.infer<typeof s3Schema>;
export type GcsConfig = z.infer<typeof gcsSchema>;

/** Throws USAGE, naming the field but never its value. */
export function parseStoreConfig(value: unknown): StoreConfig {
  const parsed = storeConfigSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const field = issue === undefined || issue.path.length === 0 ? 'the store' : issue.path.join('.');
  throw new DmaasError('USAGE', `${field} of the store configuration is not valid: ${sentence(issue?.message)}`);
}

const FORMS = 's3://BUCKET[/PREFIX], gs://BUCKET[/PREFIX] or file:///DIRECTORY';

/**
 * The store of a URL. Endpoint, region and keys come from the variables that the providers' own tools read: AWS_ENDPOINT_URL_S3,
 * AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, STORAGE_EMULATOR_HOST,
 * GOOGLE_APPLICATION_CREDENTIALS. What they leave out (profiles, the identity of a pod) the SDKs find by themselves. `flags` win over them. Throws USAGE.
 */
export function parseStoreUrl(text: string, env: Readonly<Record<string, string | undefined>>, flags: StoreFlags = {}): StoreConfig {
  const config = storeOfUrl(text, env);
  const wrong = Object.keys(flags).find((name) => !FLAGS_OF[config.provider].includes(name));
  if (wrong !== undefined) throw new DmaasError('USAGE', `${wrong} means nothing to a store of ${config.provider}`);
  return Object.keys(flags).length === 0 ? config : parseStoreConfig({ ...config, ...flags });
}

/** What is said on the command line instead of in a variable, and wins. Credentials never are. */
export type StoreFlags = Partial<Pick<S3Config, 'endpoint' | 'region' | 'pathStyle' | 'caPem'>>;

const FLAGS_OF: Readonly<Record<StoreConfig['provider'], readonly string[]>> = {
  s3: ['endpoint', 'region', 'pathStyle', 'caPem'],
  gcs: ['endpoint'],
  file: [],
};

function directoryOf(url: string): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new DmaasError('USAGE', `"${url}" names no directory`, { cause, hint: 'write a % in its name as %25, and no %2F' });
  }
}

function storeOfUrl(text: string, env: Readonly<Record<string, string | undefined>>): StoreConfig {
  const match = /^(s3|gs|file):\/\/([^/?#]*)(\/[^?#]*)?$/.exec(text);
  if (match === null || /@/.test(match[2] ?? ''))
    throw new DmaasError('USAGE', 'that is not the URL of a store', { hint: `write ${FORMS}` });
  const [, scheme, host = '', path = ''] = match;
  if (scheme === 'file') {
    if (host !== '' || path === '')
      throw new DmaasError('USAGE', `"${text}" names no directory`, { hint: 'write file:///DIRECTORY, with three slashes' });
    return parseStoreConfig({ provider: 'file', path: directoryOf(text) });
  }
  if (host === '') throw new DmaasError('USAGE', `"${text}" names no bucket`, { hint: `write ${FORMS}` });
  const common = { bucket: host, ...given({ prefix: path.replace(/^\/|\/$/g, '') }) };
  if (scheme === 'gs') {
    const emulator = env['STORAGE_EMULATOR_HOST'];
    const url = emulator === undefined || emulator === '' || /^https?:/.test(emulator) ? emulator : `http://${emulator}`;
    const keyFile = env['GOOGLE_APPLICATION_CREDENTIALS'];
    const key = keyFile === undefined || keyFile === '' ? undefined : readGoogleKey(keyFile);
    return parseStoreConfig({
      provider: 'gcs',
      ...common,
      ...given({ endpoint: url }),
      ...(key === undefined ? {} : { credentials: key }),
    });
  }
  const [accessKeyId, secretAccessKey] = [env['AWS_ACCESS_KEY_ID'], env['AWS_SECRET_ACCESS_KEY']];
  const hasKeys = accessKeyId !== undefined && accessKeyId !== '' && secretAccessKey !== undefined && secretAccessKey !== '';
  return parseStoreConfig({
    provider: 's3',
    ...common,
    ...given({ endpoint: env['AWS_ENDPOINT_URL_S3'] ?? env['AWS_ENDPOINT_URL'], region: env['AWS_REGION'] ?? env['AWS_DEFAULT_REGION'] }),
    ...(hasKeys ? { credentials: { accessKeyId, secretAccessKey, ...given({ sessionToken: env['AWS_SESSION_TOKEN'] }) } } : {}),
  });
}

/** Undefined if the file holds another kind of credentials, which Google's library reads by itself and which cannot leave this machine. */
function readGoogleKey(path: string): unknown {
  const fail = (fact: string) => new DmaasError('USAGE', `${path}, named by GOOGLE_APPLICATION_CREDENTIALS, ${fact}`);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    throw fail('cannot be read');
  }
  let key: unknown;
  try {
    key = JSON.parse(text);
  } catch {
    throw fail('is not JSON'); // without the parser's message, which quotes the text
  }
  return z.object({ type: z.literal('service_account') }).safeParse(key).success ? key : undefined;
}

/** Variables are often set to nothing to unset them. */
function given(values: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const present = Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== '');
  return Object.fromEntries(present);
}

function sentence(message: string | undefined): string {
  const text = message ?? 'it does not fit';
  return text.charAt(0).toLowerCase() + text.slice(1);
}
