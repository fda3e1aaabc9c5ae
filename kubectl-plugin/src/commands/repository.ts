import { DmaasError, formatBytes, initRepository, plural, type Finding, type RepairReport } from '@dmaas/core';
import { repairRepository, verifyRepository } from '@dmaas/core/standalone';
import type { Command } from '../command.ts';
import { findingLines } from '../findings.ts';
import { describeUnusable, EACH_REPOSITORY_FLAGS, eachRepository } from '../each-repository.ts';
import { details } from '../output.ts';
import { REPOSITORY_FLAGS } from '../repository-flags.ts';
import type { Repository } from '../with-repository.ts';

export const repositoryInit: Command = {
  path: ['repository', 'init'],
  summary: 'Make a repository, and a key file if there is none',
  description:
    'Makes a repository in a bucket or a directory. Its key is that of the key file; when there is no such file, a new key is written there (mode 0600) before anything is stored. An existing file is never written to.',
  flags: REPOSITORY_FLAGS,
  output: true,
  examples: [
    ['In a directory', 'repository init --repository file:///mnt/backup/repository --key-file ~/dmaas.key'],
    [
      'On a server that speaks S3',
      'repository init --repository s3://backups/laptop --endpoint https://minio.example:9000 --key-file ~/dmaas.key',
    ],
  ],
  run: async (session) => {
    const target = await session.repositoryTarget();
    const opened = await initRepository(target, session.stores, { signal: session.signal });
    const { repository, isNewKey } = opened;
    const lockDays = await repository.lockDays({ signal: session.signal }).finally(() => opened.close());
    return {
      data: { id: repository.id, location: repository.location, keyFile: target.keyFile, isNewKey },
      names: [`repository/${repository.id}`],
      text: () => `repository created at ${repository.location}`,
      notes: [
        ...(isNewKey ? [`its key is in ${target.keyFile}; without it nothing can ever be restored: keep a copy in a safe place`] : []),
        ...(lockDays === undefined ? [] : [lockNote(lockDays)]),
        'kubectl dmaas volume backup DIR',
      ],
    };
  },
};

function lockNote(days: number): string {
  return `the bucket locks what is written for ${plural(days, 'day')}; repository prune, once a day, keeps what backups need locked for at least half of that`;
}

export const repositoryVerify: Command = {
  path: ['repository', 'verify'],
  aliases: ['check'],
  summary: 'Check that everything that backups need is there',
  description:
    'Checks backup records, index, sizes of packs and all nodes, so that everything that a backup names is known to be there. With --read-data every stored byte is read and checked as well. Changes nothing. Exit code 13 when a backup has lost something, 3 when only a spare copy or something unused is damaged.',
  flags: [
    ...EACH_REPOSITORY_FLAGS,
    { name: 'read-data', type: 'boolean', describe: 'Read and check all data, which costs as much traffic as there is data' },
    {
      name: 'read-data-subset',
      type: 'string',
      value: 'N/T',
      describe: 'Read and check part N of T of the data, the same each time: 3/30 on the third of a month',
    },
  ],
  output: true,
  examples: [
    ['Of this namespace', 'repository verify -n shop'],
    ['Everything in a location, from its file alone', 'repository verify --everywhere --location-file lab.yaml'],
    ['Without a cluster', 'repository verify --repository s3://backups/laptop --key-file ~/dmaas.key --read-data-subset 3/30'],
  ],
  run: async (session, args) => {
    const share = shareOf(args.string('read-data-subset'));
    const depth = args.bool('read-data') || share !== undefined ? 'data' : 'structure';
    const read =
      share !== undefined
        ? `part ${share.part} of ${share.of} of the data read`
        : depth === 'data'
          ? 'all data read'
          : 'structure only; --read-data reads all data';
    const { results, unusable, exitCode, notes } = await session.withProgress((emit) =>
      eachRepository(session, args, (repository) => verifyRepository(repository, depth, { emit, signal: session.signal }, share)),
    );
    const findings = results.flatMap(({ result }) => result);
    return {
      data: { items: [...results.map(({ title, result }) => ({ repository: title, depth, findings: result })), ...unusable] },
      names: results.map(({ title }) => `repository/${title}`),
      text: () =>
        session.pasteable(
          [
            ...results.map(({ title, result }) =>
              result.length === 0
                ? `no faults found in ${title} (${read})`
                : [...(results.length > 1 ? [`repository ${title}`] : []), ...result.flatMap(findingLines)].join('\n'),
            ),
            ...unusable.map(describeUnusable),
          ].join('\n'),
        ),
      notes: [...(findings.length === 0 ? [] : [plural(findings.length, 'fault')]), ...notes],
      exitCode: Math.max(exitCode, exitCodeOf(findings)),
    };
  },
};

function shareOf(text: string | undefined): { readonly part: number; readonly of: number } | undefined {
  if (text === undefined) return undefined;
  const [, part, of] = (/^(\d{1,5})\/(\d{1,5})$/.exec(text) ?? []).map(Number);
  if (part === undefined || of === undefined || part < 1 || part > of) {
    throw new DmaasError('USAGE', `"${text}" is no part of the data`, { hint: '--read-data-subset 1/30' });
  }
  return { part, of };
}

export const repositoryRepair: Command = {
  path: ['repository', 'repair'],
  summary: 'Make findable what can be read, and let the next backup heal the rest',
  description:
    'Reads all of a repository. The index is rebuilt from packs that it does not name, segments of it that cannot be read are removed, what can be read of damaged packs is copied, and the packs count as not stored: the next backup that has the data stores it anew, which heals older backups as well. Nothing that can be read is removed, and backups are never touched.',
  flags: [...EACH_REPOSITORY_FLAGS, { name: 'yes', short: 'y', type: 'boolean', describe: 'Do not ask' }],
  output: true,
  run: async (session, args) => {
    await session.confirm('Repair what "repository verify" with the same flags names?');
    const { results, unusable, exitCode, notes } = await session.withProgress((emit) =>
      eachRepository(session, args, (repository) => repairRepository(repository, { emit, signal: session.signal })),
    );
    const lost = results.reduce((sum, { result }) => sum + result.lostBlobs, 0);
    return {
      data: { items: [...results.map(({ title, result }) => ({ repository: title, ...result })), ...unusable] },
      names: results.map(({ title }) => `repository/${title}`),
      text: () =>
        session.pasteable(
          [...results.map(({ title, result }) => describeRepair(title, result)), ...unusable.map(describeUnusable)].join('\n\n'),
        ),
      notes: [...(lost === 0 ? [] : ['back up again: what is lost here and still there in a volume heals the older backups']), ...notes],
      exitCode: Math.max(exitCode, exitCodeOf(results.flatMap(({ result }) => result.findings))),
    };
  },
};

function describeRepair(title: string, report: RepairReport): string {
  return details([
    ['Repository', title],
    ['Packs indexed', String(report.indexedPacks)],
    ['Segments removed', String(report.removedSegments.length)],
    ...(report.restoredKeys.length === 0 ? [] : [['Copies of keys written', String(report.restoredKeys.length)] as const]),
    ...(report.settledSessions.length === 0 ? [] : [['Writers given up', String(report.settledSessions.length)] as const]),
    ['Packs given up', `${report.condemnedPacks.length}; ${report.savedBlobs} blobs of them saved, ${report.lostBlobs} lost`],
    ...(report.findings.length === 0 ? [] : [['Found', report.findings.flatMap(findingLines).join('\n')] as const]),
  ]);
}

function exitCodeOf(findings: readonly Finding[]): number {
  if (findings.some((f) => f.level === 'blocker')) return 13;
  return findings.some((f) => f.level === 'warning') ? 3 : 0;
}

export const repositoryStats: Command = {
  path: ['repository', 'stats'],
  summary: 'How much a repository holds',
  flags: EACH_REPOSITORY_FLAGS,
  output: true,
  run: async (session, args) => {
    const { results, unusable, exitCode, notes } = await eachRepository(session, args, (repository) => statsOf(repository, session.signal));
    return {
      data: { items: [...results.map(({ title, result }) => ({ repository: title, ...result })), ...unusable] },
      names: results.map(({ result }) => `repository/${result.id}`),
      text: () =>
        session.pasteable(
          [...results.map(({ title, result }) => describeStats(title, result)), ...unusable.map(describeUnusable)].join('\n\n'),
        ),
      notes,
      exitCode: Math.max(exitCode, results.some(({ result }) => result.unreadable.length > 0) ? 3 : 0),
    };
  },
};

async function statsOf(repository: Repository, signal: AbortSignal) {
  let backups = 0;
  let sourceBytes = 0;
  const unreadable: string[] = [];
  const call = { signal, onUnreadable: (id: string) => unreadable.push(id) };
  for await (const backup of repository.backups(undefined, call)) {
    backups++;
    sourceBytes += backup.volumes.reduce((sum, v) => sum + v.bytes, 0);
  }
  const { blobs, packs, packBytes, segments } = repository.stats();
  return { id: repository.id, location: repository.location, backups, unreadable, sourceBytes, blobs, packs, packBytes, segments };
}

function describeStats(title: string, stats: Awaited<ReturnType<typeof statsOf>>): string {
  const { id, location, backups, unreadable, sourceBytes, blobs, packs, packBytes, segments } = stats;
  return details([
    ...(title === location ? [] : [['Repository', title] as const]),
    ['Location', location],
    ['Id', id],
    ['Backups', `${backups}${unreadable.length === 0 ? '' : ` and ${unreadable.length} that cannot be read`}`],
    ['Backed up', `${formatBytes(sourceBytes)} in all`],
    ['Stored', `${formatBytes(packBytes)} in ${plural(packs, 'pack')}`],
    ['Blobs', String(blobs)],
    ['Index', plural(segments, 'segment')],
  ]);
}
