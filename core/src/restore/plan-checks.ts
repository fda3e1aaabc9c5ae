import { idOfKind } from '../discovery/inventory.ts';
import { kindId, podTemplateOf } from '../discovery/pod-template.ts';
import { at, listAt, recordAt, stringAt, stringsAt } from '../discovery/read.ts';
import { groupOf, refKey, refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef } from '../model.ts';
import { consentFindings } from './consent.ts';
import { listed, onTarget } from './hints.ts';
import { nodeFindings } from './node-checks.ts';
import type { Mapping } from './mapping.ts';
import type { TargetState } from './model.ts';
import { podNeeds, statefulClaims } from './pods.ts';
import { enforcedLevel, podSecurityViolations } from './pod-security.ts';
import { quotaFindings } from './quota.ts';
import { foreignFinalizers, pinnedNode } from './scrub-rules.ts';
import { storageFindings } from './storage-checks.ts';
import { webhookFindings } from './webhook-checks.ts';

/** What the checks look at. Objects are scrubbed and mapped, workloads in their active form. */
export interface Checked {
  /** What the plan creates or updates. */
  readonly objects: readonly KubeObject[];
  /** The captured object of each, by the key of the restored one. */
  readonly captured: ReadonlyMap<string, KubeObject>;
  /** By refKey: what will be there, restored or not. */
  readonly present: ReadonlySet<string>;
  /** Names of all claims in the backup. */
  readonly capturedClaims: ReadonlySet<string>;
  readonly map: Mapping;
  readonly target: TargetState;
  /** As the plan leaves it. */
  readonly namespace: KubeObject | undefined;
  readonly isSameCluster: boolean;
  readonly allow: readonly string[];
}

type Check = (checked: Checked) => readonly Finding[];

/** Every check runs; none stops the others. By name, so that each can be shown to be needed. */
export const CHECKS: Readonly<Record<string, Check>> = {
  namespaceUsable,
  accessAllowed,
  unreadableKinds,
  kindsServed,
  storage,
  podNeedsExist,
  claimsOfSets,
  ingressClassesExist,
  podSecurity,
  quotas,
  consent,
  nodes,
  pullSecretsExist,
  versionsServed,
  networkPolicies,
  webhooks,
  sharedHosts,
  clusterFacts,
  finalizers,
};

/** What the checks find, in their order. */
export function checkPlan(checked: Checked, checks: Readonly<Record<string, Check>> = CHECKS): readonly Finding[] {
  return Object.values(checks).flatMap((check) => check(checked));
}

function hintTarget({ target, map }: Checked): { readonly context: string; readonly namespace: string } {
  return { context: target.context, namespace: map.to };
}

/** Whether a namespace is being deleted: it takes no new objects. */
export function isTerminating(namespace: KubeObject | undefined): boolean {
  return namespace?.metadata.deletionTimestamp !== undefined || at(namespace, 'status', 'phase') === 'Terminating';
}

function namespaceUsable(c: Checked): readonly Finding[] {
  const namespace = c.target.namespace;
  if (namespace === undefined || !isTerminating(namespace)) return [];
  return [
    {
      level: 'blocker',
      code: 'namespace-terminating',
      message: `namespace ${c.map.to} is being deleted`,
      ref: refOf(namespace),
      hint: onTarget(`kubectl wait --for=delete namespace/${c.map.to} --timeout=10m`, c.target),
    },
  ];
}

function accessAllowed({ target, objects }: Checked): readonly Finding[] {
  return target.denied.map(({ verb, group, resource, namespace }) => {
    const name = group === '' ? resource : `${resource}.${group}`;
    const scope = namespace === undefined ? '' : ` -n ${namespace}`;
    const kind = target.kinds.find((k) => k.group === group && k.plural === resource);
    // Whoever has a namespace only can do without the cluster-scoped part of an application, if somebody else sees to it.
    const isSpare =
      kind !== undefined && !kind.namespaced && kind.kind !== 'Namespace' && objects.some((o) => kindId(o) === idOfKind(kind));
    return {
      level: 'blocker',
      code: 'access-denied',
      message: `you may not ${verb} ${name} ${namespace === undefined ? 'in this cluster' : `in namespace ${namespace}`}`,
      hint: isSpare ? `--exclude ${kind.kind.toLowerCase()}` : onTarget(`kubectl auth can-i ${verb} ${name}${scope}`, target),
    };
  });
}

function unreadableKinds({ target }: Checked): readonly Finding[] {
  if (target.unreadable.length === 0) return [];
  const message = `you may not read ${listed(target.unreadable)} here, so what the application needs of them is not checked`;
  return [{ level: 'info', code: 'not-checked', message }];
}

function kindsServed({ objects, target }: Checked): readonly Finding[] {
  const served = new Set(target.kinds.map((k) => `${k.group}/${k.kind}`));
  for (const crd of objects.filter((o) => o.kind === 'CustomResourceDefinition')) {
    served.add(`${stringAt(crd, 'spec', 'group') ?? ''}/${stringAt(crd, 'spec', 'names', 'kind') ?? ''}`);
  }
  const missing = new Map<string, KubeObject[]>();
  for (const object of objects) {
    if (served.has(`${groupOf(object.apiVersion)}/${object.kind}`)) continue;
    missing.set(kindId(object), [...(missing.get(kindId(object)) ?? []), object]);
  }
  return [...missing].map(([id, of]) => ({
    level: 'blocker',
    code: 'kind-not-served',
    message: `the target has no kind ${id}, which ${listed(of.map((o) => o.metadata.name))} would need`,
    hint: `--exclude ${of[0]?.kind.toLowerCase() ?? id}`,
  }));
}

function storage({ objects, target }: Checked): readonly Finding[] {
  return storageFindings(objects, target);
}

const NEED_API: Readonly<Record<string, string>> = {
  ServiceAccount: 'v1',
  Secret: 'v1',
  ConfigMap: 'v1',
  PersistentVolumeClaim: 'v1',
  PriorityClass: 'scheduling.k8s.io/v1',
  RuntimeClass: 'node.k8s.io/v1',
};

/** The object that a pod of `workload` names. */
export function needRef(kind: string, name: string, namespace: string): ObjectRef {
  const apiVersion = NEED_API[kind] ?? 'v1';
  return apiVersion === 'v1' ? { apiVersion, kind, name, namespace } : { apiVersion, kind, name };
}

function podNeedsExist(c: Checked): readonly Finding[] {
  const missing = new Map<string, { readonly ref: ObjectRef; readonly by: string[] }>();
  for (const workload of c.objects) {
    for (const need of podNeeds(workload)) {
      const ref = needRef(need.kind, need.name, c.map.to);
      const isGiven = need.kind === 'ServiceAccount' && need.name === 'default';
      if (need.optional || isGiven || c.present.has(refKey(ref)) || c.target.unreadable.includes(kindId(ref))) continue;
      const by = missing.get(refKey(ref)) ?? { ref, by: [] };
      by.by.push(`${refName(refOf(workload))} (${need.by})`);
      missing.set(refKey(ref), by);
    }
  }
  return [...missing.values()].map(({ ref, by }) => {
    // Without these the API server refuses every pod; for the others the kubelet waits, and starts when they come.
    const refuses = ['ServiceAccount', 'PriorityClass', 'RuntimeClass'].includes(ref.kind);
    return {
      level: refuses ? 'blocker' : 'warning',
      code: refuses ? `${kebab(ref.kind)}-missing` : 'reference-missing',
      message: `${refName(ref)} is neither in the backup nor on the target, and ${listed(by)} needs it`,
      ref,
      hint: createHint(ref, c),
    };
  });
}

function kebab(kind: string): string {
  return kind.replaceAll(/(?<=[a-z])[A-Z]/g, (letter) => `-${letter}`).toLowerCase();
}

function createHint(ref: ObjectRef, c: Checked): string {
  const { context, namespace } = hintTarget(c);
  const first = c.target.namespace === undefined ? `${onTarget(`kubectl create namespace ${namespace}`, { context })} && ` : '';
  switch (ref.kind) {
    case 'ServiceAccount':
      return first + onTarget(`kubectl create serviceaccount ${ref.name} -n ${namespace}`, { context });
    case 'PriorityClass':
      return onTarget(`kubectl create priorityclass ${ref.name} --value=0`, { context });
    case 'Secret':
      return first + onTarget(`kubectl create secret generic ${ref.name} -n ${namespace}`, { context });
    case 'ConfigMap':
      return first + onTarget(`kubectl create configmap ${ref.name} -n ${namespace}`, { context });
    default:
      return onTarget(`kubectl get ${ref.kind.toLowerCase()}s${ref.namespace === undefined ? '' : ` -n ${namespace}`}`, { context });
  }
}

/** A StatefulSet makes the claims that it does not find, and starts with empty volumes. */
function claimsOfSets(c: Checked): readonly Finding[] {
  return c.objects.flatMap((set) => {
    if (kindId(set) !== 'StatefulSet.apps') return [];
    const replicas = at(set, 'spec', 'replicas');
    return statefulClaims(set, typeof replicas === 'number' ? replicas : 1)
      .filter((name) => c.capturedClaims.has(name) && !c.present.has(refKey(needRef('PersistentVolumeClaim', name, c.map.to))))
      .map((name) => ({
        level: 'warning' as const,
        code: 'claim-left-out',
        message: `${refName(refOf(set))} will start with an empty volume: claim ${name} is not restored with it`,
        ref: refOf(set),
        hint: `--include pvc/${name}`,
      }));
  });
}

function ingressClassesExist(c: Checked): readonly Finding[] {
  return c.objects.flatMap((o): Finding[] => {
    const name = kindId(o) === 'Ingress.networking.k8s.io' ? stringAt(o, 'spec', 'ingressClassName') : undefined;
    const ref = { apiVersion: 'networking.k8s.io/v1', kind: 'IngressClass', name: name ?? '' };
    if (name === undefined || c.present.has(refKey(ref)) || c.target.unreadable.includes(kindId(ref))) return [];
    const message = `ingress class ${name} does not exist on the target, so nobody serves ${refName(refOf(o))}`;
    return [
      { level: 'warning', code: 'ingress-class-missing', message, ref: refOf(o), hint: onTarget('kubectl get ingressclasses', c.target) },
    ];
  });
}

function podSecurity(c: Checked): readonly Finding[] {
  const level = enforcedLevel(c.namespace);
  return c.objects.flatMap((o): Finding[] => {
    const spec = podTemplateOf(o)?.spec;
    const violations = spec === undefined ? [] : podSecurityViolations(spec, level);
    if (violations.length === 0) return [];
    return [
      {
        level: 'blocker',
        code: 'pod-security',
        message: `namespace ${c.map.to} enforces pod security ${level}, and pods of ${refName(refOf(o))} have ${violations.join(', ')}`,
        ref: refOf(o),
        hint: onTarget(
          `kubectl label namespace ${c.map.to} pod-security.kubernetes.io/enforce=${level === 'restricted' ? 'baseline' : 'privileged'} --overwrite`,
          c.target,
        ),
      },
    ];
  });
}

function quotas(c: Checked): readonly Finding[] {
  const existing = c.target.existing.filter((o) => kindId(o) === 'ResourceQuota' && o.metadata.namespace === c.map.to);
  return quotaFindings(c.objects, existing, hintTarget(c));
}

function consent({ objects, allow, target }: Checked): readonly Finding[] {
  return consentFindings(objects, allow, target.kinds);
}

function nodes({ objects, target }: Checked): readonly Finding[] {
  return nodeFindings(objects, target.nodes, target);
}

/** The kubelet pulls without a secret that is missing, which works for public images only. */
function pullSecretsExist(c: Checked): readonly Finding[] {
  return c.objects.flatMap((o) =>
    podNeeds(o)
      .filter(({ by, name }) => by === 'imagePullSecrets' && !c.present.has(refKey(needRef('Secret', name, c.map.to))))
      .filter(() => !c.target.unreadable.includes('Secret'))
      .map(({ name }): Finding => ({
        level: 'warning',
        code: 'pull-secret-missing',
        message: `${refName(refOf(o))} pulls its images with secret/${name}, which is neither in the backup nor on the target`,
        ref: refOf(o),
        hint: onTarget(
          `kubectl create secret docker-registry ${name} -n ${c.map.to} --docker-server=REGISTRY --docker-username=USER`,
          c.target,
        ),
      })),
  );
}

/** Custom resources of a version that the definition on the target does not serve. */
function versionsServed({ objects, target }: Checked): readonly Finding[] {
  const definitions = new Map(
    target.existing
      .filter((o) => o.kind === 'CustomResourceDefinition')
      .map((o) => [`${stringAt(o, 'spec', 'names', 'kind') ?? ''}.${stringAt(o, 'spec', 'group') ?? ''}`, o]),
  );
  return objects.flatMap((o): Finding[] => {
    const definition = definitions.get(kindId(o));
    const served = listAt(definition, 'spec', 'versions').flatMap((v) => (v['served'] === true ? (stringAt(v, 'name') ?? []) : []));
    const version = o.apiVersion.slice(o.apiVersion.indexOf('/') + 1);
    if (definition === undefined || served.includes(version)) return [];
    const message = `${refName(refOf(o))} is of version ${version}, and ${refName(refOf(definition))} of the target serves ${listed(served)}`;
    const hint = `update the operator there, or set apiVersion in a --patch-file`;
    return [{ level: 'blocker', code: 'version-not-served', message, ref: refOf(o), hint }];
  });
}

/** Policies that are there before the data may cut the movers off from the bucket. */
function networkPolicies(c: Checked): readonly Finding[] {
  return c.target.existing
    .filter((o) => kindId(o) === 'NetworkPolicy.networking.k8s.io' && o.metadata.namespace === c.map.to)
    .filter((o) => stringsAt(o, 'spec', 'policyTypes').includes('Egress') && Object.keys(recordAt(o, 'spec', 'podSelector')).length === 0)
    .map((o) => ({
      level: 'warning',
      code: 'egress-restricted',
      message: `${refName(refOf(o))} restricts what every pod of namespace ${c.map.to} may reach; movers must reach the bucket`,
      ref: refOf(o),
      hint: onTarget(`kubectl describe networkpolicy ${o.metadata.name} -n ${c.map.to}`, c.target),
    }));
}

function webhooks({ objects, namespace, target }: Checked): readonly Finding[] {
  return webhookFindings(objects, namespace, target);
}

function sharedHosts(c: Checked): readonly Finding[] {
  if (!c.isSameCluster || c.map.from === c.map.to) return [];
  return c.objects
    .filter((o) => kindId(o) === 'Ingress.networking.k8s.io')
    .flatMap((o) => {
      const hosts = listAt(o, 'spec', 'rules').flatMap((rule) => stringAt(rule, 'host') ?? []);
      if (hosts.length === 0) return [];
      const message = `${refName(refOf(o))} asks for ${listed(hosts)}, as its original in namespace ${c.map.from} does`;
      return [
        { level: 'info' as const, code: 'ingress-host-shared', message, ref: refOf(o), hint: `--exclude ingress/${o.metadata.name}` },
      ];
    });
}

/** Values that only the source cluster gives a meaning. */
function clusterFacts(c: Checked): readonly Finding[] {
  return c.objects.flatMap((o): Finding[] => {
    const address = stringAt(o, 'spec', 'loadBalancerIP');
    if (kindId(o) === 'Service' && address !== undefined && !c.isSameCluster) {
      return [
        {
          level: 'warning',
          code: 'load-balancer-address',
          message: `${refName(refOf(o))} asks for the address ${address}, which belongs to the source cluster`,
          ref: refOf(o),
        },
      ];
    }
    const node = pinnedNode(o);
    if (node === undefined) return [];
    return [
      {
        level: 'warning',
        code: 'pinned-to-node',
        message: `pods of ${refName(refOf(o))} are pinned to node ${node} by name`,
        ref: refOf(o),
        hint: `--exclude ${o.kind.toLowerCase()}/${o.metadata.name}`,
      },
    ];
  });
}

function finalizers({ objects, captured }: Checked): readonly Finding[] {
  return objects.flatMap((o) => {
    const source = captured.get(refKey(refOf(o)));
    const names = source === undefined ? [] : foreignFinalizers(source);
    if (names.length === 0) return [];
    return [
      {
        level: 'info' as const,
        code: 'finalizer-left-out',
        message: `finalizers of ${refName(refOf(o))} are left to their controllers: ${names.join(', ')}`,
        ref: refOf(o),
      },
    ];
  });
}
