import type { Access } from '../cluster/cluster.ts';
import { idOfKind } from '../discovery/inventory.ts';
import { kindId } from '../discovery/pod-template.ts';
import { recordAt, stringAt } from '../discovery/read.ts';
import { groupOf } from '../model.ts';
import type { ObjectRef, ResourceKind } from '../model.ts';
import { everyStep } from './later.ts';
import type { RestorePlan, RestoreStep } from './model.ts';

/** What movers are made of; `populate` steps create and watch them in the target namespace. */
const MOVER: readonly (readonly [group: string, resource: string, verbs: readonly string[]])[] = [
  ['batch', 'jobs', ['create', 'get', 'list', 'watch', 'patch', 'delete']],
  ['', 'secrets', ['create', 'get', 'delete']],
  ['', 'pods', ['get', 'list', 'watch']],
  ['', 'pods/log', ['get']],
];

/** Why a workload does not become ready is read from these. */
const DIAGNOSIS = ['pods', 'events', 'persistentvolumeclaims'] as const;

/** Every right that applying the plan takes, each once, sorted. For SelfSubjectAccessReviews before anything changes. */
export function planNeeds(plan: RestorePlan, kinds: readonly ResourceKind[]): readonly Access[] {
  const { namespace } = plan.target;
  const needs = new Needs(plan, kinds);
  for (const step of plan.steps) {
    needs.of(refOfStep(step), verbsOf(step));
    if (step.do === 'populate') for (const [group, what, of] of MOVER) for (const verb of of) needs.add(verb, group, what, namespace);
    if (step.do === 'wait-unused') needs.add('list', '', 'pods', namespace);
    if (step.do === 'wait-ready' && step.hooks !== undefined)
      for (const verb of ['get', 'create']) needs.add(verb, '', 'pods/exec', namespace);
    if (step.do === 'wait-ready' && step.phase === 'activate') for (const what of DIAGNOSIS) needs.add('list', '', what, namespace);
  }
  return needs.sorted();
}

/** As `planNeeds`, of going back behind a restore in place; what it takes to keep volumes meanwhile is `KEEPING`. */
export function undoNeeds(plan: RestorePlan, kinds: readonly ResourceKind[]): readonly Access[] {
  const needs = new Needs(plan, kinds);
  for (const step of everyStep(plan)) {
    if (step.do === 'snapshot') {
      needs.of(step.ref, ['get', 'list', 'watch']);
      needs.of(step.claim, ['get', 'create', 'delete', 'list', 'watch']);
      needs.add('list', '', 'pods', plan.target.namespace);
    }
    if (['stop', 'delete-pod', 'create-pod', 'wait-ready'].includes(step.do)) needs.of(refOfStep(step), verbsOf(step));
  }
  return needs.sorted();
}

class Needs {
  readonly #needs = new Map<string, Access>();
  readonly #plurals: ReadonlyMap<string, string>;

  constructor(plan: RestorePlan, kinds: readonly ResourceKind[]) {
    this.#plurals = pluralsOf(plan, kinds);
  }

  add(verb: string, group: string, resource: string, namespace: string | undefined): void {
    const access = { verb, group, resource, ...(namespace === undefined ? {} : { namespace }) };
    this.#needs.set([namespace ?? '', group, resource, verb].join('\0'), access);
  }

  of(ref: ObjectRef, verbs: readonly string[]): void {
    const resource = this.#plurals.get(kindId(ref)) ?? `${ref.kind.toLowerCase()}s`;
    for (const verb of verbs) this.add(verb, groupOf(ref.apiVersion), resource, ref.namespace);
  }

  sorted(): readonly Access[] {
    return [...this.#needs].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, access]) => access);
  }
}

function refOfStep(step: RestoreStep): ObjectRef {
  if (step.do === 'wait-unused') return step.claims[0] ?? { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name: '' };
  return step.do === 'populate' ? step.claim : step.ref;
}

function verbsOf(step: RestoreStep): readonly string[] {
  switch (step.do) {
    case 'apply':
      return { create: ['get', 'create'], update: ['get', 'patch'], skip: ['get'], conflict: ['get'] }[step.action];
    case 'create-claim':
      return step.action === 'create' ? ['get', 'create'] : ['get'];
    case 'populate': // marks the claim as filled
    case 'activate':
    case 'link-owners':
      return ['get', 'patch'];
    case 'wait-ready':
      return ['get', 'watch', 'list'];
    case 'stop':
    case 'start':
      return ['get', 'patch'];
    case 'delete-pod':
      return ['get', 'delete', 'list', 'watch'];
    case 'create-pod':
      return ['create'];
    case 'wait-unused':
      return ['get'];
    case 'snapshot':
      return ['get', 'create', 'list', 'watch'];
  }
}

/** What the target serves, and what the plan's own definitions add to it. */
function pluralsOf(plan: RestorePlan, kinds: readonly ResourceKind[]): ReadonlyMap<string, string> {
  const defined = plan.steps.flatMap((step) => {
    if (step.do !== 'apply' || step.ref.kind !== 'CustomResourceDefinition') return [];
    const names = recordAt(step.manifest, 'spec', 'names');
    const group = stringAt(step.manifest, 'spec', 'group') ?? '';
    return [[`${stringAt(names, 'kind') ?? ''}.${group}`, stringAt(names, 'plural') ?? ''] as const];
  });
  return new Map([...defined, ...kinds.map((k) => [idOfKind(k), k.plural] as const)]);
}
