import { mapAt } from '../discovery/read.ts';
import { refName } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { kindId } from '../discovery/pod-template.ts';
import { onTarget } from './hints.ts';

/** Who keeps a workload as it is, and would start again what somebody else has stopped. */
export interface Manager {
  /** For people: `Argo CD application shop`. */
  readonly name: string;
  /** A command after which it lets the workload be; and one that takes it back. Absent where only its documentation knows. */
  readonly pause?: string;
  readonly resume?: string;
}

type Words = Readonly<Record<string, string>>;

/** Controllers that apply what a Git repository holds, by the marks they leave on objects. */
const FROM_GIT: readonly ((labels: Words, annotations: Words) => Manager | undefined)[] = [
  (labels, annotations) => {
    // NAME:GROUP/KIND:NAMESPACE/NAME, with NAMESPACE_ before the name of an application outside of Argo CD's own namespace
    const tracked = annotations['argocd.argoproj.io/tracking-id']?.split(':')[0] ?? labels['argocd.argoproj.io/instance'];
    if (tracked === undefined || tracked === '') return undefined;
    const [name = '', namespace = 'argocd'] = tracked.split('_').reverse();
    const annotate = `kubectl annotate applications.argoproj.io ${name} -n ${namespace} --overwrite argocd.argoproj.io/skip-reconcile`;
    return { name: `Argo CD application ${name}`, pause: `${annotate}=true`, resume: `${annotate}-` };
  },
  (labels) => flux(labels, 'kustomize.toolkit.fluxcd.io', 'Kustomization', 'kustomizations'),
  (labels) => flux(labels, 'helm.toolkit.fluxcd.io', 'HelmRelease', 'helmreleases'),
];

function flux(labels: Words, group: string, kind: string, plural: string): Manager | undefined {
  const name = labels[`${group}/name`];
  const namespace = labels[`${group}/namespace`];
  if (name === undefined || namespace === undefined) return undefined;
  const patch = (suspend: boolean) =>
    `kubectl patch ${plural}.${group} ${name} -n ${namespace} --type merge -p '{"spec":{"suspend":${String(suspend)}}}'`;
  return { name: `Flux ${kind} ${name}`, pause: patch(true), resume: patch(false) };
}

/** How operators are told to leave a custom resource's workloads alone: the words of kubectl, with `-` behind for taking it back. */
const OPERATORS: Readonly<
  Record<string, { readonly plural: string; readonly pause: string; readonly resume: string; readonly verb: string }>
> = {
  'Cluster.postgresql.cnpg.io': mark('clusters.postgresql.cnpg.io', 'annotate', 'cnpg.io/reconciliationLoop', 'disabled'),
  'Kafka.kafka.strimzi.io': mark('kafkas.kafka.strimzi.io', 'annotate', 'strimzi.io/pause-reconciliation', 'true'),
  'Elasticsearch.elasticsearch.k8s.elastic.co': mark(
    'elasticsearches.elasticsearch.k8s.elastic.co',
    'annotate',
    'eck.k8s.elastic.co/managed',
    'false',
  ),
  'RabbitmqCluster.rabbitmq.com': mark('rabbitmqclusters.rabbitmq.com', 'label', 'rabbitmq.com/pauseReconciliation', 'true'),
  'Prometheus.monitoring.coreos.com': field('prometheuses.monitoring.coreos.com', 'paused'),
  'PerconaXtraDBCluster.pxc.percona.com': field('perconaxtradbclusters.pxc.percona.com', 'pause'),
  'PerconaServerMongoDB.psmdb.percona.com': field('perconaservermongodbs.psmdb.percona.com', 'pause'),
};

function mark(plural: string, verb: string, key: string, value: string) {
  return { plural, verb, pause: `--overwrite ${key}=${value}`, resume: `${key}-` };
}

function field(plural: string, name: string) {
  const patch = (value: boolean) => `--type merge -p '{"spec":{"${name}":${String(value)}}}'`;
  return { plural, verb: 'patch', pause: patch(true), resume: patch(false) };
}

/** Who manages a workload: the owner above it that is no part of Kubernetes, or a controller that applies it from Git. */
export function managerOf(workload: KubeObject, owner: ObjectRef | undefined, target: { readonly context: string }): Manager | undefined {
  const here = (command: string): string => onTarget(command, target);
  const [labels, annotations] = [mapAt(workload, 'metadata', 'labels'), mapAt(workload, 'metadata', 'annotations')];
  if (owner !== undefined) {
    const known = OPERATORS[kindId(owner)];
    const name = `the operator of ${refName(owner)}`;
    if (known === undefined) return { name };
    const command = (words: string) => here(`kubectl ${known.verb} ${known.plural} ${owner.name} -n ${owner.namespace ?? ''} ${words}`);
    return { name, pause: command(known.pause), resume: command(known.resume) };
  }
  for (const find of FROM_GIT) {
    const found = find(labels, annotations);
    if (found === undefined) continue;
    const { pause, resume, ...rest } = found;
    return { ...rest, ...(pause === undefined ? {} : { pause: here(pause) }), ...(resume === undefined ? {} : { resume: here(resume) }) };
  }
  return undefined;
}
