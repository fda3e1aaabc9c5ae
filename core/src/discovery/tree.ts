import { refKey, refOf } from '../model.ts';
import type { ObjectRef } from '../model.ts';
import type { Application, Edge, EdgeName } from './application.ts';
import { byText } from './closure.ts';
import { podTemplateOf } from './pod-template.ts';

/** One object in the tree of an application. Surfaces draw it; nothing here knows how. */
export interface TreeNode {
  readonly ref: ObjectRef;
  /** How it hangs on its parent; absent at the top. */
  readonly edge?: EdgeName;
  /** `up` when this object names its parent (a Service, the pods above it), `down` when the parent names this one. */
  readonly direction?: 'up' | 'down';
  readonly role: 'member' | 'left-out' | 'dependency' | 'missing';
  /** Why it is left out. */
  readonly reason?: string;
  /** Others that are tied to it as well: the tree shows each object once. */
  readonly alsoAt: readonly ObjectRef[];
  readonly children: readonly TreeNode[];
}

interface Tie {
  readonly edge: Edge;
  readonly other: string;
}

/**
 * The application as a tree: workloads at the top, below each what it uses and what stands before it, by the shortest way.
 * What is tied to no workload stands at the top too. Each object appears once.
 */
export function applicationTree(application: Application): readonly TreeNode[] {
  const ties = tiesOf(application);
  const missing = new Map(application.missing.map((d) => [refKey(d.ref), d.ref]));
  const leaves = new Map([...application.dependencies.map((d): [string, ObjectRef] => [refKey(d.ref), d.ref]), ...missing]);
  const reasons = new Map(application.leftOut.map((l) => [refKey(l.ref), l.reason]));
  const objects = new Map(application.members.map((m) => [refKey(refOf(m.object)), m.object]));
  const refs = new Map([
    ...leaves,
    ...application.leftOut.map((l): [string, ObjectRef] => [refKey(l.ref), l.ref]),
    ...application.members.map((m): [string, ObjectRef] => [refKey(refOf(m.object)), refOf(m.object)]),
  ]);

  const isTop = (key: string) => {
    const object = objects.get(key);
    return (
      object !== undefined && podTemplateOf(object) !== undefined && !object.metadata.ownerReferences?.some((o) => o.controller === true)
    );
  };
  // What has an owner here stands below it: a pod below its workload, not below a Secret that both read.
  const owners = new Map(application.edges.flatMap((e) => (e.name === 'owned-by' ? [[refKey(e.from), refKey(e.to)]] : [])));
  const parents = new Map<string, { readonly key: string; readonly edge: Edge } | undefined>();
  const spread = (tops: readonly string[]) => {
    const queue = tops.filter((key) => !parents.has(key));
    for (const key of queue) parents.set(key, undefined);
    for (const key of queue) {
      for (const { edge, other } of ties.get(key) ?? []) {
        if (parents.has(other) || (owners.get(other) ?? key) !== key) continue;
        parents.set(other, { key, edge });
        if (!leaves.has(other)) queue.push(other);
      }
    }
  };
  const order = [...refs.keys()].sort(byText);
  spread(order.filter(isTop));
  for (const key of order) if (objects.has(key)) spread([key]);

  const children = Map.groupBy(
    order.filter((key) => parents.get(key) !== undefined),
    (key) => parents.get(key)?.key ?? '',
  );
  const node = (key: string): TreeNode => {
    const parent = parents.get(key);
    const reason = reasons.get(key);
    const others = (ties.get(key) ?? []).map((t) => t.other).filter((other) => other !== parent?.key && parents.get(other)?.key !== key);
    return {
      ref: refs.get(key) as ObjectRef,
      ...(parent === undefined
        ? {}
        : { edge: parent.edge.name, direction: refKey(parent.edge.from) === key ? ('up' as const) : ('down' as const) }),
      role: objects.has(key) ? 'member' : reason !== undefined ? 'left-out' : missing.has(key) ? 'missing' : 'dependency',
      ...(reason === undefined ? {} : { reason }),
      alsoAt: [...new Set(others)].sort(byText).flatMap((other) => refs.get(other) ?? []),
      children: (children.get(key) ?? []).map(node),
    };
  };
  return order.filter((key) => parents.has(key) && parents.get(key) === undefined).map(node);
}

/** All edges at each object, dependencies included, in order. */
function tiesOf(application: Application): ReadonlyMap<string, readonly Tie[]> {
  const ties = new Map<string, Tie[]>();
  const tie = (at: string, edge: Edge, other: string) => {
    const list = ties.get(at);
    if (list === undefined) ties.set(at, [{ edge, other }]);
    else list.push({ edge, other });
  };
  for (const edge of [...application.edges, ...[...application.dependencies, ...application.missing].flatMap((d) => d.neededBy)]) {
    tie(refKey(edge.from), edge, refKey(edge.to));
    tie(refKey(edge.to), edge, refKey(edge.from));
  }
  for (const list of ties.values()) list.sort((a, b) => byText(a.other, b.other) || byText(a.edge.name, b.edge.name));
  return ties;
}
