/** Runs the tools in turn on the same data and stores, and checks what they restored. */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SetupError } from '../support/setup/command.ts';
import { elapsed, say } from '../support/setup/progress.ts';
import { temporaryDir } from '../support/stores/server.ts';
import { makeDataSet, type DataSet, type SetName } from './data-sets.ts';
import type { Traffic } from './counting-proxy.ts';
import { Cage, dropCaches, type Command, type Cost } from './measure.ts';
import { openBenchStore, type BenchStore, type StoreName } from './stores.ts';
import { cacheOf, type Job, type Tool } from './tools.ts';

/** What is timed, in this order. */
export const WORKS = ['first', 'no change', '1 % change', 'restore', 'one file'] as const;
export type Work = (typeof WORKS)[number];

export interface Measurement extends Cost {
  readonly store: StoreName;
  readonly set: SetName;
  readonly work: Work;
  readonly tool: string;
  readonly round: number;
  readonly sourceBytes: number;
  /** What the work added to the repository, and how large it is then. */
  readonly addedBytes: number;
  readonly repositoryBytes: number;
  readonly objects: number;
  readonly traffic?: Traffic;
  /** What is wrong: it failed, or what it restored differs. */
  readonly fault?: string;
}

export interface BenchOptions {
  readonly tools: readonly Tool[];
  readonly sets: readonly SetName[];
  readonly stores: readonly StoreName[];
  readonly rounds: number;
  readonly scale: number;
  readonly seed: number;
  /** Aborted, it ends before the next tool's turn. */
  readonly signal: AbortSignal;
}

/**
 * Files that were written a moment ago are read again by the next backup, because a change in the same instant would not show in their
 * times. Data is older than that when a backup of it begins.
 */
const AGE_MS = 3000;

/** What a mover's pod is given. It also keeps the page cache small, so that no tool is helped by what another has read. */
const MEMORY_BYTES = 2 ** 30;

export async function runBench(options: BenchOptions): Promise<Measurement[]> {
  const work = await temporaryDir('bench');
  const cage = new Cage(MEMORY_BYTES);
  const measurements: Measurement[] = [];
  const began = Date.now();
  try {
    for (const name of options.sets) {
      say(`making the data set ${name}`);
      const dir = join(work.path, 'source');
      mkdirSync(asideDir(work.path));
      const data = makeDataSet(name, { dir, seed: options.seed, scale: options.scale });
      for (const storeName of options.stores) {
        const store = await openBenchStore(storeName, work.path);
        try {
          for (let round = 1; round <= options.rounds; round++) {
            for (const tool of options.tools.filter(({ stores }) => stores.includes(storeName === 'local' ? 'local' : 's3'))) {
              if (options.signal.aborted) return measurements;
              say(`[${elapsed(Date.now() - began)}] set ${name}, store ${storeName}, round ${round} of ${options.rounds}: ${tool.name}`);
              measurements.push(...(await new Run({ tool, data, store, cage, round, work: work.path, source: dir }).all()));
            }
          }
        } finally {
          await store.close();
        }
      }
      rmSync(dir, { recursive: true });
      rmSync(asideDir(work.path), { recursive: true });
    }
    return measurements;
  } finally {
    await cage.remove();
    await work.remove();
  }
}

/**
 * What tools have restored, and their caches, stay there until the set is done: ext4 without a journal passes over the inodes that were freed in the
 * last minutes, so that a tool that makes 100 000 files would pay for the 100 000 that were removed after the tool before it.
 */
const asideDir = (work: string): string => join(work, 'aside');

interface RunParts {
  readonly tool: Tool;
  readonly data: DataSet;
  readonly store: BenchStore;
  readonly cage: Cage;
  readonly round: number;
  readonly work: string;
  readonly source: string;
}

/** All that one tool does with one data set in one store, from an empty repository on. */
class Run {
  readonly #parts: RunParts;
  readonly #job: Job;
  readonly #log: string;
  readonly #measured: Measurement[] = [];

  constructor(parts: RunParts) {
    this.#parts = parts;
    const { tool, data, store, round, work, source } = parts;
    const state = join(work, 'state');
    mkdirSync(state);
    this.#log = join(state, 'log');
    const place = store.place(`${tool.name}-${data.name}-${round}`);
    this.#job = { place, source, set: data.name, target: join(work, 'target'), state };
  }

  async all(): Promise<Measurement[]> {
    const { tool, data, store, round } = this.#parts;
    try {
      await this.#prepare(tool.init(this.#job));
      await sleep(AGE_MS);
      await this.#measure('first', tool.backup(this.#job));
      if (tool.isArchiver !== true) {
        await this.#measure('no change', tool.backup(this.#job));
        if (data.change !== undefined) {
          data.change(round);
          await sleep(AGE_MS);
          await this.#measure('1 % change', tool.backup(this.#job));
        }
      }
      await this.#restore('restore', tool.restore(this.#job), () => this.#differences());
      await this.#restore('one file', tool.restoreOne(this.#job, data.oneFile), () => this.#differenceOfOne());
      return this.#measured;
    } finally {
      data.change?.(0);
      store.clear(this.#job.place);
      this.#setAside(this.#job.state);
      this.#setAside(this.#job.target);
    }
  }

  async #prepare(command: Command | undefined): Promise<void> {
    if (command === undefined) return;
    const { exitCode } = await this.#parts.cage.run(command, this.#log);
    if (exitCode !== 0) throw new SetupError(`${this.#parts.tool.name} cannot be prepared: ${this.#said()}`, 'leave it out with --tools');
  }

  async #measure(work: Work, command: Command, check?: () => string | undefined): Promise<void> {
    const { tool, data, store, cage, round } = this.#parts;
    const before = await store.size(this.#job.place);
    await dropCaches();
    store.take();
    const cost = await cage.run(command, this.#log);
    const traffic = store.take();
    const after = await store.size(this.#job.place);
    const fault = cost.exitCode === 0 ? check?.() : `it ended with ${cost.exitCode ?? 'a signal'}: ${this.#said()}`;
    const seconds = `${cost.wallSeconds.toFixed(1)} s, ${cost.cpuSeconds.toFixed(1)} CPU s, ${(cost.peakBytes / 2 ** 20).toFixed(0)} MiB`;
    say(`  ${work}: ${seconds}${fault === undefined ? '' : `; ${fault}`}`);
    this.#measured.push({
      ...{ store: store.name, set: data.name, work, tool: tool.name, round, sourceBytes: data.bytes },
      ...cost,
      ...{ addedBytes: after.bytes - before.bytes, repositoryBytes: after.bytes, objects: after.objects },
      ...(traffic === undefined ? {} : { traffic }),
      ...(fault === undefined ? {} : { fault }),
    });
  }

  /** On a machine that has never seen the repository. */
  async #restore(work: Work, command: Command, check: () => string | undefined): Promise<void> {
    this.#setAside(cacheOf(this.#job));
    await this.#prepare(this.#parts.tool.reconnect?.(this.#job));
    await this.#measure(work, command, check);
    this.#setAside(this.#job.target);
  }

  #setAside(path: string): void {
    if (existsSync(path)) renameSync(path, join(asideDir(this.#parts.work), randomUUID()));
  }

  #differences(): string | undefined {
    try {
      execFileSync('diff', ['--recursive', '--brief', '--no-dereference', this.#job.source, this.#job.target], { encoding: 'utf8' });
      return undefined;
    } catch (error) {
      const { stdout } = error as { readonly stdout?: string };
      return `what it restored differs: ${(stdout ?? String(error)).split('\n')[0]!}`;
    }
  }

  /** Tools put it in different places. */
  #differenceOfOne(): string | undefined {
    const { oneFile } = this.#parts.data;
    const found = globSync(`**/${basename(oneFile)}`, { cwd: this.#job.target });
    if (found.length !== 1) return `it restored ${found.length} files instead of one`;
    try {
      execFileSync('cmp', ['--silent', join(this.#job.source, oneFile), join(this.#job.target, found[0]!)]);
      return undefined;
    } catch {
      return 'the file that it restored differs';
    }
  }

  #said(): string {
    return readFileSync(this.#log, 'utf8').trim().split('\n').slice(-2).join(' ').slice(-300);
  }
}
