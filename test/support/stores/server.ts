import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const READY_MS = 60_000;
const LOG_TAIL = 3000;

export interface StoreOptions {
  /** The address to listen on; 198.18.0.1 is reachable from the pods of test clusters and exists while one runs. Default 127.0.0.1. */
  readonly host?: string;
  /** Where the objects are kept; kept by `stop`. Default: a temporary directory, removed by `stop`. */
  readonly dataDir?: string;
}

export interface S3Options extends StoreOptions {
  /** Serve https with a certificate of a new authority (`caFile`). */
  readonly tls?: boolean;
}

/** A real object store on a port of its own. All of its state survives `kill` and `restart`. */
export interface StoreServer {
  /** URL of the server, without a path. */
  readonly endpoint: string;
  createBucket(name: string): Promise<void>;
  /** Ends the server and removes its temporary files. Stopping twice is fine. */
  stop(): Promise<void>;
  /** Ends the server as a power cut would, without any warning. */
  kill(): Promise<void>;
  /** Starts a killed server again, or ends a running one first; same address, same data. */
  restart(): Promise<void>;
}

export interface S3Server extends StoreServer {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
  /** With `tls`: the certificate of the authority that clients must trust, PEM. */
  readonly caFile: string | undefined;
}

export interface GcsServer extends StoreServer {
  readonly projectId: string;
}

/** Below those that the kernel gives to outgoing connections, of which running clusters have thousands on loopback, and below node ports. */
const PORTS = { from: 12_000, to: 29_999 };
const givenPorts = new Set<number>();

async function isFree(host: string, port: number): Promise<boolean> {
  const probe = createServer().listen(port, host);
  try {
    await once(probe, 'listening');
  } catch {
    return false;
  }
  probe.close();
  await once(probe, 'close');
  return true;
}

/** Ports nobody listens on at the moment; they differ, and this process is not given one of them again. */
export async function freePorts(host: string, count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let tries = 0; ports.length < count; tries++) {
    if (tries > 1000) throw new Error(`no free port on ${host}`);
    const port = randomInt(PORTS.from, PORTS.to);
    if (givenPorts.has(port)) continue;
    givenPorts.add(port);
    if (await isFree(host, port)) ports.push(port);
  }
  return ports;
}

/** Whether something listens there. */
export async function accepts(host: string, port: number): Promise<boolean> {
  const socket = connect(port, host);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Removes what processes that were killed have left. */
async function removeOrphans(): Promise<void> {
  for (const entry of await readdir(tmpdir())) {
    const pid = /^dmaas-test-[a-z0-9-]+-(\d+)-\w+$/.exec(entry)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) await rm(join(tmpdir(), entry), { recursive: true, force: true });
  }
}

/** A directory that is removed when this process ends, or before by the returned function. */
export async function temporaryDir(name: string): Promise<{ path: string; remove(): Promise<void> }> {
  await removeOrphans();
  const path = await mkdtemp(join(tmpdir(), `dmaas-test-${name}-${process.pid}-`));
  const removeNow = (): void => {
    rmSync(path, { recursive: true, force: true });
  };
  process.once('exit', removeNow);
  return {
    path,
    async remove() {
      process.off('exit', removeNow);
      await rm(path, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

export interface ServerSpec {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Where its output is written. */
  readonly logFile: string;
  /** Whether it serves; called again until it does. A rejection means not yet. */
  readonly isReady: () => Promise<boolean>;
}

/** With what it has started itself: it leads a process group. */
function killGroup(child: ChildProcess | undefined): void {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  process.kill(-child.pid, 'SIGKILL');
}

/** The process of a server, which ends at the latest with this process, even when that is killed. */
export class ServerProcess {
  readonly #spec: ServerSpec;
  #child: ChildProcess | undefined;
  readonly #killNow = (): void => {
    killGroup(this.#child);
  };

  constructor(spec: ServerSpec) {
    this.#spec = spec;
  }

  async start(): Promise<void> {
    const { name, command, args, env, logFile, isReady } = this.#spec;
    const log = await open(logFile, 'a');
    // A session of its own, so that Ctrl-C on the terminal reaches the program under test only.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], {
      detached: true,
      env: { ...process.env, ...env },
      stdio: ['ignore', log.fd, log.fd],
    });
    await once(child, 'spawn').finally(() => log.close());
    child.unref();
    this.#child = child;
    process.prependOnceListener('exit', this.#killNow);
    const deadline = Date.now() + READY_MS;
    while (!(await isReady().catch(() => false))) {
      const ended = child.exitCode !== null || child.signalCode !== null;
      if (ended || Date.now() > deadline) {
        await this.kill();
        const tail = (await readFile(logFile, 'utf8')).slice(-LOG_TAIL);
        throw new Error(`${name} ${ended ? 'ended instead of serving' : `does not serve after ${READY_MS / 1000} s`}:\n${tail}`);
      }
      await sleep(100);
    }
  }

  /**
   * Ends it without warning and waits until it is gone. What it has confirmed it has handed to the kernel, so nothing is
   * lost; asking politely takes some of them five seconds.
   */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    process.off('exit', this.#killNow);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.ref();
    const exit = once(child, 'exit');
    killGroup(child);
    await exit;
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }
}
