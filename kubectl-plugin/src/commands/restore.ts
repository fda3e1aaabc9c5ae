import {
  DmaasError,
  executeRestore,
  getRestore,
  listRestores,
  prepareRestore,
  redactPlan,
  refName,
  resumeRestore,
  undoRestore,
  type LocatedRestore,
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
import { details, table, type Column } from '../output.ts';
import type { Session } from '../session.ts';
import { BACKUP_NAME, locateBackup } from './backup.ts';

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
    'Restores a backup in three phases: Preflight check (nothing is changed while anything stands in the way), Restoring backups (claims are created and filled), Activating application (workloads start in order and are watched until they are ready). Ctrl-C stops between two steps; "restore resume" goes on, "restore delete" takes back what was created.',
  positionals: [BACKUP_NAME],
  flags: [
    { name: 'to-namespace', type: 'string', value: 'NAME', describe: 'Namespace to restore to; default is that of the backup' },
    { name: 'to-context', type: 'string', value: 'NAME', describe: 'Context of the cluster to restore to; default is the current one' },
    { name: 'map-storage-class', type: 'list', value: 'OLD=NEW', describe: 'Storage class to use instead of another; can be repeated' },
    {
      name: 'on-conflict',
      type: 'string',
      choices: ['fail', 'skip', 'overwrite'],
      default: 'fail',
      describe: 'What to do about objects that exist; volumes are never overwritten',
    },
    { name: 'include', type: 'list', value: 'KIND[/NAME]', describe: 'Only these objects; can be repeated' },
    { name: 'exclude', type: 'list', value: 'KIND[/NAME]', describe: 'Not these objects; can be repeated' },
    { name: 'volumes-only', type: 'boolean', describe: 'Claims and their data, nothing else' },
    { name: 'resources-only', type: 'boolean', describe: 'Everything but claims and their data' },
    { name: 'no-activate', type: 'boolean', describe: 'Leave it staged: volumes filled, workloads inactive' },
    { name: 'start-jobs', type: 'boolean', describe: 'Start Jobs and CronJobs too; they stay suspended otherwise' },
    { name: 'ready-timeout', type: 'string', value: 'DURATION', describe: 'How long each workload may take to become ready (default 10m)' },
    { name: 'app', type: 'string', value: 'NAME', describe: 'With "latest": of this application' },
    { name: 'everywhere', type: 'boolean', describe: 'Look for the backup in all clusters and namespaces that the location holds' },
    ...LOCATION_FLAGS,
    ...MOVER_FLAGS,
    { name: 'dry-run', type: 'boolean', describe: 'Show the plan and the preflight check, change nothing' },
    { name: 'yes', short: 'y', type: 'boolean', describe: 'Do not ask' },
  ],
  output: true,
  examples: [
    ['What would be done', 'restore create web-k7m2q8xa -n shop --to-namespace shop-copy --dry-run'],
    ['Into another cluster with other storage', 'restore create web-k7m2q8xa -n shop --to-context dr --map-storage-class gp3=premium-rwo'],
    ['The cluster is gone', 'restore create latest --app web --location-file s3-eu.yaml --context new'],
  ],
  run: async (session, args) => {
    args.map('map-storage-class'); // what is wrong with the command line is said before anything is looked up
    const located = await locateBackup(session, args);
    const target = await session.cluster(args.string('to-context'));
    const prepared = await prepare(session, args, located, target);
    try {
      if (args.bool('dry-run')) return showPlan(prepared.plan);
      const isBlocked = prepared.plan.findings.some((f) => f.level === 'blocker'); // then nothing will be done: nothing to confirm
      if (!isBlocked) await session.confirm(question(prepared.plan));
      const report = await session.withProgress((emit) =>
        executeRestore(prepared, {
          // The check has just been shown; that it is made once more is of interest only when something has moved.
          emit: (event) => {
            if (event.type !== 'phase' || event.phase !== 'preflight') emit(event);
          },
          signal: session.signal,
        }),
      );
      return done(prepared.plan, report);
    } finally {
      await prepared.close();
    }
  },
};

/** For the hints of an interrupted restore: where its location is, and what its movers are. */
function commandFlags(session: Session): { readonly resume: string; readonly undo: string } {
  const location = ['kubeconfig', 'context', 'namespace', 'home-namespace', 'location', 'location-file', 'to-context'];
  return { resume: session.repeat([...location, 'mover-image', 'max-movers']), undo: session.repeat(location) };
}

function prepare(
  session: Session,
  args: Args,
  located: Awaited<ReturnType<typeof locateBackup>>,
  target: Awaited<ReturnType<Session['cluster']>>,
) {
  const namespace = args.string('to-namespace');
  const readyTimeoutMs = args.duration('ready-timeout');
  const conflict = args.string('on-conflict');
  return session.withProgress(async (emit) =>
    prepareRestore(
      {
        cluster: target,
        access: await session.location(),
        stores: session.stores,
        commandFlags: commandFlags(session),
        ...session.movers(),
      },
      located,
      {
        ...(namespace === undefined ? {} : { namespace }),
        storageClassMap: args.map('map-storage-class'),
        ...(conflict === 'skip' || conflict === 'overwrite' ? { conflict } : {}),
        volumesOnly: args.bool('volumes-only'),
        resourcesOnly: args.bool('resources-only'),
        ...(args.list('include').length === 0 ? {} : { include: args.list('include') }),
        ...(args.list('exclude').length === 0 ? {} : { exclude: args.list('exclude') }),
        activate: !args.bool('no-activate'),
        startJobs: args.bool('start-jobs'),
        ...(readyTimeoutMs === undefined ? {} : { readyTimeoutMs }),
      },
      { emit, signal: session.signal },
    ),
  );
}

function question({ steps, target, backup }: RestorePlan): string {
  const creates = steps.filter((s) => (s.do === 'apply' || s.do === 'create-claim') && s.action === 'create').length;
  const updates = steps.filter((s) => s.do === 'apply' && s.action === 'update').length;
  const bytes = steps.reduce((sum, s) => sum + (s.do === 'populate' ? s.bytes : 0), 0);
  const changes = [
    `create ${plural(creates, 'object')}`,
    ...(updates > 0 ? [`overwrite ${plural(updates, 'object')}`] : []),
    `fill ${formatBytes(bytes)} of volumes`,
  ];
  return `Restore ${backup} to namespace ${target.namespace} of ${target.context} (${changes.join(', ')})?`;
}

interface PlanRow {
  readonly phase: string;
  readonly action: string;
  readonly what: string;
  readonly detail: string;
}

function planRows(plan: RestorePlan): PlanRow[] {
  return plan.steps.map((s) => {
    const phase = s.phase === 'populate' ? 'restore' : 'activate';
    switch (s.do) {
      case 'apply':
      case 'create-claim':
        return { phase, action: s.action, what: refName(s.ref), detail: s.reason ?? s.changes.join('; ') };
      case 'populate':
        return {
          phase,
          action: 'fill',
          what: refName(s.claim),
          detail: `${formatBytes(s.bytes)}${s.mode === 'block' ? '' : `, ${plural(s.files, 'file')}`}`,
        };
      case 'activate':
        return { phase, action: 'activate', what: refName(s.ref), detail: s.how };
      case 'wait-ready':
        return { phase, action: 'wait', what: refName(s.ref), detail: 'until ready' };
      case 'link-owners':
        return { phase, action: 'link', what: refName(s.ref), detail: `to ${s.owners.map((o) => refName(o.ref)).join(', ')}` };
    }
  });
}

function showPlan(plan: RestorePlan) {
  const blockers = plan.findings.filter((f) => f.level === 'blocker').length;
  return {
    data: redactPlan(plan),
    names: [`restore/${plan.id}`],
    text: (how: { wide: boolean; noHeaders: boolean }) =>
      [
        details([
          ['Backup', plan.backup],
          ['From', `namespace ${plan.source.namespace} of ${plan.source.cluster}`],
          ['To', `namespace ${plan.target.namespace} of ${plan.target.context}`],
        ]),
        '',
        table(planRows(plan), [
          { title: 'PHASE', cell: (r) => r.phase },
          { title: 'ACTION', cell: (r) => r.action },
          { title: 'OBJECT', cell: (r) => r.what },
          { title: 'DETAIL', cell: (r) => (how.wide || r.detail.length <= 70 ? r.detail : `${r.detail.slice(0, 69)}…`) },
        ])(how),
        ...(plan.findings.length === 0 ? [] : ['', 'Preflight check:', ...plan.findings.flatMap(findingLines).map((l) => `  ${l}`)]),
      ].join('\n'),
    notes: [blockers === 0 ? 'nothing was changed' : `nothing was changed; ${plural(blockers, 'problem')} must be solved first`],
    exitCode: blockers === 0 ? 0 : 40,
  };
}

function done(plan: RestorePlan, report: RestoreReport) {
  const gaps = report.findings.filter((f) => f.level === 'warning');
  return {
    data: { id: plan.id, backup: plan.backup, target: plan.target, ...report },
    names: [`restore/${plan.id}`],
    text: () => `restore/${plan.id} completed: ${plan.backup} is in namespace ${plan.target.namespace} of ${plan.target.context}`,
    notes: noteFindings(gaps),
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
          ...(findings.length === 0 ? [] : ['', 'Findings:', ...findings.flatMap(findingLines).map((l) => `  ${l}`)]),
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
  positionals: [ID],
  flags: [TARGET_FLAG, ...LOCATION_FLAGS, ...MOVER_FLAGS],
  output: true,
  run: async (session, args) => {
    const found = await findRestore(session, args);
    const cluster = await targetOf(session, args, found);
    const access = await session.location();
    const request = { cluster, access, stores: session.stores, commandFlags: commandFlags(session), ...session.movers() };
    const report = await session.withProgress((emit) => resumeRestore(request, found, { emit, signal: session.signal }));
    return done(found.record.plan, report);
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
    const { removed, findings } = await session.withProgress((emit) => undoRestore(cluster, found, { emit, signal: session.signal }));
    return {
      text: () => [...removed.map((ref) => `${refName(ref)} deleted`), `restore/${id} taken back`].join('\n'),
      notes: findings.flatMap(findingLines),
      exitCode: findings.some((f) => f.level === 'warning') ? 3 : 0,
    };
  },
};
