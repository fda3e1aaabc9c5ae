import { DmaasError } from '../../core/src/errors.ts';
import type { ErrorCode } from '../../core/src/errors.ts';
import type { CallOptions, ObjectInfo, ObjectStore, PutOptions } from '../../core/src/store/object-store.ts';
import { addCases } from './cases.ts';

export type StoreVerb = 'put' | 'get' | 'stat' | 'list' | 'delete';

export type Fault =
  /** The call fails and has no effect. STORE_UNAVAILABLE unless said otherwise. */
  | { readonly kind: 'error'; readonly code?: ErrorCode }
  /** The call takes effect, then fails with STORE_UNAVAILABLE: the caller cannot know. */
  | { readonly kind: 'lost-acknowledgement' }
  | { readonly kind: 'latency'; readonly ms: number }
  /** What `get` returns is changed on its way. */
  | { readonly kind: 'damage'; readonly change: (body: Uint8Array) => Uint8Array }
  /** This call and every later one throws StoreCrash; the call itself takes effect first or not. */
  | { readonly kind: 'crash'; readonly when: 'before' | 'after' };

export interface FaultRule {
  /** Every verb if absent. */
  readonly verb?: StoreVerb;
  /** A prefix of the key, or a pattern. Every key if absent. */
  readonly key?: string | RegExp;
  /** The rule applies from the `from`-th matching call on (the first is 1), `times` times. Defaults: 1, without end. */
  readonly from?: number;
  readonly times?: number;
  readonly fault: Fault;
}

export interface StoreCall {
  readonly verb: StoreVerb;
  /** For list: the prefix. */
  readonly key: string;
}

/** Stands for the death of the process: it is no DmaasError, and nothing after it reaches the store. */
export class StoreCrash extends Error {
  override readonly name = 'StoreCrash';
}

/**
 * A store on which calls fail by rule: deterministic, so that a test can crash at each call of a run in turn. `calls` counts
 * and names what was asked for, whether it failed or not.
 *
 *     const store = new FaultyStore(new MemoryStore());
 *     store.addRule({ verb: 'put', key: 'packs/', from: 3, times: 1, fault: { kind: 'lost-acknowledgement' } });
 *     store.crashAt(7, 'after'); // the 7th call of any kind is the last one that takes effect
 */
export class FaultyStore implements ObjectStore {
  readonly location: string;
  readonly calls: StoreCall[] = [];
  readonly #store: ObjectStore;
  #rules: { readonly rule: FaultRule; seen: number }[] = [];
  #crashed = false;

  constructor(store: ObjectStore, rules: readonly FaultRule[] = []) {
    this.#store = store;
    this.location = store.location;
    for (const rule of rules) this.addRule(rule);
  }

  addRule(rule: FaultRule): void {
    this.#rules.push({ rule, seen: 0 });
  }

  /** The `k`-th call from now on, of any verb and key, crashes before or after it took effect. */
  crashAt(k: number, when: 'before' | 'after'): void {
    addCases(1);
    this.addRule({ from: k, fault: { kind: 'crash', when } });
  }

  /** A new life: no rules, no crash, no calls. What is stored stays. */
  heal(): void {
    this.#rules = [];
    this.#crashed = false;
    this.calls.length = 0;
  }

  count(verb: StoreVerb, prefix = ''): number {
    return this.calls.filter((call) => call.verb === verb && call.key.startsWith(prefix)).length;
  }

  put(key: string, body: Uint8Array, opts?: PutOptions): Promise<void> {
    return this.#call('put', key, () => this.#store.put(key, body, opts));
  }

  get(
    key: string,
    opts?: CallOptions & { readonly range?: { readonly offset: number; readonly length: number } },
  ): Promise<Uint8Array | undefined> {
    return this.#call('get', key, () => this.#store.get(key, opts));
  }

  stat(key: string, opts?: CallOptions): Promise<ObjectInfo | undefined> {
    return this.#call('stat', key, () => this.#store.stat(key, opts));
  }

  /** A fault of a list shows before its first object. */
  async *list(prefix: string, opts?: CallOptions): AsyncIterable<ObjectInfo> {
    await this.#call('list', prefix, () => Promise.resolve());
    yield* this.#store.list(prefix, opts);
  }

  delete(key: string, opts?: CallOptions): Promise<void> {
    return this.#call('delete', key, () => this.#store.delete(key, opts));
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #call<T>(verb: StoreVerb, key: string, effect: () => Promise<T>): Promise<T> {
    if (this.#crashed) throw new StoreCrash(`${verb} ${key} after the crash`);
    this.calls.push({ verb, key });
    const faults = this.#faultsOf({ verb, key });
    for (const fault of faults) {
      if (fault.kind === 'latency') await new Promise((resolve) => setTimeout(resolve, fault.ms));
      if (fault.kind === 'error') throw new DmaasError(fault.code ?? 'STORE_UNAVAILABLE', `injected: ${verb} ${key} failed`);
      if (fault.kind === 'crash') {
        this.#crashed = true;
        if (fault.when === 'before') throw new StoreCrash(`${verb} ${key}, before it took effect`);
      }
    }
    let result = await effect();
    for (const fault of faults) {
      if (fault.kind === 'lost-acknowledgement')
        throw new DmaasError('STORE_UNAVAILABLE', `injected: the answer to ${verb} ${key} was lost`);
      if (fault.kind === 'crash') throw new StoreCrash(`${verb} ${key}, after it took effect`);
      if (fault.kind === 'damage' && result instanceof Uint8Array) result = fault.change(Uint8Array.from(result)) as typeof result;
    }
    return result;
  }

  #faultsOf(call: StoreCall): Fault[] {
    const faults: Fault[] = [];
    for (const entry of this.#rules) {
      if (!matches(entry.rule, call)) continue;
      entry.seen++;
      const from = entry.rule.from ?? 1;
      if (entry.seen >= from && entry.seen < from + (entry.rule.times ?? Infinity)) faults.push(entry.rule.fault);
    }
    return faults;
  }
}

function matches(rule: FaultRule, call: StoreCall): boolean {
  if (rule.verb !== undefined && rule.verb !== call.verb) return false;
  if (rule.key === undefined) return true;
  return typeof rule.key === 'string' ? call.key.startsWith(rule.key) : rule.key.test(call.key);
}
