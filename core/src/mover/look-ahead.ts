import { FAR } from './look-ahead-thread.ts';
import { MoverThreads, type ThreadsOptions } from './threads.ts';

/** How often the walk tells where it is. */
const TOLD_EVERY = 256;

/**
 * Has another thread look at most of the files that a walk will come to. What the system must do to know a file, reading from the disk
 * above all, is half of a backup of which nothing has changed; so it is done beside the other half.
 */
export class LookAhead {
  readonly #threads: MoverThreads;
  readonly #passed = new Int32Array(new SharedArrayBuffer(4));
  #count = 0;

  constructor(path: string, options: Pick<ThreadsOptions, 'repository' | 'fidelity' | 'signal'>) {
    this.#threads = new MoverThreads({ ...options, count: 1 });
    // Nothing depends on it: what goes wrong with a file, the walk meets itself.
    this.#threads.run('look', { path, passed: this.#passed }).catch(() => undefined);
  }

  /** The walk has come to a further entry. */
  pass(): void {
    if (++this.#count % TOLD_EVERY === 0) this.#tell(this.#count);
  }

  /** When this resolves, nothing is looked at any more. */
  async stop(): Promise<void> {
    this.#tell(FAR);
    await this.#threads.stop();
  }

  #tell(count: number): void {
    Atomics.store(this.#passed, 0, count);
    Atomics.notify(this.#passed, 0);
  }
}
