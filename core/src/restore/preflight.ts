import { canICommand, resourceName } from '../cluster/api-errors.ts';
import type { Access, Cluster } from '../cluster/cluster.ts';
import { sortFindings } from '../discovery/findings.ts';
import { throwIfCancelled } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import type { Finding } from '../model.ts';
import type { OperationId } from '../operation.ts';
import { listed, onTarget } from './hints.ts';
import { gatherInPlace } from './in-place.ts';
import { KEEPING } from './kept-volumes.ts';
import { mapSteps } from './later.ts';
import type { BackupView, RestoreOptions, RestorePlan, TargetState } from './model.ts';
import { planNeeds, undoNeeds } from './needs.ts';
import { tryObjects } from './object-trials.ts';
import { planInPlace } from './plan-in-place.ts';
import { planRestore } from './plan.ts';
import { readTarget } from './read-target.ts';

/**
 * Looks at the target and plans: the plan holds everything that stands in the way, the server's own refusals included, and what `tryMore` finds. Changes nothing.
 * Requests: one or a few for each kind in the backup, one for each right, and a dry run for each object to be sent, of those to be created at most 50 of a kind.
 */
export async function preflightRestore(
  id: OperationId,
  backup: BackupView,
  cluster: Cluster,
  options: RestoreOptions,
  run: RunOptions,
  tryMore: (plan: RestorePlan, target: TargetState) => Promise<readonly Finding[]> = () => Promise.resolve([]),
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
    const tried = await check('try objects on the server', () => tryObjects(plan, target, cluster, run));
    const more = [...tried.findings, ...(await tryMore(plan, target))];
    const isBlocker = (f: Finding): boolean => f.level === 'blocker';
    const findings = [...more.filter(isBlocker), ...plan.findings, ...more.filter((f) => !isBlocker(f))];
    for (const finding of findings) run.emit({ type: 'finding', finding });
    run.emit({ type: 'phase', phase: 'preflight', state: findings.some((f) => f.level === 'blocker') ? 'failed' : 'done' });
    return { ...mapSteps(plan, (step, i) => tried.steps[i] ?? step), findings };
  } catch (e) {
    run.emit({ type: 'phase', phase: 'preflight', state: 'failed' });
    throw e;
  }
}

/** As `preflightRestore`, for a restore over the data of existing claims. The server has nothing to be asked about: no object is sent. */
export async function preflightInPlace(
  id: OperationId,
  backup: BackupView,
  cluster: Cluster,
  options: RestoreOptions,
  run: RunOptions,
  tryMore: (plan: RestorePlan) => Promise<readonly Finding[]> = () => Promise.resolve([]),
): Promise<RestorePlan> {
  run.emit({ type: 'phase', phase: 'preflight', state: 'start' });
  try {
    const facts = await gatherInPlace(cluster, backup, options, run);
    const plan = planInPlace(id, backup, facts, options);
    const isUndoable = plan.steps.some((step) => step.do === 'snapshot');
    const [denied, forUndo] = await Promise.all([
      cluster.denied(planNeeds(plan, facts.kinds)),
      isUndoable ? cluster.denied([...undoNeeds(plan, facts.kinds), ...KEEPING]) : [],
    ]);
    const refused = denied.map(({ verb, group, resource, namespace = '' }): Finding => {
      const name = group === '' ? resource : `${resource}.${group}`;
      const hint = onTarget(`kubectl auth can-i ${verb} ${name} -n ${namespace}`, plan.target);
      return { level: 'blocker', code: 'access-denied', message: `this identity may not ${verb} ${name} in namespace ${namespace}`, hint };
    });
    const findings = sortFindings([...refused, ...plan.findings, ...undoRefused(forUndo), ...(await tryMore(plan))]);
    for (const finding of findings) run.emit({ type: 'finding', finding });
    run.emit({ type: 'phase', phase: 'preflight', state: findings.some((f) => f.level === 'blocker') ? 'failed' : 'done' });
    return { ...plan, findings };
  } catch (e) {
    run.emit({ type: 'phase', phase: 'preflight', state: 'failed' });
    throw e;
  }
}

/** Somebody else may go back, too. */
function undoRefused(denied: readonly Access[]): readonly Finding[] {
  if (denied[0] === undefined) return [];
  const missing = listed(denied.map((access) => `${access.verb} ${resourceName(access)}`));
  const message = `this identity may not ${missing}, which "restore undo" takes`;
  return [{ level: 'info', code: 'undo-denied', message, hint: canICommand(denied[0]) }];
}
