import type { Cluster } from '../cluster/cluster.ts';
import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef } from '../model.ts';
import { runHookCommand } from '../transfer/hook-command.ts';
import { diagnose, podsOf } from './diagnose.ts';
import { onTarget } from './hints.ts';
import type { WaitStep } from './model.ts';
import { isReady } from './readiness.ts';
import { stepFailed } from './steps.ts';

/** Controllers act within seconds; one that has just been restored must start first. */
const MADE_TIMEOUT_MS = 120_000;

export interface WaitContext {
  readonly cluster: Cluster;
  readonly target: { readonly context: string };
  readonly run: RunOptions;
  /** What does not stop the restore. */
  readonly note: (finding: Finding) => void;
}

/**
 * Waits until an object does its work, and runs its hooks then. False when it does not, and need not. Throws RESTORE_STEP_FAILED with the cause when it does
 * not in time.
 */
export async function waitReady(step: WaitStep, context: WaitContext): Promise<boolean> {
  if (step.madeBy !== undefined) return waitMade(step, step.madeBy, context);
  try {
    const object = await wait(step, (o) => o === undefined || isReady(o), step.timeoutMs, context);
    if (object === undefined) throw stepFailed(`${refName(step.ref, true)} was deleted while the restore was running`);
    await runHooks(step, object, context);
    return true;
  } catch (e) {
    if (!DmaasError.is(e, 'TIMEOUT')) throw e;
    const { cause, hint } = await diagnosis(step, context);
    throw stepFailed(`${refName(step.ref)} is not ready after ${minutes(step.timeoutMs)}: ${cause}`, e, hint);
  }
}

/** What a controller makes may be made otherwise by a newer one, or by nobody where there is none: that is for people to judge. */
async function waitMade(step: WaitStep, owner: ObjectRef, context: WaitContext): Promise<boolean> {
  const warn = (message: string, hint?: string): false => {
    context.note({ level: 'warning', code: 'not-made', message, ref: step.ref, ...(hint === undefined ? {} : { hint }) });
    return false;
  };
  try {
    await wait(step, (o) => o !== undefined, Math.min(step.timeoutMs, MADE_TIMEOUT_MS), context);
  } catch (e) {
    if (!DmaasError.is(e, 'TIMEOUT')) throw e;
    const message = `${refName(owner)} is restored, and its controller has not made ${refName(step.ref)} again`;
    return warn(message, 'see whether its operator runs, in this cluster and for this namespace');
  }
  try {
    await wait(step, (o) => o !== undefined && isReady(o), step.timeoutMs, context);
    return true;
  } catch (e) {
    if (!DmaasError.is(e, 'TIMEOUT')) throw e;
    const { cause, hint } = await diagnosis(step, context);
    return warn(`${refName(step.ref)}, which the controller of ${refName(owner)} has made, is not ready: ${cause}`, hint);
  }
}

function wait(
  { ref }: WaitStep,
  until: (o: KubeObject | undefined) => boolean,
  timeoutMs: number,
  { cluster, run: { signal } }: WaitContext,
): Promise<KubeObject | undefined> {
  return cluster.waitFor(ref, until, { timeoutMs, ...(signal === undefined ? {} : { signal }) });
}

async function diagnosis(
  { ref }: WaitStep,
  { cluster, target, run }: WaitContext,
): Promise<{ readonly cause: string; readonly hint?: string }> {
  const { cause, fix } = await diagnose(cluster, ref, run);
  const hint = fix?.startsWith('kubectl ') === true ? onTarget(fix, target) : fix;
  return { cause, ...(hint === undefined ? {} : { hint }) };
}

/** In each of its pods. That they may run twice, after a crash between one and the next step, is theirs to bear, as with Velero. */
async function runHooks({ hooks = [] }: WaitStep, workload: KubeObject, { cluster, run, note }: WaitContext): Promise<void> {
  if (hooks.length === 0) return;
  const pods = (await podsOf(cluster, workload, run)).filter(isReady);
  for (const { failsRestore, container, ...command } of hooks) {
    for (const pod of pods) {
      const failure = await runHookCommand(cluster, { pod: refOf(pod), container }, command, run.signal);
      if (failure === undefined) continue;
      const message = `the command after the restore in container ${container} of ${refName(refOf(pod))} ${failure.fact}`;
      if (failsRestore) throw stepFailed(message);
      note({ level: 'warning', code: 'hook-failed', message, ref: refOf(pod) });
    }
  }
}

function minutes(ms: number): string {
  return ms < 60_000 ? `${String(Math.round(ms / 1000))} s` : `${String(Math.round(ms / 60_000))} min`;
}
