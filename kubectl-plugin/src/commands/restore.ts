import {
  activateRestore,
  DmaasError,
  executeRestore,
  getRestore,
  goBack,
  listRestores,
  redactPlan,
  refName,
  resumeRestore,
  undoRestore,
  type LocatedRestore,
  type PreparedRestore,
  type RestorePlan,
  type RestoreReport,
  formatAge,
  formatBytes,
  plural,
} from '@dmaas/core';
import type { Args } from '../args.ts';
import type { Command, Completer } from '../command.ts';
import { findingLines, noteFindings } from '../findings.ts';
import { LOCATION_FLAGS, MOVER_FLAGS } from '../location-flags.ts';
import { details, table, type Column, type Result } from '../output.ts';
import { question, showPlan } from '../plan-view.ts';
import { ALLOW_MISSING_FLAG, commandFlags, prepareFrom, RESTORE_FLAGS } from '../restore-flags.ts';
import type { Session } from '../session.ts';
import { BACKUP_NAME } from './backup.ts';

const completeRestores: Completer = async (session) => {
  const { restores } = await listRestores(await session.location(), session.stores, { signal: session.signal });
  return restores.map(({ record: r }) => ({ value: r.id, describe: `${r.plan.backup} to ${r.plan.target.namespace}, ${r.status}` }));
};

const ID = {
  name: 'RESTORE',
  describe: 'Id of the restore, as "restore list" shows it',
  required: true,
  complete: completeRestores,
} as const;

export const restoreCreate: Command = {
  path: ['restore', 'create'],
  summary: 'Restore a backup, here or in another namespace or cluster',
  description:
    'Restores a backup in three phases: Preflight check (nothing is changed while anything stands in the way), Restoring backups (claims are created and filled), Activating application (workloads start in order and are watched until they are ready). A volume of which files cannot be restored stops it before the third. Ctrl-C stops between two steps; "restore resume" goes on, "restore delete" takes back what was created.',
  positionals: [BACKUP_NAME],
  flags: [
    ...RESTORE_FLAGS,
    ...LOCATION_FLAGS,
    ...MOVER_FLAGS,
    { name: 'dry-run', type: 'boolean', describe: 'Show the plan and the preflight check, change nothing' },
    { name: 'yes', short: 'y', type: 'boolean', describe: 'Do not ask' },
  ],
  output: true,
  examples: [
    ['What would be done', 'restore create web-k7m2q8xa -n shop --to-namespace shop-copy --dry-run'],
    [
      'Beside the original, as another application',
      'restore create latest --app web -n shop --name-prefix copy- --map-label app=web:app=copy-web --edit-text likely',
    ],
    ['Into another cluster with other storage', 'restore create web-k7m2q8xa -n shop --to-context dr --map-storage-class gp3=premium-rwo'],
    ['The cluster is gone', 'restore create latest --app web --location-file s3-eu.yaml --context new'],
  ],
  run: async (session, args) => {
    const prepared = await prepareFrom(session, args);
    try {
      if (args.bool('dry-run')) return showPlan(prepared.plan, session);
      const isBlocked = prepared.plan.findings.some((f) => f.level === 'blocker'); // then nothing will be done: nothing to confirm
      if (!isBlocked) await session.confirm(question(prepared.plan));
      return await execute(session, prepared);
    } finally {
      await prepared.close();
    }
  },
};

/** Executes a plan that has just been shown or checked. */
export async function execute(session: Session, prepared: PreparedRestore): Promise<Result> {
  const report = await session.withProgress((emit) =>
    executeRestore(prepared, {
      // That the check is made once more is of interest only when something has moved.
      emit: (event) => {
        if (event.type !== 'phase' || event.phase !== 'preflight') emit(event);
      },
      signal: session.signal,
    }),
  );
  return done(prepared.plan, report);
}

function done(plan: RestorePlan, report: RestoreReport) {
  const gaps = report.findings.filter((f) => f.level === 'warning');
  return {
    data: { id: plan.id, backup: plan.backup, target: plan.target, ...report },
    names: [`restore/${plan.id}`],
    text: () =>
      `restore/${plan.id} completed: ${plan.backup} is in namespace ${plan.target.namespace} of ${plan.target.context}` +
      (plan.options.inPlace === true ? ` (${formatBytes(report.writtenBytes)} of ${formatBytes(report.populatedBytes)} differed)` : '') +
      (report.missingFiles === 0 ? '' : `; ${plural(report.missingFiles, 'file is', 'files are')} missing`),
    notes: [
      ...noteFindings(gaps),
      ...(plan.steps.some((s) => s.do === 'snapshot')
        ? [`kubectl dmaas restore undo ${plan.id} goes back, until restore delete ${plan.id}`]
        : []),
    ],
    exitCode: gaps.length > 0 ? 3 : 0,
  };
}

const COLUMNS: readonly Column<LocatedRestore & { now: Date }>[] = [
  { title: 'ID', cell: ({ record }) => record.id },
  { title: 'BACKUP', cell: ({ record }) => record.plan.backup },
  { title: 'TO', cell: ({ record }) => `${record.plan.target.context}/${record.plan.target.namespace}` },
  { title: 'STATUS', cell: ({ record }) => record.status },
  { title: 'AGE', cell: ({ record, now }) => formatAge(record.startedAt, now) },
];

export const restoreList: Command = {
  path: ['restore', 'list'],
  aliases: ['get'],
  summary: 'List restores, from the bucket',
  flags: LOCATION_FLAGS,
  output: true,
  run: async (session) => {
    const access = await session.location();
    const { restores, findings } = await listRestores(access, session.stores, { signal: session.signal });
    const now = session.now();
    return {
      data: { items: restores.map(({ record }) => ({ ...record, plan: redactPlan(record.plan) })), findings },
      names: restores.map(({ record }) => `restore/${record.id}`),
      text:
        restores.length === 0
          ? () => ''
          : table(
              restores.map((r) => ({ ...r, now })),
              COLUMNS,
            ),
      notes: [...(restores.length === 0 ? [`no restores from location ${access.location.name}`] : []), ...noteFindings(findings)],
      exitCode: findings.length > 0 ? 3 : 0,
    };
  },
};

async function findRestore(session: Session, args: Args): Promise<LocatedRestore> {
  return getRestore(await session.location(), args.need('RESTORE'), session.stores, { signal: session.signal });
}

export const restoreDescribe: Command = {
  path: ['restore', 'describe'],
  summary: 'Show a restore and how far it came',
  positionals: [ID],
  flags: LOCATION_FLAGS,
  output: true,
  run: async (session, args) => {
    const { record: r } = await findRestore(session, args);
    const findings = r.outcome?.state === 'done' ? r.outcome.report.findings : r.plan.findings;
    return {
      data: { ...r, plan: redactPlan(r.plan) },
      names: [`restore/${r.id}`],
      text: () =>
        [
          details([
            ['Id', r.id],
            ['Backup', r.plan.backup],
            ['From', `namespace ${r.plan.source.namespace} of ${r.plan.source.cluster}`],
            ['To', `namespace ${r.plan.target.namespace} of ${r.plan.target.context}`],
            ['Status', r.status],
            ['Started', r.startedAt],
            ['Ended', r.endedAt ?? '<not yet>'],
            ['Attempts', String(r.attempts)],
            ...(r.outcome === undefined || r.outcome.state === 'done'
              ? []
              : [['Error', r.outcome.error.message] as const, ['Steps left', String(r.outcome.stepsLeft)] as const]),
          ]),
          ...(findings.length === 0 ? [] : ['', 'Findings:', ...findings.flatMap(findingLines).map((l) => `  ${session.pasteable(l)}`)]),
        ].join('\n'),
    };
  },
};

/** The cluster a restore went to: the context of that name must still be that cluster. */
async function targetOf(session: Session, args: Args, { record }: LocatedRestore) {
  const context = args.string('to-context') ?? args.string('context') ?? record.plan.target.context;
  const cluster = await session.cluster(context);
  if ((await cluster.id()) !== record.plan.target.clusterId) {
    throw new DmaasError('USAGE', `context ${context} is not the cluster that restore ${record.id} went to`, {
      hint: 'name the context of that cluster with --to-context',
    });
  }
  return cluster;
}

const TARGET_FLAG = {
  name: 'to-context',
  type: 'string',
  value: 'NAME',
  describe: 'Context of the cluster that the restore went to',
} as const;

export const restoreResume: Command = {
  path: ['restore', 'resume'],
  summary: 'Go on with a restore that was interrupted or failed',
  description:
    'Goes on with a restore that was interrupted or failed. Files that could not be restored before are tried again, and stop it again when they cannot be, unless it may go on without them.',
  positionals: [ID],
  flags: [ALLOW_MISSING_FLAG, TARGET_FLAG, ...LOCATION_FLAGS, ...MOVER_FLAGS],
  output: true,
  run: async (session, args) => {
    const found = await findRestore(session, args);
    const cluster = await targetOf(session, args, found);
    const access = await session.location();
    const request = { cluster, access, stores: session.stores, commandFlags: commandFlags(session), ...session.movers() };
    const change = args.bool('allow-missing-files') ? { allowMissingFiles: true } : {};
    const report = await session.withProgress((emit) => resumeRestore(request, found, change, { emit, signal: session.signal }));
    return done(found.record.plan, report);
  },
};

export const restoreActivate: Command = {
  path: ['restore', 'activate'],
  summary: 'Activate a restore that was left staged with --no-activate',
  description:
    'Does what the plan of the restore holds for later, as it was applied: a plan that was edited is activated as edited. "restore describe -o yaml" shows it.',
  positionals: [ID],
  flags: [
    { name: 'start-jobs', type: 'boolean', describe: 'Start Jobs and CronJobs too; they stay suspended otherwise' },
    TARGET_FLAG,
    ...LOCATION_FLAGS,
    ...MOVER_FLAGS,
  ],
  output: true,
  run: async (session, args) => {
    const found = await findRestore(session, args);
    const cluster = await targetOf(session, args, found);
    const access = await session.location();
    const request = { cluster, access, stores: session.stores, commandFlags: commandFlags(session), ...session.movers() };
    const change = args.bool('start-jobs') ? { startJobs: true } : {};
    const { plan, report } = await session.withProgress((emit) =>
      activateRestore(request, found, change, { emit, signal: session.signal }),
    );
    return done(plan, report);
  },
};

export const restoreUndo: Command = {
  path: ['restore', 'undo'],
  summary: 'Go back behind a restore in place: volumes become what they were before it',
  description:
    'Stops what uses the volumes, puts claims made from the volume snapshots that the restore took in the place of those that are there, and starts everything again. What was written since the restore is lost, but not before the claims have their volumes: until then those that are there are kept, by their reclaim policy, which takes the right to patch PersistentVolumes. One whose reclaim policy is Retain stays beside the claim, and is named. The volume snapshots stay until "restore delete".',
  positionals: [ID],
  flags: [
    {
      name: 'delete-first',
      type: 'boolean',
      describe:
        'Without that right: delete each volume before the one from its volume snapshot is there; should that never be, both are lost',
    },
    TARGET_FLAG,
    ...LOCATION_FLAGS,
    { name: 'yes', short: 'y', type: 'boolean', describe: 'Do not ask' },
  ],
  run: async (session, args) => {
    const found = await findRestore(session, args);
    const cluster = await targetOf(session, args, found);
    const { id, plan } = found.record;
    const { context, namespace } = plan.target;
    await session.confirm(
      `Go back to what the volumes in namespace ${namespace} of ${context} were before restore ${id}? What was written since is lost`,
    );
    const request = { cluster, access: await session.location(), stores: session.stores, ...session.movers() };
    const options = { deleteFirst: args.bool('delete-first') };
    const { claims, findings } = await session.withProgress((emit) => goBack(request, found, options, { emit, signal: session.signal }));
    return {
      text: () =>
        `restore/${id} undone: ${claims.map((claim) => refName(claim)).join(', ')} ${claims.length === 1 ? 'is' : 'are'} as before`,
      notes: [...findings.flatMap(findingLines), `kubectl dmaas restore delete ${id} deletes the volume snapshots`],
      exitCode: findings.some((f) => f.level === 'warning') ? 3 : 0,
    };
  },
};

export const restoreDelete: Command = {
  path: ['restore', 'delete'],
  summary: 'Take back a restore: delete the objects and volumes that it created, and nothing else',
  positionals: [ID],
  flags: [TARGET_FLAG, ...LOCATION_FLAGS, { name: 'yes', short: 'y', type: 'boolean', describe: 'Do not ask' }],
  run: async (session, args) => {
    const found = await findRestore(session, args);
    const cluster = await targetOf(session, args, found);
    const { id, plan } = found.record;
    const { context, namespace } = plan.target;
    await session.confirm(`Delete everything that restore ${id} created in namespace ${namespace} of ${context}, with its volumes?`);
    const request = { cluster, access: await session.location(), stores: session.stores };
    const { removed, findings } = await session.withProgress((emit) => undoRestore(request, found, { emit, signal: session.signal }));
    return {
      text: () => [...removed.map((ref) => `${refName(ref)} deleted`), `restore/${id} taken back`].join('\n'),
      notes: findings.flatMap(findingLines),
      exitCode: findings.some((f) => f.level === 'warning') ? 3 : 0,
    };
  },
};
