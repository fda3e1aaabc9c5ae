import { setImmediate as immediate } from 'node:timers/promises';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { CallOptions, ObjectInfo, ObjectStore, PutOptions } from '../../core/src/store/object-store.ts';

/** Numbers from 0 up to `n`, the same for the same seed. */
export type Choose = (n: number) => number;

export function chooser(seed: number): Choose {
  let state = seed >>> 0;
  return (n) => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t);
    return ((t ^ (t >>> 14)) >>> 0) % n;
  };
}

export interface Call {
  readonly verb: 'put' | 'get' | 'stat' | 'list' | 'delete';
  /** Of a list: its prefix. */
  readonly key: string;
  /** Of a put. */
  readonly body?: Uint8Array;
}

interface Turn {
  readonly actor: string;
  readonly go: () => void;
}

/** How many turns of the event loop show nothing new before everybody is taken to wait. */
const QUIET_ROUNDS = 2;
const MAX_TURNS = 100_000;

/**
 * One store in memory, used by actors whose calls take effect one after the other, in an order that is chosen; time by the store's clock passes between them. An actor can be
 * held: its calls take effect when it is let go, however late.
 */
export class Interleaving {
  readonly memory: MemoryStore;
  turns = 0;
  /** Called before each. */
  onTurn: (turn: number) => void = () => undefined;
  /** Called when an actor is about to make a call, which has had no effect yet. */
  onCall: (actor: string, call: Call) => void = () => undefined;
  now = Date.parse('2026-11-22T12:00:00Z');
  readonly #choose: Choose;
  readonly #tick: (choose: Choose) => number;
  readonly #held = new Set<string>();
  #waiting: Turn[] = [];
  #running = 0;

  /** `tick`: milliseconds that pass before a call. */
  constructor(choose: Choose, tick: (choose: Choose) => number) {
    this.#choose = choose;
    this.#tick = tick;
    this.memory = new MemoryStore({ now: () => new Date(this.now) });
  }

  hold(actor: string): void {
    this.#held.add(actor);
  }

  release(): void {
    this.#held.clear();
  }

  store(actor: string): ObjectStore {
    return new ActorStore(this.memory, (call) => this.#turn(actor, call));
  }

  /** Lets an actor take part until `work` ends, however it does. */
  start(work: () => Promise<unknown>): void {
    this.#running++;
    void work().finally(() => this.#running--);
  }

  /** Until nobody has anything to do but those who are held. */
  async run(): Promise<void> {
    while (this.turns < MAX_TURNS) {
      const ready = await this.#ready();
      if (ready.length === 0) return;
      const turn = ready[this.#choose(ready.length)] as Turn;
      this.#waiting = this.#waiting.filter((other) => other !== turn);
      this.onTurn(++this.turns);
      this.now += this.#tick(this.#choose);
      turn.go();
    }
    throw new Error('the actors do not come to an end');
  }

  async #ready(): Promise<Turn[]> {
    for (let quiet = 0, seen = -1; quiet < QUIET_ROUNDS;) {
      await immediate();
      const isQuiet = this.#waiting.length === seen && (this.#waiting.length > 0 || this.#running === 0);
      quiet = isQuiet ? quiet + 1 : 0;
      seen = this.#waiting.length;
    }
    return this.#waiting.filter(({ actor }) => !this.#held.has(actor));
  }

  #turn(actor: string, call: Call): Promise<void> {
    this.onCall(actor, call);
    return new Promise((go) => this.#waiting.push({ actor, go }));
  }
}

class ActorStore implements ObjectStore {
  readonly location: string;
  readonly #store: ObjectStore;
  readonly #turn: (call: Call) => Promise<void>;

  constructor(store: ObjectStore, turn: (call: Call) => Promise<void>) {
    this.#store = store;
    this.#turn = turn;
    this.location = store.location;
  }

  async put(key: string, body: Uint8Array, opts?: PutOptions): Promise<void> {
    await this.#turn({ verb: 'put', key, body });
    return this.#store.put(key, body, opts);
  }

  async get(
    key: string,
    opts?: CallOptions & { readonly range?: { readonly offset: number; readonly length: number } },
  ): Promise<Uint8Array | undefined> {
    await this.#turn({ verb: 'get', key });
    return this.#store.get(key, opts);
  }

  async stat(key: string, opts?: CallOptions): Promise<ObjectInfo | undefined> {
    await this.#turn({ verb: 'stat', key });
    return this.#store.stat(key, opts);
  }

  async *list(prefix: string, opts?: CallOptions): AsyncIterable<ObjectInfo> {
    await this.#turn({ verb: 'list', key: prefix });
    const listed: ObjectInfo[] = [];
    for await (const info of this.#store.list(prefix, opts)) listed.push(info);
    yield* listed;
  }

  async delete(key: string, opts?: CallOptions): Promise<void> {
    await this.#turn({ verb: 'delete', key });
    return this.#store.delete(key, opts);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
