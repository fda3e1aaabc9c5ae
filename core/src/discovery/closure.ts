import { labelMatcher } from '../cluster/selector.ts';
import { refKey, refOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import type { Edge, EdgeName } from './application.ts';
import { rulesFor } from './edges.ts';
import type { EdgeRule, Relation, Target } from './edges.ts';
import { controllerOf, kindId, podTemplateOf } from './pod-template.ts';

/** An edge between two objects of a graph, by their `refKey`. */
export interface Link {
  readonly name: EdgeName;
  readonly relation: Relation;
  readonly from: string;
  readonly to: string;
}

/** An edge that leads out of the graph: to something absent, unread, of another namespace, or of the cluster. */
export interface Loose {
  readonly name: EdgeName;
  readonly relation: Relation;
  readonly from: string;
  readonly to: ObjectRef;
  readonly optional: boolean;
}

export interface Graph {
  /** By `refKey`, in its order. */
  readonly objects: ReadonlyMap<string, KubeObject>;
  readonly links: readonly Link[];
  readonly loose: readonly Loose[];
  /** The links at each object, and what is at their other end, in order. */
  readonly around: ReadonlyMap<string, readonly Neighbour[]>;
}

interface Neighbour {
  readonly link: Link;
  readonly other: string;
}

/** Order of code units: the same in every locale. */
export function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** All edges that the rules read in these objects, each led to the objects it names. */
export function graphOf(objects: Iterable<KubeObject>, rules: readonly EdgeRule[]): Graph {
  const entries = [...objects].map((o): [string, KubeObject] => [refKey(refOf(o)), o]);
  const sorted = new Map(entries.sort(([a], [b]) => byText(a, b)));
  const resolve = resolver(sorted);
  const links = new Map<string, Link>();
  const loose = new Map<string, Loose>();
  for (const [from, object] of sorted) {
    for (const { name, relation, read } of rulesFor(rules, object)) {
      for (const target of read(object)) {
        const found = relation === 'depends' ? [] : resolve(target);
        for (const to of found) {
          if (to !== from) links.set(`${from} ${name} ${to}`, { name, relation, from, to });
        }
        if (found.length === 0 && 'ref' in target) {
          const link = { name, relation, from, to: target.ref, optional: target.optional === true };
          loose.set(`${from} ${name} ${refKey(target.ref)}`, link);
        }
      }
    }
  }
  const edges = [...links.values()];
  return { objects: sorted, links: edges, loose: [...loose.values()], around: neighbours(sorted, edges) };
}

/** The keys of the objects that a target means. */
function resolver(objects: ReadonlyMap<string, KubeObject>): (target: Target) => readonly string[] {
  const pods = podIndex(objects);
  const named = (ref: ObjectRef) => (objects.has(refKey(ref)) ? [refKey(ref)] : []);
  const withPrefix = (ref: Omit<ObjectRef, 'name'>, prefix: string) => {
    const start = refKey({ ...ref, name: prefix });
    return [...objects.keys()].filter((key) => key.startsWith(start)).map((key): [string, string] => [key, key.slice(start.length)]);
  };
  return (target) => {
    if ('ref' in target) return named(target.ref);
    if ('owner' in target) {
      const { namespace: _, ...clusterWide } = target.owner;
      const isSame = (key: string) => (objects.get(key)?.metadata.uid ?? target.uid) === target.uid;
      return [...named(target.owner), ...named(clusterWide)].filter(isSame).slice(0, 1);
    }
    if ('podsWith' in target) return pods(target.namespace, target.podsWith);
    if ('numbered' in target) {
      const { prefix, ...ref } = target.numbered;
      return withPrefix(ref, prefix).flatMap(([key, rest]) => (/^\d+$/.test(rest) ? [key] : []));
    }
    return withPrefix(target.every, '').map(([key]) => key);
  };
}

const POD_NAME_LABEL = 'statefulset.kubernetes.io/pod-name';
const EQUALITY_TERM = /(?:^|,)([^,=!() ]+)=([^,]*)/g;

/** Finds pods and their makers by the pods' labels. Indexed by label, so that a thousand Services do not each look at every pod. */
function podIndex(objects: ReadonlyMap<string, KubeObject>): (namespace: string, selector: string) => readonly string[] {
  interface Bearer {
    readonly key: string;
    readonly object: KubeObject;
    readonly labels: Readonly<Record<string, string>>;
  }
  const byLabel = new Map<string, Bearer[]>();
  const add = (entry: string, bearer: Bearer) => {
    const bearers = byLabel.get(entry);
    if (bearers === undefined) byLabel.set(entry, [bearer]);
    else bearers.push(bearer);
  };
  for (const [key, object] of objects) {
    const template = podTemplateOf(object);
    if (template === undefined) continue;
    const { namespace = '' } = object.metadata;
    const bearer = { key, object, labels: kindId(object) === 'Pod' ? (object.metadata.labels ?? {}) : template.labels };
    add(namespace, bearer);
    for (const [label, value] of Object.entries(bearer.labels)) add(`${namespace} ${label}=${value}`, bearer);
  }
  return (namespace, selector) => {
    const terms = [...selector.matchAll(EQUALITY_TERM)].map(([, label = '', value = '']) => ({ label, value }));
    const podName = terms.find((term) => term.label === POD_NAME_LABEL)?.value;
    const first = terms.find((term) => term.label !== POD_NAME_LABEL);
    const matches = labelMatcher(selector);
    const candidates = byLabel.get(first === undefined ? namespace : `${namespace} ${first.label}=${first.value}`) ?? [];
    return candidates
      .filter(({ object, labels }) =>
        matches(podName !== undefined && isReplica(object, podName) ? { ...labels, [POD_NAME_LABEL]: podName } : labels),
      )
      .map(({ key }) => key);
  };
}

/** A Service for one replica selects it by a label that the set's template does not have. */
function isReplica(object: KubeObject, podName: string): boolean {
  const { name } = object.metadata;
  return kindId(object) === 'StatefulSet.apps' && podName.startsWith(`${name}-`) && /^\d+$/.test(podName.slice(name.length + 1));
}

/**
 * The objects that belong together with the roots, each with its shortest chain of edges from a root. `stopAt` says of an
 * object that nothing beyond it belongs for its sake. What each relation carries over is told at `Relation`.
 */
export function reach(
  graph: Graph,
  roots: Iterable<string>,
  stopAt: (object: KubeObject) => boolean = () => false,
): ReadonlyMap<string, readonly Edge[]> {
  const reached = new Map<string, readonly Edge[]>();
  // An object may be met first as drawn in and later as selected, which leads further; it is then visited a second time.
  const visited = new Set<string>();
  const queue: { readonly key: string; readonly selected: boolean; readonly path: readonly Edge[] }[] = [];
  const visit = (key: string, selected: boolean, path: readonly Edge[]) => {
    const state = `${selected ? 'selected' : 'drawn in'} ${key}`;
    if (visited.has(state) || visited.has(`selected ${key}`)) return;
    visited.add(state);
    if (!reached.has(key)) reached.set(key, path);
    queue.push({ key, selected, path });
  };
  for (const key of [...roots].sort(byText)) if (graph.objects.has(key)) visit(key, true, []);
  for (let next = 0; next < queue.length; next++) {
    const { key, selected, path } = queue[next] as (typeof queue)[number];
    const object = graph.objects.get(key) as KubeObject;
    if (stopAt(object)) continue;
    for (const { link, other } of graph.around.get(key) ?? []) {
      const carried = follow(link.relation, link.from === key, selected);
      if (carried !== undefined) visit(other, carried === 'selected', [...path, edgeOf(graph, link)]);
    }
  }
  return reached;
}

/** As what the other end of an edge belongs, if it does. */
function follow(relation: Relation, forward: boolean, selected: boolean): 'selected' | 'drawn in' | undefined {
  switch (relation) {
    case 'joins':
      return selected ? 'selected' : 'drawn in';
    case 'needs':
      return forward ? 'drawn in' : undefined;
    case 'fronts':
      if (forward) return selected ? 'selected' : undefined;
      return 'drawn in';
    case 'guards':
      return forward ? undefined : 'drawn in';
    case 'depends':
      return undefined;
  }
}

function neighbours(objects: ReadonlyMap<string, KubeObject>, links: readonly Link[]): ReadonlyMap<string, readonly Neighbour[]> {
  const around = new Map<string, Neighbour[]>([...objects.keys()].map((key) => [key, []]));
  for (const link of links) {
    around.get(link.from)?.push({ link, other: link.to });
    around.get(link.to)?.push({ link, other: link.from });
  }
  for (const list of around.values()) list.sort((a, b) => byText(a.other, b.other) || byText(a.link.name, b.link.name));
  return around;
}

export function edgeOf(graph: Graph, link: Link): Edge {
  const ref = (key: string) => refOf(graph.objects.get(key) as KubeObject);
  return { name: link.name, from: ref(link.from), to: ref(link.to) };
}

/** The object that controls this one, if the graph has it. */
export function controllerIn(graph: Graph, object: KubeObject): KubeObject | undefined {
  const controller = controllerOf(object);
  const { namespace } = object.metadata;
  return controller && graph.objects.get(refKey(namespace === undefined ? controller : { ...controller, namespace }));
}

/** `reach` for callers that have objects: the closed set, in the order of `refKey`. */
export function closure(objects: Iterable<KubeObject>, roots: Iterable<ObjectRef>, rules: readonly EdgeRule[]): KubeObject[] {
  const graph = graphOf(objects, rules);
  const reached = reach(graph, [...roots].map(refKey));
  return [...graph.objects].filter(([key]) => reached.has(key)).map(([, object]) => object);
}
