/** Nouns that every part of core shares. Imports nothing of ours. */

/** A Kubernetes object as raw JSON: fields this version does not know pass through untouched. Read fields through `unknown`. */
export interface KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
  readonly [field: string]: unknown;
}

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly [field: string]: unknown;
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
}

/** Names one object. `namespace` is absent for cluster-scoped kinds. */
export interface ObjectRef {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

/** A kind as the API server's discovery reports it. `group` is '' for the core group. */
export interface ResourceKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
}

export type FindingLevel = 'blocker' | 'warning' | 'info';

/**
 * Something a person must know: a blocker stops the operation before it changes anything, a warning means that something is
 * left out or will differ. Findings are part of results and of backup records, never only a log line.
 */
export interface Finding {
  readonly level: FindingLevel;
  /** Stable, kebab-case, e.g. `storage-class-missing`. */
  readonly code: string;
  readonly message: string;
  readonly ref?: ObjectRef;
  /** Of what is damaged: the files and objects of backups that lose something by it. */
  readonly lost?: readonly string[];
  /** The command or sentence that fixes it. */
  readonly hint?: string;
}

export function refOf(o: KubeObject): ObjectRef {
  const { name, namespace } = o.metadata;
  return namespace === undefined
    ? { apiVersion: o.apiVersion, kind: o.kind, name }
    : { apiVersion: o.apiVersion, kind: o.kind, name, namespace };
}

/** The API group of an apiVersion: '' for `v1`, `apps` for `apps/v1`. */
export function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/');
  return slash < 0 ? '' : apiVersion.slice(0, slash);
}

/** Identity that survives a change of API version: `group/Kind/namespace/name`. */
export function refKey(ref: ObjectRef): string {
  return `${groupOf(ref.apiVersion)}/${ref.kind}/${ref.namespace ?? ''}/${ref.name}`;
}

/** For messages: `statefulset/db`, or `statefulset.apps/db in namespace shop` with `long`. */
export function refName(ref: ObjectRef, long = false): string {
  const short = `${ref.kind.toLowerCase()}/${ref.name}`;
  return long && ref.namespace !== undefined ? `${short} in namespace ${ref.namespace}` : short;
}
