import { objectMatcher } from '../discovery/object-pattern.ts';
import { controllerOf, kindId } from '../discovery/pod-template.ts';
import { at, mapAt, stringAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';
import { parseJson } from '../json.ts';
import { refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import type { OperationId } from '../operation.ts';
import { onTarget } from './hints.ts';
import { managerOf } from './managers.ts';
import type { RestoreStep } from './model.ts';
import { hasEnded } from './readiness.ts';
import { RESTABLE, restOf } from './rest.ts';
import type { Rest } from './rest.ts';
import { isRecord } from './rewrite.ts';
import { scrub } from './scrub.ts';

/** On a workload that a restore in place has stopped. Not the mark of a backup: what is half rewritten must not be started by a clean-up. */
export const STOPPED = { label: 'dmaas.io/stopped-by', back: 'dmaas.io/stopped-back' } as const;

/** What it takes that a workload lets go of its volumes, and then has them again. */
export interface Stopping {
  readonly stops: readonly RestoreStep[];
  readonly starts: readonly RestoreStep[];
  /** Whether it is worth waiting for. */
  readonly isAwaited: boolean;
  readonly findings: readonly Finding[];
}

export interface StoppingContext {
  readonly id: OperationId;
  readonly context: string;
  readonly kinds: readonly ResourceKind[];
  /** `KIND` or `KIND/NAME` of workloads that may be stopped although somebody else manages them. */
  readonly allow: readonly string[];
  /** The topmost owner of a workload that is no part of Kubernetes. */
  readonly owner?: ObjectRef;
}

const NOTHING: Stopping = { stops: [], starts: [], isAwaited: false, findings: [] };

function howStopped({ by, back }: Rest): string {
  return by === 'replicas' ? `replicas ${String(at(back, 'spec', 'replicas'))} -> 0` : by === 'suspend' ? 'suspend' : 'on no node';
}

/** What a person would not expect of it. */
const NOTES: Readonly<Record<string, { readonly code: string; readonly says: string }>> = {
  'DaemonSet.apps': { code: 'stopped-by-selector', says: 'runs on no node meanwhile: it gets a node selector that no node has' },
  'Job.batch': { code: 'job-begins-again', says: 'is suspended meanwhile: its pods are deleted, and it begins again' },
  'CronJob.batch': { code: 'runs-missed', says: 'is suspended meanwhile: runs that fall into that time may be missed' },
};

/** How to stop what uses a volume, or why that cannot be done. Pure. */
export function stoppingOf(ref: ObjectRef, object: KubeObject | undefined, context: StoppingContext): Stopping {
  const block = (code: string, message: string, hint: string): Stopping => ({
    ...NOTHING,
    findings: [{ level: 'blocker', code, message, ref, hint }],
  });
  const name = refName(ref);
  const holder = object?.metadata.labels?.[STOPPED.label];
  if (holder !== undefined && holder !== context.id)
    return block('stopped-by-another', `${name} is stopped by the restore ${holder}`, `kubectl dmaas restore resume ${holder}, or undo it`);
  if (object === undefined || (kindId(ref) !== 'Pod' && !RESTABLE.includes(kindId(ref))))
    return block(
      'cannot-be-stopped',
      `${name} uses a volume that is to be rewritten, and DMaaS does not know how to stop a ${ref.kind}`,
      'stop or delete it, and restore again',
    );
  if (kindId(ref) === 'Pod') return withManager(podStopping(ref, object, context), object, context);
  if (stringAt(object, 'spec', 'persistentVolumeClaimRetentionPolicy', 'whenScaled') === 'Delete') {
    const patch = `{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Retain"}}}`;
    const command = onTarget(`kubectl patch ${name} -n ${ref.namespace ?? ''} --type merge -p '${patch}'`, context);
    return block('claims-go-with-replicas', `${name} deletes its claims when it is scaled down, so it cannot be stopped`, command);
  }
  const rest = kindId(object) === 'Job.batch' && hasEnded(object) ? undefined : restOf(object);
  const known = holder === undefined ? undefined : mapAt(object, 'metadata', 'annotations')[STOPPED.back];
  const back = known === undefined ? rest?.back : parsedPatch(known);
  if (back === undefined) return NOTHING;
  const patch = rest?.patch ?? {};
  const how = rest === undefined ? 'as it is' : howStopped(rest);
  const note = rest === undefined ? undefined : NOTES[kindId(object)];
  return withManager(
    {
      stops: [{ do: 'stop', phase: 'populate', ref, patch, back, how }],
      starts: [{ do: 'start', phase: 'activate', ref, patch: back }],
      // A Job may be over, and be removed, before anybody looks.
      isAwaited: !['Job.batch', 'CronJob.batch'].includes(kindId(ref)),
      findings: note === undefined ? [] : [{ level: 'info', code: note.code, message: `${name} ${note.says}`, ref }],
    },
    object,
    context,
  );
}

function parsedPatch(text: string): Json | undefined {
  const patch = parseJson(text);
  return isRecord(patch) ? patch : undefined;
}

/** Nothing makes a bare pod again, so it is deleted and made from what it is now; that of a custom resource is its operator's to make. */
function podStopping(ref: ObjectRef, pod: KubeObject, { owner }: StoppingContext): Stopping {
  if (['Succeeded', 'Failed'].includes(stringAt(pod, 'status', 'phase') ?? '')) return NOTHING;
  if (mapAt(pod, 'metadata', 'annotations')['kubernetes.io/config.mirror'] !== undefined) {
    const node = stringAt(pod, 'spec', 'nodeName') ?? '';
    const message = `${refName(ref)} uses a volume that is to be rewritten, and is a static pod of node ${node}`;
    return {
      ...NOTHING,
      findings: [
        { level: 'blocker', code: 'cannot-be-stopped', message, ref, hint: `move its manifest away on node ${node}, and restore again` },
      ],
    };
  }
  const isBare = owner === undefined && controllerOf(pod) === undefined;
  const says = isBare ? 'made again as it is now when its volume is rewritten: nothing else would' : 'left to its operator to make again';
  return {
    stops: [{ do: 'delete-pod', phase: 'populate', ref, uid: pod.metadata.uid ?? '' }],
    starts: isBare ? [{ do: 'create-pod', phase: 'activate', ref, pod: scrub(pod).object }] : [],
    isAwaited: isBare,
    findings: [{ level: 'info', code: 'pod-made-again', message: `${refName(ref)} is deleted, and ${says}`, ref }],
  };
}

/** Consent, where somebody else would start it again in the middle of the work. */
function withManager(stopping: Stopping, object: KubeObject, { allow, kinds, owner, context }: StoppingContext): Stopping {
  if (stopping.stops.length === 0) return stopping;
  const manager = managerOf(object, owner, { context });
  if (manager === undefined) return stopping;
  const ref = refOf(object);
  const name = refName(ref);
  const isAllowed = allow.some((pattern) => objectMatcher(pattern, kinds)(object));
  const finding: Finding = isAllowed
    ? {
        level: 'info',
        code: 'managed-allowed',
        message: `${name} is kept as it is by ${manager.name}, and is stopped nevertheless, as allowed`,
        ref,
        hint: manager.resume === undefined ? `let ${manager.name} go on afterwards` : `afterwards: ${manager.resume}`,
      }
    : {
        level: 'blocker',
        code: 'managed',
        message: `${name} is kept as it is by ${manager.name}, which would start it again while its volume is rewritten`,
        ref,
        hint: `${manager.pause ?? `pause ${manager.name} (kubectl scale deployment OPERATOR -n NAMESPACE --replicas=0)`}, then --allow ${name}`,
      };
  return { ...stopping, findings: [finding, ...stopping.findings] };
}
