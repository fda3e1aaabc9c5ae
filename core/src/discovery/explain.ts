import { refKey, refOf } from '../model.ts';
import type { ObjectRef } from '../model.ts';
import type { Application, Edge } from './application.ts';

/** What an object has to do with an application. */
export interface Explanation {
  readonly ref: ObjectRef;
  /** `dependency`: must exist where the application runs. `missing`: named, and not there. */
  readonly role: 'member' | 'left-out' | 'dependency' | 'missing';
  /** Why it is left out. */
  readonly reason?: string;
  /** From an object that was selected to this one; empty when this one was. */
  readonly path: readonly Edge[];
  /** All that ties it to the rest, whichever way it points. */
  readonly edges: readonly Edge[];
}

/** Explains each object of the application, and around it, that `matches`; in the order of their keys. Pure. */
export function explain(app: Application, matches: (ref: ObjectRef) => boolean): readonly Explanation[] {
  const members = new Set(app.members.map(({ object }) => refKey(refOf(object))));
  const paths = new Map(
    [...app.members.map(({ object, because }) => ({ ref: refOf(object), because })), ...app.leftOut].map((o) => [refKey(o.ref), o.because]),
  );
  const outside = [...app.dependencies, ...app.missing];
  const edges = [...app.edges, ...outside.flatMap((d) => d.neededBy)];
  const found: Omit<Explanation, 'edges'>[] = [
    ...app.members.map(({ object, because }) => ({ ref: refOf(object), role: 'member' as const, path: because })),
    ...app.leftOut.map(({ ref, reason, because }) => ({ ref, role: 'left-out' as const, reason, path: because })),
    ...[...app.dependencies.map((d) => ['dependency', d] as const), ...app.missing.map((d) => ['missing', d] as const)].map(
      ([role, { ref, neededBy }]) => ({ ref, role, path: shortest(ofMembers(neededBy, members), paths) }),
    ),
  ];
  return found
    .filter(({ ref }) => matches(ref))
    .map((e) => ({ ...e, edges: edges.filter(({ from, to }) => [from, to].some((end) => refKey(end) === refKey(e.ref))) }))
    .sort((a, b) => (refKey(a.ref) < refKey(b.ref) ? -1 : 1));
}

/** What a controller made refers to the same things as what it was made from. */
function ofMembers(edges: readonly Edge[], members: ReadonlySet<string>): readonly Edge[] {
  const own = edges.filter(({ from }) => members.has(refKey(from)));
  return own.length > 0 ? own : edges;
}

/** The shortest way to something outside, over the members that name it. */
function shortest(last: readonly Edge[], paths: ReadonlyMap<string, readonly Edge[]>): readonly Edge[] {
  const ways = last.map((edge) => [...(paths.get(refKey(edge.from)) ?? []), edge]);
  return ways.reduce((best, way) => (way.length < best.length ? way : best), ways[0] ?? []);
}
