import { kindId } from '../discovery/pod-template.ts';
import { numberAt } from '../discovery/read.ts';
import { refName, refOf } from '../model.ts';
import type { Finding, KubeObject } from '../model.ts';
import { templateOf } from './renames.ts';
import { put, remove } from './rewrite.ts';

/** How many replicas a workload gets, and from which ordinal on. By `KIND/NAME`, kinds in lower case. */
export type Replicas = Readonly<Record<string, { readonly replicas?: number; readonly start?: number }>>;

/** Of a StatefulSet with fewer replicas, the claims that no replica would have are not restored: they would be taken for those of replicas to come. */
export function withReplicas(
  objects: readonly KubeObject[],
  wanted: Replicas,
): { readonly objects: readonly KubeObject[]; readonly findings: readonly Finding[] } {
  const of = (o: KubeObject) => wanted[refName(refOf(o))];
  const sets = objects.filter((o) => kindId(o) === 'StatefulSet.apps' && of(o) !== undefined);
  const findings: Finding[] = [];
  const kept = objects.filter((claim) => {
    if (kindId(claim) !== 'PersistentVolumeClaim') return true;
    return sets.every((set) => {
      const made = templateOf(set, claim);
      if (made === undefined) return true;
      const { start, count } = rangeOf(set, of(set) ?? {});
      const ordinal = Number(made.ordinal);
      if (ordinal >= start && ordinal < start + count) return true;
      findings.push({
        level: 'info',
        code: 'replica-left-out',
        message: `claim ${claim.metadata.name} is left out: ${refName(refOf(set))} gets no replica ${made.ordinal}`,
        ref: refOf(claim),
      });
      return false;
    });
  });
  const unknown = Object.keys(wanted).filter((name) => !objects.some((o) => refName(refOf(o)) === name));
  for (const name of unknown)
    findings.push({
      level: 'blocker',
      code: 'replicas-without-target',
      message: `${name} is not restored, and was given replicas`,
      hint: 'name it as KIND/NAME, as in statefulset/db',
    });
  return { objects: kept, findings };
}

/** The workload with the replicas it gets. */
export function scaled(object: KubeObject, captured: KubeObject, wanted: Replicas): KubeObject {
  const own = wanted[refName(refOf(captured))];
  if (own === undefined) return object;
  const { start, count } = rangeOf(captured, own);
  const replicated = put(object, ['spec', 'replicas'], count);
  if (kindId(captured) !== 'StatefulSet.apps') return replicated;
  return start === 0 ? remove(replicated, 'spec', 'ordinals') : put(replicated, ['spec', 'ordinals', 'start'], start);
}

function rangeOf(captured: KubeObject, own: Replicas[string]): { readonly start: number; readonly count: number } {
  return {
    start: own.start ?? numberAt(captured, 'spec', 'ordinals', 'start') ?? 0,
    count: own.replicas ?? numberAt(captured, 'spec', 'replicas') ?? 1,
  };
}
