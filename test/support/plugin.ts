import { execFileSync, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import type { TestCluster } from './cluster/cluster.ts';
import { attempt, type CommandResult } from './setup/command.ts';

const dist = join(import.meta.dirname, '../../kubectl-plugin/dist');

export interface RunningPlugin {
  readonly pid: number | undefined;
  /** All it has said on standard error so far. */
  stderr(): string;
  /** Waits until standard error matches. Rejects when the command ends before. */
  saw(pattern: RegExp): Promise<void>;
  signal(name: NodeJS.Signals): void;
  readonly ended: Promise<CommandResult>;
}

/** `kubectl dmaas` as users have it: the built plugin, called by kubectl itself, with the clusters in one KUBECONFIG. */
export interface Plugin {
  /** Home directory of the calls, for files. */
  readonly home: string;
  run(args: readonly string[], env?: Readonly<Record<string, string>>): Promise<CommandResult>;
  start(args: readonly string[], env?: Readonly<Record<string, string>>): RunningPlugin;
  remove(): Promise<void>;
}

export async function pluginFor(clusters: readonly TestCluster[], moverImage: string): Promise<Plugin> {
  const home = await mkdtemp(join(tmpdir(), 'dmaas-cli-'));
  const [first] = clusters;
  const kubectl = first?.kubectlProgram ?? 'kubectl';
  const base = {
    HOME: home,
    KUBECONFIG: clusters.map((c) => c.kubeconfig).join(delimiter),
    PATH: [dist, dirname(kubectl), process.env['PATH']].join(delimiter),
    DMAAS_MOVER_IMAGE: moverImage,
    NO_COLOR: '1',
  };
  return {
    home,
    run: (args, env = {}) => attempt(kubectl, ['dmaas', ...args], { env: { ...base, ...env } }),
    // kubectl replaces itself by the plugin, so signals reach that.
    start: (args, env = {}) => start(kubectl, ['dmaas', ...args], { ...process.env, ...base, ...env }),
    remove: () => rm(home, { recursive: true }),
  };
}

/** The built plugin where there is no cluster: its kubeconfig is a pipe that nobody writes to, so that a call that reads it never ends. */
export async function pluginWithoutCluster(): Promise<Plugin> {
  const home = await mkdtemp(join(tmpdir(), 'dmaas-standalone-'));
  const kubeconfig = join(home, 'kubeconfig');
  execFileSync('mkfifo', [kubeconfig]);
  const program = join(dist, 'kubectl-dmaas');
  const base = { HOME: home, KUBECONFIG: kubeconfig, NO_COLOR: '1' };
  return {
    home,
    run: (args, env = {}) => attempt(program, args, { cwd: home, env: { ...base, ...env } }),
    start: (args, env = {}) => start(program, args, { ...process.env, ...base, ...env }, home),
    remove: () => rm(home, { recursive: true }),
  };
}

function start(program: string, args: readonly string[], env: NodeJS.ProcessEnv, cwd?: string): RunningPlugin {
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'], ...(cwd === undefined ? {} : { cwd }) });
  let stdout = '';
  let stderr = '';
  const watchers = new Set<() => void>();
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    for (const watcher of watchers) watcher();
  });
  const ended = new Promise<CommandResult>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      resolve({ code, stdout, stderr });
    });
  });
  return {
    pid: child.pid,
    stderr: () => stderr,
    saw: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (!pattern.test(stderr)) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
        void ended.then(({ code }) => {
          reject(new Error(`ended with ${String(code)} before it said ${String(pattern)}:\n${stderr}`));
        });
      }),
    signal: (name) => child.kill(name),
    ended,
  };
}
