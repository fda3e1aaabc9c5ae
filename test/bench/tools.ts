/** The tools that are compared: how each is told to do the same work. */
import { dirname, join } from 'node:path';
import { attempt } from '../support/setup/command.ts';
import { ensurePrograms } from '../support/setup/debian.ts';
import { ensureKopia, ensureRestic, ensureRustic } from '../support/setup/peers.ts';
import type { SetName } from './data-sets.ts';
import type { Command } from './measure.ts';

/** Where a repository is. */
export type Place =
  | { readonly kind: 'local'; readonly dir: string }
  | {
      readonly kind: 's3';
      readonly endpoint: URL;
      readonly bucket: string;
      readonly prefix: string;
      readonly env: Readonly<Record<string, string>>;
    };

export interface Job {
  readonly place: Place;
  readonly source: string;
  readonly set: SetName;
  /** An empty directory's path to restore into; it does not exist. */
  readonly target: string;
  /** The tool's own files: cache, configuration, key. Only the cache is removed before a restore. */
  readonly state: string;
}

export interface Tool {
  readonly name: string;
  readonly version: string;
  readonly stores: readonly Place['kind'][];
  /** Keeps no history: every backup is a first one. */
  readonly isArchiver?: boolean;
  init(job: Job): Command | undefined;
  backup(job: Job): Command;
  restore(job: Job): Command;
  restoreOne(job: Job, path: string): Command;
  /** Not timed: what is needed after the cache was thrown away. */
  reconnect?(job: Job): Command;
}

export const TOOL_NAMES = ['dmaas', 'restic', 'rustic', 'kopia', 'tar'] as const;
export type ToolName = (typeof TOOL_NAMES)[number];

const PLUGIN = join(import.meta.dirname, '../../kubectl-plugin/dist/kubectl-dmaas');
export const cacheOf = ({ state }: Job): string => join(state, 'cache');

/** Installs or finds a tool. */
export async function findTool(name: ToolName): Promise<Tool> {
  switch (name) {
    case 'dmaas':
      return dmaas(await versionOf(PLUGIN, ['version', '--client']));
    case 'restic': {
      const program = await ensureRestic();
      return restic(program, await versionOf(program, ['version']));
    }
    case 'rustic': {
      const program = await ensureRustic();
      return rustic(program, await versionOf(program, ['--version']));
    }
    case 'kopia': {
      const program = process.env['KOPIA_BIN'] ?? (await ensureKopia());
      return kopia(program, await versionOf(program, ['--version']));
    }
    case 'tar':
      await ensurePrograms({ tar: 'tar', zstd: 'zstd' });
      return tar(`${await versionOf('tar', ['--version'])}, ${await versionOf('zstd', ['--version'])}`);
  }
}

async function versionOf(program: string, args: readonly string[]): Promise<string> {
  const { stdout } = await attempt(program, args);
  return stdout.split('\n')[0]!.trim();
}

function dmaas(version: string): Tool {
  const call = (job: Job, words: readonly string[]): Command => {
    const { place } = job;
    const url = place.kind === 'local' ? `file://${place.dir}` : `s3://${place.bucket}/${place.prefix}`;
    const flags = ['--repository', url, '--key-file', join(job.state, 'key')];
    const env = {
      XDG_CACHE_HOME: cacheOf(job),
      ...(place.kind === 'local' ? {} : { ...place.env, AWS_ENDPOINT_URL: place.endpoint.origin }),
    };
    return { argv: [PLUGIN, ...words, ...flags], env };
  };
  return {
    name: 'dmaas',
    version,
    stores: ['local', 's3'],
    init: (job) => call(job, ['repository', 'init']),
    backup: (job) => call(job, ['volume', 'backup', job.source, '--name', 'bench']),
    restore: (job) => call(job, ['volume', 'restore', 'latest', job.target]),
    restoreOne: (job, path) => call(job, ['volume', 'restore', 'latest', job.target, '--path', path]),
  };
}

function restic(program: string, version: string): Tool {
  const call = (job: Job, words: readonly string[]): Command => {
    const { place } = job;
    const url = place.kind === 'local' ? place.dir : `s3:${place.endpoint.origin}/${place.bucket}/${place.prefix}`;
    const env = { RESTIC_PASSWORD: 'bench', RESTIC_PROGRESS_FPS: '0.1', ...(place.kind === 's3' ? place.env : {}) };
    return { argv: [program, '--repo', url, '--cache-dir', cacheOf(job), '--quiet', ...words], env, cwd: job.source };
  };
  // Without being asked it writes the holes of a sparse file out; asked, it is at its best.
  const sparse = (job: Job) => (job.set === 'D' ? ['--sparse'] : []);
  return {
    name: 'restic',
    version,
    stores: ['local', 's3'],
    init: (job) => call(job, ['init']),
    backup: (job) => call(job, ['backup', '--host', 'bench', '.']),
    restore: (job) => call(job, ['restore', 'latest', '--target', job.target, ...sparse(job)]),
    restoreOne: (job, path) => call(job, ['restore', 'latest', '--target', job.target, '--include', `/${path}`, ...sparse(job)]),
  };
}

function rustic(program: string, version: string): Tool {
  const call = (job: Job, words: readonly string[]): Command => {
    if (job.place.kind !== 'local') throw new Error('rustic is built without S3');
    const env = { RUSTIC_PASSWORD: 'bench', RUSTIC_REPOSITORY: job.place.dir, RUSTIC_CACHE_DIR: cacheOf(job), HOME: job.state };
    return { argv: [program, '--log-level', 'error', '--no-progress', ...words], env, cwd: job.source };
  };
  return {
    name: 'rustic',
    version,
    stores: ['local'],
    init: (job) => call(job, ['init']),
    backup: (job) => call(job, ['backup', '--host', 'bench', '.']),
    restore: (job) => call(job, ['restore', 'latest', job.target]),
    restoreOne: (job, path) => call(job, ['restore', `latest:${path}`, join(job.target, path)]),
  };
}

/** With zstd, which is the class of compression of the others; as it comes it does not compress. */
function kopia(program: string, version: string): Tool {
  const call = (job: Job, ...commands: readonly (readonly string[])[]): Command => {
    const quiet = ['--no-auto-maintenance', '--no-progress', '--file-log-level=error', '--log-level=error'];
    const env = {
      KOPIA_PASSWORD: 'bench',
      KOPIA_CHECK_FOR_UPDATES: 'false',
      KOPIA_CONFIG_PATH: join(job.state, 'kopia.config'),
      KOPIA_CACHE_DIRECTORY: cacheOf(job),
      KOPIA_LOG_DIR: join(job.state, 'kopia-log'),
      HOME: job.state,
      ...(job.place.kind === 's3' ? job.place.env : {}),
    };
    const argv = commands.map((words) => [program, ...quiet, ...words]);
    const [only] = argv;
    if (argv.length === 1 && only !== undefined) return { argv: only, env };
    return { argv: ['sh', '-ec', argv.map((words) => words.map((word) => `'${word}'`).join(' ')).join('\n')], env };
  };
  const where = ({ place }: Job): string[] =>
    place.kind === 'local'
      ? ['filesystem', `--path=${place.dir}`]
      : ['s3', `--bucket=${place.bucket}`, `--prefix=${place.prefix}/`, `--endpoint=${place.endpoint.host}`, '--disable-tls'];
  const who = ['--override-hostname=bench', '--override-username=bench'];
  return {
    name: 'kopia',
    version,
    stores: ['local', 's3'],
    init: (job) => call(job, ['repository', 'create', ...where(job), ...who], ['policy', 'set', '--global', '--compression=zstd']),
    backup: (job) => call(job, ['snapshot', 'create', job.source]),
    reconnect: (job) => call(job, ['repository', 'connect', ...where(job), ...who]),
    restore: (job) => call(job, ['snapshot', 'restore', job.source, job.target]),
    restoreOne: (job, path) => {
      const target = join(job.target, path);
      const { argv, ...rest } = call(job, ['snapshot', 'restore', join(job.source, path), target]);
      return { argv: ['sh', '-ec', 'mkdir -p "$1"; shift; exec "$@"', 'sh', dirname(target), ...argv], ...rest };
    },
  };
}

/** What the machine can do: one stream, compressed on every core, not encrypted, not deduplicated. */
function tar(version: string): Tool {
  const shell = (job: Job, script: string, ...more: readonly string[]): Command => {
    if (job.place.kind !== 'local') throw new Error('tar knows no S3');
    return { argv: ['sh', '-ec', script, 'sh', join(job.place.dir, 'backup.tar.zst'), job.source, job.target, ...more] };
  };
  return {
    name: 'tar',
    version,
    stores: ['local'],
    isArchiver: true,
    init: () => undefined,
    backup: (job) => shell(job, 'tar -C "$2" -Scf - . | zstd -1 -T0 -q -f -o "$1"'),
    restore: (job) => shell(job, 'mkdir -p "$3"; zstd -dcq "$1" | tar -C "$3" -xf -'),
    restoreOne: (job, path) => shell(job, 'mkdir -p "$3"; zstd -dcq "$1" | tar -C "$3" -xf - "./$4"', path),
  };
}
