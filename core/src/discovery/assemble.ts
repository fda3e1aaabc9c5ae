import { refKey, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import type { AppSelector, Dependency, Edge, LeftOut, Member } from './application.ts';
import { byText, controllerIn, edgeOf, graphOf, reach } from './closure.ts';
import type { Graph, Loose } from './closure.ts';
import { DEFINITION, definitionRules, RULES } from './edges.ts';
import { servesElsewhere } from './elsewhere.ts';
import { judge } from './exclusions.ts';
import type { Judgement, Selection } from './exclusions.ts';
import { inlineVolumeFindings, missingFindings, sharedFindings, terminatingFinding, unreadFindings } from './findings.ts';
import { idOfKind } from './inventory.ts';
import type { Inventory } from './inventory.ts';
import { kindId } from './pod-template.ts';
import { filterTest, seedsOf, seedTest } from './selection.ts';

/** Everything about an application but its volumes, which take more reading, and the identity of its cluster. */
export interface Assembly {
  readonly graph: Graph;
  readonly members: readonly Member[];
  readonly claims: readonly KubeObject[];
  readonly leftOut: readonly LeftOut[];
  readonly dependencies: readonly Dependency[];
  readonly missing: readonly Dependency[];
  readonly edges: readonly Edge[];
  readonly findings: readonly Finding[];
}

export interface ReadKinds {
  /** All kinds the cluster serves. */
  readonly served: readonly ResourceKind[];
  /** Those whose objects the inventory has, if it may read them. */
  readonly read: readonly ResourceKind[];
}

/** The graph of an inventory: made once, used for every application in it. */
export function graphOfInventory(inventory: Inventory, kinds: ReadKinds): Graph {
  const definitions = inventory.objects.filter((o) => kindId(o) === DEFINITION).map((o) => o.metadata.name);
  return graphOf(inventory.objects, [...RULES, ...definitionRules(kinds.served, new Set(definitions))]);
}

/** Closes the selection over the graph, and sorts what it finds into members, dependencies, what is left out, and what is wrong. Pure. */
export function assemble(graph: Graph, inventory: Inventory, kinds: ReadKinds, selector: AppSelector): Assembly {
  const isSeed = seedTest(selector, kinds.served);
  const includes = filterTest(selector.include, kinds.served);
  const selection: Selection = {
    keepsHelmRelease: seedsOf(selector).some((seed) => 'helmRelease' in seed || 'wholeNamespace' in seed),
    excludes: filterTest(selector.exclude, kinds.served) ?? (() => false),
    ...(includes === undefined ? {} : { includes }),
  };
  const judgements = new Map<KubeObject, Judgement | undefined>();
  const judged = (object: KubeObject): Judgement | undefined => {
    if (!judgements.has(object)) {
      const judgement = judge(object, selection);
      judgements.set(object, judgement);
      // What a workload that is left out has made leads nowhere either.
      const maker = judgement?.through === true ? controllerIn(graph, object) : undefined;
      if (judgement !== undefined && maker !== undefined && judged(maker)?.through === false)
        judgements.set(object, { ...judgement, through: false });
    }
    return judgements.get(object);
  };
  const isElsewhere = servesElsewhere(graph, selector.namespace);
  const selected = [...graph.objects].filter(([, object]) => isSeed(object)).map(([key]) => key);
  const foreign = selected.filter(isElsewhere);
  const seeds = selected.filter((key) => !foreign.includes(key));
  const reached = reach(graph, seeds, (object) => judged(object)?.through === false);

  const entries = [...reached].map(([key, because]) => {
    const object = graph.objects.get(key) as KubeObject;
    return { key, object, because, judgement: judged(object) };
  });
  entries.sort((a, b) => byText(a.object.kind, b.object.kind) || byText(a.key, b.key));
  const inside = entries.filter((e) => e.judgement === undefined);
  const outside = entries.filter((e) => e.judgement !== undefined);
  const captured = new Set(inside.map((e) => e.key));
  const alive = new Set(entries.filter((e) => e.judgement?.through !== false).map((e) => e.key));

  const members = inside.map(({ object, because }) => ({ object, because }));
  const loose = graph.loose.filter((l) => alive.has(l.from));
  const { dependencies, elsewhere, unreadable, missing } = sortLoose(graph, loose, captured, selector.namespace, inventory, kinds);
  const notable = outside.filter((e) => e.judgement?.notable === true).map((e) => refOf(e.object));
  const objects = members.map((m) => m.object);
  return {
    graph,
    members,
    claims: objects.filter((o) => kindId(o) === 'PersistentVolumeClaim'),
    leftOut: [
      ...outside.map(({ object, because, judgement }) => ({ ref: refOf(object), reason: judgement?.reason ?? '', because })),
      ...foreign
        .filter((key) => !reached.has(key))
        .map((key) => ({ ref: refOf(graph.objects.get(key) as KubeObject), reason: 'is there for other namespaces', because: [] })),
    ],
    dependencies: dependenciesOf(graph, dependencies),
    missing: dependenciesOf(graph, missing),
    edges: graph.links.filter((l) => reached.has(l.from) && reached.has(l.to)).map((l) => edgeOf(graph, l)),
    findings: [
      ...unreadFindings(inventory.unread, unreadable, selector.namespace),
      ...missingFindings(graph, missing),
      ...sharedFindings(graph, new Set(reached.keys()), captured, elsewhere),
      ...inlineVolumeFindings(objects),
      ...notable.map(terminatingFinding),
    ],
  };
}

/** What the edges that lead out of the graph mean. */
function sortLoose(
  graph: Graph,
  loose: readonly Loose[],
  captured: ReadonlySet<string>,
  namespace: string,
  inventory: Inventory,
  kinds: ReadKinds,
) {
  const read = new Set(kinds.read.map(idOfKind));
  const unread = new Set(inventory.unread.map((u) => idOfKind(u.kind)));
  const isElsewhere = (ref: ObjectRef) => ref.namespace !== undefined && ref.namespace !== namespace;
  const elsewhere: Loose[] = [];
  const unreadable: Loose[] = [];
  const missing: Loose[] = [];
  const dependencies: Loose[] = [];
  for (const link of loose) {
    const id = kindId(link.to);
    if (link.relation === 'depends' || (link.relation === 'needs' && isElsewhere(link.to))) {
      if (captured.has(link.from)) dependencies.push(link);
    } else if (isElsewhere(link.to)) {
      if (captured.has(link.from)) elsewhere.push(link);
    } else if (unread.has(id)) unreadable.push(link);
    else if (read.has(id) && !link.optional) missing.push(link);
  }
  return { dependencies, elsewhere, unreadable, missing };
}

function dependenciesOf(graph: Graph, loose: readonly Loose[]): Dependency[] {
  const targets = Map.groupBy(loose, (l) => refKey(l.to));
  return [...targets]
    .sort(([a], [b]) => byText(a, b))
    .flatMap(([, links]) => {
      const neededBy = links.map((l): Edge => ({ name: l.name, from: refOf(graph.objects.get(l.from) as KubeObject), to: l.to }));
      return links.slice(0, 1).map((l) => ({ ref: l.to, neededBy }));
    });
}
