import { kindId } from '../discovery/pod-template.ts';
import type { KubeObject } from '../model.ts';

/**
 * The stages of a restore. The first three are shown as *Restoring backups*, the last two as *Activating application*.
 * - `foundation`: what movers and pods need to exist, and what has no effect by itself;
 * - `data`: movers fill the claims;
 * - `staging`: everything that acts on pods is there before any pod of the application is;
 * - `activation`: workloads start, in the order of their dependencies;
 * - `exposure`: what changes, watches or blocks running pods, or lets traffic in.
 */
export const STAGES = ['foundation', 'data', 'staging', 'activation', 'exposure'] as const;
export type Stage = (typeof STAGES)[number];

export interface OrderRule {
  readonly stage: Stage;
  /** In this order within the stage. */
  readonly kinds: readonly string[];
  readonly why: string;
}

export const ORDER: readonly OrderRule[] = [
  { stage: 'foundation', kinds: ['Namespace'], why: 'everything else is in it' },
  {
    stage: 'foundation',
    kinds: ['CustomResourceDefinition.apiextensions.k8s.io'],
    why: 'custom resources are refused before their definition is established',
  },
  {
    stage: 'foundation',
    kinds: ['ServiceAccount', 'Secret', 'ConfigMap'],
    why: 'pods wait for what they name; accounts come first, for the token controller deletes a token Secret whose account is missing',
  },
  {
    stage: 'foundation',
    kinds: ['ClusterRole', 'Role', 'ClusterRoleBinding', 'RoleBinding'].map((kind) => `${kind}.rbac.authorization.k8s.io`),
    why: 'an operator that starts without its rights gives up; a role comes before its bindings, as the API server checks it for escalation',
  },
  {
    stage: 'foundation',
    kinds: ['PersistentVolumeClaim'],
    why: 'movers are their first consumers; a StatefulSet adopts claims that it finds by name',
  },
  {
    stage: 'staging',
    kinds: ['LimitRange'],
    why: 'it sets defaults on the pods of the application; before the data it could refuse the movers',
  },
  {
    stage: 'staging',
    kinds: ['NetworkPolicy.networking.k8s.io'],
    why: 'no pod of the application may run unprotected; before the data it would cut the movers off from the bucket',
  },
  {
    stage: 'staging',
    kinds: ['Endpoints', 'EndpointSlice.discovery.k8s.io', 'Service'],
    why: 'pods get the addresses of services as environment only when the services are older; endpoints made by hand before their service, so that none are generated',
  },
  {
    stage: 'staging',
    kinds: [
      'StatefulSet.apps',
      'Deployment.apps',
      'DaemonSet.apps',
      'ReplicaSet.apps',
      'ReplicationController',
      'CronJob.batch',
      'Job.batch',
    ],
    why: 'inactive, so that nothing runs before everything is there',
  },
  { stage: 'activation', kinds: ['Pod'], why: 'a bare pod has no inactive form' },
  {
    stage: 'exposure',
    kinds: ['PodDisruptionBudget.policy'],
    why: 'before its pods run it only blocks evictions',
  },
  {
    stage: 'exposure',
    kinds: ['HorizontalPodAutoscaler.autoscaling', 'VerticalPodAutoscaler.autoscaling.k8s.io', 'ScaledObject.keda.sh', 'ScaledJob.keda.sh'],
    why: 'it would scale a workload that is inactive on purpose',
  },
  {
    stage: 'exposure',
    kinds: [
      'Ingress.networking.k8s.io',
      'Gateway.gateway.networking.k8s.io',
      ...['HTTPRoute', 'GRPCRoute', 'TLSRoute', 'TCPRoute', 'UDPRoute'].map((kind) => `${kind}.gateway.networking.k8s.io`),
      'Route.route.openshift.io',
    ],
    why: 'traffic comes in when there is something to answer it',
  },
  { stage: 'exposure', kinds: ['ResourceQuota'], why: 'with the movers counted it could block the restore itself' },
  {
    stage: 'exposure',
    kinds: ['ValidatingWebhookConfiguration', 'MutatingWebhookConfiguration'].map((kind) => `${kind}.admissionregistration.k8s.io`),
    why: 'before the pods that serve it run, a webhook refuses everything, those pods included',
  },
];

/** Kinds that no rule names, custom resources above all: their controller may run already and act at once. */
const OTHERS: OrderRule = { stage: 'staging', kinds: [], why: 'its controller may act at once, so data and services are there first' };
/** A custom resource whose definition converts through a webhook of this application is refused until that webhook answers. */
const SERVED_BY_APPLICATION: OrderRule = {
  stage: 'exposure',
  kinds: [],
  why: 'the application itself serves the webhook that converts it',
};

/** A custom resource whose workloads the backup holds: a controller makes them as soon as it is there, so it is no sooner than a bare pod. */
const STARTS_WORKLOADS: OrderRule = {
  stage: 'activation',
  kinds: [],
  why: 'its controller starts workloads at once; it has no inactive form',
};

/** What of its surroundings decides where a custom resource comes. */
export type Role = 'served-by-application' | 'starts-workloads';

export interface Position {
  readonly stage: Stage;
  /** Compares across stages too. */
  readonly rank: number;
  readonly why: string;
}

const KINDS_BEFORE: ReadonlyMap<string, Position> = new Map(
  ORDER.flatMap((rule, i) =>
    rule.kinds.map((kind, j) => [kind, { stage: rule.stage, rank: stageRank(rule.stage) + i * 100 + j, why: rule.why }] as const),
  ),
);

function stageRank(stage: Stage): number {
  return STAGES.indexOf(stage) * 10_000;
}

/** Where an object comes in the order; `role` matters for kinds that no rule names. */
export function positionOf(object: { readonly apiVersion: string; readonly kind: string }, role?: Role): Position {
  const known = KINDS_BEFORE.get(kindId(object));
  if (known !== undefined) return known;
  const rule = role === undefined ? OTHERS : role === 'starts-workloads' ? STARTS_WORKLOADS : SERVED_BY_APPLICATION;
  // After every kind of the stage that a rule names in staging, before them in the others.
  return { stage: rule.stage, rank: stageRank(rule.stage) + (role === undefined ? 9_000 : 0), why: rule.why };
}

/** Sorts by position, then by kind, namespace and name, so that the same objects give the same order whatever order they come in. */
export function inOrder<T extends { readonly object: KubeObject; readonly position: Position }>(items: readonly T[]): readonly T[] {
  const key = ({ object: o }: T): string => [o.kind, o.metadata.namespace ?? '', o.metadata.name].join('\0');
  return items.toSorted((a, b) => a.position.rank - b.position.rank || compare(key(a), key(b)));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
