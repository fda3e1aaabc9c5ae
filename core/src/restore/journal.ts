import { DmaasError } from '../errors.ts';
import type { OperationId } from '../operation.ts';
import { isOperationId } from '../operation.ts';
import type { RunRecords } from '../repository/repository.ts';
import type { CallOptions } from '../store/object-store.ts';
import type { RestorePlan } from './model.ts';
import type { RestoreJournal, RestoreOutcome } from './run.ts';

const PLAN = 'restore-plan';
const ACTIVATED = 'restore-activation';
const MISSING_ALLOWED = 'restore-missing-allowed';
const UNDONE = 'restore-undone';
const ATTEMPT = /^restore-end-(\d+)$/;

interface Begun {
  readonly startedAt: string;
  readonly plan: RestorePlan;
}

interface Ended {
  readonly endedAt: string;
  readonly outcome: RestoreOutcome;
}

/** `Running` also stands for a restore whose process died: nobody wrote how it ended. */
export type RestoreStatus = 'Running' | 'Completed' | 'Failed' | 'Stopped' | 'Undone';

/** A restore as its run records tell. */
export interface RestoreRecord {
  readonly id: OperationId;
  readonly startedAt: string;
  /** The one that was applied last: of a staged restore, with its activation since that was begun; with what was allowed since. Holds the contents of Secrets; show `redactPlan(plan)`. */
  readonly plan: RestorePlan;
  readonly status: RestoreStatus;
  /** How often it was tried to the end, or to a failure. */
  readonly attempts: number;
  readonly endedAt?: string;
  /** Of the last attempt. */
  readonly outcome?: RestoreOutcome;
}

const STATUS = { done: 'Completed', failed: 'Failed', stopped: 'Stopped' } as const satisfies Record<
  RestoreOutcome['state'],
  RestoreStatus
>;

/** Records a restore in the repository that its data comes from. */
export function restoreJournal(runs: RunRecords, id: OperationId, now: () => Date): RestoreJournal {
  return {
    begin: async (plan) => {
      const known = (await runs.get(id, PLAN)) as Begun | undefined;
      if (known === undefined) await runs.put(id, PLAN, { startedAt: now().toISOString(), plan } satisfies Begun);
      // Going on with a staged restore that was to be activated is to activate it.
      else if (plan.options.activate && !known.plan.options.activate && (await runs.get(id, ACTIVATED)) === undefined)
        await runs.put(id, ACTIVATED, { startedAt: now().toISOString(), plan } satisfies Begun);
      const isAllowed = plan.options.allowMissingFiles === true && known !== undefined && known.plan.options.allowMissingFiles !== true;
      if (isAllowed && (await runs.get(id, MISSING_ALLOWED)) === undefined)
        await runs.put(id, MISSING_ALLOWED, { at: now().toISOString() });
    },
    end: async (outcome) => {
      const attempts = (await runs.list(id)).filter((name) => ATTEMPT.test(name)).length;
      await runs.put(id, `restore-end-${attempts + 1}`, { endedAt: now().toISOString(), outcome } satisfies Ended);
    },
  };
}

/** Notes that everything is as it was before. */
export async function recordUndone(runs: RunRecords, id: OperationId, now: Date): Promise<void> {
  if ((await runs.get(id, UNDONE)) === undefined) await runs.put(id, UNDONE, { at: now.toISOString() });
}

/** One restore, or undefined when this repository knows none of that id. */
export async function readRestore(runs: RunRecords, id: OperationId, opts: CallOptions = {}): Promise<RestoreRecord | undefined> {
  const begun = (await runs.get(id, PLAN, opts)) as Begun | undefined;
  if (begun === undefined) return undefined;
  if ((begun.plan as { readonly schema: number }).schema !== 1) {
    throw new DmaasError('REPOSITORY_VERSION', `restore ${id} was planned by a newer DMaaS`, { hint: 'use that version' });
  }
  const names = await runs.list(id, opts);
  const activation = names.includes(ACTIVATED) ? ((await runs.get(id, ACTIVATED, opts)) as Begun | undefined) : undefined;
  const applied = (activation ?? begun).plan;
  const isAllowed = names.includes(MISSING_ALLOWED);
  const ends = names.flatMap((name) => ATTEMPT.exec(name)?.[1] ?? []).map(Number);
  const attempts = Math.max(0, ...ends);
  const last = attempts === 0 ? undefined : ((await runs.get(id, `restore-end-${attempts}`, opts)) as Ended | undefined);
  return {
    id,
    ...begun,
    plan: isAllowed ? { ...applied, options: { ...applied.options, allowMissingFiles: true } } : applied,
    attempts,
    status: names.includes(UNDONE) ? 'Undone' : last === undefined ? 'Running' : STATUS[last.outcome.state],
    ...(last === undefined ? {} : { endedAt: last.endedAt, outcome: last.outcome }),
  };
}

/** All restores that a repository knows, the oldest first. */
export async function readRestores(runs: RunRecords, opts: CallOptions = {}): Promise<RestoreRecord[]> {
  const records: RestoreRecord[] = [];
  for await (const { operation, names } of runs.operations(opts)) {
    if (!isOperationId(operation) || !names.includes(PLAN)) continue;
    const record = await readRestore(runs, operation, opts);
    if (record !== undefined) records.push(record);
  }
  return records.sort((a, b) => (a.startedAt < b.startedAt ? -1 : 1));
}
