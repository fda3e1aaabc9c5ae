import { isDeepStrictEqual } from 'node:util';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import { groupOf, refKey, refName, refOf } from '../model.ts';
import type { KubeObject, ObjectMeta, ObjectRef, ResourceKind } from '../model.ts';
import { absent, alreadyExists, checkIsNew, forbidden, namespaceAbsent, timedOut, unknownKind, wrongScope } from './api-errors.ts';
import type { Access, Cluster, ExecResult, ListScope, ServerVersion } from './cluster.ts';
import { KNOWN_KINDS } from './known-kinds.ts';
import { fieldMatcher, labelMatcher } from './selector.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export interface Write {
  readonly type: 'created' | 'updated' | 'deleted';
  readonly object: KubeObject;
}

export interface MemoryClusterOptions {
  readonly objects?: readonly KubeObject[];
  /** Kinds to serve besides KNOWN_KINDS; one of the same group and kind replaces the known one. */
  readonly kinds?: readonly ResourceKind[];
  readonly context?: string;
  readonly namespace?: string;
  readonly id?: string;
  readonly user?: string;
  readonly version?: string;
  /** What the identity may not do; a field that is left out stands for any value. */
  readonly forbid?: readonly Partial<Access>[];
  /** Runs before each call, after the RBAC check. Throwing makes the call fail: that is how tests inject faults. */
  readonly before?: (access: Access) => void | Promise<void>;
  readonly logs?: (pod: ObjectRef, container: string) => Iterable<string> | AsyncIterable<string>;
  readonly exec?: (pod: ObjectRef, container: string, command: readonly string[]) => ExecResult | Promise<ExecResult>;
}

/**
 * A Cluster in memory, for tests of what uses one. It keeps what an API server keeps (versions, uids, generations, conflicts,
 * namespaces that must exist, status that only controllers set, garbage collection by owner) and validates nothing else.
 * Apply is a deep merge in which arrays replace arrays. There are no controllers: tests play them with `onWrite` and `put`.
 */
export class MemoryCluster implements Cluster {
  readonly context: string;
  readonly namespace: string;
  readonly #options: MemoryClusterOptions;
  readonly #kinds: readonly ResourceKind[];
  readonly #objects = new Map<string, KubeObject>();
  readonly #hooks = new Set<(write: Write) => void | Promise<void>>();
  readonly #running = new Set<Promise<void>>();
  #hookError: unknown;
  #revision = 0;

  constructor(options: MemoryClusterOptions = {}) {
    this.#options = options;
    this.context = options.context ?? 'memory';
    this.namespace = options.namespace ?? 'default';
    const extra = options.kinds ?? [];
    this.#kinds = [...KNOWN_KINDS.filter((k) => !extra.some((e) => e.group === k.group && e.kind === k.kind)), ...extra];
    const objects = options.objects ?? [];
    const namespaces = new Set(['kube-system', 'default', this.namespace, ...objects.flatMap((o) => o.metadata.namespace ?? [])]);
    for (const name of namespaces) {
      const uid = name === 'kube-system' && options.id !== undefined ? { uid: options.id } : {};
      this.put({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: { 'kubernetes.io/metadata.name': name }, ...uid } });
    }
    for (const object of objects) this.put(object);
  }

  /** Stores the object as it is, status included, as a controller would: no RBAC, no hooks of the caller's own making. */
  put(object: KubeObject): KubeObject {
    const ref = refOf(object);
    this.#scoped(ref, this.#kindOf(ref));
    return this.#store(object, this.#objects.get(refKey(ref)));
  }

  /** Everything stored, copied, for assertions. */
  objects(): KubeObject[] {
    return [...this.#objects.values()].map((o) => structuredClone(o));
  }

  /** Calls `hook` soon after each write, as a watching controller would be. Returns the function that ends it. */
  onWrite(hook: (write: Write) => void | Promise<void>): () => void {
    this.#hooks.add(hook);
    return () => this.#hooks.delete(hook);
  }

  /** Resolves when all hooks have run, also those that their own writes set off; throws the first error of one. */
  async settle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    const error = this.#hookError;
    this.#hookError = undefined;
    if (error !== undefined) throw error instanceof Error ? error : new Error('a hook failed', { cause: error });
  }

  id(): Promise<string> {
    const system = this.#objects.get(refKey({ apiVersion: 'v1', kind: 'Namespace', name: 'kube-system' }));
    return Promise.resolve(system?.metadata.uid ?? '');
  }

  version(): Promise<ServerVersion> {
    const gitVersion = this.#options.version ?? 'v1.34.0';
    const [major = 0, minor = 0] = gitVersion.replace(/^v/, '').split('.').map(Number);
    return Promise.resolve({ gitVersion, major, minor });
  }

  kinds(): Promise<readonly ResourceKind[]> {
    return Promise.resolve(this.#kinds);
  }

  async get(ref: ObjectRef): Promise<KubeObject | undefined> {
    const kind = this.#find(ref);
    if (kind === undefined) return undefined;
    await this.#enter('get', kind, ref);
    const object = this.#objects.get(refKey(ref));
    return object && structuredClone(object);
  }

  async *list(kind: ResourceKind, scope: ListScope): AsyncIterable<KubeObject> {
    if (scope.namespace !== undefined && !kind.namespaced) throw wrongScope({ apiVersion: kind.version, kind: kind.kind, name: '*' }, kind);
    await this.#enter('list', kind, scope);
    const hasLabels = labelMatcher(scope.labelSelector ?? '');
    const hasFields = fieldMatcher(scope.fieldSelector ?? '');
    const found = [...this.#objects]
      .filter(([, o]) => o.kind === kind.kind && groupOf(o.apiVersion) === kind.group)
      .filter(([, o]) => scope.namespace === undefined || o.metadata.namespace === scope.namespace)
      .filter(([, o]) => hasLabels(o.metadata.labels) && hasFields(o))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    for (const [, object] of found) yield structuredClone(object);
  }

  async create(manifest: KubeObject, opts: { readonly dryRun?: boolean } = {}): Promise<KubeObject> {
    const named = this.#named(manifest);
    const ref = refOf(named);
    const kind = this.#kindOf(ref);
    await this.#enter('create', kind, ref.namespace === undefined ? {} : { namespace: ref.namespace });
    checkIsNew(named);
    this.#needNamespace(ref);
    if (this.#objects.has(refKey(ref))) throw alreadyExists(ref);
    return this.#store(this.#withoutStatus(named, undefined), undefined, opts.dryRun);
  }

  async apply(manifest: KubeObject, opts: { readonly dryRun?: boolean; readonly force?: boolean } = {}): Promise<KubeObject> {
    const ref = refOf(manifest);
    const kind = this.#kindOf(ref);
    await this.#enter('patch', kind, ref);
    if (manifest.metadata['managedFields'] !== undefined) {
      throw new DmaasError('CLUSTER_REJECTED', 'metadata.managedFields must be nil');
    }
    this.#needNamespace(ref);
    const existing = this.#objects.get(refKey(ref));
    if (existing === undefined && (manifest.metadata.uid !== undefined || manifest.metadata.resourceVersion !== undefined)) {
      throw new DmaasError('CLUSTER_CONFLICT', 'uid mismatch: the provided object specified a uid, and no existing object was found');
    }
    this.#expectSame(existing, manifest.metadata);
    const merged = existing === undefined ? manifest : (merge(existing, manifest, false) as KubeObject);
    return this.#store(this.#withoutStatus(merged, existing), existing, opts.dryRun);
  }

  async patch(ref: ObjectRef, change: Readonly<Record<string, unknown>>): Promise<KubeObject> {
    await this.#enter('patch', this.#kindOf(ref), ref);
    const existing = this.#objects.get(refKey(ref));
    if (existing === undefined) throw absent(ref);
    const meta = change['metadata'] as Partial<ObjectMeta> | undefined;
    this.#expectSame(existing, meta ?? {});
    return this.#store(this.#withoutStatus(merge(existing, change, true) as KubeObject, existing), existing);
  }

  async delete(
    ref: ObjectRef,
    opts: { readonly propagation?: 'foreground' | 'background' | 'orphan'; readonly uid?: string } = {},
  ): Promise<void> {
    const kind = this.#find(ref);
    if (kind === undefined) return;
    await this.#enter('delete', kind, ref);
    const existing = this.#objects.get(refKey(ref));
    if (existing === undefined) return;
    this.#expectSame(existing, opts.uid === undefined ? {} : { uid: opts.uid });
    this.#remove(refKey(ref), existing, opts.propagation === 'orphan');
  }

  async waitFor(
    ref: ObjectRef,
    until: (o: KubeObject | undefined) => boolean,
    opts: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<KubeObject | undefined> {
    throwIfCancelled(opts.signal);
    const kind = this.#find(ref);
    if (kind === undefined && until(undefined)) return undefined;
    if (kind === undefined) throw unknownKind(ref);
    for (const verb of ['list', 'watch']) await this.#enter(verb, kind, ref);
    const deadline = new AbortController();
    const timer = setTimeout(() => {
      deadline.abort();
    }, opts.timeoutMs);
    try {
      for (;;) {
        const object = this.#objects.get(refKey(ref));
        const copy = object && structuredClone(object);
        if (until(copy)) return copy;
        throwIfCancelled(opts.signal);
        if (deadline.signal.aborted) throw timedOut(ref, opts.timeoutMs);
        await this.#nextWrite(AbortSignal.any([deadline.signal, ...(opts.signal ? [opts.signal] : [])]));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async *logs(
    pod: ObjectRef,
    container: string,
    opts: { readonly signal?: AbortSignal; readonly tailLines?: number; readonly follow?: boolean } = {},
  ): AsyncIterable<string> {
    await this.#subresource('get', pod, 'log');
    const lines: string[] = [];
    for await (const line of this.#options.logs?.(pod, container) ?? []) {
      throwIfCancelled(opts.signal);
      if (opts.tailLines === undefined) yield line;
      else lines.push(line);
    }
    if (opts.tailLines !== undefined && opts.tailLines > 0) yield* lines.slice(-opts.tailLines);
  }

  async exec(
    pod: ObjectRef,
    container: string,
    command: readonly string[],
    opts: { readonly signal?: AbortSignal } = {},
  ): Promise<ExecResult> {
    await this.#subresource('get', pod, 'exec'); // a WebSocket begins as a GET
    await this.#subresource('create', pod, 'exec'); // which Kubernetes 1.35 and later hold to be a creation too
    throwIfCancelled(opts.signal);
    return (await this.#options.exec?.(pod, container, command)) ?? { exitCode: 0, stdout: '', stderr: '' };
  }

  denied(needs: readonly Access[]): Promise<readonly Access[]> {
    return Promise.resolve(needs.filter((need) => this.#isForbidden(need)));
  }

  close(): Promise<void> {
    return this.settle();
  }

  // Requests

  async #enter(
    verb: string,
    kind: ResourceKind,
    where: { readonly namespace?: string; readonly name?: string },
    subresource = '',
  ): Promise<void> {
    const { namespace, name } = where;
    if (name !== undefined)
      this.#scoped({ apiVersion: kind.version, kind: kind.kind, name, ...(namespace === undefined ? {} : { namespace }) }, kind);
    const access: Access = {
      verb,
      group: kind.group,
      resource: kind.plural + subresource,
      ...(namespace === undefined ? {} : { namespace }),
      ...(name === undefined ? {} : { name }),
    };
    await Promise.resolve(); // as from the network: nothing happens before the caller has returned
    if (this.#isForbidden(access)) throw forbidden(this.#options.user ?? 'tester', access);
    await this.#options.before?.(access);
  }

  async #subresource(verb: string, pod: ObjectRef, subresource: string): Promise<void> {
    await this.#enter(verb, this.#kindOf(pod), pod, `/${subresource}`);
    if (!this.#objects.has(refKey(pod))) throw absent(pod);
  }

  #isForbidden(access: Access): boolean {
    const matches = (rule: Partial<Access>) => Object.entries(rule).every(([field, value]) => access[field as keyof Access] === value);
    return (this.#options.forbid ?? []).some(matches);
  }

  #find(ref: Pick<ObjectRef, 'apiVersion' | 'kind'>): ResourceKind | undefined {
    const group = groupOf(ref.apiVersion);
    return this.#kinds.find((k) => k.group === group && k.kind === ref.kind);
  }

  #kindOf(ref: Pick<ObjectRef, 'apiVersion' | 'kind'>): ResourceKind {
    const kind = this.#find(ref);
    if (kind === undefined) throw unknownKind(ref);
    return kind;
  }

  #scoped(ref: ObjectRef, kind: ResourceKind): void {
    if ((ref.namespace !== undefined) !== kind.namespaced) throw wrongScope(ref, kind);
  }

  #needNamespace(ref: ObjectRef): void {
    const { namespace } = ref;
    if (namespace === undefined) return;
    if (!this.#objects.has(refKey({ apiVersion: 'v1', kind: 'Namespace', name: namespace }))) throw namespaceAbsent(namespace);
  }

  #expectSame(existing: KubeObject | undefined, expected: Pick<Partial<ObjectMeta>, 'uid' | 'resourceVersion'>): void {
    if (existing === undefined) return;
    const { uid = existing.metadata.uid, resourceVersion = existing.metadata.resourceVersion } = expected;
    if (uid === existing.metadata.uid && resourceVersion === existing.metadata.resourceVersion) return;
    throw new DmaasError('CLUSTER_CONFLICT', `${refName(refOf(existing), true)} changed meanwhile`);
  }

  #named(manifest: KubeObject): KubeObject {
    const { name, generateName } = manifest.metadata as { name?: string; generateName?: string };
    if ((name !== undefined && name !== '') || generateName === undefined) return manifest;
    const suffix = (this.#revision + 1).toString(36).padStart(5, '0');
    return { ...manifest, metadata: { ...manifest.metadata, name: generateName + suffix } };
  }

  /** Status of built-in kinds is a subresource: what a client writes to it through the object is ignored. */
  #withoutStatus(object: KubeObject, existing: KubeObject | undefined): KubeObject {
    if (!KNOWN_KINDS.some((k) => k.kind === object.kind && k.group === groupOf(object.apiVersion))) return object;
    const { status: _, ...rest } = object;
    return existing?.['status'] === undefined ? rest : { ...rest, status: existing['status'] };
  }

  // Storage

  #store(object: KubeObject, existing: KubeObject | undefined, dryRun = false): KubeObject {
    const copy = structuredClone(object);
    const metadata = copy.metadata as Mutable<ObjectMeta>;
    const kept = existing?.metadata;
    metadata.uid = kept?.uid ?? metadata.uid ?? uidFor(this.#revision + 1);
    metadata.creationTimestamp = kept?.creationTimestamp ?? metadata.creationTimestamp ?? new Date().toISOString().replace(/\.\d+/, '');
    metadata.resourceVersion = kept?.resourceVersion ?? '0';
    if ('spec' in copy) metadata['generation'] = kept?.['generation'] ?? 1;
    if (existing !== undefined && isDeepStrictEqual(copy, existing)) return structuredClone(existing);
    if (existing !== undefined && 'spec' in copy && !isDeepStrictEqual(copy['spec'], existing['spec'])) {
      metadata['generation'] = Number(kept?.['generation'] ?? 0) + 1;
    }
    if (dryRun) return copy;
    metadata.resourceVersion = String(++this.#revision);
    this.#objects.set(refKey(refOf(copy)), copy);
    this.#tell({ type: existing === undefined ? 'created' : 'updated', object: copy });
    return structuredClone(copy);
  }

  #remove(key: string, object: KubeObject, orphan: boolean): void {
    this.#objects.delete(key);
    this.#revision++;
    this.#tell({ type: 'deleted', object });
    const isNamespace = object.apiVersion === 'v1' && object.kind === 'Namespace';
    for (const [otherKey, other] of [...this.#objects]) {
      if (!this.#objects.has(otherKey)) continue; // went with another dependent
      const owners = other.metadata.ownerReferences ?? [];
      const left = owners.filter((owner) => owner.uid !== object.metadata.uid);
      const isLastOwner = owners.length > 0 && left.length === 0;
      if ((isNamespace && other.metadata.namespace === object.metadata.name) || (isLastOwner && !orphan))
        this.#remove(otherKey, other, false);
      else if (left.length < owners.length) this.#store({ ...other, metadata: { ...other.metadata, ownerReferences: left } }, other);
    }
  }

  #tell(write: Write): void {
    for (const hook of [...this.#hooks]) {
      const run = Promise.resolve()
        .then(() => hook(structuredClone(write)))
        .catch((e: unknown) => {
          this.#hookError ??= e;
        })
        .finally(() => this.#running.delete(run));
      this.#running.add(run);
    }
  }

  #nextWrite(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        stop();
        resolve();
      };
      const stop = this.onWrite(done);
      if (signal.aborted) done();
      else signal.addEventListener('abort', done, { once: true });
    });
  }
}

/** Objects merge field by field, everything else replaces. In a merge patch `null` removes the field. */
function merge(old: unknown, change: unknown, nullRemoves: boolean): unknown {
  if (!isRecord(change)) return change;
  const result: Record<string, unknown> = isRecord(old) ? { ...old } : {};
  for (const [field, value] of Object.entries(change)) {
    if (nullRemoves && value === null) Reflect.deleteProperty(result, field);
    else result[field] = merge(result[field], value, nullRemoves);
  }
  return result;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function uidFor(revision: number): string {
  return `00000000-0000-4000-8000-${revision.toString(16).padStart(12, '0')}`;
}
