import { canICommand, resourceName } from '../cluster/api-errors.ts';
import type { Access, Cluster } from '../cluster/cluster.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import type { LocationAccess } from '../location/location.ts';
import { keyOpensNothing, listRepositories, openLocationRepository, warningOf } from '../location/open.ts';
import type { LocatedBackup, LocationRepository, OpenDeps } from '../location/open.ts';
import { refName } from '../model.ts';
import type { Finding } from '../model.ts';
import type { MoverOptions } from '../mover/job.ts';
import { JobMover } from '../mover/job-mover.ts';
import { isOperationId, newOperationId } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { readManifests } from '../repository/manifests.ts';
import type { CallOptions } from '../store/object-store.ts';
import { populateVolumes, recordedResults } from '../transfer/populate.ts';
import { tryCanaries } from './canary.ts';
import { assertConsent } from './consent.ts';
import { readRestore, readRestores, recordUndone, restoreJournal } from './journal.ts';
import type { RestoreRecord } from './journal.ts';
import { releaseVolumes } from './kept-volumes.ts';
import { activated } from './later.ts';
import { listed } from './hints.ts';
import { planNeeds } from './needs.ts';
import type { BackupView, RestoreOptions, RestorePlan, TargetState } from './model.ts';
import { STOPPED } from './stopping.ts';
import { withSecrets } from './plan-document.ts';
import { preflightInPlace, preflightRestore } from './preflight.ts';
import { prepare } from './prepare.ts';
import { applyRestore } from './run.ts';
import type { CommandFlags, Populate, RestoreReport } from './run.ts';
import { tryMoversAndStore } from './trials.ts';
import { removeRestored } from './undo.ts';
import type { RemovalReport } from './undo.ts';

export interface RestoreRequest {
  /** Where to. */
  readonly cluster: Cluster;
  readonly access: LocationAccess;
  readonly stores: OpenDeps;
  readonly moverOptions: MoverOptions;
  readonly maxMovers: number;
  /** Before a restore is planned to its end, a mover tries a small volume of each kind that it will make; each may take so long. */
  readonly canaryTimeoutMs?: number;
  /** For hints: see `RestoreDeps`. */
  readonly commandFlags?: CommandFlags;
}

/** A plan with what executing it takes. Close it in the end. */
export interface PreparedRestore {
  readonly plan: RestorePlan;
  readonly request: RestoreRequest;
  /** Of the backup. */
  readonly source: LocationRepository;
  close(): Promise<void>;
}

/** Reads a backup's manifests, looks at the target and plans. Changes nothing; obstacles are findings of the plan. */
export async function prepareRestore(
  request: RestoreRequest,
  located: LocatedBackup,
  options: RestoreOptions,
  run: RunOptions,
): Promise<PreparedRestore> {
  const source = await openLocationRepository(request.access, located.source, request.stores, callOf(run));
  try {
    const view = await viewOf(source, located, run);
    const { cluster, moverOptions } = request;
    const tryAll = (made: RestorePlan, hasNamespace: boolean) =>
      tryMoversAndStore(made, hasNamespace, { cluster, objects: source.objects, moverOptions }, run);
    const canary = canaries(request, source, run);
    const plan =
      options.inPlace === true
        ? await preflightInPlace(newOperationId(), view, request.cluster, options, run, (made) => tryAll(made, true))
        : await preflightRestore(newOperationId(), view, request.cluster, options, run, async (made, target) => [
            ...(await tryAll(made, target.namespace !== undefined)),
            ...(await canary(made, target)),
          ]);
    return { plan, request, source, close: () => source.close() };
  } catch (e) {
    await source.close();
    throw e;
  }
}

/** Longer than a mover may wait, so that the mover says why; a mover that nobody watches any more ends by it. */
const CANARY_GRACE_SECONDS = 60;
const CANARY_PULL_MS = 60_000;

function canaries(
  request: RestoreRequest,
  source: LocationRepository,
  run: RunOptions,
): (plan: RestorePlan, target: TargetState) => Promise<readonly Finding[]> {
  const { cluster, maxMovers, canaryTimeoutMs } = request;
  if (canaryTimeoutMs === undefined) return () => Promise.resolve([]);
  return async (plan, target) => {
    const id = newOperationId();
    const { runs } = source.repository;
    const options = { ...request.moverOptions, activeDeadlineSeconds: Math.ceil(canaryTimeoutMs / 1000) + CANARY_GRACE_SECONDS };
    const timing = { pending: canaryTimeoutMs, imagePull: Math.min(canaryTimeoutMs, CANARY_PULL_MS) };
    const mover = new JobMover({ cluster, runs, options, timing });
    try {
      return await tryCanaries(id, plan, target, { cluster, mover, store: source.store, unlock: source.unlock, maxMovers }, run);
    } finally {
      // Who may not delete in the bucket leaves a small record there.
      await runs.delete(id).catch(() => undefined);
    }
  };
}

/**
 * Makes a plan that was written down earlier ready to be executed: the values of Secrets come from the backup. That the target is still what it was made
 * for is checked on execution. Throws USAGE when it is of another backup.
 */
export async function preparePlanned(
  request: RestoreRequest,
  located: LocatedBackup,
  plan: RestorePlan,
  run: RunOptions,
): Promise<PreparedRestore> {
  if (located.backup.id !== plan.backupId) {
    throw new DmaasError('USAGE', `the plan is of backup ${plan.backupId}, not of ${located.backup.id}`, {
      hint: 'plan the restore again',
    });
  }
  const source = await openLocationRepository(request.access, located.source, request.stores, callOf(run));
  try {
    assertNotUndone(await readRestore(source.repository.runs, plan.id, callOf(run)));
    const view = await viewOf(source, located, run);
    const [kinds, version] = await Promise.all([request.cluster.kinds(), request.cluster.version()]);
    assertConsent(plan, kinds);
    const { items } = prepare(view, { kinds, version }, plan.options);
    return { plan: withSecrets(plan, items), request, source, close: () => source.close() };
  } catch (e) {
    await source.close();
    throw e;
  }
}

async function viewOf({ repository }: LocationRepository, { backup }: LocatedBackup, run: RunOptions): Promise<BackupView> {
  const members = await readManifests(repository, backup.manifests, callOf(run));
  const { namespace } = backup.app;
  return {
    id: backup.name,
    recordId: backup.id,
    createdAt: backup.createdAt,
    app: { name: backup.app.name, namespace, cluster: backup.cluster.context, clusterId: backup.cluster.id },
    objects: members.map(({ object }) => object),
    volumes: backup.volumes.map((v) => ({ ...v, claim: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name: v.claim, namespace } })),
  };
}

/** Executes a prepared plan: `applyRestore` has the contract. */
export async function executeRestore({ plan, request, source }: PreparedRestore, run: RunOptions): Promise<RestoreReport> {
  const { cluster, moverOptions, maxMovers, commandFlags } = request;
  const { runs } = source.repository;
  const named = (results: Awaited<ReturnType<typeof populateVolumes>>) =>
    results.map(({ claim, ...result }) => ({ claim: claim.name, ...result }));
  const filledBefore: Populate = async (steps, each) => named(await recordedResults(plan.id, steps, runs, each));
  const populate: Populate = async (steps, each) => {
    const mover = new JobMover({ cluster, runs, options: moverOptions });
    const deps = { cluster, mover, runs, store: source.store, unlock: source.unlock, maxMovers };
    const allowMissing = plan.options.allowMissingFiles === true;
    const items = steps.map((step) => ({ ...step, isInPlace: step.inPlace !== undefined, allowMissing }));
    return named(await populateVolumes(plan.id, items, deps, each));
  };
  const journal = restoreJournal(runs, plan.id, () => new Date());
  return applyRestore(plan, { cluster, populate, filledBefore, journal, ...(commandFlags === undefined ? {} : { commandFlags }) }, run);
}

/** Goes on with a restore whose plan is recorded; what is allowed now is recorded too. Throws USAGE for one that was taken back. */
export async function resumeRestore(
  request: RestoreRequest,
  located: LocatedRestore,
  change: Pick<RestoreOptions, 'allowMissingFiles'>,
  run: RunOptions,
): Promise<RestoreReport> {
  const { plan } = located.record;
  assertNotUndone(located.record);
  const source = await openLocationRepository(request.access, located.source, request.stores, callOf(run));
  try {
    const changed = { ...plan, options: { ...plan.options, ...change } };
    return await executeRestore({ plan: changed, request, source, close: () => source.close() }, run);
  } finally {
    await source.close();
  }
}

/**
 * Activates a restore that was left staged: does what its plan holds for later, as it was applied, edited or not. Throws USAGE for one that is active,
 * and PREFLIGHT_FAILED as `executeRestore` does and for rights that are missing.
 */
export async function activateRestore(
  request: RestoreRequest,
  { record, source }: LocatedRestore,
  change: Pick<RestoreOptions, 'startJobs'>,
  run: RunOptions,
): Promise<{ readonly plan: RestorePlan; readonly report: RestoreReport }> {
  assertNotUndone(record);
  if (record.plan.options.activate)
    throw new DmaasError('USAGE', `restore ${record.id} was not left staged`, { hint: `kubectl dmaas restore resume ${record.id}` });
  const plan = activated(record.plan, change.startJobs);
  // What is left for later was no part of the check of rights when the rest was done.
  await assertRights(planNeeds(plan, await request.cluster.kinds()), 'the activation', request.cluster);
  const open = await openLocationRepository(request.access, source, request.stores, callOf(run));
  try {
    return { plan, report: await executeRestore({ plan, request, source: open, close: () => open.close() }, run) };
  } finally {
    await open.close();
  }
}

/** Throws PREFLIGHT_FAILED when this identity lacks one of them. */
export async function assertRights(needs: readonly Access[], what: string, cluster: Cluster): Promise<void> {
  const denied = await cluster.denied(needs);
  if (denied[0] === undefined) return;
  const missing = denied.map((access) => `${access.verb} ${resourceName(access)}`);
  throw new DmaasError('PREFLIGHT_FAILED', `you may not ${listed(missing)}, which ${what} takes`, { hint: canICommand(denied[0]) });
}

/**
 * Takes a restore back: what it created goes, and nothing else. Of a restore in place that is the way back; throws USAGE while workloads are stopped by it,
 * because there may be need of it yet.
 */
export async function undoRestore(
  { cluster, access, stores }: Pick<RestoreRequest, 'cluster' | 'access' | 'stores'>,
  { record, source }: LocatedRestore,
  run: RunOptions,
): Promise<RemovalReport> {
  const { id, plan } = record;
  for (const step of plan.steps) {
    if (step.do !== 'stop' || (await cluster.get(step.ref))?.metadata.labels?.[STOPPED.label] !== id) continue;
    throw new DmaasError('USAGE', `${refName(step.ref)} is still stopped by restore ${id}`, {
      hint: `kubectl dmaas restore resume ${id}, or restore undo ${id}`,
    });
  }
  const report = await removeRestored(cluster, { id, namespace: plan.target.namespace }, run);
  if (plan.options.inPlace === true) return { ...report, findings: [...report.findings, ...(await releaseVolumes(cluster, id))] };
  const isWhole = report.findings.every((f) => f.level !== 'warning');
  // Who may not write to the bucket has taken it back all the same.
  if (isWhole) await recordUndoneIn(access, source, stores, id, run).catch(() => undefined);
  return report;
}

export async function recordUndoneIn(
  access: LocationAccess,
  source: LocatedBackup['source'],
  stores: OpenDeps,
  id: OperationId,
  run: RunOptions,
): Promise<void> {
  const open = await openLocationRepository(access, source, stores, callOf(run));
  try {
    await recordUndone(open.repository.runs, id, new Date());
  } finally {
    await open.close();
  }
}

/** What movers and claims of it are recorded as is no longer there: to go on would be half a restore. */
function assertNotUndone(record: RestoreRecord | undefined): void {
  if (record?.status !== 'Undone') return;
  throw new DmaasError('USAGE', `restore ${record.id} was taken back`, {
    hint: `plan it anew: kubectl dmaas restore create ${record.plan.backup} -n ${record.plan.source.namespace}`,
  });
}

/** A restore, and the repository that its backup is in. */
export interface LocatedRestore {
  readonly record: RestoreRecord;
  readonly source: LocatedBackup['source'];
}

/** Every restore from a location, the oldest first, and what could not be read. */
export async function listRestores(
  access: LocationAccess,
  stores: OpenDeps,
  opts: CallOptions = {},
): Promise<{ readonly restores: readonly LocatedRestore[]; readonly findings: readonly Finding[] }> {
  const { repositories, others } = await listRepositories(access, stores, opts);
  const restores: LocatedRestore[] = [];
  const findings: Finding[] = [];
  if (repositories.length === 0 && others > 0) findings.push(warningOf('key-opens-nothing', keyOpensNothing(access, others)));
  for (const source of repositories) {
    try {
      const open = await openLocationRepository(access, source, stores, opts);
      try {
        restores.push(...(await readRestores(open.repository.runs, opts)).map((record) => ({ record, source })));
      } finally {
        await open.close();
      }
    } catch (e) {
      if (!DmaasError.is(e) || !e.code.startsWith('REPOSITORY_')) throw e;
      findings.push({ level: 'warning', code: 'restores-unreadable', message: `restores of namespace ${source.namespace}: ${e.message}` });
    }
  }
  restores.sort((a, b) => (a.record.startedAt < b.record.startedAt ? -1 : 1));
  return { restores, findings };
}

/** One restore by its id. Throws USAGE when the location knows none, or what kept it from reading a repository where it may be. */
export async function getRestore(access: LocationAccess, id: string, stores: OpenDeps, opts: CallOptions = {}): Promise<LocatedRestore> {
  const { repositories, others } = isOperationId(id) ? await listRepositories(access, stores, opts) : { repositories: [], others: 0 };
  if (repositories.length === 0 && others > 0) throw keyOpensNothing(access, others);
  let unread: DmaasError | undefined;
  for (const source of repositories) {
    try {
      const open = await openLocationRepository(access, source, stores, opts);
      try {
        const record = isOperationId(id) ? await readRestore(open.repository.runs, id, opts) : undefined;
        if (record !== undefined) return { record, source };
      } finally {
        await open.close();
      }
    } catch (e) {
      if (!DmaasError.is(e) || !e.code.startsWith('REPOSITORY_')) throw e;
      unread ??= e;
    }
  }
  // It may be of that repository; whatever is wrong with one is no matter of restores from others.
  if (unread !== undefined) throw unread;
  throw new DmaasError('USAGE', `location ${access.location.name} knows no restore ${id}`, {
    hint: 'kubectl dmaas restore list',
  });
}

function callOf(run: RunOptions): CallOptions {
  return run.signal === undefined ? {} : { signal: run.signal };
}
