import { DmaasError, findBackup, parsePlanDocument, plural, preparePlanned, redactPlan, type RestorePlan } from '@dmaas/core';
import { stringify } from 'yaml';
import type { Command } from '../command.ts';
import { findingLines } from '../findings.ts';
import { LOCATION_FLAGS, MOVER_FLAGS } from '../location-flags.ts';
import { planSummary, question } from '../plan-view.ts';
import { readTextFile } from '../read-text-file.ts';
import { commandFlags, prepareFrom, RESTORE_FLAGS } from '../restore-flags.ts';
import { BACKUP_NAME } from './backup.ts';
import { execute } from './restore.ts';

/** As `kubectl diff`: 0 nothing to do, 1 something. Problems have exit codes above 1. */
const HAS_CHANGES = 1;

export const restorePlan: Command = {
  path: ['restore', 'plan'],
  summary: 'Write down what a restore would do, to be looked at, changed and applied',
  description:
    'Prints the plan of a restore as a document: for each object whether it is created, changed, left or in conflict, how it differs from the backup and from what is there, and what the API server says to it; for each volume how much is written. Nothing is changed. "restore apply" does exactly what the document says. Values of Secrets are not in it: they come from the backup.',
  positionals: [BACKUP_NAME],
  flags: [
    ...RESTORE_FLAGS,
    ...LOCATION_FLAGS,
    ...MOVER_FLAGS,
    { name: 'exit-code', type: 'boolean', describe: 'Exit with 1 when the restore would change anything, as kubectl diff does' },
  ],
  output: true,
  examples: [
    ['Look before restoring', 'restore plan latest --app web -n shop --to-namespace shop-copy > plan.yaml'],
    [
      'What differs between a backup and the cluster',
      'restore plan web-k7m2q8xa -n shop --on-conflict overwrite --manifests-only --exit-code',
    ],
  ],
  run: async (session, args) => {
    const prepared = await prepareFrom(session, args);
    await prepared.close();
    const { plan } = prepared;
    const shown = redactPlan(plan);
    const blockers = plan.findings.filter((f) => f.level === 'blocker').length;
    const changes = plan.steps.some((s) => s.do === 'populate' || ('action' in s && (s.action === 'create' || s.action === 'update')));
    return {
      data: shown,
      names: [`restore/${plan.id}`],
      text: () => stringify(shown, { version: '1.2', lineWidth: 0, aliasDuplicateObjects: false }),
      notes: [
        planSummary(plan),
        ...plan.findings.filter((f) => f.level !== 'info').flatMap(findingLines),
        ...(blockers === 0 ? [] : [`${plural(blockers, 'problem')} must be solved before it can be applied`]),
      ],
      exitCode: blockers > 0 ? 40 : args.bool('exit-code') && changes ? HAS_CHANGES : 0,
    };
  },
};

export const restoreApply: Command = {
  path: ['restore', 'apply'],
  summary: 'Do what a plan says',
  description:
    'Executes a plan that "restore plan" wrote, perhaps edited since. Refuses, with nothing changed, when the target is not any more as the plan found it. Applying it again goes on where it stopped.',
  positionals: [{ name: 'FILE', describe: 'The plan, YAML or JSON; "-" for standard input', required: true }],
  flags: [
    { name: 'to-context', type: 'string', value: 'NAME', describe: 'Context of the cluster to restore to; default is that of the plan' },
    ...LOCATION_FLAGS,
    ...MOVER_FLAGS,
    { name: 'yes', short: 'y', type: 'boolean', describe: 'Do not ask' },
  ],
  output: true,
  examples: [
    ['Do it', 'restore apply plan.yaml -n shop'],
    ['In one go', 'restore plan latest --app web -n shop | kubectl dmaas restore apply - -n shop -y'],
  ],
  run: async (session, args) => {
    const file = args.need('FILE');
    const text = file === '-' ? await session.secret('plan', { file }) : await readTextFile(file);
    const plan: RestorePlan = parsePlanDocument(text);
    const cluster = await session.cluster(args.string('to-context') ?? contextOf(plan, args.string('context')));
    const access = await session.location();
    const call = { signal: session.signal };
    const located = await findBackup(access, plan.backupId, { namespace: plan.source.namespace }, session.stores, call);
    const request = { cluster, access, stores: session.stores, commandFlags: commandFlags(session), ...session.movers() };
    const prepared = await preparePlanned(request, located, plan, { emit: () => undefined, ...call });
    try {
      if (!plan.findings.some((f) => f.level === 'blocker')) await session.confirm(question(plan));
      return await execute(session, prepared);
    } finally {
      await prepared.close();
    }
  },
};

/** A plan made in a pod names no context. */
function contextOf({ target }: RestorePlan, chosen: string | undefined): string | undefined {
  if (target.context === 'in-cluster') return chosen;
  if (target.context === '')
    throw new DmaasError('USAGE', 'the plan does not say for which cluster it is', { hint: 'name it with --to-context' });
  return target.context;
}
