import { podTemplateOf } from '../discovery/pod-template.ts';
import { at, listAt, mapAt, stringAt, stringsAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';
import { refName, refOf } from '../model.ts';
import type { Finding, KubeObject } from '../model.ts';
import { onTarget } from './hints.ts';

/** Workloads that no node of the target would take: their pods stay Pending, and so do the movers that go where they go. */
export function nodeFindings(
  objects: readonly KubeObject[],
  nodes: readonly KubeObject[] | undefined,
  target: { readonly context: string },
): readonly Finding[] {
  if (nodes === undefined || nodes.length === 0) return [];
  return objects.flatMap((object): Finding[] => {
    const spec = podTemplateOf(object)?.spec;
    if (spec === undefined || nodes.some((node) => fits(spec, node) && tolerates(spec, node))) return [];
    const wanted = mapAt(spec, 'nodeSelector');
    const culprit = Object.entries(wanted).find(([key, value]) => nodes.every((node) => mapAt(node, 'metadata', 'labels')[key] !== value));
    const isTainted = nodes.some((node) => fits(spec, node));
    const message = isTainted
      ? `every node that would take pods of ${refName(refOf(object))} has a taint that they do not tolerate`
      : `no node of the target has what pods of ${refName(refOf(object))} ask for${culprit === undefined ? '' : `: ${culprit.join('=')}`}`;
    const hint =
      culprit === undefined
        ? onTarget('kubectl get nodes --show-labels', target)
        : `--map-node-selector ${culprit.join('=')}: leaves it out, KEY=VALUE behind the colon replaces it`;
    return [{ level: 'warning', code: isTainted ? 'nodes-tainted' : 'no-node-fits', message, ref: refOf(object), hint }];
  });
}

function fits(spec: Json, node: KubeObject): boolean {
  const labels = mapAt(node, 'metadata', 'labels');
  if (Object.entries(mapAt(spec, 'nodeSelector')).some(([key, value]) => labels[key] !== value)) return false;
  const terms = listAt(spec, 'affinity', 'nodeAffinity', 'requiredDuringSchedulingIgnoredDuringExecution', 'nodeSelectorTerms');
  return terms.length === 0 || terms.some((term) => listAt(term, 'matchExpressions').every((e) => meets(e, labels)));
}

function meets(expression: Json, labels: Readonly<Record<string, string>>): boolean {
  const value = labels[stringAt(expression, 'key') ?? ''];
  const values = stringsAt(expression, 'values');
  switch (stringAt(expression, 'operator')) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'Gt':
      return value !== undefined && Number(value) > Number(values[0]);
    case 'Lt':
      return value !== undefined && Number(value) < Number(values[0]);
    default:
      return true;
  }
}

function tolerates(spec: Json, node: KubeObject): boolean {
  const taints = listAt(node, 'spec', 'taints').filter((t) => t['effect'] === 'NoSchedule' || t['effect'] === 'NoExecute');
  return taints.every((taint) =>
    listAt(spec, 'tolerations').some(
      (t) =>
        (at(t, 'effect') === undefined || t['effect'] === '' || t['effect'] === taint['effect']) &&
        (at(t, 'key') === undefined || t['key'] === taint['key']) &&
        (t['operator'] === 'Exists' || (t['value'] ?? '') === (taint['value'] ?? '')),
    ),
  );
}
