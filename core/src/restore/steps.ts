import { DmaasError } from '../errors.ts';
import { refName } from '../model.ts';
import { isSent } from './conflicts.ts';
import { listed } from './hints.ts';
import type { PopulateStep, RestoreStep } from './model.ts';

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

export function stepFailed(message: string, cause?: unknown, hint?: string): DmaasError {
  return new DmaasError('RESTORE_STEP_FAILED', message, { cause, ...(hint === undefined ? {} : { hint }) });
}
