/** Runs a program in a memory cgroup and says what it cost: of cgroups v1 or v2, whichever the machine has. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { environment, run, SetupError } from '../support/setup/command.ts';

export interface Command {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
}

export interface Cost {
  readonly wallSeconds: number;
  /** User and system, of the whole process tree. */
  readonly cpuSeconds: number;
  /** Of all processes together, resident; the page cache is not in it. */
  readonly peakBytes: number;
  /** Null when it was killed, as happens above the limit of memory. */
  readonly exitCode: number | null;
}

const CGROUPS = '/sys/fs/cgroup';
const SAMPLE_MS = 25;
const LIMIT_MS = 20 * 60_000;

/** A cgroup of this process's own, with a limit of memory that counts the page cache of what is read and written in it. */
export class Cage {
  readonly #folders: readonly string[];
  readonly #isV2: boolean;

  constructor(memoryBytes: number) {
    this.#isV2 = existsSync(join(CGROUPS, 'cgroup.controllers'));
    const name = `dmaas-bench-${process.pid}`;
    this.#folders = this.#isV2 ? [join(CGROUPS, name)] : ['memory', 'cpuacct'].map((controller) => join(CGROUPS, controller, name));
    try {
      if (this.#isV2) writeFileSync(join(CGROUPS, 'cgroup.subtree_control'), '+memory +cpu');
      for (const folder of this.#folders) {
        removeOrphans(dirname(folder));
        mkdirSync(folder);
      }
      writeFileSync(join(this.#folders[0]!, this.#isV2 ? 'memory.max' : 'memory.limit_in_bytes'), String(memoryBytes));
    } catch (error) {
      throw new SetupError('no cgroup can be made, and the tools are compared within one', 'run it as root, outside of a container', error);
    }
  }

  /** Output goes to `log`. Waits for it, but not for ever. */
  async run({ argv, env, cwd }: Command, log: string): Promise<Cost> {
    const enter = this.#folders.map((folder) => `echo $$ > ${folder}/cgroup.procs`).join(' && ');
    const before = this.#cpuSeconds();
    const out = openSync(log, 'a');
    const began = performance.now();
    const child = spawn('sh', ['-c', `${enter} && exec "$@"`, 'sh', ...argv], {
      env: environment(env),
      stdio: ['ignore', out, out],
      ...(cwd === undefined ? {} : { cwd }),
    });
    const killNow = (): void => {
      this.#kill();
    };
    process.once('exit', killNow);
    const limit = setTimeout(killNow, LIMIT_MS);
    let peakBytes = 0;
    const sampler = setInterval(() => {
      peakBytes = Math.max(peakBytes, this.#residentBytes());
    }, SAMPLE_MS);
    try {
      const exitCode = await new Promise<number | null>((resolve, reject) => {
        child.once('error', reject);
        child.once('exit', resolve);
      });
      const wallSeconds = (performance.now() - began) / 1000;
      return { wallSeconds, cpuSeconds: this.#cpuSeconds() - before, peakBytes, exitCode };
    } finally {
      clearTimeout(limit);
      clearInterval(sampler);
      process.off('exit', killNow);
      closeSync(out);
    }
  }

  async remove(): Promise<void> {
    this.#kill();
    for (const folder of this.#folders) {
      for (let tries = 0; existsSync(folder) && tries < 50; tries++) {
        try {
          rmdirSync(folder);
        } catch {
          await sleep(100); // its last process is not gone yet
        }
      }
    }
  }

  #pids(): number[] {
    return readFileSync(join(this.#folders[0]!, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
  }

  #kill(): void {
    for (const pid of this.#pids()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it has ended
      }
    }
  }

  #cpuSeconds(): number {
    if (this.#isV2) return Number(/^usage_usec (\d+)$/m.exec(readFileSync(join(this.#folders[0]!, 'cpu.stat'), 'utf8'))![1]) / 1e6;
    return Number(readFileSync(join(this.#folders[1]!, 'cpuacct.usage'), 'utf8')) / 1e9;
  }

  /** Each process at its highest: what lies between two samples is not missed. */
  #residentBytes(): number {
    let sum = 0;
    for (const pid of this.#pids()) {
      try {
        sum += Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
      } catch {
        // it has ended
      }
    }
    return sum;
  }
}

/** Removes the cgroups of benchmarks that were killed. */
function removeOrphans(parent: string): void {
  for (const name of readdirSync(parent)) {
    const pid = /^dmaas-bench-(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmdirSync(join(parent, name));
  }
}

/** So that every tool begins with nothing in the page cache. */
export async function dropCaches(): Promise<void> {
  await run('sync', []);
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}
