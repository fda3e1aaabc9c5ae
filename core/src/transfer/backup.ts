import type { Cluster } from '../cluster/cluster.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { inPhase } from '../in-phase.ts';
import type { LocationRepository } from '../location/open.ts';
import type { Finding } from '../model.ts';
import type { MoverOptions } from '../mover/job.ts';
import { JobMover } from '../mover/job-mover.ts';
import type { Mover } from '../mover/mover.ts';
import type { Backup } from '../repository/records/backup-record.ts';
import { writeManifests } from '../repository/manifests.ts';
import { VERSION } from '../version.ts';
import { captureSpec, captureVolumes } from './capture.ts';
import type { Captured } from './capture.ts';
import { cleanupCommand, cleanupOperation } from './cleanup.ts';
import type { CleanupReport } from './cleanup.ts';
import type { BackupPlan, CaptureFacts } from './model.ts';
import { checkBackup } from './preflight.ts';
import { STAGING_TIMING } from './volume-snapshot.ts';
import type { StagingTiming } from './volume-snapshot.ts';

export interface BackupDeps {
  readonly cluster: Cluster;
  /** Where to: `openLocationRepository` with `create`. */
  readonly target: Pick<LocationRepository, 'repository' | 'objects' | 'store' | 'unlock'>;
  /** Those the plan was made from. */
  readonly facts: CaptureFacts;
  readonly moverOptions?: MoverOptions;
  /** Default: one Job for each volume. */
  readonly mover?: Mover;
  /** Movers at the same time. Default 4. */
  readonly maxMovers?: number;
  readonly timing?: Partial<StagingTiming>;
  readonly now?: () => Date;
}

const DEFAULT_MAX_MOVERS = 4;

/**
 * Executes a plan. The backup exists when this returns, and not before its last write. Whatever happens, the application is not
 * touched and what was created in the cluster is removed; what could not be is a finding (event), or named in the error's hint.
 * Run again with the same plan it goes on, or gives the backup that is there.
 *
 * Throws PREFLIGHT_FAILED before anything is changed, MOVER_FAILED, TIMEOUT, CANCELLED, STORE_*, REPOSITORY_*, CLUSTER_*.
 */
export async function runBackup(plan: BackupPlan, deps: BackupDeps, run: RunOptions): Promise<Backup> {
  refuse(plan, plan.findings);
  const { repository } = deps.target;
  const present = await committed(plan, deps, run);
  if (present !== undefined) {
    report(await cleanUp(plan, deps, run), run);
    return present;
  }
  const noted = await inPhase('preflight', run, () => preflight(plan, deps, run));
  await repository.begin(plan.id, { ...signalOf(run), since: plan.condemnedLists ?? 0 });
  let backup: Backup;
  try {
    const captured = await inPhase('capture', run, () =>
      captureVolumes(
        plan,
        {
          cluster: deps.cluster,
          mover: deps.mover ?? new JobMover({ cluster: deps.cluster, runs: repository.runs, options: deps.moverOptions ?? {} }),
          runs: repository.runs,
          store: deps.target.store,
          unlock: deps.target.unlock,
          maxMovers: deps.maxMovers ?? DEFAULT_MAX_MOVERS,
          timing: { ...STAGING_TIMING, ...deps.timing },
          now: deps.now ?? (() => new Date()),
        },
        run,
      ),
    );
    backup = await inPhase('commit', run, () => commit(plan, captured, noted, deps, run));
  } catch (e) {
    throw afterCleanup(e, await cleanUp(plan, deps, run), plan);
  }
  report(await cleanUp(plan, deps, run), run);
  return backup;
}

async function committed(plan: BackupPlan, { target }: BackupDeps, run: RunOptions): Promise<Backup | undefined> {
  try {
    return await target.repository.backup(plan.id, undefined, signalOf(run));
  } catch (e) {
    if (DmaasError.is(e, 'BACKUP_NOT_FOUND')) return undefined;
    throw e;
  }
}

/** What is worth keeping in the backup's record of what the checks found. */
async function preflight(plan: BackupPlan, deps: BackupDeps, run: RunOptions): Promise<readonly Finding[]> {
  const findings = await checkBackup(
    plan,
    plan.volumes.map((volume) => captureSpec(plan, volume)),
    {
      cluster: deps.cluster,
      objects: deps.target.objects,
      maxMovers: deps.maxMovers ?? DEFAULT_MAX_MOVERS,
      ...(deps.facts.quotas === undefined ? {} : { quotas: deps.facts.quotas }),
      ...(deps.moverOptions === undefined ? {} : { moverOptions: deps.moverOptions }),
      ...(deps.now === undefined ? {} : { now: deps.now }),
    },
    run,
  );
  for (const finding of findings) run.emit({ type: 'finding', finding });
  refuse(plan, findings);
  return findings.filter(({ level }) => level !== 'info');
}

/** The error names the first obstacle; all of them are in the plan, or have been emitted. */
function refuse(plan: BackupPlan, findings: readonly Finding[]): void {
  const [first, ...more] = findings.filter(({ level }) => level === 'blocker');
  if (first === undefined) return;
  const others = more.length === 0 ? '' : ` (and ${more.length} more)`;
  throw new DmaasError('PREFLIGHT_FAILED', `${plan.app.name} cannot be backed up: ${first.message}${others}`, {
    ...(first.hint === undefined ? {} : { hint: first.hint }),
    details: { blockers: more.length + 1, code: first.code },
  });
}

async function commit(plan: BackupPlan, captured: Captured, noted: readonly Finding[], deps: BackupDeps, run: RunOptions): Promise<Backup> {
  const { repository } = deps.target;
  const members = plan.app.members.filter(({ object }) => plan.manifests === 'all' || object.kind === 'PersistentVolumeClaim');
  const manifests = await repository.write((writer) => writeManifests(writer, members), signalOf(run));
  const { gitVersion } = await deps.cluster.version();
  return repository.commit(
    {
      operation: plan.id,
      name: plan.name,
      startedAt: captured.startedAt,
      tool: `dmaas/${VERSION}`,
      app: { name: plan.app.name, namespace: plan.app.namespace, selector: { ...plan.app.selector } },
      cluster: { ...plan.app.cluster, version: gitVersion },
      manifests,
      members: members.length,
      volumes: [...captured.volumes],
      findings: [...plan.findings, ...noted, ...captured.findings],
      ...(plan.parent === undefined ? {} : { parent: plan.parent }),
      labels: { ...plan.labels },
    },
    signalOf(run),
  );
}

async function cleanUp(plan: BackupPlan, deps: BackupDeps, run: RunOptions): Promise<CleanupReport> {
  return inPhase('cleanup', run, () => cleanupOperation(deps.cluster, plan.app.namespace, plan.id));
}

function report({ findings }: CleanupReport, run: RunOptions): void {
  for (const finding of findings) run.emit({ type: 'finding', finding });
}

/** The same error, which also says what is left behind and how to remove it. */
function afterCleanup(e: unknown, { findings }: CleanupReport, plan: BackupPlan): unknown {
  if (!DmaasError.is(e)) return e;
  const isStopped = e.code === 'CANCELLED';
  const isDown = findings.some(({ code }) => code === 'left-stopped');
  const untouched = isDown ? '' : '; the application was not touched';
  const message = isStopped ? `the backup of ${plan.app.name} was stopped${untouched}` : e.message;
  const what = isDown ? 'the application may still be stopped' : `${findings.length} temporary objects could not be removed`;
  const left = findings.length === 0 ? undefined : `${what}: ${cleanupCommand(plan.app.namespace, plan.id)}`;
  const advice =
    isStopped && left === undefined ? 'nothing is left behind; what was stored is not sent again when you run it again' : e.hint;
  const hint = [advice, left].filter((part) => part !== undefined).join('; ');
  return new DmaasError(e.code, message, { cause: e, details: e.details, ...(hint === '' ? {} : { hint }) });
}

function signalOf(run: RunOptions): { readonly signal?: AbortSignal } {
  return run.signal === undefined ? {} : { signal: run.signal };
}
