import { DmaasError, type PruneReport, formatBytes, plural } from '@dmaas/core';
import type { Command } from '../command.ts';
import { describeUnusable, EACH_REPOSITORY_FLAGS, eachRepository } from '../each-repository.ts';
import { noteFindings } from '../findings.ts';
import { table } from '../output.ts';

const HOUR_MS = 3_600_000;
const UNITS: Readonly<Record<string, number>> = { m: HOUR_MS / 60, h: HOUR_MS, d: 24 * HOUR_MS };

export const repositoryPrune: Command = {
  path: ['repository', 'prune'],
  aliases: ['gc'],
  summary: 'Give back the space of what no backup needs',
  description:
    'Gives back the space of what no backup needs, in two steps: a first run marks it, and a run after the grace deletes it. So backups and restores may go on meanwhile, and several prunes may run at once. When anything about the repository is in doubt, nothing is deleted. Where the bucket has a rule of Object Lock (which needs s3:GetBucketObjectLockConfiguration, s3:GetObjectRetention and s3:PutObjectRetention), what backups need stays locked for at least half of its time, and the rest is not locked again. Run it once a day.',
  flags: [
    ...EACH_REPOSITORY_FLAGS,
    {
      name: 'grace',
      type: 'string',
      value: 'TIME',
      describe:
        'How long what is marked stays, as 24h, 90m or 2d (default 24h); nothing is lost with less, but restores that run may have to begin again',
    },
    { name: 'dry-run', type: 'boolean', describe: 'Say what would go, when, and which backup keeps what; mark and delete nothing' },
  ],
  output: true,
  examples: [
    ['Of this namespace', 'repository prune -n shop'],
    ['What would go, and what keeps the rest', 'repository prune -n shop --dry-run'],
    ['Everything in a location', 'repository prune --everywhere'],
  ],
  run: async (session, args) => {
    const dryRun = args.bool('dry-run');
    const grace = args.string('grace');
    const options = { dryRun, ...(grace === undefined ? {} : { graceMs: durationOf(grace) }) };
    const { results, unusable, exitCode, notes } = await session.withProgress((emit) =>
      eachRepository(session, args, (repository) => repository.prune(options, { emit, signal: session.signal })),
    );
    return {
      data: { items: [...results.map(({ title, result }) => ({ repository: title, ...result })), ...unusable] },
      names: results.map(({ title }) => `repository/${title}`),
      text: (how) =>
        [
          ...results.map(({ title, result }) =>
            [describePrune(title, result, dryRun), ...(dryRun ? [keepers(result)(how)] : [])].join('\n'),
          ),
          ...unusable.map((each) => session.pasteable(describeUnusable(each))),
        ].join('\n\n'),
      notes: [...results.flatMap(({ result }) => noteFindings(result.findings)), ...notes],
      exitCode,
    };
  },
};

function describePrune(title: string, report: PruneReport, dryRun: boolean): string {
  const sum = (items: readonly { readonly bytes: number }[]) =>
    `${plural(items.length, 'pack')}, ${formatBytes(items.reduce((total, { bytes }) => total + bytes, 0))}`;
  const will = dryRun ? 'would be ' : '';
  const copied = report.copyBytes === 0 ? '' : `; ${formatBytes(report.copyBytes)} of them in use, ${will}written anew`;
  return [
    `repository ${title} (${formatBytes(report.totalBytes)})`,
    `  ${will}deleted now:   ${sum(report.delete)}`,
    `  ${will}marked:        ${sum(report.condemn)}${copied}${report.condemn.length === 0 ? '' : `; deleted after ${report.deletableAt}`}`,
    `  marked before: ${sum(report.waiting)}`,
    ...(report.locks === undefined ? [] : [`  locked again:  ${plural(report.locks.extended, 'object')}, until ${report.locks.until}`]),
  ].join('\n');
}

/** What each backup keeps that no newer one needs. */
function keepers(report: PruneReport) {
  return table(report.keeps, [
    { title: 'BACKUP', cell: ({ name }) => name },
    { title: 'ID', cell: ({ backup }) => backup },
    { title: 'KEEPS', cell: ({ bytes }) => formatBytes(bytes) },
  ]);
}

function durationOf(text: string): number {
  const [, number, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  const ms = UNITS[unit ?? ''];
  if (number === undefined || ms === undefined) throw new DmaasError('USAGE', `"${text}" is no time`, { hint: '--grace 24h' });
  return Number(number) * ms;
}
