import type { Cluster } from '../cluster/cluster.ts';
import type { Application } from '../discovery/application.ts';
import { sortFindings } from '../discovery/findings.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import type { LocationAccess } from '../location/location.ts';
import { openLocationRepository } from '../location/open.ts';
import type { LocationRepository, OpenDeps } from '../location/open.ts';
import type { MoverOptions } from '../mover/job.ts';
import { newOperationId } from '../operation.ts';
import type { Backup } from '../repository/records/backup-record.ts';
import { runBackup } from './backup.ts';
import { captureSpec } from './capture.ts';
import { gatherCaptureFacts } from './facts.ts';
import type { BackupOptions, BackupPlan, CaptureFacts } from './model.ts';
import { planBackup } from './plan.ts';
import { checkBackup } from './preflight.ts';

export interface BackupRequest {
  readonly cluster: Cluster;
  readonly access: LocationAccess;
  readonly stores: OpenDeps;
  readonly app: Application;
  readonly moverOptions: MoverOptions;
  readonly maxMovers: number;
}

/** A plan with what executing it takes. Close it in the end. */
export interface PreparedBackup {
  readonly plan: BackupPlan;
  readonly facts: CaptureFacts;
  readonly target: LocationRepository;
  readonly request: BackupRequest;
  close(): Promise<void>;
}

/** Opens the application's repository, or makes it, and plans a backup. The application and its cluster are not touched. */
export async function prepareBackup(request: BackupRequest, options: BackupOptions, run: RunOptions): Promise<PreparedBackup> {
  const { cluster, app } = request;
  if (app.cluster.id === '') {
    // Repositories are told apart by it; a guess would mix two clusters' backups.
    throw new DmaasError('CLUSTER_FORBIDDEN', 'this identity may read nothing that tells this cluster from others', {
      hint: `it needs to get configmap/kube-root-ca.crt in namespace ${app.namespace}, or namespace/kube-system`,
    });
  }
  const source = { clusterId: app.cluster.id, context: app.cluster.context, namespace: app.namespace };
  const call = run.signal === undefined ? {} : { signal: run.signal };
  const target = await openLocationRepository(request.access, source, request.stores, { ...call, create: true });
  try {
    // Before any parent is chosen: from here on it matters what is condemned.
    const { condemnedLists } = target.repository;
    const history: Backup[] = [];
    // A record that cannot be read is no parent; this backup does not need it.
    const onUnreadable = (id: string, e: DmaasError) => {
      run.emit({ type: 'finding', finding: { level: 'warning', code: 'backup-unreadable', message: `backup ${id}: ${e.message}` } });
    };
    for await (const backup of target.repository.backups({ app: app.name }, { ...call, onUnreadable })) history.push(backup);
    const facts = await gatherCaptureFacts(cluster, app.namespace);
    const plan = { ...planBackup(newOperationId(), app, history, facts, options), condemnedLists };
    return { plan, facts, target, request, close: () => target.close() };
  } catch (e) {
    await target.close();
    throw e;
  }
}

/** The plan with everything that the preflight check finds, for a dry run. */
export async function checkedBackupPlan(prepared: PreparedBackup, run: RunOptions): Promise<BackupPlan> {
  const { plan, facts, target, request } = prepared;
  const specs = plan.volumes.map((volume) => captureSpec(plan, volume));
  const { quotas } = facts;
  const deps = { ...request, objects: target.objects, ...(quotas === undefined ? {} : { quotas }) };
  return { ...plan, findings: sortFindings([...plan.findings, ...(await checkBackup(plan, specs, deps, run))]) };
}

/** Executes a prepared plan: `runBackup` has the contract. */
export async function executeBackup(prepared: PreparedBackup, run: RunOptions): Promise<Backup> {
  const { plan, facts, target, request } = prepared;
  return runBackup(plan, { ...request, facts, target }, run);
}
