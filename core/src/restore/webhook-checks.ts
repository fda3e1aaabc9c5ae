import { labelMatcher } from '../cluster/selector.ts';
import { selectorText } from '../discovery/edges.ts';
import { idOfKind } from '../discovery/inventory.ts';
import { kindId } from '../discovery/pod-template.ts';
import { at, listAt, mapAt, recordAt, stringAt, stringsAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef } from '../model.ts';
import { onTarget } from './hints.ts';
import type { TargetState } from './model.ts';

export const WEBHOOK_KINDS: readonly string[] = ['Mutating', 'Validating'].map(
  (sort) => `${sort}WebhookConfiguration.admissionregistration.k8s.io`,
);

/** What every restore makes besides the objects of a plan: movers and their credentials. */
const ALWAYS: readonly (readonly [group: string, resource: string])[] = [
  ['', 'pods'],
  ['', 'secrets'],
  ['batch', 'jobs'],
];

/** The Service that answers for a webhook; undefined for one with an address of its own. */
function serviceOf(webhook: Json): ObjectRef | undefined {
  const service = at(webhook, 'clientConfig', 'service');
  const [name, namespace] = [stringAt(service, 'name'), stringAt(service, 'namespace')];
  return name === undefined || namespace === undefined ? undefined : { apiVersion: 'v1', kind: 'Service', name, namespace };
}

/** The Services that webhook configurations name: whoever gathers the state of a target looks which of them are missing. */
export function webhookServices(configurations: readonly KubeObject[]): readonly ObjectRef[] {
  const refs = configurations.flatMap((o) => listAt(o, 'webhooks')).flatMap((webhook) => serviceOf(webhook) ?? []);
  return [...new Map(refs.map((ref) => [refKey(ref), ref])).values()];
}

/**
 * A webhook outlives the namespace of the pods that serve it. From then on it refuses whatever it is to be asked about: movers, and the pods that
 * would serve it, included.
 */
export function webhookFindings(
  objects: readonly KubeObject[],
  namespace: KubeObject | undefined,
  target: TargetState,
): readonly Finding[] {
  const { configurations, missing } = target.webhooks ?? { configurations: [], missing: [] };
  const gone = new Set(missing.map(refKey));
  const plurals = new Map(target.kinds.map((k) => [idOfKind(k), [k.group, k.plural] as const]));
  const made = [
    ...ALWAYS,
    ...objects.flatMap((o) => (o.metadata.namespace === undefined ? [] : [plurals.get(kindId(o)) ?? []])).filter(isPair),
  ];
  const labels = { 'kubernetes.io/metadata.name': namespace?.metadata.name ?? '', ...mapAt(namespace, 'metadata', 'labels') };
  return configurations.flatMap((configuration): Finding[] => {
    const silent = listAt(configuration, 'webhooks').find((webhook) => {
      const service = serviceOf(webhook);
      return (
        (stringAt(webhook, 'failurePolicy') ?? 'Fail') === 'Fail' &&
        service !== undefined &&
        gone.has(refKey(service)) &&
        labelMatcher(selectorText(recordAt(webhook, 'namespaceSelector')))(labels) &&
        asked(webhook, made).length > 0
      );
    });
    const service = silent === undefined ? undefined : serviceOf(silent);
    if (silent === undefined || service === undefined) return [];
    const ref = refOf(configuration);
    const isRestored = objects.some((o) => kindId(o) === kindId(configuration) && o.metadata.name === configuration.metadata.name);
    const resources = asked(silent, made);
    // It may be meant for other objects of these kinds.
    const isCertain = Object.keys(recordAt(silent, 'objectSelector')).length === 0 && listAt(silent, 'matchConditions').length === 0;
    return [
      {
        level: isCertain ? 'blocker' : 'warning',
        code: 'webhook-unanswered',
        message: `${refName(ref)} must be asked before ${resources.join(', ')} can be made in namespace ${namespace?.metadata.name ?? ''}, and ${refName(service, true)}, which answers for it, does not exist${isRestored ? '; the restore makes it again when its pods are ready' : ''}`,
        ref,
        hint: onTarget(`kubectl delete ${ref.kind.toLowerCase()} ${ref.name}`, target),
      },
    ];
  });
}

function isPair(value: readonly string[]): value is readonly [string, string] {
  return value.length === 2;
}

/** Of the resources that are made, those which a webhook is to be asked about. */
function asked(webhook: Json, made: readonly (readonly [group: string, resource: string])[]): readonly string[] {
  const names = made.filter(([group, resource]) =>
    listAt(webhook, 'rules').some(
      (rule) =>
        stringsAt(rule, 'operations').some((o) => o === '*' || o === 'CREATE') &&
        stringsAt(rule, 'apiGroups').some((g) => g === '*' || g === group) &&
        stringsAt(rule, 'resources').some((r) => ['*', '*/*', resource].includes(r)) &&
        stringAt(rule, 'scope') !== 'Cluster',
    ),
  );
  return [...new Set(names.map(([, resource]) => resource))];
}
