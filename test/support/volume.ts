import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { DmaasEvent, RunOptions } from '../../core/src/events.ts';
import type { Finding } from '../../core/src/model.ts';
import { createRepository, type Repository } from '../../core/src/repository/repository.ts';
import { MemoryStore } from '../../core/src/store/memory.ts';
import type { ObjectStore } from '../../core/src/store/object-store.ts';

/** An entry of a directory tree to make; see `volume.py`. Names and values in hex. */
export interface SpecEntry {
  readonly path: readonly string[];
  readonly type: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: string;
  readonly xattrs?: Readonly<Record<string, string>>;
  /** Of a file: `[length]` is a hole, `[length, seed]` is data. */
  readonly content?: readonly (readonly number[])[];
  readonly target?: string;
  readonly device?: readonly [number, number];
  /** Makes it a hard link to this path; everything else is ignored then. */
  readonly link?: readonly string[];
}

const SCRIPT = join(import.meta.dirname, 'volume.py');

/** Makes and describes directory trees without any code of ours: a Python process, `volume.py`. */
export class TreeOracle {
  readonly #process = spawn('python3', [SCRIPT], { stdio: ['pipe', 'pipe', 'inherit'] });
  readonly #answers = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();

  async build(directory: string, spec: readonly SpecEntry[]): Promise<void> {
    await this.#ask({ build: directory, spec });
  }

  /** Everything that a backup must keep. */
  async describe(directory: string): Promise<Record<string, unknown>[]> {
    return (await this.#ask({ describe: directory })) as Record<string, unknown>[];
  }

  stop(): void {
    this.#process.stdin.end();
  }

  async #ask(request: unknown): Promise<unknown> {
    this.#process.stdin.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error('volume.py has ended; see its error output');
    return JSON.parse(value);
  }
}

export function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}

/** A directory of this test's own, removed by `rm`. */
export function scratch(): { readonly path: string; readonly rm: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'dmaas-mover-'));
  return {
    path,
    rm: () => {
      rmSync(path, { recursive: true, force: true });
    },
  };
}

export const UNLOCK = Buffer.alloc(32, 7);

export function memoryRepository(store: ObjectStore = new MemoryStore()): Promise<Repository> {
  return createRepository(store, UNLOCK);
}

/**
 * The same repository, with `onClaim` called whenever a thread asks about what it has read. A thread reads 8 MiB before it asks, and 8 MiB more before
 * it must have an answer; so a file of 24 MiB is being read when it is called first.
 */
export function watchClaims(repository: Repository, onClaim: () => void): Repository {
  const write: Repository['write'] = (fn, opts) =>
    repository.write((writer) => {
      const packingHost: typeof writer.packingHost = (threads) => {
        const host = writer.packingHost(threads);
        const claim: typeof host.claim = (blobs) => {
          onClaim();
          return host.claim(blobs);
        };
        return { ...host, claim };
      };
      return fn({ put: (...args) => writer.put(...args), totals: () => writer.totals(), packingHost });
    }, opts);
  return new Proxy(repository, {
    get: (target, name): unknown => {
      const value: unknown = name === 'write' ? write : Reflect.get(target, name, target);
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    },
  });
}

/** Run options that remember what they are told. */
export function recorder(signal?: AbortSignal): RunOptions & { readonly events: DmaasEvent[]; readonly findings: Finding[] } {
  const events: DmaasEvent[] = [];
  const findings: Finding[] = [];
  const emit = (event: DmaasEvent): void => {
    events.push(event);
    if (event.type === 'finding') findings.push(event.finding);
  };
  return { emit, events, findings, ...(signal === undefined ? {} : { signal }) };
}

/** A clock that is far enough ahead that nothing in a volume counts as just changed. */
export const settled = (): number => Date.now() + 60_000;
