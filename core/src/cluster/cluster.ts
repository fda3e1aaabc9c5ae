import type { KubeObject, ObjectRef, ResourceKind } from '../model.ts';

export interface Access {
  readonly verb: string;
  readonly group: string;
  /** Plural, with a subresource after a slash: `pods/exec`. */
  readonly resource: string;
  readonly namespace?: string;
  readonly name?: string;
}

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ListScope {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface ServerVersion {
  readonly gitVersion: string;
  readonly major: number;
  readonly minor: number;
}

/**
 * The verbs DMaaS needs of a Kubernetes API server. Objects are raw JSON in both directions. Absence is `undefined`; refusal is
 * CLUSTER_FORBIDDEN, no answer CLUSTER_UNREACHABLE, 409 CLUSTER_CONFLICT, 400/422 CLUSTER_REJECTED, as are writes to what does not
 * exist and refusals by policy (quota, pod security). Calls that are safe to repeat are retried on 429, 5xx and lost connections.
 */
export interface Cluster {
  /** Name of the kubeconfig context, or `in-cluster`. */
  readonly context: string;
  /** Namespace of the context, else `default`. */
  readonly namespace: string;
  /**
   * Identity of the cluster, whatever its contexts are called: the UID of the namespace kube-system. For those who may not read that,
   * `ca-` and a hash of the cluster's certificate authority.
   */
  id(): Promise<string>;
  version(): Promise<ServerVersion>;
  /** Kinds that can be listed, in the server's preferred version. Two requests, before Kubernetes 1.27 one for each version; cached. */
  kinds(): Promise<readonly ResourceKind[]>;
  get(ref: ObjectRef): Promise<KubeObject | undefined>;
  /** Pages internally, one consistent state. Items carry `apiVersion` and `kind`, which the server leaves out of lists. */
  list(kind: ResourceKind, scope: ListScope): AsyncIterable<KubeObject>;
  /** Throws CLUSTER_CONFLICT when it exists. */
  create(manifest: KubeObject, opts?: { readonly dryRun?: boolean }): Promise<KubeObject>;
  /** Server-side apply as field manager `dmaas`. `dryRun` is validated by the server and changes nothing. */
  apply(manifest: KubeObject, opts?: { readonly dryRun?: boolean; readonly force?: boolean }): Promise<KubeObject>;
  /** JSON merge patch. */
  patch(ref: ObjectRef, merge: Readonly<Record<string, unknown>>): Promise<KubeObject>;
  /** Deleting an absent object succeeds. `uid` makes it conditional on still being that object. */
  delete(ref: ObjectRef, opts?: { readonly propagation?: 'foreground' | 'background' | 'orphan'; readonly uid?: string }): Promise<void>;
  /**
   * Resolves with the object that satisfied `until` (`undefined` when absence satisfied it). Survives dropped watches. Throws
   * TIMEOUT or CANCELLED.
   */
  waitFor(
    ref: ObjectRef,
    until: (o: KubeObject | undefined) => boolean,
    opts: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<KubeObject | undefined>;
  /**
   * Lines of a container's log, following until the container ends unless `follow` is false; a line is cut after 1 MiB. Throws
   * CLUSTER_UNREACHABLE when the connection breaks: the log may go on.
   */
  logs(
    pod: ObjectRef,
    container: string,
    opts?: { readonly signal?: AbortSignal; readonly tailLines?: number; readonly follow?: boolean },
  ): AsyncIterable<string>;
  /**
   * Runs a command. Throws CLUSTER_UNREACHABLE when the connection breaks before the exit code came, CLUSTER_REJECTED when the
   * command cannot run or prints more than 1 MiB. Needs `get` on pods/exec, and from Kubernetes 1.35 on `create` too.
   */
  exec(pod: ObjectRef, container: string, command: readonly string[], opts?: { readonly signal?: AbortSignal }): Promise<ExecResult>;
  /** The subset of `needs` that the current identity lacks; empty means go. */
  denied(needs: readonly Access[]): Promise<readonly Access[]>;
  close(): Promise<void>;
}
