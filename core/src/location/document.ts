import { parse as parseYaml } from 'yaml';
import * as z from 'zod';
import type { Cluster } from '../cluster/cluster.ts';
import { DmaasError } from '../errors.ts';
import { formatKey, parseKey } from '../repository/keys/keys.ts';
import type { CredentialValues } from './credential.ts';
import { createCredential, getCredential, parseCredentialValues } from './credential.ts';
import type { Location, LocationAccess } from './location.ts';
import { checkedPlace, createLocation } from './location.ts';
import type { Places } from './titled-secret.ts';
import { brokenRule } from './title.ts';

const title = z.string().refine((text) => brokenRule(text) === undefined, 'is not valid');
const documentSchema = z.object({
  apiVersion: z.literal('dmaas.io/v1'),
  kind: z.literal('Location'),
  name: title,
  bucket: z.string(),
  prefix: z.string().exactOptional(),
  region: z.string().exactOptional(),
  key: z.string(),
  credential: z.looseObject({ title, kind: z.enum(['aws', 'gcp', 's3']) }),
});

/**
 * A location as a file: with the bucket's credentials it is all that is needed to list, browse and restore backups when the
 * cluster is gone. It holds the location key, so it belongs where secrets are kept.
 */
export type LocationDocument = z.infer<typeof documentSchema>;

/** Fields of a credential that are not secret. */
const OPEN_FIELDS: readonly string[] = ['kind', 'endpoint', 'pathStyle', 'caPem', 'checksums'];

/** `withCredentials`: includes the access keys, so that the file alone opens the bucket. */
export function exportLocation({ location, credential }: LocationAccess, opts: { readonly withCredentials: boolean }): LocationDocument {
  const fields = Object.entries(credential.values).filter(([field]) => opts.withCredentials || OPEN_FIELDS.includes(field));
  return documentOf(location, { title: credential.title, kind: credential.values.kind, ...Object.fromEntries(fields) });
}

export function documentOf(
  { name, bucket, prefix, region, key }: Pick<Location, 'name' | 'bucket' | 'prefix' | 'region' | 'key'>,
  credential: LocationDocument['credential'],
): LocationDocument {
  return {
    apiVersion: 'dmaas.io/v1',
    kind: 'Location',
    name,
    bucket,
    ...(prefix === '' ? {} : { prefix }),
    ...(region === undefined ? {} : { region }),
    key,
    credential,
  };
}

/** Reads an exported location, YAML or JSON. Throws USAGE that quotes nothing of the text, REPOSITORY_KEY for a mistyped key. */
export function parseLocationDocument(text: string): LocationDocument {
  let value: unknown;
  try {
    value = parseYaml(text, { prettyErrors: false });
  } catch {
    throw new DmaasError('USAGE', 'the file is no exported location: it is neither YAML nor JSON');
  }
  const parsed = documentSchema.safeParse(value);
  if (!parsed.success) {
    const field = parsed.error.issues[0]?.path.join('.') ?? '';
    throw new DmaasError('USAGE', `the file is no exported location${field === '' ? '' : `: ${field} is missing or not valid`}`);
  }
  checkedPlace(parsed.data);
  return { ...parsed.data, key: formatKey(parseKey(parsed.data.key)) };
}

/** Opens the bucket without any cluster. `values` is needed when the document holds no access keys. */
export function accessFromDocument(document: LocationDocument, values?: CredentialValues): LocationAccess {
  const { title: credentialTitle, ...included } = document.credential;
  const location: Location = {
    name: document.name,
    namespace: '',
    ...checkedPlace(document),
    credential: credentialTitle,
    credentialNamespace: '',
    key: document.key,
    isDefault: false,
  };
  return { location, credential: { title: credentialTitle, namespace: '', values: values ?? parseCredentialValues(included) } };
}

/**
 * Creates the location of a document in `places.namespace`, and its credential when the document holds the access keys and no
 * credential of that title is there yet. `credential` names another one instead.
 */
export async function importLocation(
  cluster: Cluster,
  places: Places,
  document: LocationDocument,
  opts: { readonly name?: string; readonly credential?: string } = {},
): Promise<Location> {
  const wanted = opts.credential ?? document.credential.title;
  const { title: _, ...included } = document.credential;
  if (opts.credential === undefined && holdsKeys(included)) {
    const values = parseCredentialValues(included);
    await getCredential(cluster, wanted, places).catch((e: unknown) => {
      if (!DmaasError.is(e, 'USAGE')) throw e;
      return createCredential(cluster, places.namespace, wanted, values);
    });
  }
  const { bucket, prefix, region } = checkedPlace(document);
  return createLocation(cluster, places, {
    name: opts.name ?? document.name,
    credential: wanted,
    bucket,
    prefix,
    ...(region === undefined ? {} : { region }),
    importKey: document.key,
  });
}

function holdsKeys(included: Readonly<Record<string, unknown>>): boolean {
  return Object.keys(included).some((field) => !OPEN_FIELDS.includes(field));
}
