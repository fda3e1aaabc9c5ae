import type { Access } from '../cluster/cluster.ts';
import { idOfKind } from '../discovery/inventory.ts';
import { kindId } from '../discovery/pod-template.ts';
import { recordAt, stringAt } from '../discovery/read.ts';
import { groupOf } from '../model.ts';
import type { ObjectRef, ResourceKind } from '../model.ts';
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
  const needs = new Map<string, Access>();
  const add = (verb: string, group: string, resource: string, where: string | undefined): void => {
    needs.set([where ?? '', group, resource, verb].join('\0'), {
      verb,
      group,
      resource,
      ...(where === undefined ? {} : { namespace: where }),
    });
  };
  const plurals = pluralsOf(plan, kinds);
  for (const step of plan.steps) {
    const ref = refOfStep(step);
    const verbs = verbsOf(step);
    const resource = plurals.get(kindId(ref)) ?? `${ref.kind.toLowerCase()}s`;
    for (const verb of verbs) add(verb, groupOf(ref.apiVersion), resource, ref.namespace);
    if (step.do === 'populate') for (const [group, what, of] of MOVER) for (const verb of of) add(verb, group, what, namespace);
    if (step.do === 'wait-unused') add('list', '', 'pods', namespace);
    if (step.do === 'wait-ready' && step.hooks !== undefined) for (const verb of ['get', 'create']) add(verb, '', 'pods/exec', namespace);
    if (step.do === 'wait-ready' && step.phase === 'activate') for (const what of DIAGNOSIS) add('list', '', what, namespace);
  }
  return [...needs].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, access]) => access);
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
