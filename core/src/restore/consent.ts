import { kindId, podTemplateOf } from '../discovery/pod-template.ts';
import { listAt, mapAt, stringAt, stringsAt } from '../discovery/read.ts';
import { objectMatcher } from '../discovery/object-pattern.ts';
import { DmaasError } from '../errors.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ResourceKind } from '../model.ts';
import { activeForm } from './activation.ts';
import { isSent } from './conflicts.ts';
import { listed } from './hints.ts';
import { everyStep } from './later.ts';
import type { RestorePlan } from './model.ts';
import { podSecurityViolations } from './pod-security.ts';

/** One way in which an object reaches beyond its namespace, or takes more than an ordinary pod has. */
interface Escalation {
  readonly name: string;
  readonly kinds: readonly string[] | 'all';
  /** What is wrong with it, as the end of a sentence that begins with its name; undefined when nothing is. */
  readonly says: (object: KubeObject, coming: ReadonlySet<string>) => string | undefined;
}

const RBAC = 'rbac.authorization.k8s.io';
const EVERYBODY = new Set(['system:authenticated', 'system:unauthenticated', 'system:anonymous', 'system:serviceaccounts']);

/**
 * A backup may have been written by somebody who wants more than he has: it is not trusted with what reaches beyond the namespace it is restored to.
 * The API server checks the caller only, who may be the administrator.
 */
export const ESCALATIONS: readonly Escalation[] = [
  {
    name: 'privileged-pods',
    kinds: 'all',
    says: (o) => {
      const spec = podTemplateOf(o)?.spec;
      const found = spec === undefined ? [] : podSecurityViolations(spec, 'baseline');
      return found.length === 0 ? undefined : `runs pods with ${listed(found)}`;
    },
  },
  {
    name: 'cluster-bindings',
    kinds: [`ClusterRoleBinding.${RBAC}`],
    says: (o) => `grants ${stringAt(o, 'roleRef', 'name') ?? '?'} in the whole cluster to ${subjectsOf(o)}`,
  },
  {
    name: 'foreign-subjects',
    kinds: [`RoleBinding.${RBAC}`],
    says: (o) => {
      const foreign = listAt(o, 'subjects').filter(
        (s) =>
          EVERYBODY.has(stringAt(s, 'name') ?? '') ||
          (stringAt(s, 'kind') === 'ServiceAccount' && (stringAt(s, 'namespace') ?? o.metadata.namespace) !== o.metadata.namespace),
      );
      return foreign.length === 0 ? undefined : `gives rights in this namespace to ${listed(foreign.map((s) => subjectName(s)))}`;
    },
  },
  {
    name: 'aggregated-roles',
    kinds: [`ClusterRole.${RBAC}`],
    says: (o) => {
      const to = Object.keys(mapAt(o, 'metadata', 'labels')).filter((key) => key.startsWith(`${RBAC}/aggregate-to-`));
      return to.length === 0
        ? undefined
        : `adds rights to every ${listed(to.map((key) => key.slice(`${RBAC}/aggregate-to-`.length)))} of the cluster`;
    },
  },
  {
    name: 'webhooks',
    kinds: ['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration'].map((kind) => `${kind}.admissionregistration.k8s.io`),
    says: () => 'sees, and may change or refuse, requests of the whole cluster',
  },
  {
    name: 'definitions',
    kinds: ['CustomResourceDefinition.apiextensions.k8s.io'],
    says: () => 'defines a kind for the whole cluster',
  },
  {
    name: 'foreign-tokens',
    kinds: ['Secret'],
    says: (o, coming) => {
      const account = mapAt(o, 'metadata', 'annotations')['kubernetes.io/service-account.name'];
      if (o['type'] !== 'kubernetes.io/service-account-token' || account === undefined) return undefined;
      const ref = { apiVersion: 'v1', kind: 'ServiceAccount', name: account, namespace: o.metadata.namespace ?? '' };
      return coming.has(refKey(ref)) ? undefined : `would hold a token of serviceaccount/${account}, which does not come from the backup`;
    },
  },
  {
    name: 'external-addresses',
    kinds: ['Service'],
    says: (o) => {
      const addresses = stringsAt(o, 'spec', 'externalIPs');
      return addresses.length === 0 ? undefined : `takes traffic of the whole cluster for ${listed(addresses)}`;
    },
  },
  {
    name: 'namespace-security',
    kinds: ['Namespace'],
    says: (o) => {
      const level = mapAt(o, 'metadata', 'labels')['pod-security.kubernetes.io/enforce'];
      return level === 'privileged' ? 'allows privileged pods' : undefined;
    },
  },
];

function subjectsOf(binding: KubeObject): string {
  return listed(listAt(binding, 'subjects').map((s) => subjectName(s))) || 'nobody';
}

function subjectName(subject: unknown): string {
  const namespace = stringAt(subject, 'namespace');
  return `${(stringAt(subject, 'kind') ?? '?').toLowerCase()} ${namespace === undefined ? '' : `${namespace}/`}${stringAt(subject, 'name') ?? '?'}`;
}

/**
 * A blocker for each object that escalates and that no pattern of `allow` (`KIND` or `KIND/NAME`) names; what is allowed is told as well. `objects`:
 * what is sent, in its active form.
 */
export function consentFindings(
  objects: readonly KubeObject[],
  allow: readonly string[],
  kinds: readonly ResourceKind[],
): readonly Finding[] {
  const allowed = allow.map((pattern) => objectMatcher(pattern, kinds));
  const coming = new Set(objects.filter((o) => kindId(o) === 'ServiceAccount').map((o) => refKey(refOf(o))));
  return objects.flatMap((object) => {
    const reasons = ESCALATIONS.filter((e) => e.kinds === 'all' || e.kinds.includes(kindId(object))).flatMap(
      (e) => e.says(object, coming) ?? [],
    );
    if (reasons.length === 0) return [];
    const isAllowed = allowed.some((matches) => matches(object));
    const name = refName(refOf(object));
    return [
      {
        level: isAllowed ? ('info' as const) : ('blocker' as const),
        code: isAllowed ? 'escalation-allowed' : 'escalation',
        message: `${name} ${reasons.join('; ')}${isAllowed ? ', as allowed' : ''}`,
        ref: refOf(object),
        ...(isAllowed ? {} : { hint: `--allow ${name} if you trust the backup, or --exclude ${name}` }),
      },
    ];
  });
}

/**
 * Throws PREFLIGHT_FAILED for a plan that sends, now or at its activation, what nobody has allowed: it may have been edited, or come from somebody else.
 */
export function assertConsent(plan: RestorePlan, kinds: readonly ResourceKind[]): void {
  const sent = everyStep(plan).flatMap((s): KubeObject[] => {
    if (s.do === 'create-pod') return [s.pod];
    return 'manifest' in s && isSent(s.action) ? [activeForm(s.manifest)] : [];
  });
  const refused = consentFindings(sent, plan.options.allow ?? [], kinds).find((f) => f.level === 'blocker');
  if (refused !== undefined)
    throw new DmaasError('PREFLIGHT_FAILED', refused.message, {
      hint: 'allow it when planning, with --allow, or write it into options.allow of the plan',
    });
}
