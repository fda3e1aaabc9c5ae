import { kindId } from '../discovery/pod-template.ts';
import { mapAt } from '../discovery/read.ts';
import { parseJson } from '../json.ts';
import { refKey } from '../model.ts';
import { ANNOTATIONS } from '../operation.ts';
import { activationPatch } from './activation.ts';
import { isSent } from './conflicts.ts';
import type { RestorePlan, RestoreStep } from './model.ts';
import { isRecord } from './rewrite.ts';

const READY_TIMEOUT_MS = 10 * 60_000;

/** Every step of a plan, those that are left for the activation too. */
export function everyStep({ steps, later = [] }: Pick<RestorePlan, 'steps' | 'later'>): readonly RestoreStep[] {
  return [...steps, ...later];
}

/** The plan with each of its steps changed. */
export function mapSteps(plan: RestorePlan, change: (step: RestoreStep, index: number) => RestoreStep): RestorePlan {
  const { steps, later } = plan;
  return {
    ...plan,
    steps: steps.map(change),
    ...(later === undefined ? {} : { later: later.map((step, i) => change(step, steps.length + i)) }),
  };
}

/**
 * The plan that activates what a staged one has left: the same steps, and after them those that it holds for later, as they are written there. With
 * `startJobs` the Jobs and CronJobs that it would leave suspended start too, when the workloads are ready. Pure.
 */
export function activated(plan: RestorePlan, startJobs = false): RestorePlan {
  const { later = [], ...rest } = plan;
  // The staged part was compared with the target when it was done. What the rest overwrites may well have changed since.
  const overwriting = later.map((step): RestoreStep => {
    if (step.do !== 'apply' || step.action !== 'update') return step;
    const { observed: _, ...without } = step;
    return without;
  });
  const jobs = startJobs ? heldJobs(plan) : [];
  const at = overwriting.findLastIndex((step) => step.do === 'wait-ready') + 1;
  return {
    ...rest,
    options: { ...plan.options, ...(startJobs ? { startJobs } : {}), activate: true },
    steps: [...plan.steps, ...overwriting.toSpliced(at, 0, ...jobs)],
  };
}

/** A staged object says itself how it is activated. */
function heldJobs(plan: RestorePlan): readonly RestoreStep[] {
  const started = new Set(everyStep(plan).flatMap((step) => (step.do === 'activate' ? [refKey(step.ref)] : [])));
  const jobs = plan.steps.flatMap((step) => {
    if (step.do !== 'apply' || !isSent(step.action) || started.has(refKey(step.ref))) return [];
    const text = mapAt(step.manifest, 'metadata', 'annotations')[ANNOTATIONS.activate];
    const patch = text === undefined ? undefined : parseJson(text);
    return ['Job.batch', 'CronJob.batch'].includes(kindId(step.ref)) && isRecord(patch) ? [{ ref: step.ref, patch }] : [];
  });
  const timeoutMs = plan.options.readyTimeoutMs ?? READY_TIMEOUT_MS;
  return [
    ...jobs.map(({ ref, patch }): RestoreStep => {
      const how = 'suspend true -> false';
      return { do: 'activate', phase: 'activate', ref, patch: activationPatch({ patch, how }), how };
    }),
    ...jobs.map(({ ref }): RestoreStep => ({ do: 'wait-ready', phase: 'activate', ref, timeoutMs })),
  ];
}
