import type { KubeObject } from '../model.ts';
import { diffFields } from './diff.ts';
import { concerns, SCRUB_RULES } from './scrub-rules.ts';
import type { ScrubRule } from './scrub-rules.ts';

export interface Scrubbed {
  readonly object: KubeObject;
  /** One line for each field that a rule which is not routine touched: `spec.clusterIP removed: the source cluster allocated it`. */
  readonly changes: readonly string[];
}

/** Applies the rules in order. Scrubbing what is scrubbed changes nothing. */
export function scrub(object: KubeObject, rules: readonly ScrubRule[] = SCRUB_RULES): Scrubbed {
  const changes: string[] = [];
  let current = object;
  for (const rule of rules) {
    if (!concerns(rule, current)) continue;
    const next = rule.apply(current);
    if (next === current) continue;
    if (rule.routine !== true) changes.push(...describe(current, next, rule));
    current = next;
  }
  return { object: current, changes };
}

function describe(before: KubeObject, after: KubeObject, rule: ScrubRule): readonly string[] {
  return diffFields(before, after).map((change) => {
    const was =
      before.kind !== 'Secret' && (typeof change.before === 'string' || typeof change.before === 'number')
        ? ` (${String(change.before)})`
        : '';
    return `${change.path}${was} ${change.after === undefined ? 'removed' : 'changed'}: ${rule.why}`;
  });
}
