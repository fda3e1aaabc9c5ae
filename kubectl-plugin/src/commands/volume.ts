import { once } from 'node:events';
import { hostname } from 'node:os';
import {
  DmaasError,
  formatAge,
  formatBytes,
  formatDuration,
  plural,
  type Backup,
  type BackupFilter,
  type DeletableBackup,
  type Finding,
} from '@dmaas/core';
import { backupVolume, listVolumeEntries, readVolumeFile, restoreVolume, type VolumeEntry } from '@dmaas/core/standalone';
import type { Args } from '../args.ts';
import type { Command, Flag } from '../command.ts';
import { deleteQuestion, DELETING } from '../delete-question.ts';
import { noteFindings } from '../findings.ts';
import { table, type Column } from '../output.ts';
import { REPOSITORY_FLAGS } from '../repository-flags.ts';
import type { Session } from '../session.ts';
import { withRepository, type Repository } from '../with-repository.ts';

const MAX_NAMES = 10;

const ID = {
  name: 'ID',
  describe: 'Id of a backup, the beginning of one, or "latest", with --name where there are several',
  required: true,
} as const;

const NAME_FLAG: Flag = { name: 'name', type: 'string', value: 'NAME', describe: 'Look among the backups of this name only' };
const CHOICE_FLAGS: readonly Flag[] = [
  NAME_FLAG,
  { name: 'claim', type: 'string', value: 'NAME', describe: 'Which volume of a backup that holds several' },
];

/** Says what an interruption or a failure in the middle leaves, and how to go on. */
async function orStopped<T>(work: Promise<T>, hint: string): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (DmaasError.is(cause, 'CANCELLED')) throw new DmaasError('CANCELLED', 'stopped', { cause, hint });
    if (!DmaasError.is(cause, 'MOVER_FAILED')) throw cause;
    throw new DmaasError(cause.code, cause.message, { cause, hint: cause.hint === undefined ? hint : `${cause.hint}; ${hint}` });
  }
}

async function findBackup(repository: Repository, session: Session, args: Args): Promise<Backup> {
  const which = args.need('ID');
  return repository.backup(which, await filterOf(repository, session, args, [which]), { signal: session.signal });
}

async function filterOf(
  repository: Repository,
  { signal }: Session,
  args: Args,
  ids: readonly string[],
): Promise<BackupFilter | undefined> {
  const name = args.string('name');
  if (name !== undefined) return { app: name };
  if (ids.includes('latest')) await refuseSeveralNames(repository, signal);
  return undefined;
}

/** The latest backup of which volume is not for us to say. */
async function refuseSeveralNames(repository: Repository, signal: AbortSignal): Promise<void> {
  const names = new Set<string>();
  for await (const { app } of repository.backups(undefined, { signal, onUnreadable: () => undefined })) names.add(app.name);
  if (names.size <= 1) return;
  throw new DmaasError('BACKUP_NOT_FOUND', `"latest" is one backup for each of ${names.size} names in ${repository.location}`, {
    hint: `choose with --name: ${[...names].sort().slice(0, MAX_NAMES).join(', ')}${names.size > MAX_NAMES ? ', …' : ''}`,
  });
}

function claimOf(args: Args): { readonly claim?: string } {
  const claim = args.string('claim');
  return claim === undefined ? {} : { claim };
}

function exitCodeOf(findings: readonly Finding[]): number {
  return findings.some((f) => f.level !== 'info') ? 3 : 0;
}

export const volumeBackup: Command = {
  path: ['volume', 'backup'],
  summary: 'Back up a directory or a device of this machine',
  description:
    'Backs up a directory, a block device or the image of one. What the repository holds is not sent again, and files that did not change since the latest backup of the same name are not read again. Nothing is changed in the source. What cannot be read is listed, the rest is done, and the exit code is 3. Ctrl-C leaves no backup, but what was stored is not sent again.',
  positionals: [{ name: 'SOURCE', describe: 'Directory, block device, or a file that holds the image of one', required: true }],
  flags: [
    { name: 'name', type: 'string', value: 'NAME', describe: 'What it is called in the repository; default is the last part of its path' },
    ...REPOSITORY_FLAGS,
  ],
  output: true,
  examples: [
    ['A directory', 'volume backup /srv/data --repository file:///mnt/backup/repository --key-file ~/dmaas.key'],
    ['A device, to S3', 'volume backup /dev/vg0/snapshot --name db --repository s3://backups/db --key-file ~/dmaas.key'],
  ],
  run: (session, args) =>
    withRepository(session, session.patientStores, async (repository) => {
      const name = args.string('name');
      const request = { path: args.need('SOURCE'), hostname: hostname(), ...(name === undefined ? {} : { name }) };
      const backup = await orStopped(
        session.withProgress((emit) => backupVolume(repository, request, { emit, signal: session.signal })),
        'no backup was recorded; run the same command again: what was stored is not sent again',
      );
      const [volume] = backup.volumes;
      const size = `${formatBytes(volume?.bytes ?? 0)} of data, ${formatBytes(volume?.addedBytes ?? 0)} new`;
      const took = formatDuration(Date.parse(backup.createdAt) - Date.parse(backup.startedAt));
      return {
        data: backup,
        names: [`backup/${backup.id}`],
        text: () =>
          `backup/${backup.id} created (${volume?.mode === 'block' ? '' : `${plural(volume?.files ?? 0, 'file')}, `}${size}, ${took})`,
        notes: [...noteFindings(backup.findings), `kubectl dmaas volume restore ${backup.id} TARGET`],
        exitCode: exitCodeOf(backup.findings),
      };
    }),
};

interface Row {
  readonly backup: Backup;
  readonly volume: Backup['volumes'][number];
  readonly now: Date;
}

const COLUMNS: readonly Column<Row>[] = [
  { title: 'ID', cell: ({ backup }) => backup.id },
  { title: 'NAME', cell: ({ volume }) => volume.claim },
  { title: 'MODE', cell: ({ volume }) => volume.mode },
  { title: 'STATUS', cell: ({ backup }) => (exitCodeOf(backup.findings) === 0 ? 'Completed' : 'Partial') },
  { title: 'FILES', cell: ({ volume }) => (volume.mode === 'block' ? '-' : String(volume.files)) },
  { title: 'SIZE', cell: ({ volume }) => formatBytes(volume.bytes) },
  { title: 'NEW', cell: ({ volume }) => formatBytes(volume.addedBytes) },
  { title: 'HOST', cell: ({ backup }) => backup.origin?.hostname ?? '-', wide: true },
  { title: 'PATH', cell: ({ backup }) => backup.origin?.path ?? '-', wide: true },
  { title: 'AGE', cell: ({ backup, now }) => formatAge(backup.createdAt, now) },
];

export const volumeList: Command = {
  path: ['volume', 'list'],
  aliases: ['get'],
  summary: 'List the volumes that a repository holds backups of',
  flags: [{ name: 'name', type: 'string', value: 'NAME', describe: 'Of this name only' }, ...REPOSITORY_FLAGS],
  output: true,
  run: (session, args) =>
    withRepository(session, session.stores, async (repository) => {
      const now = session.now();
      const name = args.string('name');
      const backups: Backup[] = [];
      const findings: Finding[] = [];
      const onUnreadable = (id: string, e: DmaasError) => {
        findings.push({ level: 'warning', code: 'backup-unreadable', message: `backup ${id}: ${e.message}` });
      };
      const filter = name === undefined ? undefined : { app: name };
      for await (const backup of repository.backups(filter, { signal: session.signal, onUnreadable })) backups.push(backup);
      const rows = backups.reverse().flatMap((backup) => backup.volumes.map((volume) => ({ backup, volume, now })));
      return {
        data: { items: backups, findings },
        names: backups.map((b) => `backup/${b.id}`),
        text: rows.length === 0 ? () => '' : table(rows, COLUMNS),
        notes: [...(rows.length === 0 ? [`no backups of volumes in ${repository.location}`] : []), ...noteFindings(findings)],
        exitCode: exitCodeOf(findings),
      };
    }),
};

export const volumeRestore: Command = {
  path: ['volume', 'restore'],
  summary: 'Restore a backed-up volume, or a part of it, to this machine',
  description:
    'Restores into an empty directory or device, or one that does not exist yet, and compares what is there afterwards with the backup: each file and attribute is kept or named. With --path, a directory’s content or one file is restored. After Ctrl-C, or when there is more room in a target that was full, the same command goes on where it stopped. Nothing outside of the target is ever written.',
  positionals: [ID, { name: 'TARGET', describe: 'Empty directory or device; what does not exist is made', required: true }],
  flags: [
    { name: 'path', type: 'string', value: 'PATH', describe: 'Only this file, or what is in this directory of the volume' },
    { name: 'allow-devices', type: 'boolean', describe: 'Make device nodes, which give access to this machine’s devices' },
    ...CHOICE_FLAGS,
    ...REPOSITORY_FLAGS,
  ],
  output: true,
  examples: [
    ['Everything', 'volume restore latest /srv/restored --repository file:///mnt/backup/repository --key-file ~/dmaas.key'],
    ['One directory', 'volume restore latest /tmp/conf --path etc/app --repository s3://backups/web --key-file ~/dmaas.key'],
  ],
  run: (session, args) =>
    withRepository(session, session.patientStores, async (repository) => {
      const backup = await findBackup(repository, session, args);
      const path = args.string('path');
      const target = args.need('TARGET');
      const request = {
        backup,
        target,
        allowDevices: args.bool('allow-devices'),
        ...claimOf(args),
        ...(path === undefined ? {} : { path }),
      };
      const restored = await orStopped(
        session.withProgress((emit) => restoreVolume(repository, request, { emit, signal: session.signal })),
        `${target} is incomplete; run the same command again: it goes on where it stopped`,
      );
      const { claim, files, bytes, missing, findings } = restored;
      return {
        data: { backup: backup.id, ...restored },
        names: [`backup/${backup.id}`],
        text: () =>
          `backup/${backup.id} of ${claim} restored to ${target} (${files === 0 ? '' : `${plural(files, 'file')}, `}${formatBytes(bytes)}${missingText(missing.entries)})`,
        notes: noteFindings(findings),
        exitCode: exitCodeOf(findings),
      };
    }),
};

function missingText(entries: number): string {
  return entries === 0 ? ', verified' : `; ${plural(entries, 'file is', 'files are')} missing`;
}

const ENTRY_COLUMNS: readonly Column<VolumeEntry>[] = [
  { title: 'MODE', cell: (e) => e.mode },
  { title: 'TYPE', cell: (e) => e.type },
  { title: 'OWNER', cell: (e) => `${e.uid}:${e.gid}` },
  { title: 'SIZE', cell: (e) => (e.type === 'file' ? formatBytes(e.size) : '-') },
  { title: 'MODIFIED', cell: (e) => e.modifiedAt },
  { title: 'PATH', cell: (e) => (e.target === undefined ? e.path : `${e.path} -> ${e.target}`) },
];

export const volumeLs: Command = {
  path: ['volume', 'ls'],
  summary: 'List a directory of a backed-up volume',
  positionals: [ID, { name: 'PATH', describe: 'Within the volume; default is its root', required: false }],
  flags: [...CHOICE_FLAGS, ...REPOSITORY_FLAGS],
  output: true,
  run: (session, args) =>
    withRepository(session, session.stores, async (repository) => {
      const backup = await findBackup(repository, session, args);
      const entries: VolumeEntry[] = [];
      const listing = listVolumeEntries(repository, { backup, ...claimOf(args) }, args.string('PATH') ?? '', { signal: session.signal });
      for await (const entry of listing) entries.push(entry);
      return {
        data: { backup: backup.id, items: entries },
        names: entries.map((e) => `${e.type}/${e.path}`),
        text: entries.length === 0 ? () => '' : table(entries, ENTRY_COLUMNS),
      };
    }),
};

export const volumeCat: Command = {
  path: ['volume', 'cat'],
  summary: 'Write a file of a backed-up volume to standard output',
  positionals: [ID, { name: 'PATH', describe: 'File within the volume; left out for a block volume', required: false }],
  flags: [...CHOICE_FLAGS, ...REPOSITORY_FLAGS],
  run: (session, args) =>
    withRepository(session, session.stores, async (repository) => {
      const backup = await findBackup(repository, session, args);
      const { stdout } = session.streams;
      const bytes = readVolumeFile(repository, { backup, ...claimOf(args) }, args.string('PATH') ?? '', { signal: session.signal });
      for await (const part of bytes) if (!stdout.write(part)) await once(stdout, 'drain', { signal: session.signal });
      return {};
    }),
};

export const volumeDelete: Command = {
  path: ['volume', 'delete'],
  summary: 'Delete backups of volumes',
  description: `Deletes backups. ${DELETING}`,
  positionals: [{ ...ID, many: true }],
  flags: [NAME_FLAG, ...REPOSITORY_FLAGS, { name: 'yes', short: 'y', type: 'boolean', describe: 'Do not ask' }],
  examples: [['One', 'volume delete 20261122T100000Z-k7m2q8xa --repository file:///mnt/backup/repository --key-file ~/dmaas.key']],
  run: (session, args) =>
    withRepository(session, session.stores, async (repository) => {
      const ids = args.list('ID');
      const call = { signal: session.signal };
      const filter = await filterOf(repository, session, args, ids);
      const wanted: DeletableBackup[] = [];
      for (const which of ids) wanted.push(await repository.deletableBackup(which, filter, call));
      await session.confirm(deleteQuestion(wanted, repository.location));
      for (const { id } of wanted) await repository.deleteBackup(id, call);
      return { text: () => wanted.map(({ id }) => `backup/${id} deleted`).join('\n') };
    }),
};
