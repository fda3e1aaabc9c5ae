import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { access, mkdir, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

const UNUSED_MS = 24 * 3600 * 1000;

/** The one directory for everything that is made once: programs, images, running clusters. The recipe's scripts use the same. */
export const cacheDir =
  process.env['DMAAS_TEST_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'dmaas-testcluster');

export function digest(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('hex');
}

/** Gives a lock back; others can have it once the promise is fulfilled. */
export type Release = () => Promise<void>;

export interface LockOptions {
  /** Any number of processes may hold it shared, or one alone. */
  readonly shared?: boolean;
}

/**
 * Takes the lock of that name and returns what gives it back, or, with `wait` false, undefined when somebody else has it. The
 * kernel gives it back when this process ends, however it ends, since the holder's standard input ends with it.
 */
async function takeLock(name: string, options: LockOptions & { readonly wait: boolean }): Promise<Release | undefined> {
  await mkdir(cacheDir, { recursive: true });
  const mode = [options.shared === true ? '--shared' : '--exclusive', ...(options.wait ? [] : ['--nonblock'])];
  const holder = spawn('flock', [...mode, join(cacheDir, `${name}.lock`), 'sh', '-c', 'echo locked; exec cat'], {
    detached: true, // Ctrl-C on the terminal is not for it
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const isHeld = await new Promise<boolean>((resolve, reject) => {
    holder.once('error', reject);
    holder.once('exit', () => {
      resolve(false);
    });
    holder.stdout.once('data', () => {
      resolve(true);
    });
  });
  if (!isHeld) return undefined;
  const setRef = (isNeeded: boolean): void => {
    for (const handle of [holder, holder.stdin, holder.stdout] as Partial<Record<'ref' | 'unref', () => void>>[]) {
      handle[isNeeded ? 'ref' : 'unref']?.();
    }
  };
  setRef(false); // holding a lock keeps no process from ending
  return async () => {
    if (holder.exitCode !== null) return; // given back before
    setRef(true);
    const exit = once(holder, 'exit');
    holder.stdin.end();
    await exit;
  };
}

/** Waits for the lock of that name, takes it and returns what gives it back. */
export async function lock(name: string, options: LockOptions = {}): Promise<Release> {
  const release = await takeLock(name, { ...options, wait: true });
  if (release === undefined) throw new Error(`cannot lock ${name} in ${cacheDir}`);
  return release;
}

/** Takes the lock of that name, alone, unless somebody else has it. */
export function tryLock(name: string): Promise<Release | undefined> {
  return takeLock(name, { wait: false });
}

/** Runs `work` while no other process holds the lock of that name. */
export async function withLock<T>(name: string, work: () => Promise<T>): Promise<T> {
  const release = await lock(name);
  try {
    return await work();
  } finally {
    await release();
  }
}

export async function isPresent(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function removeUnused(name: string, current: string): Promise<void> {
  for (const entry of await readdir(cacheDir)) {
    const path = join(cacheDir, entry);
    if (!entry.startsWith(`${name}@`) || path === current) continue;
    const { mtimeMs } = await stat(path);
    if (Date.now() - mtimeMs > UNUSED_MS) await rm(path, { recursive: true, force: true });
  }
}

/**
 * The directory that holds what `make` made for this `stamp`, made now if no earlier run did. It appears whole or not at
 * all. Others of the same name that nobody used for a day are removed.
 */
export async function cached(name: string, stamp: string, make: (dir: string) => Promise<void>): Promise<string> {
  const dir = join(cacheDir, `${name}@${digest(stamp).slice(0, 16)}`);
  if (!(await isPresent(dir))) {
    await withLock(name, async () => {
      if (await isPresent(dir)) return;
      const unfinished = `${dir}.new`;
      await rm(unfinished, { recursive: true, force: true });
      await mkdir(unfinished, { recursive: true });
      await make(unfinished);
      await rename(unfinished, dir);
      await removeUnused(name, dir);
    });
  }
  const now = new Date();
  await utimes(dir, now, now);
  return dir;
}
