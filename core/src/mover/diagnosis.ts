import { listAt, numberAt, recordAt, stringAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';
import { ERRORS } from '../errors.ts';
import type { KubeObject } from '../model.ts';

/** What is known of a mover in the cluster. Events are those of its Job, pods and claim; empty where they may not be read. */
export interface MoverFacts {
  readonly job: KubeObject;
  readonly pods: readonly KubeObject[];
  readonly events: readonly KubeObject[];
}

export type JobState = 'waiting' | 'running' | 'succeeded' | 'failed';

export function jobState({ job, pods }: Pick<MoverFacts, 'job' | 'pods'>): JobState {
  const holds = (type: string) => listAt(job, 'status', 'conditions').some((c) => c['type'] === type && c['status'] === 'True');
  if (holds('Complete')) return 'succeeded';
  if (holds('Failed')) return 'failed';
  // One that is to end has seconds left, or is on a node that does not answer: then it stays Running for ever.
  return pods.some((pod) => isRunning(pod) && pod.metadata.deletionTimestamp === undefined) ? 'running' : 'waiting';
}

function isRunning(pod: KubeObject): boolean {
  return stringAt(pod, 'status', 'phase') === 'Running';
}

/** Why something is not as it should be. */
export interface Diagnosis {
  readonly fact: string;
  /** What is to be looked at. */
  readonly about: 'admission' | 'image' | 'volume' | 'node' | 'container';
  readonly hint?: string;
  /** Whether it may pass by itself: never, within a minute or two, or when the cluster grows. */
  readonly patience: 'none' | 'short' | 'long';
}

/** Waiting reasons of a container that only a change of the pod or the node ends. */
const FINAL_WAITS = new Set([
  'InvalidImageName',
  'ErrImageNeverPull',
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
]);
const IMAGE_WAITS = new Set([
  'ImagePullBackOff',
  'ErrImagePull',
  'InvalidImageName',
  'ErrImageNeverPull',
  'RegistryUnavailable',
  'ImageInspectError',
]);

/** Why no pod of the Job runs yet; undefined when there is nothing unusual to tell. */
export function diagnoseWaiting({ job, pods, events }: MoverFacts): Diagnosis | undefined {
  const pod = newest(pods);
  if (pod === undefined) {
    const refused = lastEvent(events, job, 'FailedCreate');
    if (refused === undefined) return undefined;
    return {
      fact: `its pod is refused: ${refused}`,
      about: 'admission',
      hint: 'a quota or a policy of the namespace does not admit the mover',
      patience: 'long',
    };
  }
  const ending = diagnoseEnding(pod);
  if (ending !== undefined) return ending;
  const container = listAt(pod, 'status', 'containerStatuses')[0];
  const waiting = recordAt(container, 'state', 'waiting');
  const reason = stringAt(waiting, 'reason') ?? '';
  if (IMAGE_WAITS.has(reason)) {
    const image = stringAt(listAt(pod, 'spec', 'containers')[0], 'image') ?? '';
    return {
      fact: `its image ${image} cannot be pulled (${reason})${suffix(stringAt(waiting, 'message'))}`,
      about: 'image',
      hint: 'make the image available to the nodes, or name another one with --mover-image',
      patience: FINAL_WAITS.has(reason) ? 'none' : 'short',
    };
  }
  const scheduled = listAt(pod, 'status', 'conditions').find((c) => c['type'] === 'PodScheduled');
  if (scheduled?.['status'] !== 'True') {
    const why = diagnoseClaim(events);
    if (why !== undefined) return why;
  }
  if (scheduled?.['status'] === 'False')
    return { fact: `no node takes its pod${suffix(stringAt(scheduled, 'message'))}`, about: 'node', patience: 'long' };
  for (const mount of ['FailedAttachVolume', 'FailedMount', 'FailedMapVolume']) {
    const message = lastEvent(events, pod, mount);
    if (message !== undefined) return { fact: `its volume cannot be mounted: ${message}`, about: 'volume', patience: 'long' };
  }
  if (FINAL_WAITS.has(reason))
    return { fact: `its container cannot start (${reason})${suffix(stringAt(waiting, 'message'))}`, about: 'container', patience: 'none' };
  return undefined;
}

/** What keeps a pod that is to end; undefined when it is not, or has. Until then it may still write. */
export function diagnoseEnding(pod: KubeObject): Diagnosis | undefined {
  const { name, namespace = '', deletionTimestamp } = pod.metadata;
  const node = stringAt(pod, 'spec', 'nodeName');
  if (!isRunning(pod) || deletionTimestamp === undefined || node === undefined) return undefined;
  return {
    fact: `its pod ${name} was to end by ${deletionTimestamp}, and node ${node} has not answered`,
    about: 'node',
    hint: `only when that machine is surely off: kubectl delete node ${node}, or kubectl delete pod ${name} -n ${namespace} --force; as long as it may run, no other mover must write the volume`,
    patience: 'long',
  };
}

/** A claim that waits for its first pod keeps that pod from being scheduled, without a word in the pod's conditions. */
function diagnoseClaim(events: readonly KubeObject[]): Diagnosis | undefined {
  const said = (reason: string): string | undefined =>
    newestMessage(
      events.filter((e) => stringAt(e, 'reason') === reason && stringAt(e, 'involvedObject', 'kind') === 'PersistentVolumeClaim'),
    );
  const failed = said('ProvisioningFailed');
  if (failed !== undefined) return { fact: `its volume cannot be made${suffix(failed)}`, about: 'volume', patience: 'long' };
  const provisioner = /external provisioner '([^']+)'/.exec(said('ExternalProvisioning') ?? '')?.[1];
  if (provisioner === undefined) return undefined;
  return {
    fact: `its volume is not made: provisioner ${provisioner} has not answered`,
    about: 'volume',
    hint: `see that ${provisioner} runs, or take another storage class`,
    patience: 'long',
  };
}

/**
 * Why a mover failed, as separate facts: what Kubernetes says of the pod, the exit code of the program, and the last thing the
 * program said. They come from three observers and may each be missing.
 */
export interface MoverFailure {
  /** e.g. `OOMKilled`, `evicted: the node was low on memory`, `no node takes its pod`. */
  readonly state: string;
  readonly exitCode?: number;
  /** The error the mover reported itself. */
  readonly reported?: ReportedError;
  readonly hint?: string;
}

/** An error as a mover reports it in its log and termination message. */
export interface ReportedError {
  readonly code?: string;
  readonly message: string;
  readonly hint?: string;
}

export function diagnoseFailure(facts: MoverFacts): MoverFailure {
  const { job, pods } = facts;
  const condition = listAt(job, 'status', 'conditions').find((c) => c['type'] === 'Failed' && c['status'] === 'True');
  const pod = newest(pods.filter((p) => stringAt(p, 'status', 'phase') === 'Failed')) ?? newest(pods);
  const terminated = recordAt(listAt(pod, 'status', 'containerStatuses')[0], 'state', 'terminated');
  const exitCode = numberAt(terminated, 'exitCode');
  const reported = reportedError(stringAt(terminated, 'message') ?? '');
  const known = {
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(reported === undefined ? {} : { reported }),
  };
  const deleted = pod === undefined ? undefined : disruptionOf(pod);
  if (stringAt(condition, 'reason') === 'DeadlineExceeded') return { state: 'it took longer than its deadline', ...known };
  if (stringAt(terminated, 'reason') === 'OOMKilled') {
    return {
      state: 'it was killed because it reached its memory limit (OOMKilled)',
      hint: 'run it again; a mover is made to stay below its limit, so please report it when it happens again',
      ...known,
    };
  }
  if (deleted !== undefined) return { state: deleted, ...known };
  const waiting = diagnoseWaiting(facts);
  if (exitCode === undefined && waiting !== undefined)
    return { state: waiting.fact, ...(waiting.hint === undefined ? {} : { hint: waiting.hint }) };
  if (exitCode === undefined) return { state: stringAt(condition, 'message') ?? 'its pod is gone', ...known };
  return {
    state: `its pod ended${suffix(exitMeaning(exitCode), ' (', ')')}`,
    ...(reported?.hint === undefined ? {} : { hint: reported.hint }),
    ...known,
  };
}

function disruptionOf(pod: KubeObject): string | undefined {
  const disruption = listAt(pod, 'status', 'conditions').find((c) => c['type'] === 'DisruptionTarget' && c['status'] === 'True');
  if (disruption !== undefined)
    return `its pod was evicted (${stringAt(disruption, 'reason') ?? 'disruption'})${suffix(stringAt(disruption, 'message'))}`;
  if (stringAt(pod, 'status', 'reason') === 'Evicted') return `its pod was evicted${suffix(stringAt(pod, 'status', 'message'))}`;
  return undefined;
}

function exitMeaning(exitCode: number): string | undefined {
  if (exitCode > 128 && exitCode !== ERRORS.CANCELLED.exit) return `by signal ${exitCode - 128}`;
  return Object.values(ERRORS).find(({ exit }) => exit === exitCode)?.meaning;
}

/** The error in the last lines that a mover wrote, one JSON value a line. Text that is no such thing is given as it is, cut short. */
export function reportedError(text: string): ReportedError | undefined {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  for (const line of lines.toReversed()) {
    const value = jsonOf(line);
    const error = recordAt(value, 'error');
    const source = stringAt(error, 'message') === undefined ? recordAt(value) : error;
    const message = stringAt(source, 'message');
    if (message === undefined || stringAt(source, 'code') === undefined) continue;
    const hint = stringAt(source, 'hint');
    return { code: stringAt(source, 'code') ?? '', message, ...(hint === undefined ? {} : { hint }) };
  }
  const last = lines.at(-1);
  return last === undefined || jsonOf(last) !== undefined ? undefined : { message: last.slice(-300) };
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function newest(pods: readonly KubeObject[]): KubeObject | undefined {
  return pods.toSorted((a, b) => ((a.metadata.creationTimestamp ?? '') < (b.metadata.creationTimestamp ?? '') ? -1 : 1)).at(-1);
}

function lastEvent(events: readonly KubeObject[], about: KubeObject, reason: string): string | undefined {
  const matches = events.filter(
    (e) =>
      stringAt(e, 'reason') === reason &&
      stringAt(e, 'involvedObject', 'name') === about.metadata.name &&
      stringAt(e, 'involvedObject', 'kind') === about.kind,
  );
  return newestMessage(matches);
}

function newestMessage(events: readonly KubeObject[]): string | undefined {
  const time = (event: Json) => stringAt(event, 'lastTimestamp') ?? stringAt(event, 'eventTime') ?? '';
  return stringAt(events.toSorted((a, b) => (time(a) < time(b) ? -1 : 1)).at(-1), 'message');
}

function suffix(text: string | undefined, before = ': ', after = ''): string {
  return text === undefined ? '' : `${before}${text.replaceAll(/\s+/g, ' ').trim().slice(0, 500)}${after}`;
}
