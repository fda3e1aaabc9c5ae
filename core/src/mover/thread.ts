import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { BlobPacker, randomFrom } from '../repository/blobs/blob-packer.ts';
import { gearTable } from '../repository/format/chunker.ts';
import { RepositoryKeys } from '../repository/format/key-set.ts';
import { lookAhead } from './look-ahead-thread.ts';
import { loadPosix } from './posix.ts';
import { readFiles } from './read-files.ts';
import { readSpans } from './read-spans.ts';
import type { ReadTools } from './read-content.ts';
import {
  carry,
  uncarry,
  type AskKind,
  type ThreadAsk,
  type ThreadSetup,
  type ThreadWork,
  type ToThread,
  type WorkKind,
} from './thread-messages.ts';
import { writeFrames } from './write-frames.ts';

/** One of a mover's threads: does the tasks that `MoverThreads` sends it, one after the other. */
class MoverThread {
  readonly #port: MessagePort;
  readonly #setup: ThreadSetup;
  readonly #keys: RepositoryKeys;
  readonly #asked = new Map<number, { readonly resolve: (answer: never) => void; readonly reject: (error: unknown) => void }>();
  #asks = 0;
  #last: Promise<void> = Promise.resolve();
  #tools: ReadTools | undefined;

  constructor(port: MessagePort, setup: ThreadSetup) {
    this.#port = port;
    this.#setup = setup;
    const { keySet, repositoryId } = setup.repository.keys;
    this.#keys = new RepositoryKeys(keySet, repositoryId);
    port.on('message', (message: ToThread) => {
      this.#receive(message);
    });
  }

  #receive(message: ToThread): void {
    if (message.type === 'work') {
      const { n, kind, task } = message;
      this.#last = this.#last.then(() => this.#work(n, kind, task));
      return;
    }
    const asked = this.#asked.get(message.n);
    this.#asked.delete(message.n);
    if (message.type === 'answer') asked?.resolve(message.answer as never);
    else asked?.reject(uncarry(message.error));
  }

  async #work(n: number, kind: WorkKind, task: ThreadWork[WorkKind]['task']): Promise<void> {
    try {
      this.#port.postMessage({ type: 'done', n, result: await this.#do(kind, task) });
    } catch (error) {
      this.#port.postMessage({ type: 'failed', n, error: carry(error) });
    }
  }

  async #do(kind: WorkKind, task: ThreadWork[WorkKind]['task']): Promise<ThreadWork[WorkKind]['result']> {
    if (kind === 'files') return readFiles(task as ThreadWork['files']['task'], this.#readTools());
    if (kind === 'spans') return readSpans(task as ThreadWork['spans']['task'], this.#readTools());
    if (kind === 'write') return writeFrames(task as ThreadWork['write']['task'], this.#keys, this.#native());
    if (kind === 'flush') await this.#tools?.packer.flush();
    else this.#lookAhead(task as ThreadWork['look']['task']);
    return undefined;
  }

  #readTools(): ReadTools {
    if (this.#tools !== undefined) return this.#tools;
    const { parameters, seed } = this.#setup.repository;
    const keys = this.#keys;
    const { min, max, block } = parameters.chunker;
    const packer = new BlobPacker({
      keys,
      random: randomFrom(seed),
      packBytes: parameters.packBytes,
      maxBlob: Math.max(min, max, block),
      host: {
        claim: (blobs) => this.#ask('claim', { blobs }),
        packMemory: (bytes) => this.#ask('packMemory', { bytes }),
        store: (pack) => {
          this.#ask('store', { pack }, pack.memory instanceof ArrayBuffer ? [pack.memory] : []).catch(() => undefined); // what became of it is known to the main thread
        },
      },
    });
    this.#tools = {
      packer,
      native: this.#native(),
      chunker: parameters.chunker,
      gear: gearTable(keys.chunker),
      putNode: (bytes) => this.#ask('node', { bytes }),
    };
    return this.#tools;
  }

  #lookAhead(task: ThreadWork['look']['task']): void {
    const native = this.#native();
    if (native !== undefined) lookAhead(task, native);
  }

  #native() {
    return this.#setup.fidelity === 'reduced' ? undefined : loadPosix();
  }

  #ask<K extends AskKind>(kind: K, ask: ThreadAsk[K]['ask'], transfer: readonly ArrayBuffer[] = []): Promise<ThreadAsk[K]['answer']> {
    const n = this.#asks++;
    return new Promise<ThreadAsk[K]['answer']>((resolve, reject) => {
      this.#asked.set(n, { resolve, reject });
      this.#port.postMessage({ type: 'ask', n, kind, ask }, [...transfer]);
    });
  }
}

if (parentPort !== null) new MoverThread(parentPort, workerData as ThreadSetup);
