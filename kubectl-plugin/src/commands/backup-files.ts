import { once } from 'node:events';
import { constants, createWriteStream } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { DmaasError, formatAge, formatBytes, OpenBackup, plural, type FileInfo, type VolumeRecord } from '@dmaas/core';
import type { Args } from '../args.ts';
import type { Command, Completer, Positional } from '../command.ts';
import { LOCATION_FLAGS } from '../location-flags.ts';
import { table, type Result } from '../output.ts';
import type { Session } from '../session.ts';
import { BACKUP_NAME, locateBackup, SCOPE_FLAGS } from './backup.ts';

const completeVolumes: Completer = async (session, args) => {
  const { backup } = await locateBackup(session, args);
  return backup.volumes.map((v) => ({ value: v.claim, describe: formatBytes(v.bytes) }));
};

const VOLUME = (required: boolean): Positional => ({
  name: 'VOLUME',
  describe: 'Name of the claim, as "backup describe" shows it',
  required,
  complete: completeVolumes,
});

/** Opens the backup that the command line names, for as long as `work` takes. Needs no cluster with --location-file. */
async function withBackup<T>(session: Session, args: Args, work: (open: OpenBackup) => Promise<T>): Promise<T> {
  const call = { signal: session.signal };
  const located = await locateBackup(session, args);
  const open = await OpenBackup.open(await session.location(), located, session.stores, call);
  try {
    return await work(open);
  } finally {
    await open.close();
  }
}

export const backupBrowse: Command = {
  path: ['backup', 'browse'],
  aliases: ['ls'],
  summary: 'List the volumes of a backup, or the files in one',
  description: 'Lists what a backup holds, reading no more than it shows. With --location-file it needs no cluster.',
  positionals: [BACKUP_NAME, VOLUME(false), { name: 'PATH', describe: 'A directory of the volume; default is its root', required: false }],
  flags: [...SCOPE_FLAGS, ...LOCATION_FLAGS],
  output: true,
  examples: [
    ['The volumes', 'backup browse web-k7m2q8xa -n shop'],
    ['A directory, when the cluster is gone', 'backup browse web-k7m2q8xa uploads images/2026 --location-file s3-eu.yaml'],
  ],
  run: (session, args) =>
    withBackup(session, args, async (open) => {
      const claim = args.string('VOLUME');
      if (claim === undefined) return volumesResult(open.backup.volumes);
      const { mode } = open.volume(claim);
      const path = args.string('PATH') ?? '.';
      const files: FileInfo[] = [];
      if (mode === 'filesystem') for await (const file of open.list(claim, path, { signal: session.signal })) files.push(file);
      return {
        ...filesResult(files, session.now()),
        notes: mode === 'block' ? [`${claim} is a block volume: it has no files, "backup cat" gives all of it`] : [],
      };
    }),
};

function volumesResult(volumes: readonly VolumeRecord[]): Result {
  return {
    data: { items: volumes },
    names: volumes.map((v) => `volume/${v.claim}`),
    text:
      volumes.length === 0
        ? () => ''
        : table(volumes, [
            { title: 'VOLUME', cell: (v) => v.claim },
            { title: 'MODE', cell: (v) => v.mode },
            { title: 'DATA', cell: (v) => formatBytes(v.bytes) },
            { title: 'FILES', cell: (v) => (v.mode === 'block' ? '-' : String(v.files)) },
          ]),
  };
}

const MARKS: Readonly<Partial<Record<FileInfo['type'], string>>> = { directory: '/', symlink: '@', fifo: '|', socket: '=' };

function filesResult(files: readonly FileInfo[], now: Date): Result {
  return {
    data: { items: files },
    names: files.map((f) => `${f.type}/${f.path}`),
    text:
      files.length === 0
        ? () => ''
        : table(files, [
            { title: 'NAME', cell: (f) => `${f.name}${MARKS[f.type] ?? ''}${f.target === undefined ? '' : ` -> ${f.target}`}` },
            { title: 'SIZE', cell: (f) => (f.type === 'file' ? formatBytes(f.sizeBytes) : '-') },
            { title: 'TYPE', cell: (f) => f.type, wide: true },
            { title: 'AGE', cell: (f) => formatAge(new Date(f.mtimeMs).toISOString(), now) },
          ]),
  };
}

export const backupCat: Command = {
  path: ['backup', 'cat'],
  summary: 'Write a file of a backup, or a whole block volume, to standard output',
  positionals: [
    BACKUP_NAME,
    VOLUME(true),
    { name: 'PATH', describe: 'A file of the volume; left out for a block volume', required: false },
  ],
  flags: [...SCOPE_FLAGS, ...LOCATION_FLAGS],
  examples: [['A file', 'backup cat web-k7m2q8xa uploads images/logo.png > logo.png']],
  run: (session, args) =>
    withBackup(session, args, async (open) => {
      const claim = args.need('VOLUME');
      const path = args.string('PATH');
      if (path === undefined && open.volume(claim).mode === 'filesystem')
        throw new DmaasError('USAGE', 'PATH is missing', { hint: `kubectl dmaas backup browse ${open.backup.name} ${claim}` });
      const { stdout } = session.streams;
      for await (const bytes of open.read(claim, path ?? '.', { signal: session.signal })) {
        if (!stdout.write(bytes)) await once(stdout, 'drain', { signal: session.signal });
      }
      return {};
    }),
};

export const backupDownload: Command = {
  path: ['backup', 'download'],
  summary: 'Download files and directories of a backup',
  description:
    'Writes a file or a directory of a volume, with all that is in it, below a local directory. What exists there is not overwritten. Devices, sockets and pipes are left out; owners are not kept.',
  positionals: [
    BACKUP_NAME,
    VOLUME(true),
    { name: 'PATH', describe: 'A file or directory of the volume; default is all of it', required: false },
  ],
  flags: [
    { name: 'directory', short: 'd', type: 'string', value: 'DIR', default: '.', describe: 'Where to' },
    ...SCOPE_FLAGS,
    ...LOCATION_FLAGS,
  ],
  examples: [['A directory', 'backup download web-k7m2q8xa uploads images -d /tmp/restored']],
  run: (session, args) =>
    withBackup(session, args, async (open) => {
      const claim = args.need('VOLUME');
      const path = args.string('PATH') ?? '.';
      const root = await open.stat(claim, path, { signal: session.signal });
      if (root === undefined)
        throw new DmaasError('USAGE', `${path} is not in volume ${claim}`, {
          hint: `kubectl dmaas backup browse ${open.backup.name} ${claim}`,
        });
      const directory = args.need('directory');
      const download = new Download(open, claim, session.signal);
      await mkdir(directory, { recursive: true });
      await download.write(root, join(directory, root.path === '.' ? claim : basename(root.name)));
      await download.finish();
      const { files, bytes, leftOut } = download;
      return {
        text: () => `${plural(files, 'file')} downloaded to ${directory} (${formatBytes(bytes)})`,
        notes:
          leftOut.length === 0
            ? []
            : [`left out: ${leftOut.slice(0, 5).join(', ')}${leftOut.length > 5 ? ` and ${leftOut.length - 5} more` : ''}`],
        exitCode: leftOut.length === 0 ? 0 : 3,
      };
    }),
};

/** Every entry is new: nothing is written through a link that the backup, or anybody else, put there. */
class Download {
  files = 0;
  bytes = 0;
  readonly leftOut: string[] = [];
  readonly #open: OpenBackup;
  readonly #claim: string;
  readonly #signal: AbortSignal;
  readonly #links: { readonly at: string; readonly target: string }[] = [];

  constructor(open: OpenBackup, claim: string, signal: AbortSignal) {
    this.#open = open;
    this.#claim = claim;
    this.#signal = signal;
  }

  async write(entry: FileInfo, at: string): Promise<void> {
    const call = { signal: this.#signal };
    if (entry.type === 'directory') {
      await asNew(at, mkdir(at));
      for await (const child of this.#open.list(this.#claim, entry.path, call)) await this.write(child, join(at, child.name));
    } else if (entry.type === 'file') {
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
      await asNew(
        at,
        pipeline(this.#open.read(this.#claim, entry.path, call), createWriteStream(at, { flags: flags as unknown as string }), call),
      );
      this.files += 1;
      this.bytes += entry.sizeBytes;
    } else if (entry.type === 'symlink' && entry.target !== undefined) this.#links.push({ at, target: entry.target });
    else this.leftOut.push(`${entry.path} (${entry.type})`);
  }

  /** Links last: nothing is written once they are there. */
  async finish(): Promise<void> {
    for (const { at, target } of this.#links) await asNew(at, symlink(target, at));
  }
}

async function asNew(at: string, work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (DmaasError.is(cause) || !/^E[A-Z]+$/.test(code)) throw cause;
    throw new DmaasError('USAGE', code === 'EEXIST' ? `${at} exists` : `${at} cannot be written (${code})`, {
      cause,
      hint: 'name an empty directory with -d',
    });
  }
}
