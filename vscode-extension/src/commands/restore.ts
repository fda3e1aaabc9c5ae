import { commands } from 'vscode';
import type {
  Cluster,
  DmaasEvent,
  LocatedRestore,
  LocationAccess,
  PreparedRestore,
  RestoreOptions,
  RestorePlan,
  RestoreReport,
} from '@dmaas/core';
import { loadCore, type Core } from '../core.ts';
import { nameOf, referenceOf } from '../locations.ts';
import type { RestoreMemo, Result, Work } from '../operations.ts';
import { sentence } from '../reporter.ts';
import type { Services } from '../services.ts';
import { settings } from '../settings.ts';
import { isNode, type BackupSubject } from '../views/node.ts';
import { pick, pickMany, walk, type Answer, type Choice, type Step } from '../wizard.ts';
import { openYaml } from './open.ts';
import { reviewPreflight, type Verdict } from './preflight.ts';

/** What has been chosen so far. */
interface State {
  readonly backup?: BackupSubject;
  readonly context?: string;
  readonly options: RestoreOptions;
  readonly verdict?: Verdict<RestoreOptions>;
}

/** A plan that is on the screen, and what happened while it was made. Closed when another takes its place. */
interface Checked {
  readonly prepared: PreparedRestore;
  readonly cluster: Cluster;
  readonly events: readonly { readonly event: DmaasEvent; readonly at: number }[];
}

/** Asks where to and how, shows the preflight check, and starts. */
export async function restore(services: Services, node: unknown): Promise<void> {
  const wizard = new RestoreWizard(services, givenBackup(node));
  try {
    await wizard.run();
  } finally {
    await wizard.close();
  }
}

function givenBackup(node: unknown): BackupSubject | undefined {
  if (isNode(node, 'backup')) return node.subject;
  return isNode(node, 'app') ? node.subject.latest : undefined;
}

type Option = 'volumes' | 'resources' | 'activate' | 'startJobs' | 'keep';

class RestoreWizard {
  readonly #services: Services;
  readonly #given: BackupSubject | undefined;
  #checked: Checked | undefined;

  constructor(services: Services, given: BackupSubject | undefined) {
    this.#services = services;
    this.#given = given;
  }

  async run(): Promise<void> {
    const core = await loadCore();
    const steps: readonly Step<State>[] = [
      { applies: () => this.#given === undefined, ask: (state, at) => this.#askBackup(core, state, at) },
      { ask: (state, at) => this.#askContext(state, at) },
      { ask: (state, at) => this.#askNamespace(core, state, at) },
      { ask: (state, at) => this.#askOptions(state, at) },
      { ask: (state, at) => this.#askStart(core, state, at) },
    ];
    const state = await walk(steps, { ...(this.#given === undefined ? {} : { backup: this.#given }), options: { activate: true } });
    if (state?.backup !== undefined && this.#checked !== undefined) await this.#start(core, state.backup, this.#checked);
  }

  async close(): Promise<void> {
    const checked = this.#checked;
    this.#checked = undefined;
    await checked?.prepared.close();
    await checked?.cluster.close();
  }

  #title({ backup }: State): string {
    return backup === undefined ? 'Restore Application' : `Restore ${backup.located.backup.app.name}`;
  }

  async #askBackup(core: Core, state: State, at: { step: number; totalSteps: number }): Promise<Answer<State>> {
    const list = async (): Promise<Choice<BackupSubject>[]> => {
      await this.#services.catalog.ready();
      return this.#services.catalog.backups
        .map((found): BackupSubject => ({ kind: 'backup', ...found }))
        .sort((a, b) => (a.located.backup.createdAt > b.located.backup.createdAt ? -1 : 1))
        .map((subject) => {
          const { backup } = subject.located;
          const bytes = backup.volumes.reduce((sum, v) => sum + v.bytes, 0);
          return {
            label: backup.name,
            description: `${backup.app.name} in ${backup.app.namespace}`,
            detail: `${core.formatAge(backup.createdAt, new Date())} ago, ${core.plural(backup.volumes.length, 'volume')}, ${core.formatBytes(bytes)}, location ${nameOf(subject.location)}`,
            value: subject,
          };
        });
    };
    const answer = await pick<BackupSubject>({ title: 'Restore Application', ...at, placeholder: 'Which backup?', items: list() });
    return typeof answer === 'object' ? { value: { ...state, backup: answer.value } } : answer;
  }

  async #askContext(state: State, at: { step: number; totalSteps: number }): Promise<Answer<State>> {
    const backup = state.backup?.located.backup;
    const items = this.#services.session.contexts().then((contexts) =>
      contexts.map(({ name }) => ({
        label: name,
        ...(name === backup?.cluster.context ? { description: 'where it was backed up' } : {}),
        value: name,
      })),
    );
    const answer = await pick<string>({
      title: this.#title(state),
      ...at,
      placeholder: 'To which cluster?',
      items,
      active: ({ value }) => value === (state.context ?? backup?.cluster.context),
    });
    return typeof answer === 'object' ? { value: { ...state, context: answer.value } } : answer;
  }

  async #askNamespace(core: Core, state: State, at: { step: number; totalSteps: number }): Promise<Answer<State>> {
    const from = state.backup?.located.backup.app.namespace ?? '';
    const list = async (): Promise<Choice<string>[]> => {
      const existing = await this.#namespaces(core, state.context ?? '');
      const fresh = freeName(from, existing);
      return [
        ...(existing.includes(from) ? [] : [{ label: from, description: 'its own; will be created', value: from }]),
        { label: fresh, description: 'will be created', value: fresh },
        ...existing
          .toSorted(systemLast)
          .map((name) => ({ label: name, description: name === from ? 'its own; exists' : 'exists', value: name })),
      ];
    };
    const answer = await pick<string>({
      title: this.#title(state),
      ...at,
      placeholder: 'To which namespace? Type a name for a new one',
      items: list(),
      typed: (text) =>
        /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(text) ? { label: text, description: 'new namespace', value: text } : undefined,
    });
    if (typeof answer !== 'object') return answer;
    const { namespace: _, ...options } = state.options;
    return { value: { ...state, options: answer.value === from ? options : { ...options, namespace: answer.value } } };
  }

  /** Names of those there are; none for who may not list them. */
  async #namespaces(core: Core, context: string): Promise<readonly string[]> {
    try {
      return await core.listNamespaces(await this.#services.session.cluster(context));
    } catch (e) {
      if (core.DmaasError.is(e, 'CLUSTER_FORBIDDEN')) return [];
      throw e;
    }
  }

  async #askOptions(state: State, at: { step: number; totalSteps: number }): Promise<Answer<State>> {
    const { options } = state;
    const answer = await pickMany<Option>({
      title: this.#title(state),
      ...at,
      placeholder: 'What, and how?',
      items: [
        { label: 'Volumes', detail: 'Claims are created and filled', value: 'volumes', isOn: options.resourcesOnly !== true },
        { label: 'Resources', detail: 'Everything but claims and their data', value: 'resources', isOn: options.volumesOnly !== true },
        {
          label: 'Activate',
          detail: 'Start workloads and watch them until they are ready; else they are left inactive',
          value: 'activate',
          isOn: options.activate,
        },
        { label: 'Start Jobs and CronJobs', detail: 'They stay suspended otherwise', value: 'startJobs', isOn: options.startJobs === true },
        {
          label: 'Keep what exists',
          detail: 'Objects of the same name stay as they are; else they are in the way',
          value: 'keep',
          isOn: options.conflict === 'skip',
        },
      ],
    });
    if (typeof answer !== 'object') return answer;
    const on = (option: Option): boolean => answer.value.includes(option);
    const { conflict: _, ...rest } = options;
    const chosen: RestoreOptions = {
      ...rest,
      volumesOnly: on('volumes') && !on('resources'),
      resourcesOnly: on('resources') && !on('volumes'),
      activate: on('activate'),
      startJobs: on('startJobs'),
      ...(on('keep') ? { conflict: 'skip' as const } : {}),
    };
    return { value: { ...state, options: chosen } };
  }

  /** Plans and shows what was found, again after each fix. */
  async #askStart(core: Core, state: State, at: { step: number; totalSteps: number }): Promise<Answer<State>> {
    const { backup, context } = state;
    if (backup === undefined || context === undefined) return undefined;
    let { options } = state;
    for (;;) {
      const checked = await this.#services.inView('backups', () => this.#check(core, backup, context, options));
      if (checked === undefined) return undefined;
      const { plan } = checked.prepared;
      const answer = await reviewPreflight<RestoreOptions>({
        title: this.#title(state),
        ...at,
        findings: plan.findings,
        fixesOf: (finding) => core.fixesOf(finding, options),
        start: { label: 'Start Restore', detail: summary(core, plan) },
        commandLine: this.#commandLine(core, backup, context, options),
        openPlan: () => openYaml(`Restore plan ${plan.id}`, core.redactPlan(plan)),
      });
      if (typeof answer !== 'object') return answer;
      if ('start' in answer.value) return { value: { ...state, options, verdict: answer.value } };
      ({ options } = answer.value);
    }
  }

  #commandLine(core: Core, { location, located }: BackupSubject, context: string, options: RestoreOptions): string {
    return core.restoreCommandLine({
      backupId: located.backup.id,
      context,
      location: referenceOf(location),
      namespace: located.backup.app.namespace,
      options,
    });
  }

  async #check(core: Core, backup: BackupSubject, context: string, options: RestoreOptions): Promise<Checked> {
    await this.close();
    const { session, files, open } = this.#services;
    await (await open.fresh(backup)).close(); // it may have been deleted since it was listed
    const cluster = await session.connect(context);
    try {
      const access = await files.access(backup.location);
      const events: { event: DmaasEvent; at: number }[] = [];
      const emit = (event: DmaasEvent): void => void events.push({ event, at: Date.now() });
      const prepared = await core.prepareRestore(
        { cluster, access, stores: session.stores, ...session.movers() },
        backup.located,
        options,
        { emit },
      );
      this.#checked = { prepared, cluster, events };
      return this.#checked;
    } catch (e) {
      await cluster.close();
      throw e;
    }
  }

  async #start(core: Core, backup: BackupSubject, { prepared, cluster, events }: Checked): Promise<void> {
    const { plan } = prepared;
    const { operations, refresh } = this.#services;
    const memo: RestoreMemo = { location: backup.location, restoreId: plan.id };
    const { operation, ended } = await operations.start({
      kind: 'restore',
      title: `Restore ${plan.source.app} to ${plan.target.namespace}`,
      subtitle: `${plan.backup}, from namespace ${plan.source.namespace} of ${plan.source.cluster} to namespace ${plan.target.namespace} of ${plan.target.context}`,
      before: events,
      run: async (run) => resultOf(core, plan, await core.executeRestore(prepared, run)),
      memo,
      ...recordedRestore(this.#services, memo),
    });
    this.#checked = undefined;
    if (settings.opensTimeline) await commands.executeCommand('dmaas.showTimeline', operation.id);
    await this.#services.inView('activity', () => ended);
    await prepared.close();
    await cluster.close();
    await refresh();
  }
}

/** Goes on with a restore or takes it back, by what is recorded of it: the window that began it may have been closed, its connection is. */
export function recordedRestore(
  { session, files }: Services,
  { location, restoreId }: RestoreMemo,
): Required<Pick<Work, 'resume' | 'undo'>> {
  const withRecord = async <T>(
    work: (core: Core, found: LocatedRestore, cluster: Cluster, access: LocationAccess) => Promise<T>,
  ): Promise<T> => {
    const core = await loadCore();
    const access = await files.access(location);
    const found = await core.getRestore(access, restoreId, session.stores);
    const cluster = await session.connect(found.record.plan.target.context);
    try {
      return await work(core, found, cluster, access);
    } finally {
      await cluster.close();
    }
  };
  return {
    resume: (run) =>
      withRecord(async (core, found, cluster, access) => {
        const request = { cluster, access, stores: session.stores, ...session.movers() };
        return resultOf(core, found.record.plan, await core.resumeRestore(request, found, {}, run));
      }),
    undo: (run) =>
      withRecord(async (core, found, cluster, access) => {
        await core.undoRestore({ cluster, access, stores: session.stores }, found, run);
      }),
  };
}

/** Nobody restores to the namespaces of Kubernetes itself. */
function systemLast(a: string, b: string): number {
  return Number(a.startsWith('kube-')) - Number(b.startsWith('kube-'));
}

/** A name that is not taken: `shop-restored`, `shop-restored-2`. */
export function freeName(from: string, existing: readonly string[]): string {
  const base = `${from}-restored`.slice(0, 58);
  for (let n = 1; ; n++) {
    const name = n === 1 ? base : `${base}-${String(n)}`;
    if (!existing.includes(name)) return name;
  }
}

function summary({ plural, formatBytes }: Core, { steps, target }: RestorePlan): string {
  const count = (action: 'create' | 'update'): number =>
    steps.filter((s) => (s.do === 'apply' || s.do === 'create-claim') && s.action === action).length;
  const bytes = steps.reduce((sum, s) => sum + (s.do === 'populate' ? s.bytes : 0), 0);
  const updates = count('update');
  const changes = [
    `creates ${plural(count('create'), 'object')}`,
    ...(updates > 0 ? [`changes ${plural(updates, 'object')}`] : []),
    `fills ${formatBytes(bytes)} of volumes`,
  ];
  return `${sentence(changes.join(', '))} in namespace ${target.namespace} of ${target.context}`;
}

function resultOf({ plural, formatBytes }: Core, { source, target }: RestorePlan, report: RestoreReport): Result {
  const gaps = report.findings.filter(({ level }) => level === 'warning').length;
  const missing = report.missingFiles === 0 ? '' : `, ${plural(report.missingFiles, 'file')} missing`;
  const facts = `${plural(report.created, 'object')} created, ${formatBytes(report.populatedBytes)} in ${plural(report.populatedFiles, 'file')} restored${missing}`;
  return {
    text: `${source.app} is in namespace ${target.namespace} of ${target.context}: ${facts}${gaps === 0 ? '' : `; ${plural(gaps, 'warning')}`}`,
    hasGaps: gaps > 0,
  };
}
