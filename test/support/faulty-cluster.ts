import type { Cluster } from '../../core/src/cluster/cluster.ts';
import { DmaasError } from '../../core/src/errors.ts';

/** Stands for the death of the process: no DmaasError, and nothing after it reaches the cluster. */
export class ClusterCrash extends Error {
  override readonly name = 'ClusterCrash';
}

export type ClusterFault =
  /** The call fails and has no effect; CLUSTER_FORBIDDEN, which is never taken for something that passes. */
  | 'refused'
  /** The call takes effect, then fails: the caller cannot know. */
  | 'lost-answer'
  /** The process dies before, or after, the call. */
  | 'crash-before'
  | 'crash-after'
  /** `onCall` runs before the call, which goes on. */
  | 'notice';

const VERBS = ['id', 'version', 'kinds', 'get', 'list', 'create', 'apply', 'patch', 'delete', 'waitFor', 'denied'] as const;
type Verb = (typeof VERBS)[number];
const WRITES: readonly Verb[] = ['create', 'apply', 'patch', 'delete'];

interface Fault {
  readonly at: number;
  readonly kind: ClusterFault;
  readonly onCall?: () => void;
  /** Calls that change nothing are not counted: to die after one is to die after the change before. */
  readonly ofWrites?: boolean;
}

/** A cluster on which exactly one call, the `at`-th (from 1), goes wrong. Log streams are not counted: nothing depends on them. */
export class FaultyCluster {
  readonly cluster: Cluster;
  readonly calls: string[] = [];
  #crashed = false;

  constructor(cluster: Cluster, fault?: Fault) {
    const attempt = async <T>(verb: Verb, args: readonly unknown[], call: () => Promise<T>): Promise<T> => {
      if (this.#crashed) throw new ClusterCrash(`${verb} after the crash`);
      if (fault?.ofWrites === true && !WRITES.includes(verb)) return call();
      this.calls.push(`${verb} ${JSON.stringify(args[0] ?? '').slice(0, 120)}`);
      const kind = this.calls.length === fault?.at ? fault.kind : undefined;
      if (kind === 'notice') fault?.onCall?.();
      if (kind === 'refused') throw new DmaasError('CLUSTER_FORBIDDEN', `refused: ${verb}`);
      if (kind === 'crash-before') this.#crash(verb);
      const result = await call();
      if (this.isCrashed) throw new ClusterCrash(`${verb} answered after the crash`);
      if (kind === 'lost-answer') throw new DmaasError('CLUSTER_UNREACHABLE', `the answer to ${verb} was lost`);
      if (kind === 'crash-after') this.#crash(verb);
      return result;
    };
    this.cluster = new Proxy(cluster, {
      get: (target, property) => {
        const member: unknown = Reflect.get(target, property, target);
        if (typeof member !== 'function') return member;
        const bound = member.bind(target) as (...args: unknown[]) => unknown;
        if (property === 'list') {
          return async function* (...args: unknown[]) {
            yield* await attempt('list', args, () => collect(bound(...args) as AsyncIterable<unknown>));
          };
        }
        if (!(VERBS as readonly unknown[]).includes(property)) return bound;
        return (...args: unknown[]) => attempt(property as Verb, args, () => bound(...args) as Promise<unknown>);
      },
    });
  }

  get isCrashed(): boolean {
    return this.#crashed;
  }

  /** Dies at the next call. */
  crash(): void {
    this.#crashed = true;
  }

  #crash(verb: Verb): never {
    this.crash();
    throw new ClusterCrash(`died at ${verb}`);
  }
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
