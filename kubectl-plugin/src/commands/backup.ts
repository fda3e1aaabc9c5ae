import {
  checkedBackupPlan,
  DmaasError,
  describeSelector,
  deleteBackup,
  discover,
  executeBackup,
  findBackup,
  findDeletable,
  listBackups,
  prepareBackup,
  RECIPE_NAMES,
  redactBackupPlan,
  type AppSelector,
  type Backup,
  type BackupOptions,
  type BackupPlan,
  type LocatedBackup,
  formatAge,
  formatBytes,
  formatDuration,
  plural,
} from '@dmaas/core';
import { APP_FLAGS, appSelector, completeApps } from '../app-flags.ts';
import type { Args } from '../args.ts';
import type { Command, Completer, Flag } from '../command.ts';
import { deleteQuestion, DELETING } from '../delete-question.ts';
import { findingLines, noteFindings } from '../findings.ts';
import { parseHook } from '../hook-flag.ts';
import { LOCATION_FLAGS, MOVER_FLAGS } from '../location-flags.ts';
import { details, table, type Column } from '../output.ts';
import type { Session } from '../session.ts';

export const completeBackups: Completer = async (session) => {
  const { backups } = await listBackups(await session.location(), {}, session.stores, { signal: session.signal });
  return backups.map(({ backup }) => ({ value: backup.name, describe: `${backup.app.name} ${backup.createdAt}` }));
};

export const BACKUP_NAME = {
  name: 'BACKUP',
  describe: 'Name, id, beginning of an id, or "latest"',
  required: true,
  complete: completeBackups,
} as const;

export const SCOPE_FLAGS: readonly Flag[] = [
  { name: 'app', type: 'string', value: 'NAME', describe: 'Of this application', complete: completeApps },
  { name: 'all-namespaces', short: 'A', type: 'boolean', describe: 'Of all namespaces of this cluster' },
  { name: 'everywhere', type: 'boolean', describe: 'Of all clusters and namespaces that the location holds' },
];

/** Which backups of a location a command means: by default those of this namespace of this cluster; with a location file, all. */
export async function backupScope(session: Session, args: Args): Promise<{ app?: string; namespace?: string; clusterId?: string }> {
  const app = args.string('app');
  const byApp = app === undefined ? {} : { app };
  if (args.bool('everywhere') || (args.string('location-file') !== undefined && args.string('namespace') === undefined)) return byApp;
  if (args.string('location-file') !== undefined) return { ...byApp, namespace: args.need('namespace') };
  const clusterId = await (await session.cluster()).id();
  return args.bool('all-namespaces') ? { ...byApp, clusterId } : { ...byApp, clusterId, namespace: await session.namespace() };
}

export const backupCreate: Command = {
  path: ['backup', 'create'],
  summary: 'Back up an application with its volumes',
  description:
    'Backs up an application: takes volume snapshots of all its volumes, reads them in Jobs in its namespace, and records them with the manifests. What does not differ from earlier backups is not sent again. Ctrl-C leaves the application as it is and removes what was created for the backup.',
  positionals: [{ name: 'NAME', describe: 'Name of the backup; default is made from the application’s', required: false }],
  flags: [
    ...APP_FLAGS,
    ...LOCATION_FLAGS,
    {
      name: 'live',
      type: 'boolean',
      describe:
        'Read volumes that cannot be snapshotted while they are in use: their files are not of one moment, and nothing is stopped or held for it',
    },
    { name: 'live-volume', type: 'list', value: 'CLAIM', describe: 'Read this volume, and no other, while it is in use; can be repeated' },
    { name: 'exclude-volume', type: 'list', value: 'CLAIM', describe: 'Leave out this volume; can be repeated' },
    { name: 'data-only', type: 'boolean', describe: 'Volumes and their claims, no other manifests' },
    { name: 'manifests-only', type: 'boolean', describe: 'Manifests, no volumes' },
    {
      name: 'quiesce',
      type: 'string',
      choices: ['hooks', 'scale', 'none'],
      default: 'hooks',
      describe:
        'How the application stands still for the volume snapshots, and for these only: hooks and recipes for databases, stopping what uses the volumes until its pods have ended, or not at all',
    },
    {
      name: 'hook-before',
      type: 'list',
      value: 'KIND/NAME[:CONTAINER]=COMMAND',
      describe:
        'Command in the pods of a workload before the volume snapshots: for a shell, e.g. statefulset/db=sync, or a JSON list of words; can be repeated',
    },
    {
      name: 'hook-after',
      type: 'list',
      value: 'KIND/NAME[:CONTAINER]=COMMAND',
      describe: 'The same after the volume snapshots, whatever fails',
    },
    {
      name: 'without-recipe',
      type: 'list',
      value: 'NAME',
      describe: 'Do not use the recipe postgresql, mysql, mongodb or redis; can be repeated',
    },
    {
      name: 'freeze-limit',
      type: 'string',
      value: 'DURATION',
      describe: 'After that a frozen database goes on by itself, whatever became of us (default 2m)',
    },
    { name: 'snapshot-class', type: 'string', value: 'NAME', describe: 'VolumeSnapshotClass to use for every volume' },
    ...MOVER_FLAGS,
    { name: 'dry-run', type: 'boolean', describe: 'Show the plan and the preflight check, change nothing' },
  ],
  output: true,
  examples: [
    ['The application that "app list" calls web', 'backup create --app web -n shop'],
    ['Everything with a label, under a name', 'backup create before-upgrade -l app=web -n shop'],
    ['What would be done', 'backup create --app web -n shop --dry-run -o yaml'],
  ],
  run: async (session, args) => {
    const cluster = await session.cluster();
    const access = await session.location();
    const selector = await appSelector(session, args);
    const live = args.list('live-volume');
    const name = args.string('NAME');
    const snapshotClass = args.string('snapshot-class');
    const dryRun = args.bool('dry-run');
    quiesceOptions(args); // what is wrong with the command line is said before anything is looked up
    return session.withProgress(async (emit) => {
      const run = { emit, signal: session.signal };
      const app = await discover(cluster, selector, run);
      const prepared = await prepareBackup(
        { cluster, access, stores: session.stores, app, ...session.movers() },
        {
          ...(name === undefined ? {} : { name }),
          ...(args.bool('live') ? { live: true } : live.length > 0 ? { live } : {}),
          excludeVolumes: args.list('exclude-volume'),
          resourcesOnly: args.bool('manifests-only'),
          volumesOnly: args.bool('data-only'),
          ...(snapshotClass === undefined ? {} : { snapshotClass }),
          ...quiesceOptions(args),
        },
        run,
      );
      try {
        if (dryRun) return showPlan(await checkedBackupPlan(prepared, run), session);
        const backup = await executeBackup(prepared, run);
        return created(backup);
      } finally {
        await prepared.close();
      }
    });
  },
};

function quiesceOptions(args: Args): Pick<BackupOptions, 'quiesce' | 'hooks' | 'withoutRecipes' | 'freezeLimitSeconds'> {
  const mode = args.string('quiesce');
  const limitMs = args.duration('freeze-limit');
  const withoutRecipes = args.list('without-recipe');
  const unknown = withoutRecipes.find((name) => !RECIPE_NAMES.includes(name));
  if (unknown !== undefined)
    throw new DmaasError('USAGE', `there is no recipe ${unknown}`, { hint: `recipes are ${RECIPE_NAMES.join(', ')}` });
  const hooks = [
    ...args.each('hook-before').map((text) => ({ ...parseHook('hook-before', text), before: true })),
    ...args.each('hook-after').map((text) => ({ ...parseHook('hook-after', text), before: false })),
  ];
  if (hooks.length > 0 && mode !== undefined && mode !== 'hooks')
    throw new DmaasError(
      'USAGE',
      `--quiesce ${mode} runs no commands, and there is --hook-${hooks[0]?.before === true ? 'before' : 'after'}`,
    );
  return {
    ...(hooks.length === 0
      ? {}
      : { hooks: hooks.map(({ before, command, ...to }) => ({ ...to, [before ? 'before' : 'after']: command })) }),
    ...(mode === 'scale' || mode === 'none' ? { quiesce: mode } : {}),
    withoutRecipes,
    ...(limitMs === undefined ? {} : { freezeLimitSeconds: Math.max(1, Math.round(limitMs / 1000)) }),
  };
}

function showPlan(plan: BackupPlan, session: Session) {
  const blockers = plan.findings.filter((f) => f.level === 'blocker').length;
  return {
    data: redactBackupPlan(plan),
    names: [`backup/${plan.name}`],
    text: () =>
      [
        details([
          ['Backup', plan.name],
          ['Application', `${plan.app.name} in namespace ${plan.app.namespace}`],
          ['Resources', plural(plan.app.members.length, 'object')],
          [
            'Volumes',
            plan.volumes.length === 0
              ? '<none>'
              : plan.volumes.map((v) => `${v.volume.claim.name}  ${formatBytes(v.volume.capacityBytes)}  ${v.method}`).join('\n'),
          ],
        ]),
        ...(plan.findings.length === 0
          ? []
          : ['', 'Preflight check:', ...plan.findings.flatMap(findingLines).map((l) => `  ${session.pasteable(l)}`)]),
      ].join('\n'),
    notes: [blockers === 0 ? 'nothing was changed' : `nothing was changed; ${plural(blockers, 'problem')} would stop this backup`],
    exitCode: blockers === 0 ? 0 : 40,
  };
}

function created(backup: Backup) {
  const gaps = backup.findings.filter((f) => f.level === 'warning');
  const added = backup.volumes.reduce((sum, v) => sum + v.addedBytes, 0);
  const size = backup.volumes.reduce((sum, v) => sum + v.bytes, 0);
  const took = formatDuration(Date.parse(backup.createdAt) - Date.parse(backup.startedAt));
  return {
    data: backup,
    names: [`backup/${backup.name}`],
    text: () =>
      `backup/${backup.name} created (${plural(backup.members, 'object')}, ${plural(backup.volumes.length, 'volume')}, ${formatBytes(size)} of data, ${formatBytes(added)} new, ${took})`,
    notes: [...noteFindings(gaps), `kubectl dmaas restore create ${backup.name} -n ${backup.app.namespace}`],
    exitCode: gaps.length > 0 ? 3 : 0,
  };
}

interface Row extends LocatedBackup {
  readonly now: Date;
}

const sum = (backup: Backup, field: 'bytes' | 'addedBytes') => backup.volumes.reduce((total, v) => total + v[field], 0);

const COLUMNS: readonly Column<Row>[] = [
  { title: 'NAME', cell: ({ backup }) => backup.name },
  { title: 'APP', cell: ({ backup }) => backup.app.name },
  { title: 'STATUS', cell: ({ backup }) => (backup.findings.some((f) => f.level === 'warning') ? 'Partial' : 'Completed') },
  { title: 'VOLUMES', cell: ({ backup }) => String(backup.volumes.length) },
  { title: 'SIZE', cell: ({ backup }) => formatBytes(sum(backup, 'bytes')) },
  { title: 'NEW', cell: ({ backup }) => formatBytes(sum(backup, 'addedBytes')) },
  { title: 'ID', cell: ({ backup }) => backup.id, wide: true },
  { title: 'CLUSTER', cell: ({ backup, source }) => source.context ?? backup.cluster.context, wide: true },
  { title: 'AGE', cell: ({ backup, now }) => formatAge(backup.createdAt, now) },
];

export const backupList: Command = {
  path: ['backup', 'list'],
  aliases: ['get'],
  summary: 'List backups, from the bucket',
  flags: [...SCOPE_FLAGS, ...LOCATION_FLAGS],
  output: true,
  examples: [
    ['Of this namespace', 'backup list -n shop'],
    ['Everything in a bucket whose cluster is gone', 'backup list --location-file s3-eu.yaml'],
  ],
  run: async (session, args) => {
    const filter = await backupScope(session, args);
    const access = await session.location();
    const { backups, findings } = await listBackups(access, filter, session.stores, { signal: session.signal });
    const now = session.now();
    const rows = backups.map((b) => ({ ...b, now })).reverse();
    const columns =
      filter.namespace === undefined ? [{ title: 'NAMESPACE', cell: ({ backup }: Row) => backup.app.namespace }, ...COLUMNS] : COLUMNS;
    return {
      data: { items: rows.map((r) => r.backup), findings },
      names: rows.map((r) => `backup/${r.backup.name}`),
      text: rows.length === 0 ? () => '' : table(rows, columns),
      notes: [
        ...(rows.length === 0
          ? [`no backups${filter.namespace === undefined ? '' : ` of namespace ${filter.namespace}`} in location ${access.location.name}`]
          : []),
        ...noteFindings(findings),
      ],
      exitCode: findings.length > 0 ? 3 : 0,
    };
  },
};

/** The backup that the positional BACKUP names: in this namespace first, then anywhere in the location. */
export async function locateBackup(session: Session, args: Args): Promise<LocatedBackup> {
  const access = await session.location();
  const which = args.need('BACKUP');
  const scope = await backupScope(session, args);
  const call = { signal: session.signal };
  try {
    return await findBackup(access, which, scope, session.stores, call);
  } catch (e) {
    // Restoring in a new cluster: its own namespaces have no backups there yet. `latest` of something else would surprise.
    const elsewhere =
      DmaasError.is(e, 'BACKUP_NOT_FOUND') && scope.clusterId !== undefined && which !== 'latest' && !e.message.includes('match');
    if (!elsewhere) throw e;
    return findBackup(access, which, args.string('app') === undefined ? {} : { app: args.need('app') }, session.stores, call);
  }
}

export const backupDescribe: Command = {
  path: ['backup', 'describe'],
  summary: 'Show a backup: its volumes, and what was left out',
  positionals: [BACKUP_NAME],
  flags: [...SCOPE_FLAGS, ...LOCATION_FLAGS],
  output: true,
  run: async (session, args) => {
    const { backup: b } = await locateBackup(session, args);
    return {
      data: b,
      names: [`backup/${b.name}`],
      text: (how) =>
        [
          details([
            ['Name', b.name],
            ['Id', b.id],
            ['Application', `${b.app.name} (${describeSelector(b.app.selector as unknown as AppSelector)})`],
            ['Namespace', b.app.namespace],
            ['Cluster', `${b.cluster.context} (Kubernetes ${b.cluster.version})`],
            ['Started', b.startedAt],
            ['Completed', b.createdAt],
            ['Resources', plural(b.members, 'object')],
            ['Made by', b.tool],
            ['Compared with', b.parent ?? '<none>'],
          ]),
          '',
          'Volumes:',
          b.volumes.length === 0
            ? '  <none>'
            : table(b.volumes, [
                { title: '  CLAIM', cell: (v) => `  ${v.claim}` },
                { title: 'MODE', cell: (v) => v.mode },
                { title: 'DATA', cell: (v) => formatBytes(v.bytes) },
                { title: 'FILES', cell: (v) => (v.mode === 'block' ? '-' : String(v.files)) },
                { title: 'NEW', cell: (v) => formatBytes(v.addedBytes) },
                { title: 'CLASS', cell: (v) => (v.storageClass === '' ? '<none>' : v.storageClass) },
                { title: 'METHOD', cell: (v) => v.method },
                { title: 'CONSISTENT-AT', cell: (v) => v.consistentAt },
              ])(how),
          ...(b.findings.length === 0
            ? []
            : ['', 'Findings:', ...b.findings.flatMap(findingLines).map((l) => `  ${session.pasteable(l)}`)]),
        ].join('\n'),
    };
  },
};

export const backupDelete: Command = {
  path: ['backup', 'delete'],
  summary: 'Delete backups',
  description: `Deletes backups. ${DELETING}`,
  positionals: [{ ...BACKUP_NAME, many: true }],
  flags: [...SCOPE_FLAGS, ...LOCATION_FLAGS, { name: 'yes', short: 'y', type: 'boolean', describe: 'Do not ask' }],
  run: async (session, args) => {
    const access = await session.location();
    const call = { signal: session.signal };
    const wanted = await findDeletable(access, args.list('BACKUP'), await backupScope(session, args), session.stores, call);
    await session.confirm(deleteQuestion(wanted, `location ${access.location.name}`));
    for (const located of wanted) await deleteBackup(access, located, session.stores, call);
    return { text: () => wanted.map(({ id, backup }) => `backup/${backup?.name ?? id} deleted`).join('\n') };
  },
};
