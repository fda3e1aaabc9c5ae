/** Addresses of what backups hold, as `dmaas:` URIs have them. Pure. */
import type { ObjectRef } from '@dmaas/core';

/** Of a backup in a location; `backup` is its id. */
interface InBackup {
  /** Id of the location: the authority of the URI. */
  readonly location: string;
  readonly backup: string;
}

export type Address =
  /** A manifest as it was captured. */
  | (InBackup & { readonly view: 'manifest'; readonly ref: ObjectRef })
  /** What of it a restore would keep; for comparing. */
  | (InBackup & { readonly view: 'comparable'; readonly ref: ObjectRef })
  /** The object of that name as it runs in the cluster of `context`, in the same form. */
  | (InBackup & { readonly view: 'live'; readonly context: string; readonly ref: ObjectRef })
  /** A file of a volume. `path`: as core shows it. */
  | (InBackup & { readonly view: 'file'; readonly claim: string; readonly path: string });

/** Where an address stands in a URI; `path` begins with a slash and is not percent-encoded. */
export interface Place {
  readonly authority: string;
  readonly path: string;
}

/** Stands for "no namespace", which is no valid one. */
const CLUSTER_SCOPE = '_';
/** Between group and version, in place of the slash; no group has one. */
const GROUP_END = '~';

export function placeOf(address: Address): Place {
  const { location, backup, view } = address;
  const segments =
    address.view === 'file'
      ? ['volumes', address.claim, ...address.path.split('/')]
      : [...(address.view === 'live' ? ['live', encodeURIComponent(address.context)] : [`${view}s`]), ...refSegments(address.ref)];
  return { authority: location, path: ['', backup, ...segments].join('/') };
}

/** Undefined for what is no address. */
export function addressOf({ authority: location, path }: Place): Address | undefined {
  const [, backup, kind, ...rest] = path.split('/');
  if (location === '' || backup === undefined || backup === '') return undefined;
  const common = { location, backup };
  if (kind === 'volumes') {
    const [claim, ...names] = rest;
    return claim === undefined || names.length === 0 ? undefined : { ...common, view: 'file', claim, path: names.join('/') };
  }
  const [context, ...behind] = kind === 'live' ? rest : [undefined, ...rest];
  const ref = refOfSegments(behind);
  if (ref === undefined) return undefined;
  if (kind === 'live') return context === undefined ? undefined : { ...common, view: 'live', context: decodeURIComponent(context), ref };
  if (kind === 'manifests') return { ...common, view: 'manifest', ref };
  return kind === 'comparables' ? { ...common, view: 'comparable', ref } : undefined;
}

/** The last segment is what the editor's tab is called. */
function refSegments({ apiVersion, kind, namespace, name }: ObjectRef): string[] {
  return [apiVersion.replace('/', GROUP_END), namespace ?? CLUSTER_SCOPE, kind, `${name}.yaml`];
}

function refOfSegments([apiVersion, namespace, kind, file]: readonly (string | undefined)[]): ObjectRef | undefined {
  if (apiVersion === undefined || namespace === undefined || kind === undefined || file?.endsWith('.yaml') !== true) return undefined;
  const ref = { apiVersion: apiVersion.replace(GROUP_END, '/'), kind, name: file.slice(0, -'.yaml'.length) };
  return namespace === CLUSTER_SCOPE ? ref : { ...ref, namespace };
}
