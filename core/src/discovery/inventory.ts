import type { Cluster, ListScope } from '../cluster/cluster.ts';
import { mapConcurrent } from '../cluster/map-concurrent.ts';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import type { KubeObject, ResourceKind } from '../model.ts';
import { byText } from './closure.ts';
import { isBuiltInGroup } from './edges.ts';
import { nearest } from './nearest.ts';

/** A kind of which nothing could be read, and why. */
export interface Unread {
  readonly kind: ResourceKind;
  readonly why: 'forbidden' | 'unavailable';
}

export interface Inventory {
  readonly objects: readonly KubeObject[];
  readonly unread: readonly Unread[];
}

const REQUESTS_AT_ONCE = 8;
/** Up to so many objects of one kind are fetched one by one; from there on, listing the kind is fewer requests. */
const GETS_AT_MOST = 16;

/** `Kind` for the core group, else `Kind.group`. */
export function idOfKind(kind: ResourceKind): string {
  return kind.group === '' ? kind.kind : `${kind.kind}.${kind.group}`;
}

/**
 * Lists each kind once. What may not be read, or is served by an API extension that does not answer, is reported, not thrown;
 * everything else is.
 */
export async function readKinds(cluster: Cluster, kinds: readonly ResourceKind[], scope: ListScope, run: RunOptions): Promise<Inventory> {
  // Built-in groups first: of an object that two groups serve, theirs is kept.
  const ordered = [...kinds].sort(
    (a, b) => Number(isBuiltInGroup(b.group)) - Number(isBuiltInGroup(a.group)) || byText(idOfKind(a), idOfKind(b)),
  );
  const lists = await mapConcurrent(ordered, REQUESTS_AT_ONCE, (kind) => readKind(cluster, kind, scope, run));
  const objects: KubeObject[] = [];
  const seen = new Set<string>();
  const unread: Unread[] = [];
  for (const list of lists) {
    if ('why' in list) unread.push(list);
    else {
      for (const object of list.objects) {
        const { uid } = object.metadata;
        if (uid !== undefined && seen.has(uid)) continue;
        if (uid !== undefined) seen.add(uid);
        objects.push(object);
      }
    }
  }
  return { objects, unread };
}

async function readKind(
  cluster: Cluster,
  kind: ResourceKind,
  scope: ListScope,
  run: RunOptions,
): Promise<Unread | { readonly objects: KubeObject[] }> {
  try {
    const objects: KubeObject[] = [];
    throwIfCancelled(run.signal);
    for await (const object of cluster.list(kind, scope)) {
      throwIfCancelled(run.signal);
      objects.push(object);
    }
    return { objects };
  } catch (error) {
    if (DmaasError.is(error, 'CLUSTER_FORBIDDEN')) return { kind, why: 'forbidden' };
    // An extension's server or a CRD's conversion webhook may be down while the cluster is well.
    if (DmaasError.is(error, 'CLUSTER_UNREACHABLE') && !isBuiltInGroup(kind.group)) return { kind, why: 'unavailable' };
    throw error;
  }
}

/** Cluster-scoped objects by name. Names that do not exist are left out of the result. */
export async function readNamed(cluster: Cluster, kind: ResourceKind, names: Iterable<string>, run: RunOptions): Promise<Inventory> {
  const wanted = new Set(names);
  if (wanted.size > GETS_AT_MOST) {
    const { objects, unread } = await readKinds(cluster, [kind], {}, run);
    return { objects: objects.filter((o) => wanted.has(o.metadata.name)), unread };
  }
  const apiVersion = kind.group === '' ? kind.version : `${kind.group}/${kind.version}`;
  try {
    const found = await mapConcurrent([...wanted], REQUESTS_AT_ONCE, (name) => {
      throwIfCancelled(run.signal);
      return cluster.get({ apiVersion, kind: kind.kind, name });
    });
    return { objects: found.filter((o) => o !== undefined), unread: [] };
  } catch (error) {
    if (DmaasError.is(error, 'CLUSTER_FORBIDDEN')) return { objects: [], unread: [{ kind, why: 'forbidden' }] };
    throw error;
  }
}

/** The namespace itself; undefined when this identity may not ask for it. Throws APP_NOT_FOUND when there is none. */
export async function readNamespace(cluster: Cluster, namespace: string, run: RunOptions): Promise<KubeObject | undefined> {
  try {
    const found = await cluster.get({ apiVersion: 'v1', kind: 'Namespace', name: namespace });
    if (found !== undefined) return found;
  } catch (error) {
    if (DmaasError.is(error, 'CLUSTER_FORBIDDEN')) return undefined;
    throw error;
  }
  const kinds = (await cluster.kinds()).filter((k) => idOfKind(k) === 'Namespace');
  const { objects } = await readKinds(cluster, kinds, {}, run);
  const candidates = nearest(
    namespace,
    objects.map((o) => o.metadata.name),
  );
  throw new DmaasError('APP_NOT_FOUND', `the cluster of context ${cluster.context} has no namespace ${namespace}`, {
    hint: candidates.length > 0 ? `it has ${candidates.join(', ')}` : '"kubectl get namespaces" lists them',
  });
}
