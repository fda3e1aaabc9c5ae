import type { Cluster } from '../cluster/cluster.ts';
import { mapConcurrent } from '../cluster/map-concurrent.ts';
import { idOfKind } from '../discovery/inventory.ts';
import { kindId } from '../discovery/pod-template.ts';
import { stringAt } from '../discovery/read.ts';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refKey, refOf } from '../model.ts';
import type { Finding, ObjectRef } from '../model.ts';
import type { OperationId } from '../operation.ts';
import { isOwn } from './conflicts.ts';
import { about, onTarget } from './hints.ts';
import type { ApplyStep, BackupView, ClaimStep, RestoreOptions, RestorePlan, TargetState } from './model.ts';
import { planNeeds } from './needs.ts';
import { planRestore } from './plan.ts';
import { readTarget, REQUESTS_AT_ONCE } from './read-target.ts';

/**
 * Looks at the target and plans: the plan holds everything that stands in the way, the server's own refusals included. Changes nothing.
 * Requests: one or a few for each kind in the backup, one for each right, and one dry run for each object to be sent.
 */
export async function preflightRestore(
  id: OperationId,
  backup: BackupView,
  cluster: Cluster,
  options: RestoreOptions,
  run: RunOptions,
): Promise<RestorePlan> {
  const check = async <T>(title: string, work: () => Promise<T>): Promise<T> => {
    throwIfCancelled(run.signal);
    run.emit({ type: 'step', phase: 'preflight', title, state: 'start' });
    const result = await work();
    run.emit({ type: 'step', phase: 'preflight', title, state: 'done' });
    return result;
  };
  run.emit({ type: 'phase', phase: 'preflight', state: 'start' });
  try {
    const facts = await check('read the target', () => readTarget(cluster, backup, options, run));
    const draft = planRestore(id, backup, facts, options);
    const denied = await check('check access', () => cluster.denied(planNeeds(draft, facts.kinds)));
    const target = { ...facts, denied };
    const plan = planRestore(id, backup, target, options);
    const refused = await check('try objects on the server', () => tryObjects(plan, target, cluster, run));
    const blockers = refused.filter((f) => f.level === 'blocker');
    const findings = [...blockers, ...plan.findings, ...refused.filter((f) => f.level !== 'blocker')];
    for (const finding of findings) run.emit({ type: 'finding', finding });
    run.emit({ type: 'phase', phase: 'preflight', state: findings.some((f) => f.level === 'blocker') ? 'failed' : 'done' });
    return { ...plan, findings };
  } catch (e) {
    run.emit({ type: 'phase', phase: 'preflight', state: 'failed' });
    throw e;
  }
}

type Sent = ApplyStep | ClaimStep;

/** The server's own dry run of each object: schema, quota, admission webhooks and policies answer as they will. */
async function tryObjects(plan: RestorePlan, target: TargetState, cluster: Cluster, run: RunOptions): Promise<readonly Finding[]> {
  // What is refused already would only be refused again, in other words.
  const blocked = new Set(
    plan.findings.filter((f) => f.level === 'blocker' && f.ref !== undefined).map((f) => (f.ref === undefined ? '' : refKey(f.ref))),
  );
  const sent = plan.steps.filter((step): step is Sent => (step.do === 'apply' || step.do === 'create-claim') && step.action !== 'skip');
  const kinds = new Set(target.kinds.map(idOfKind));
  const coming = new Set(sent.map((step) => refKey(step.ref)));
  const own = new Set(target.existing.filter((o) => isOwn(o, plan.id)).map((o) => refKey(refOf(o))));
  const ready = sent.filter(
    (step) =>
      kinds.has(kindId(step.ref)) &&
      !blocked.has(refKey(step.ref)) &&
      !own.has(refKey(step.ref)) &&
      !needsOthersFirst(step, coming) &&
      (step.ref.namespace === undefined || target.namespace !== undefined),
  );
  const answers = await mapConcurrent(ready, REQUESTS_AT_ONCE, async (step) => {
    throwIfCancelled(run.signal);
    return tryObject(step, plan, cluster);
  });
  const untried = sent.length - ready.length;
  const note: Finding[] =
    target.namespace !== undefined || untried === 0
      ? []
      : [
          {
            level: 'info',
            code: 'not-tried',
            message: `the server tries ${String(untried)} objects only when namespace ${plan.target.namespace} exists`,
            hint: onTarget(`kubectl create namespace ${plan.target.namespace}`, plan.target),
          },
        ];
  return [...answers.filter((f) => f !== undefined), ...note];
}

/** Objects that the server accepts only after others of the same plan are there. */
function needsOthersFirst(step: Sent, coming: ReadonlySet<string>): boolean {
  const { manifest, ref } = step;
  const inNamespace = (kind: string, name: string, apiVersion = 'v1'): ObjectRef => ({
    apiVersion,
    kind,
    name,
    ...(ref.namespace === undefined ? {} : { namespace: ref.namespace }),
  });
  if (ref.kind === 'RoleBinding' || ref.kind === 'ClusterRoleBinding') {
    const kind = stringAt(manifest, 'roleRef', 'kind') ?? '';
    const name = stringAt(manifest, 'roleRef', 'name') ?? '';
    const role = { apiVersion: ref.apiVersion, kind, name };
    return coming.has(refKey(kind === 'Role' ? inNamespace(kind, name, ref.apiVersion) : role));
  }
  if (ref.kind !== 'Pod') return false;
  return coming.has(refKey(inNamespace('ServiceAccount', stringAt(manifest, 'spec', 'serviceAccountName') ?? 'default')));
}

async function tryObject(step: Sent, plan: RestorePlan, cluster: Cluster): Promise<Finding | undefined> {
  try {
    if (step.action === 'create') await cluster.create(step.manifest, { dryRun: true });
    else await cluster.apply(step.manifest, { dryRun: true, force: true });
    return undefined;
  } catch (e) {
    if (!DmaasError.is(e)) throw e;
    // A webhook that does not answer is a 500 of the server, which itself is well.
    const isAnswer = ['CLUSTER_REJECTED', 'CLUSTER_FORBIDDEN', 'CLUSTER_CONFLICT'].includes(e.code) || e.details['status'] === 500;
    if (!isAnswer) throw e;
    const denied = e.code === 'CLUSTER_FORBIDDEN' && plan.findings.some((f) => f.code === 'access-denied');
    if (denied) return undefined; // said with the right that is missing
    return {
      level: 'blocker',
      code: 'refused-by-server',
      message: about(step.ref, e.message),
      ref: step.ref,
      hint: e.hint ?? `--exclude ${step.ref.kind.toLowerCase()}/${step.ref.name}`,
    };
  }
}
