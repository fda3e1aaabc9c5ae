import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { attempt, type CommandResult, SetupError } from './setup/command.ts';
import { ensurePrograms, isRoot } from './setup/debian.ts';

export interface ContainerOptions {
  /** An unpacked image. Containers may share it: what they write goes to a volume, to /run or to /tmp. */
  readonly root: string;
  /** A directory that is mounted at /mnt. */
  readonly volume: string;
  readonly env: Readonly<Record<string, string>>;
  /** A shell script that ends with `exec SERVER`. */
  readonly command: string;
}

/** The user id of all that runs in containers. */
export const CONTAINER_USER = 999;

const PREPARE = `
mount --bind "$VOLUME" "$ROOT/mnt"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/run"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
mount -t proc proc "$ROOT/proc"
ip link set lo up
exec chroot --userspec=${CONTAINER_USER}:${CONTAINER_USER} "$ROOT" env -i "$@"`;

/**
 * What a recipe needs of a container, without a cluster: a program as the first process of namespaces of its own, with a loopback device of its own, and a way
 * to run commands beside it. The kernel ends all of its processes with the first.
 */
export class Container {
  readonly #options: ContainerOptions;
  readonly #process: ChildProcess;
  #log = '';

  private constructor(options: ContainerOptions) {
    if (!isRoot()) throw new SetupError('namespaces, mounts and users of containers need root', 'run it with sudo');
    this.#options = options;
    const { root, volume, command } = options;
    const namespaces = ['--mount', '--pid', '--net', '--ipc', '--fork', '--kill-child'];
    this.#process = spawn('unshare', [...namespaces, '--', 'sh', '-ec', PREPARE, 'sh', ...this.#env(), 'sh', '-c', command], {
      env: { PATH: process.env['PATH'], ROOT: root, VOLUME: volume },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#process.stdout, this.#process.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => (this.#log += text));
  }

  /** Started, and for as long as `ready`, a shell script, does not end well, not returned. */
  static async start(options: ContainerOptions, ready: string): Promise<Container> {
    await ensurePrograms({ ip: 'iproute2' });
    const container = new Container(options);
    for (let n = 0; n < 300; n++) {
      if (container.#process.exitCode !== null) break;
      if ((await container.run(ready)).code === 0) return container;
      await sleep(100);
    }
    await container.kill();
    throw new Error(`the server did not get ready:\n${container.log()}`);
  }

  /** What the first process has said. */
  log(): string {
    return this.#log;
  }

  /** Runs a shell script beside the first process, with the environment of the container, as an exec does. */
  async run(script: string): Promise<CommandResult> {
    const [program = '', ...args] = this.#inside(script);
    return attempt(program, args);
  }

  /** Runs a shell script that must end well; returns what it says. */
  async must(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.run(script);
    if (code !== 0) throw new Error(`${script}\nended with ${String(code)}: ${stdout}${stderr}\n${this.#log}`);
    return stdout.trim();
  }

  /** Starts a shell script that goes on; each line that it says is given to `onLine`. */
  start(script: string, onLine: (line: string) => void): void {
    const [program = '', ...args] = this.#inside(script);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = `${rest}${text}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine(line);
    });
  }

  /** Ends all that runs in it, without warning. */
  async kill(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const closed = once(this.#process, 'close');
    const first = this.#first();
    if (first === undefined) this.#process.kill('SIGKILL');
    else spawnSync('kill', ['-9', first]);
    await closed;
  }

  #env(): string[] {
    const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/tmp', ...this.#options.env };
    return Object.entries(env).map(([name, value]) => `${name}=${value}`);
  }

  #inside(script: string): string[] {
    const user = `--userspec=${CONTAINER_USER}:${CONTAINER_USER}`;
    const first = this.#first();
    if (first === undefined) return ['false'];
    return [
      ...['nsenter', '--target', first, '--mount', '--pid', '--net', '--ipc', '--'],
      ...['chroot', user, this.#options.root, 'env', '-i', ...this.#env(), 'sh', '-c', script],
    ];
  }

  /** The number that the first process has outside. */
  #first(): string | undefined {
    const pid = String(this.#process.pid);
    try {
      return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0] || undefined;
    } catch {
      return undefined;
    }
  }
}
