import { kindId, podTemplateOf } from '../discovery/pod-template.ts';
import { mapAt } from '../discovery/read.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { Finding, KubeObject } from '../model.ts';
import type { TargetState, TextEdit } from './model.ts';
import { selects } from './pods.ts';
import type { Renames } from './renames.ts';

/** Edits that are proposed and not made. What may be a mere word is for the plan to show, not for a warning. */
export function editFindings(edits: readonly TextEdit[]): readonly Finding[] {
  return edits
    .filter(({ apply, confidence }) => !apply && confidence !== 'guess')
    .map(({ ref, where, from, to, confidence }) => ({
      level: 'warning',
      code: 'text-not-edited',
      message: `${where} of ${refName(ref)} names ${from}, which is ${to} after the restore`,
      ref,
      hint: `--edit-text ${confidence} changes it, and all that is as certain`,
    }));
}

/**
 * Workloads under a new name whose pods a Service of the target would take for those of their original: some of its users would get old data, and
 * write to it.
 */
export function sharedPodFindings(
  restored: readonly { readonly captured: KubeObject; readonly object: KubeObject }[],
  renames: Renames,
  target: TargetState,
): readonly Finding[] {
  const restoredKeys = new Set(restored.map(({ object }) => refKey(refOf(object))));
  const services = target.existing.filter((o) => kindId(o) === 'Service' && !restoredKeys.has(refKey(refOf(o))));
  return restored.flatMap(({ captured, object }): Finding[] => {
    const template = renames.has(refKey(refOf(captured))) ? podTemplateOf(object) : undefined;
    if (template === undefined) return [];
    const taking = services.filter(
      (s) => s.metadata.namespace === object.metadata.namespace && selects(mapAt(s, 'spec', 'selector'), template.labels),
    );
    const [first] = taking;
    if (first === undefined) return [];
    const [label] = Object.entries(mapAt(first, 'spec', 'selector'));
    const pair = label?.join('=') ?? '';
    return [
      {
        level: 'blocker',
        code: 'pods-shared',
        message: `pods of ${refName(refOf(object))} would be behind ${taking.map((s) => refName(refOf(s))).join(', ')} too, together with those of the original`,
        ref: refOf(object),
        hint: `--map-label ${pair}:${pair}-restored`,
      },
    ];
  });
}
