import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { BlobWriter } from '../repository/blobs/blob-writer.ts';
import type { Repository } from '../repository/repository.ts';
import { Slots } from '../slots.ts';
import { loadPosix, type Fidelity } from './posix.ts';
import {
  carry,
  uncarry,
  type AskKind,
  type FromThread,
  type ThreadAsk,
  type ThreadSetup,
  type ThreadWork,
  type WorkKind,
} from './thread-messages.ts';

/** Each costs about 65 MiB, with the pack that it fills: more would not fit into what a mover's pod is given, whatever processors its node has. */
const MAX_THREADS = 4;
/** What each thread has at hand: one task that it does, one that it goes on with at once. */
const TASKS_PER_THREAD = 2;
/** In megabytes, so that values that live for a moment only do not take hundreds. */
const THREAD_HEAP = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 96 } as const;

export interface ThreadsOptions {
  readonly repository: Pick<Repository, 'forThread'>;
  /** Where threads that capture store what they read. */
  readonly writer?: BlobWriter;
  readonly fidelity: Fidelity;
  readonly signal: AbortSignal | undefined;
  readonly count?: number;
}

interface Pending {
  readonly thread: Thread;
  readonly resolve: (result: never) => void;
  readonly reject: (error: unknown) => void;
}

interface Thread {
  readonly worker: Worker;
  tasks: number;
}

/**
 * The threads that do what takes time for each byte or file: they read, cut, hash, compress and seal, or the reverse. The main thread plans, keeps the index, and
 * talks to the store; bytes of volumes pass it by in buffers that it does not look into. Threads are started when there is work for them. When one
 * fails or dies, all are stopped and every task fails with the first error; nothing runs any more when the tasks' promises say so.
 */
export class MoverThreads {
  readonly count: number;
  readonly #setup: Omit<ThreadSetup, 'repository'>;
  readonly #options: ThreadsOptions;
  readonly #host: ReturnType<BlobWriter['packingHost']> | undefined;
  readonly #threads: Thread[] = [];
  readonly #places: Slots;
  readonly #pending = new Map<number, Pending>();
  readonly #onAbort: () => void;
  #tasks = 0;
  /** Tasks that have a place, or wait for one. */
  #wanted = 0;
  #failure: { readonly error: unknown } | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: ThreadsOptions) {
    const { count = Math.min(Math.max(availableParallelism(), 2), MAX_THREADS), signal } = options;
    if (options.fidelity === 'full') loadPosix()?.keepFreedMemory();
    this.count = count;
    this.#options = options;
    this.#host = options.writer?.packingHost(count);
    this.#setup = { name: 'dmaas-mover-thread', fidelity: options.fidelity };
    this.#places = new Slots(count * TASKS_PER_THREAD);
    this.#onAbort = () => {
      this.#fail(new DmaasError('CANCELLED', 'stopped', { cause: signal?.reason }));
    };
    signal?.addEventListener('abort', this.#onAbort);
  }

  /** Waits for a place among the tasks under way, and for the result. What is in `transfer` belongs to the thread from then on. */
  async run<K extends WorkKind>(
    kind: K,
    task: ThreadWork[K]['task'],
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<ThreadWork[K]['result']> {
    this.#throwIfFailed();
    this.#wanted += 1;
    await this.#places.acquire();
    try {
      this.#throwIfFailed();
      return await this.#send(this.#thread(), kind, task, transfer);
    } finally {
      this.#wanted -= 1;
      this.#places.release();
    }
  }

  /** Whether a further task would have to wait for a place. */
  get isBusy(): boolean {
    return this.#wanted >= this.count * TASKS_PER_THREAD;
  }

  /** Waits until a further task need not wait. */
  async whenFree(): Promise<void> {
    await this.#places.acquire();
    this.#places.release();
  }

  /** When this resolves, everything read has been handed to the writer. */
  async flush(): Promise<void> {
    this.#throwIfFailed();
    await Promise.all(this.#threads.map((thread) => this.#send(thread, 'flush', {}, [])));
  }

  /** When this resolves, no thread runs any more. */
  async stop(): Promise<void> {
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    this.#failure ??= { error: new DmaasError('CANCELLED', 'stopped') };
    await this.#stopAll();
  }

  #thread(): Thread {
    const idle = this.#threads.reduce<Thread | undefined>(
      (best, thread) => (best && best.tasks <= thread.tasks ? best : thread),
      undefined,
    );
    if (idle !== undefined && (idle.tasks === 0 || this.#threads.length === this.count)) return idle;
    const worker = new Worker(threadFile(), {
      workerData: { ...this.#setup, repository: this.#options.repository.forThread() } satisfies ThreadSetup,
      resourceLimits: THREAD_HEAP,
    });
    const thread: Thread = { worker, tasks: 0 };
    worker.on('message', (message: FromThread) => {
      this.#receive(thread, message);
    });
    worker.on('error', (error) => {
      this.#fail(diedOf(error));
    });
    worker.on('exit', (code) => {
      this.#fail(new DmaasError('MOVER_FAILED', `a thread of the mover ended before its work did (exit code ${code})`));
    });
    this.#threads.push(thread);
    return thread;
  }

  #send<K extends WorkKind>(
    thread: Thread,
    kind: K,
    task: ThreadWork[K]['task'],
    transfer: readonly ArrayBuffer[],
  ): Promise<ThreadWork[K]['result']> {
    const n = this.#tasks++;
    thread.tasks += 1;
    return new Promise<ThreadWork[K]['result']>((resolve, reject) => {
      this.#pending.set(n, { thread, resolve, reject });
      thread.worker.postMessage({ type: 'work', n, kind, task }, [...transfer]);
    });
  }

  #receive(thread: Thread, message: FromThread): void {
    if (message.type === 'ask') {
      void this.#answer(thread, message.n, message.kind, message.ask);
      return;
    }
    const pending = this.#pending.get(message.n);
    if (message.type === 'failed') {
      this.#fail(failureOf(uncarry(message.error)));
      return;
    }
    this.#pending.delete(message.n);
    thread.tasks -= 1;
    pending?.resolve(message.result as never);
  }

  async #answer<K extends AskKind>(thread: Thread, n: number, kind: K, ask: ThreadAsk[K]['ask']): Promise<void> {
    try {
      const answer = await this.#ask(kind, ask);
      if (this.#stopped === undefined)
        thread.worker.postMessage({ type: 'answer', n, answer }, answer instanceof ArrayBuffer ? [answer] : []);
    } catch (error) {
      // As it is, and not as the thread would carry it back.
      this.#failure ??= { error };
      if (this.#stopped === undefined) thread.worker.postMessage({ type: 'refusal', n, error: carry(error) });
    }
  }

  async #ask(kind: AskKind, ask: ThreadAsk[AskKind]['ask']): Promise<ThreadAsk[AskKind]['answer']> {
    const { writer } = this.#options;
    const host = this.#host;
    if (writer === undefined || host === undefined)
      throw new DmaasError('INTERNAL', 'a thread wants to store, but nothing is being captured');
    if (kind === 'claim') return host.claim((ask as ThreadAsk['claim']['ask']).blobs);
    if (kind === 'packMemory') return host.packMemory((ask as ThreadAsk['packMemory']['ask']).bytes);
    if (kind === 'node') return (await writer.put('node', (ask as ThreadAsk['node']['ask']).bytes)).id;
    host.store((ask as ThreadAsk['store']['ask']).pack);
    return undefined;
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    void this.#stopAll();
  }

  async #stopAll(): Promise<void> {
    this.#stopped ??= Promise.all(this.#threads.map(({ worker }) => worker.terminate())).then(() => {
      for (const { reject } of this.#pending.values()) reject(this.#failure?.error);
      this.#pending.clear();
    });
    await this.#stopped;
  }

  #throwIfFailed(): void {
    throwIfCancelled(this.#options.signal);
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

/** From the sources, the source; in a bundle, the bundle of threads beside it. */
function threadFile(): URL {
  return new URL(import.meta.url.endsWith('.ts') ? './thread.ts' : './mover-thread.mjs', import.meta.url);
}

function diedOf(error: unknown): unknown {
  if ((error as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return new DmaasError('MOVER_FAILED', 'a thread of the mover ran out of memory', { cause: error });
  }
  return failureOf(error);
}

function failureOf(error: unknown): unknown {
  return DmaasError.is(error) || (error instanceof Error && 'code' in error)
    ? error
    : new DmaasError('INTERNAL', 'a thread of the mover failed in a way that is not foreseen', { cause: error });
}
