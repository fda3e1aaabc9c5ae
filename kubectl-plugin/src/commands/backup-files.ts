import { once } from 'node:events';
import { basename, join } from 'node:path';
import { DmaasError, formatAge, formatBytes, OpenBackup, plural, type FileInfo, type VolumeRecord } from '@dmaas/core';
import type { Args } from '../args.ts';
import type { Command, Completer, Positional } from '../command.ts';
import { Download, makeDirectory } from '../download.ts';
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
      const target = join(directory, root.path === '.' ? claim : basename(root.name));
      const download = new Download(open, claim, session.signal);
      await makeDirectory(directory);
      try {
        await download.write(root, target);
        await download.finish();
      } catch (cause) {
        if (!session.signal.aborted || root.type !== 'directory') throw cause;
        throw new DmaasError('CANCELLED', 'stopped', {
          cause,
          hint: `${target} is incomplete: remove it before you run the same command again`,
        });
      }
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
