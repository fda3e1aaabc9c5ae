import { kindId } from '../discovery/pod-template.ts';
import { at, listAt, numberAt, recordAt, stringAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';
import type { KubeObject } from '../model.ts';

function condition(object: KubeObject, type: string): Json | undefined {
  return listAt(object, 'status', 'conditions').find((c) => c['type'] === type);
}

function isTrue(object: KubeObject, type: string): boolean {
  return condition(object, type)?.['status'] === 'True';
}

/** Whether a Job has ended, well or not. */
export function hasEnded(job: KubeObject): boolean {
  return isTrue(job, 'Complete') || isTrue(job, 'Failed');
}

/** Whether the controller has seen the newest spec; older counts in the status mean nothing. */
function isObserved(object: KubeObject): boolean {
  return (numberAt(object, 'status', 'observedGeneration') ?? 0) >= (numberAt(object, 'metadata', 'generation') ?? 0);
}

function count(object: KubeObject, field: string): number {
  return numberAt(object, 'status', field) ?? 0;
}

function wanted(object: KubeObject): number {
  return numberAt(object, 'spec', 'replicas') ?? 1;
}

/** When an object of a kind does its work, as `kubectl rollout status` and `kubectl wait` see it. */
const READY: Readonly<Record<string, (object: KubeObject) => boolean>> = {
  'Deployment.apps': (o) =>
    isObserved(o) &&
    count(o, 'updatedReplicas') >= wanted(o) &&
    count(o, 'availableReplicas') >= wanted(o) &&
    count(o, 'replicas') <= count(o, 'updatedReplicas'),
  'StatefulSet.apps': (o) => {
    const partition = numberAt(o, 'spec', 'updateStrategy', 'rollingUpdate', 'partition') ?? 0;
    const updates = at(o, 'spec', 'updateStrategy', 'type') !== 'OnDelete';
    return isObserved(o) && count(o, 'readyReplicas') >= wanted(o) && (!updates || count(o, 'updatedReplicas') >= wanted(o) - partition);
  },
  'DaemonSet.apps': (o) => {
    const desired = count(o, 'desiredNumberScheduled');
    const updates = at(o, 'spec', 'updateStrategy', 'type') !== 'OnDelete';
    return isObserved(o) && count(o, 'numberReady') >= desired && (!updates || count(o, 'updatedNumberScheduled') >= desired);
  },
  'ReplicaSet.apps': (o) => isObserved(o) && count(o, 'readyReplicas') >= wanted(o),
  ReplicationController: (o) => isObserved(o) && count(o, 'readyReplicas') >= wanted(o),
  // Not its end, which may be hours away.
  'Job.batch': (o) => isTrue(o, 'Complete') || (!isTrue(o, 'Failed') && (count(o, 'ready') > 0 || count(o, 'succeeded') > 0)),
  'CronJob.batch': (o) => at(o, 'spec', 'suspend') !== true,
  Pod: (o) => at(o, 'status', 'phase') === 'Succeeded' || isTrue(o, 'Ready'),
  PersistentVolumeClaim: (o) => at(o, 'status', 'phase') === 'Bound',
  Namespace: (o) => o.metadata.deletionTimestamp === undefined && at(o, 'status', 'phase') !== 'Terminating',
  'CustomResourceDefinition.apiextensions.k8s.io': (o) => isTrue(o, 'Established'),
};

/** Whether an object does its work. Kinds without a rule are ready when they exist. */
export function isReady(object: KubeObject): boolean {
  return (READY[kindId(object)] ?? (() => true))(object);
}

/** Why a workload is not ready, in words. */
export interface NotReady {
  readonly cause: string;
  /** A command or sentence; absent when the cause does not suggest one. */
  readonly fix?: string;
}

export interface Evidence {
  readonly workload: KubeObject;
  /** Its pods, or the Pod itself. */
  readonly pods: readonly KubeObject[];
  /** Of the workload, of what it owns, and of the claims it mounts. */
  readonly events: readonly KubeObject[];
  readonly claims?: readonly KubeObject[];
  /** Last line of the log of a container, by `pod/container`. */
  readonly lastLines?: Readonly<Record<string, string>>;
}

const LONGEST_QUOTE = 300;

function quote(text: string | undefined): string {
  const line = (text ?? '').replaceAll(/\s+/g, ' ').trim();
  return line.length <= LONGEST_QUOTE ? line : `${line.slice(0, LONGEST_QUOTE - 3)}...`;
}

/** Condenses the states of pods and the events around them to the most telling cause, and what to do about it. Pure. */
export function whyNotReady(evidence: Evidence): NotReady {
  const found =
    firstOf(evidence.pods, (pod) => containerTrouble(pod, evidence)) ??
    firstOf(evidence.pods, (pod) => schedulingTrouble(pod, evidence)) ??
    firstOf(evidence.pods, (pod) => startTrouble(pod, evidence)) ??
    creationTrouble(evidence) ??
    firstOf(evidence.pods, probeTrouble(evidence));
  return found ?? { cause: progressOf(evidence), fix: describeCommand(evidence.workload) };
}

function firstOf<T>(items: readonly T[], look: (item: T) => NotReady | undefined): NotReady | undefined {
  for (const item of items) {
    const found = look(item);
    if (found !== undefined) return found;
  }
  return undefined;
}

function describeCommand(object: KubeObject): string {
  return `kubectl describe ${object.kind.toLowerCase()} ${object.metadata.name} -n ${object.metadata.namespace ?? 'default'}`;
}

function progressOf({ workload, pods }: Evidence): string {
  const ready = pods.filter((pod) => isReady(pod)).length;
  if (pods.length > 0) return `${String(ready)} of ${String(pods.length)} pods are ready`;
  return at(workload, 'status', 'observedGeneration') === undefined ? 'its controller has not acted on it yet' : 'it has no pods';
}

/** A container that cannot start, or does not stay up. */
function containerTrouble(pod: KubeObject, { lastLines = {} }: Evidence): NotReady | undefined {
  const states = ['initContainerStatuses', 'containerStatuses'].flatMap((list) => listAt(pod, 'status', list));
  return firstOf(states, (status) => {
    const container = stringAt(status, 'name') ?? '';
    const where = `container ${container} of pod ${pod.metadata.name}`;
    const reason = stringAt(status, 'state', 'waiting', 'reason') ?? '';
    const message = quote(stringAt(status, 'state', 'waiting', 'message'));
    if (['ImagePullBackOff', 'ErrImagePull', 'InvalidImageName', 'ErrImageNeverPull'].includes(reason)) {
      return {
        cause: `${where} cannot pull image ${stringAt(status, 'image') ?? ''}${message === '' ? '' : `: ${message}`}`,
        fix: 'make the image reachable from this cluster, or give the pod an image pull secret that opens its registry',
      };
    }
    if (reason === 'CreateContainerConfigError' || reason === 'CreateContainerError' || reason === 'RunContainerError') {
      return { cause: `${where} cannot be created: ${message}`, fix: describeCommand(pod) };
    }
    const ended = recordAt(status, reason === 'CrashLoopBackOff' ? 'lastState' : 'state', 'terminated');
    const code = numberAt(ended, 'exitCode');
    if (reason !== 'CrashLoopBackOff' && (code === undefined || code === 0)) return undefined;
    if (stringAt(ended, 'reason') === 'OOMKilled') {
      return { cause: `${where} was killed for using more memory than its limit`, fix: 'raise resources.limits.memory of that container' };
    }
    const line = quote(lastLines[`${pod.metadata.name}/${container}`] ?? stringAt(ended, 'message'));
    return {
      cause: `${where} ends ${code === undefined ? 'again and again' : `with exit code ${String(code)}`}${line === '' ? '' : `, last log line: ${line}`}`,
      fix: `kubectl logs ${pod.metadata.name} -c ${container} -n ${pod.metadata.namespace ?? 'default'} --previous`,
    };
  });
}

/** A pod that no node takes. Unbound claims are the commonest reason, and the claim's own events say more than the scheduler. */
function schedulingTrouble(pod: KubeObject, { events, claims = [] }: Evidence): NotReady | undefined {
  const scheduled = condition(pod, 'PodScheduled');
  if (scheduled?.['status'] !== 'False') return undefined;
  const message = quote(stringAt(scheduled, 'message'));
  const unbound = claims.find((claim) => at(claim, 'status', 'phase') !== 'Bound');
  if (unbound !== undefined && /persistentvolumeclaim|volume/i.test(message)) {
    const why = quote(lastEvent(events, unbound, ['ProvisioningFailed', 'FailedBinding']));
    return {
      cause: `pod ${pod.metadata.name} waits for claim ${unbound.metadata.name}, which has no volume${why === '' ? '' : `: ${why}`}`,
      fix: describeCommand(unbound),
    };
  }
  return { cause: `no node takes pod ${pod.metadata.name}: ${message}`, fix: describeCommand(pod) };
}

/** A pod on its node whose volumes or network are not there yet. */
function startTrouble(pod: KubeObject, { events }: Evidence): NotReady | undefined {
  const message = lastEvent(events, pod, ['FailedMount', 'FailedAttachVolume', 'FailedCreatePodSandBox', 'FailedMapVolume']);
  if (message === undefined || isReady(pod)) return undefined;
  return { cause: `pod ${pod.metadata.name} cannot start: ${quote(message)}`, fix: describeCommand(pod) };
}

/** A controller whose pods the API server refuses. */
function creationTrouble({ workload, events }: Evidence): NotReady | undefined {
  const failure = condition(workload, 'ReplicaFailure');
  const message = quote(stringAt(failure, 'message') ?? lastEvent(events, undefined, ['FailedCreate']));
  if (message === '') return undefined;
  const namespace = workload.metadata.namespace ?? 'default';
  const fixes: readonly (readonly [pattern: RegExp, fix: string])[] = [
    [/exceeded quota/, `kubectl describe resourcequota -n ${namespace}`],
    [/violates PodSecurity/, `kubectl label namespace ${namespace} pod-security.kubernetes.io/enforce=baseline --overwrite`],
    [/serviceaccount "([^"]+)" not found/, `kubectl create serviceaccount NAME -n ${namespace}`],
    [/limitrange|maximum .* usage per|minimum .* usage per/i, `kubectl describe limitrange -n ${namespace}`],
    [/failed calling webhook/, 'kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations'],
  ];
  const fix = fixes.find(([pattern]) => pattern.test(message));
  const account = /serviceaccount "([^"]+)" not found/.exec(message)?.[1];
  return { cause: `its pods are refused: ${message}`, fix: fix?.[1].replace('NAME', account ?? 'NAME') ?? describeCommand(workload) };
}

/** A pod that runs, but whose probe fails. */
function probeTrouble({ events }: Evidence): (pod: KubeObject) => NotReady | undefined {
  return (pod) => {
    const message = isReady(pod) ? undefined : lastEvent(events, pod, ['Unhealthy']);
    if (message === undefined) return undefined;
    return {
      cause: `pod ${pod.metadata.name} runs, but is not ready: ${quote(message)}`,
      fix: `kubectl logs ${pod.metadata.name} -n ${pod.metadata.namespace ?? 'default'}`,
    };
  };
}

/** The message of the newest event with one of the reasons; about `object`, when one is given. */
function lastEvent(events: readonly KubeObject[], object: KubeObject | undefined, reasons: readonly string[]): string | undefined {
  const about = events.filter(
    (e) =>
      reasons.includes(stringAt(e, 'reason') ?? '') &&
      (object === undefined ||
        (stringAt(e, 'involvedObject', 'kind') === object.kind && stringAt(e, 'involvedObject', 'name') === object.metadata.name)),
  );
  const time = (e: KubeObject): string => stringAt(e, 'lastTimestamp') ?? stringAt(e, 'eventTime') ?? e.metadata.creationTimestamp ?? '';
  const newest = about.toSorted((a, b) => (time(a) < time(b) ? -1 : 1)).at(-1);
  return newest === undefined ? undefined : stringAt(newest, 'message');
}
