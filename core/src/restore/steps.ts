import { DmaasError } from '../errors.ts';
import { plural } from '../format.ts';
import { refName } from '../model.ts';
import { isSent } from './conflicts.ts';
import { listed } from './hints.ts';
import type { PopulateStep, RestoreStep } from './model.ts';
import type { PopulateResult } from './run.ts';

export function populateTitle(step: PopulateStep): string {
  return `${step.inPlace === undefined ? 'fill' : 'rewrite'} claim ${step.claim.name}`;
}

/** What a step does, as people say it; completes "could not …" too. */
export function titleOf(step: RestoreStep): string {
  switch (step.do) {
    case 'apply':
    case 'create-claim':
      return `${isSent(step.action) ? step.action : 'keep'} ${refName(step.ref)}`;
    case 'populate':
      return populateTitle(step);
    case 'activate':
      return `activate ${refName(step.ref)} (${step.how})`;
    case 'wait-ready':
      return `wait until ${refName(step.ref)} is ready`;
    case 'link-owners':
      return `link ${refName(step.ref)} to ${listed(step.owners.map((o) => refName(o.ref)))}`;
    case 'stop':
      return `stop ${refName(step.ref)}`;
    case 'delete-pod':
      return `delete ${refName(step.ref)}`;
    case 'wait-unused':
      return `wait until nothing uses ${listed(step.claims.map((claim) => `claim ${claim.name}`))}`;
    case 'snapshot':
      return `take a volume snapshot of claim ${step.claim.name} to go back to`;
    case 'start':
      return `start ${refName(step.ref)}`;
    case 'create-pod':
      return `make ${refName(step.ref)} again`;
  }
}

/** What a volume has not that it should have, as the end of a sentence that begins with its name. */
export function lackOf({ missing }: PopulateResult): string {
  const { entries = 0, declined = 0, names = [] } = missing ?? {};
  const count = entries - declined;
  const more = count > names.length ? ` and ${String(count - names.length)} more` : '';
  return `lacks ${plural(count, 'file')} of the backup: ${names.join(', ')}${more}`;
}

export function filesMissing(results: readonly PopulateResult[]): DmaasError {
  const message = results.map((result) => `claim ${result.claim} ${lackOf(result)}`).join('; ');
  return stepFailed(message, undefined, 'mend what keeps them from being restored, or add --allow-missing-files to go on without them');
}

export function stepFailed(message: string, cause?: unknown, hint?: string): DmaasError {
  return new DmaasError('RESTORE_STEP_FAILED', message, { cause, ...(hint === undefined ? {} : { hint }) });
}
