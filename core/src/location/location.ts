import * as z from 'zod';
import type { Cluster } from '../cluster/cluster.ts';
import { DmaasError } from '../errors.ts';
import type { Finding, KubeObject } from '../model.ts';
import { refOf } from '../model.ts';
import { formatKey, newKey, parseKey } from '../repository/keys/keys.ts';
import { parseStoreConfig } from '../store/config.ts';
import type { StoreConfig } from '../store/config.ts';
import { isKey } from '../store/keys.ts';
import type { Credential, CredentialKind } from './credential.ts';
import { decodeCredential, getCredential } from './credential.ts';
import {
  createTitled,
  damaged,
  findTitled,
  listTitled,
  notFound,
  searchOrder,
  secretData,
  titledRef,
  titledSecret,
} from './titled-secret.ts';
import type { Places } from './titled-secret.ts';
import { assertTitle } from './title.ts';

/** On the location that is meant when none is named. */
export const DEFAULT_LABEL = 'dmaas.io/default';
const MAX_PREFIX_LENGTH = 200;

const bucketName = z.string().regex(/^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$/, 'is no valid name of a bucket');
const locationFields = z.object({
  bucket: bucketName,
  /** Where in the bucket, without slashes at its ends; '' for the whole bucket. */
  prefix: z
    .string()
    .max(MAX_PREFIX_LENGTH, `has more than ${MAX_PREFIX_LENGTH} characters`)
    .refine((text) => text === '' || isKey(text), 'may contain letters, digits, "-", "_", "." and single slashes'),
  region: z.string().min(1).exactOptional(),
  credential: z.string().min(1),
  credentialNamespace: z.string().min(1),
  key: z.string().min(1),
});

/** Where backups are kept. Holds the location key, which opens all of them: show `summarizeLocation` of it, never itself. */
export interface Location {
  readonly name: string;
  /** Of its Secret. */
  readonly namespace: string;
  readonly bucket: string;
  readonly prefix: string;
  readonly region?: string;
  /** Title of its credential, and where that is. */
  readonly credential: string;
  readonly credentialNamespace: string;
  /** The location key as text, `dmaas-key-1-…`. */
  readonly key: string;
  readonly isDefault: boolean;
  readonly createdAt?: string;
}

/** A location together with what opens its bucket. */
export interface LocationAccess {
  readonly location: Location;
  readonly credential: Credential;
}

export type LocationSummary = Omit<Location, 'key'>;

export interface NewLocation {
  readonly name: string;
  readonly credential: string;
  readonly bucket: string;
  readonly prefix?: string;
  readonly region?: string;
  /** The key of a location that exists already, as text. Without it a new key is made. */
  readonly importKey?: string;
}

/** Creates a location in `places.namespace`. Its credential may be there or in the home namespace. Touches no bucket. */
export async function createLocation(cluster: Cluster, places: Places, request: NewLocation): Promise<Location> {
  assertTitle(request.name, 'name');
  const credential = await getCredential(cluster, request.credential, places);
  const location: Location = {
    name: request.name,
    namespace: places.namespace,
    ...checkedPlace(request),
    credential: credential.title,
    credentialNamespace: credential.namespace,
    key: formatKey(request.importKey === undefined ? newKey() : parseKey(request.importKey)),
    isDefault: false,
  };
  return decodeLocation(await createTitled(cluster, 'location', encodeLocation(location)));
}

/** Checks bucket, prefix and region as a user gives them; slashes at the prefix's ends are dropped. Throws USAGE. */
export function checkedPlace(request: {
  readonly bucket: string;
  readonly prefix?: string | undefined;
  readonly region?: string | undefined;
}): Pick<Location, 'bucket' | 'prefix' | 'region'> {
  const prefix = (request.prefix ?? '').replaceAll(/^\/+|\/+$/g, '');
  const checked = locationFields.pick({ bucket: true, prefix: true, region: true }).safeParse({ ...request, prefix });
  if (!checked.success) throw new DmaasError('USAGE', `the location is not valid: ${issueText(checked.error)}`);
  return checked.data;
}

export interface LocationList {
  readonly locations: readonly LocationSummary[];
  readonly findings: readonly Finding[];
}

export async function listLocations(cluster: Cluster, places: Places): Promise<LocationList> {
  return summarizeAll(await listTitled(cluster, 'location', searchOrder(places)));
}

/** The locations of a whole cluster; for those who may not list Secrets there, those of the places. */
export async function listAllLocations(cluster: Cluster, places: Places): Promise<LocationList> {
  try {
    return summarizeAll(await listTitled(cluster, 'location', [undefined]));
  } catch (e) {
    if (!DmaasError.is(e, 'CLUSTER_FORBIDDEN')) throw e;
    return listLocations(cluster, places);
  }
}

function summarizeAll({ secrets, findings }: Awaited<ReturnType<typeof listTitled>>): LocationList {
  const locations: LocationSummary[] = [];
  const broken: Finding[] = [];
  for (const secret of secrets) {
    try {
      locations.push(summarizeLocation(decodeLocation(secret)));
    } catch (e) {
      if (!DmaasError.is(e)) throw e;
      broken.push({
        level: 'warning',
        code: 'location-invalid',
        message: e.message,
        ref: refOf(secret),
        ...(e.hint ? { hint: e.hint } : {}),
      });
    }
  }
  return { locations, findings: [...findings, ...broken] };
}

/**
 * The location of that name, else the default one: in each of the places in order the one marked as default, or the only one.
 * Throws USAGE when there is none or the choice is not clear.
 */
export async function getLocation(cluster: Cluster, places: Places, name?: string): Promise<Location> {
  const namespaces = searchOrder(places);
  if (name === undefined) return defaultLocation(cluster, namespaces);
  const secret = await findTitled(cluster, 'location', name, namespaces);
  if (secret === undefined) throw notFound('location', name, namespaces);
  return decodeLocation(secret);
}

async function defaultLocation(cluster: Cluster, namespaces: readonly string[]): Promise<Location> {
  const { secrets } = await listTitled(cluster, 'location', namespaces);
  for (const namespace of namespaces) {
    const here = secrets.filter((secret) => secret.metadata.namespace === namespace);
    const marked = here.filter((secret) => secret.metadata.labels?.[DEFAULT_LABEL] === 'true');
    const [candidate, ...more] = marked.length > 0 ? marked : here;
    if (candidate === undefined) continue;
    if (more.length === 0) return decodeLocation(candidate);
    const names = [candidate, ...more].map((secret) => secretData(secret)['title'] ?? '').sort();
    throw new DmaasError('USAGE', `there are several locations in namespace ${namespace} (${names.join(', ')}), and none is named`, {
      hint: `name one with --location, or choose a default: kubectl dmaas location set-default ${names[0] ?? ''} -n ${namespace}`,
    });
  }
  throw new DmaasError('USAGE', `there is no location in namespace ${namespaces.join(' or ')}`, {
    hint: `kubectl dmaas location create NAME --credential TITLE --bucket BUCKET -n ${namespaces[0] ?? ''}`,
  });
}

/** The location of that name, or the default one, with its credential. */
export async function getLocationAccess(cluster: Cluster, places: Places, name?: string): Promise<LocationAccess> {
  const location = await getLocation(cluster, places, name);
  const secret = await cluster.get(titledRef('credential', location.credential, location.credentialNamespace));
  if (secret === undefined) throw notFound('credential', location.credential, [location.credentialNamespace]);
  return { location, credential: decodeCredential(secret) };
}

/** What the store of a location is opened with. `directory`: of one repository in it. */
export function toStoreConfig({ location, credential }: LocationAccess, directory?: string): StoreConfig {
  const prefix = [location.prefix, directory ?? ''].filter((part) => part !== '').join('/');
  const place = { bucket: location.bucket, ...(prefix === '' ? {} : { prefix }) };
  const { values } = credential;
  if (values.kind === 'gcp') {
    const { serviceAccount, endpoint } = values;
    return parseStoreConfig({
      provider: 'gcs',
      ...place,
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(serviceAccount === undefined ? {} : { credentials: JSON.parse(serviceAccount) as unknown }),
    });
  }
  const { accessKeyId, secretAccessKey } = values;
  const region = location.region === undefined ? {} : { region: location.region };
  if (values.kind === 'aws') {
    const { kind: _, ...credentials } = values;
    return parseStoreConfig({ provider: 's3', ...place, ...region, credentials });
  }
  const { kind: _kind, accessKeyId: _id, secretAccessKey: _secret, ...server } = values;
  return parseStoreConfig({ provider: 's3', ...place, ...region, ...server, credentials: { accessKeyId, secretAccessKey } });
}

/** The place as people write it: `s3://bucket/prefix`. */
export function locationUrl(location: Pick<Location, 'bucket' | 'prefix'>, kind: CredentialKind): string {
  return `${kind === 'gcp' ? 'gs' : 's3'}://${location.bucket}${location.prefix === '' ? '' : `/${location.prefix}`}`;
}

/** Makes a location the default of its namespace, and the others there not. */
export async function setDefaultLocation(cluster: Cluster, name: string, namespace: string): Promise<void> {
  const { secrets } = await listTitled(cluster, 'location', [namespace]);
  const chosen = titledRef('location', name, namespace);
  if (!secrets.some((secret) => secret.metadata.name === chosen.name)) throw notFound('location', name, [namespace]);
  // The new one first: whoever asks in between meets two defaults and is told so, rather than another location.
  await cluster.patch(chosen, { metadata: { labels: { [DEFAULT_LABEL]: 'true' } } });
  for (const secret of secrets) {
    if (secret.metadata.name === chosen.name || secret.metadata.labels?.[DEFAULT_LABEL] === undefined) continue;
    await cluster.patch(refOf(secret), { metadata: { labels: { [DEFAULT_LABEL]: null } } });
  }
}

/**
 * Removes a location of exactly that namespace from the cluster and returns it. The bucket is not touched, but without the key
 * nobody can read what is in it: callers offer `exportLocation` first.
 */
export async function deleteLocation(cluster: Cluster, name: string, namespace: string): Promise<Location> {
  const secret = await findTitled(cluster, 'location', name, [namespace]);
  if (secret === undefined) throw notFound('location', name, [namespace]);
  const location = decodeLocation(secret);
  const { uid } = secret.metadata;
  await cluster.delete(refOf(secret), uid === undefined ? {} : { uid });
  return location;
}

/** What may be shown: everything but the key. */
export function summarizeLocation(location: Location): LocationSummary {
  const { key: _, ...summary } = location;
  return summary;
}

export function encodeLocation(location: Location): KubeObject {
  const { name, namespace, isDefault, createdAt: _, ...fields } = location;
  const secret = titledSecret('location', name, namespace, fields);
  if (!isDefault) return secret;
  return { ...secret, metadata: { ...secret.metadata, labels: { ...secret.metadata.labels, [DEFAULT_LABEL]: 'true' } } };
}

export function decodeLocation(secret: KubeObject): Location {
  const { title, ...fields } = secretData(secret);
  if (title === undefined) throw damaged('location', secret, 'title is missing');
  const parsed = locationFields.safeParse(fields);
  if (!parsed.success) throw damaged('location', secret, issueText(parsed.error));
  const { namespace = '', creationTimestamp } = secret.metadata;
  return {
    name: title,
    namespace,
    ...parsed.data,
    isDefault: secret.metadata.labels?.[DEFAULT_LABEL] === 'true',
    ...(creationTimestamp === undefined ? {} : { createdAt: creationTimestamp }),
  };
}

function issueText(error: z.ZodError): string {
  const issue = error.issues[0];
  const field = issue?.path.join('.') ?? '';
  return issue?.code === 'invalid_type' ? `${field} is missing` : `${field} ${issue?.message ?? 'is wrong'}`;
}
