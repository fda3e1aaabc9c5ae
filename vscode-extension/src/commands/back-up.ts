import type { AppSummary, Backup, BackupOptions, LocationAccess, PreparedBackup } from '@dmaas/core';
import { loadCore, type Core } from '../core.ts';
import { sentence } from '../reporter.ts';
import type { Result } from '../operations.ts';
import type { Services } from '../services.ts';
import { isNode } from '../views/node.ts';
import { pick } from '../wizard.ts';
import { openYaml } from './open.ts';
import { reviewPreflight } from './preflight.ts';

interface Chosen {
  readonly context: string;
  readonly app: Pick<AppSummary, 'name' | 'namespace' | 'selector'>;
}

/** Backs an application up: that of the node, or one that is asked for. What is in the way is shown before anything is changed. */
export async function backUp(services: Services, node: unknown): Promise<void> {
  const chosen = isNode(node, 'app') ? node.subject : await chooseApp(services);
  if (chosen === undefined) return;
  const { session, operations, catalog } = services;
  const core = await loadCore();
  // Its own connection: what views share is closed when they are refreshed.
  const cluster = await session.connect(chosen.context);
  try {
    const access = await chooseLocation(services, chosen, (name) =>
      core.getLocationAccess(cluster, session.places(chosen.app.namespace), name),
    );
    if (access === undefined) return;
    const run = { emit: () => undefined };
    const prepare = async (options: BackupOptions) => {
      const app = await core.discover(cluster, chosen.app.selector, run);
      return core.prepareBackup({ cluster, access, stores: session.stores, app, ...session.movers() }, options, run);
    };
    const prepared = await services.inView('applications', () => planned(core, chosen, access, prepare));
    if (prepared === undefined) return;
    try {
      const { ended } = await operations.start({
        kind: 'backup',
        title: `Back up ${chosen.app.name}`,
        subtitle: `Namespace ${chosen.app.namespace} of ${chosen.context}, to location ${access.location.name}`,
        run: async (options) => resultOf(core, await core.executeBackup(prepared, options)),
      });
      await services.inView('applications', () => ended);
    } finally {
      await prepared.close();
    }
    await catalog.refresh();
  } finally {
    await cluster.close();
  }
}

/** A plan that nothing stands in the way of, as far as can be seen without changing anything; undefined when the user left. */
async function planned(
  core: Core,
  { context, app }: Chosen,
  access: LocationAccess,
  prepare: (options: BackupOptions) => Promise<PreparedBackup>,
): Promise<PreparedBackup | undefined> {
  let options: BackupOptions = {};
  for (;;) {
    const prepared = await prepare(options);
    const { findings } = prepared.plan;
    if (!findings.some(({ level }) => level === 'blocker')) return prepared;
    await prepared.close();
    const answer = await reviewPreflight<BackupOptions>({
      title: `Back Up ${app.name}`,
      step: 1,
      totalSteps: 1,
      findings,
      fixesOf: (finding) => core.backupFixesOf(finding, options),
      start: { label: 'Start Backup', detail: '' },
      commandLine: core.backupCommandLine({ context, selector: app.selector, location: { name: access.location.name } }),
      openPlan: () => openYaml(`Backup plan of ${app.name}`, core.redactBackupPlan(prepared.plan)),
    });
    if (typeof answer !== 'object' || 'start' in answer.value) return undefined;
    ({ options } = answer.value);
  }
}

async function chooseApp({ session }: Services): Promise<Chosen | undefined> {
  const core = await loadCore();
  const list = async () => {
    const current = (await session.contexts()).find(({ isCurrent }) => isCurrent);
    if (current === undefined)
      throw new core.DmaasError('USAGE', 'the kubeconfig names no current context', { hint: 'kubectl config use-context NAME' });
    const { applications } = await core.listApplications(await session.cluster(current.name), {}, { emit: () => undefined });
    return applications.map((app) => ({
      label: app.name,
      description: app.namespace,
      detail: `${core.plural(app.volumes, 'volume')}, ${core.formatBytes(app.sizeBytes)}`,
      value: { context: current.name, app },
    }));
  };
  const answer = await pick<Chosen>({
    title: 'Back Up Application',
    step: 1,
    totalSteps: 1,
    placeholder: 'Which application?',
    items: list(),
  });
  return typeof answer === 'object' ? answer.value : undefined;
}

/** The one location there is or the default one; asked for where that is not clear. */
async function chooseLocation(
  { session }: Services,
  { context, app }: Chosen,
  access: (name?: string) => Promise<LocationAccess>,
): Promise<LocationAccess | undefined> {
  const core = await loadCore();
  const { locations } = await core.listLocations(await session.cluster(context), session.places(app.namespace));
  const isClear = locations.length <= 1 || locations.some(({ isDefault, namespace }) => isDefault && namespace === app.namespace);
  if (isClear) return access();
  const items = locations.map(({ name, bucket, namespace, isDefault }) => ({
    label: name,
    description: bucket,
    detail: `namespace ${namespace}${isDefault ? ', default' : ''}`,
    value: name,
  }));
  const answer = await pick<string>({ title: `Back Up ${app.name}`, step: 1, totalSteps: 1, placeholder: 'To which location?', items });
  return typeof answer === 'object' ? access(answer.value) : undefined;
}

function resultOf({ formatBytes, plural }: Core, backup: Backup): Result {
  const sum = (field: 'bytes' | 'addedBytes') => backup.volumes.reduce((total, v) => total + v[field], 0);
  const gaps = backup.findings.filter(({ level }) => level === 'warning').length;
  const facts = `${plural(backup.members, 'object')}, ${plural(backup.volumes.length, 'volume')}, ${formatBytes(sum('bytes'))} of data, ${formatBytes(sum('addedBytes'))} new`;
  return {
    text: sentence(`backup ${backup.name} is made: ${facts}${gaps === 0 ? '' : `; ${plural(gaps, 'warning')}`}`),
    hasGaps: gaps > 0,
  };
}
