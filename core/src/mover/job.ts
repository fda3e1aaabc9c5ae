import type { Scheduling, VolumeSecurity } from '../discovery/application.ts';
import { listAt, recordAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';
import { ERRORS } from '../errors.ts';
import type { KubeObject, ObjectRef, OwnerReference } from '../model.ts';
import { operationLabels, operationObjectName } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { VERSION } from '../version.ts';
import type { MoverTask } from './task.ts';

export const DEFAULT_MOVER_IMAGE = `dmaas.io/mover:${VERSION}`;
export const MOVER_CONTAINER = 'mover';
/** Roles (label `dmaas.io/role`) of what a mover consists of. */
export const MOVER_ROLE = 'mover';
export const MOVER_TASK_ROLE = 'mover-task';

/** Where the pod finds its input, the volume and room for temporary files. */
export const MOVER_PATHS = {
  task: '/run/dmaas/task.json',
  data: '/data',
  device: '/dev/dmaas-volume',
  cache: '/cache',
} as const;

/**
 * As whom a mover runs. `baseline`: root without any privilege but what reading (or writing) other users' files takes, which
 * the Pod Security Standard of that name allows. `restricted`: the workload's own user and groups, no capabilities at all.
 */
export type MoverProfile = 'baseline' | 'restricted';

/** Whom the workload reads and writes the volume as. */
export type MoverIdentity = Pick<VolumeSecurity, 'runAsUser' | 'runAsGroup' | 'fsGroup' | 'supplementalGroups' | 'seLinuxOptions'>;

/** One mover: what it mounts, as whom, where. */
export interface MoverSpec {
  readonly operation: OperationId;
  /** Of the volume within the operation. */
  readonly index: number;
  readonly namespace: string;
  readonly direction: 'capture' | 'populate';
  /** Name of the claim to mount, which is not the application's own when it was made from a volume snapshot. */
  readonly claim: string;
  readonly mode: 'filesystem' | 'block';
  readonly profile: MoverProfile;
  readonly identity: MoverIdentity;
  readonly placement: Scheduling;
  /** Adds MKNOD, to restore device nodes. */
  readonly allowDevices?: boolean;
  /** Fails at the first failure of its pod, and does not stay when it is over. */
  readonly isTrial?: boolean;
}

export interface MoverOptions {
  /** Default `DEFAULT_MOVER_IMAGE`. */
  readonly image?: string;
  /** Default `IfNotPresent`. */
  readonly imagePullPolicy?: 'Always' | 'IfNotPresent' | 'Never';
  /** Names of Secrets in the namespace. */
  readonly imagePullSecrets?: readonly string[];
  /** Ends a mover that takes longer. Default: none, large volumes take long. */
  readonly activeDeadlineSeconds?: number;
  readonly priorityClassName?: string;
  readonly resources?: Json;
}

/** A mover needs at most 512 MiB whatever the size of the volume; the CPU is for hashing, compressing and encrypting. */
export const MOVER_RESOURCES: Json = {
  requests: { cpu: '100m', memory: '192Mi' },
  limits: { memory: '512Mi' },
};
const CACHE_LIMIT = '2Gi';
/** Failures of the mover itself; evictions and preemptions do not count. */
const BACKOFF_LIMIT = 3;
/** Should nobody come to collect a finished Job. Its result is in the repository. */
const TTL_SECONDS = 3600;
/** Time enough to see how it ended. */
const TRIAL_TTL_SECONDS = 30;
/** On SIGTERM a mover finishes the packs it has begun. */
const GRACE_SECONDS = 30;
/** Of the image, and the user to be where the workload does not name one but root is not allowed. */
const NOBODY = 65532;

/** Exit codes of failures that come back however often the mover is started. */
const FINAL_EXIT_CODES: readonly number[] = [
  ...new Set(
    Object.values(ERRORS)
      .filter(({ exit }) => Object.values(ERRORS).every((other) => other.exit !== exit || !other.retryable))
      .map(({ exit }) => exit as number)
      .filter((exit) => exit !== ERRORS.INTERNAL.exit && exit !== ERRORS.CANCELLED.exit),
  ),
].sort((a, b) => a - b);

export function moverJobRef(spec: Pick<MoverSpec, 'operation' | 'index' | 'namespace'>): ObjectRef {
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    name: operationObjectName(spec.operation, MOVER_ROLE, spec.index),
    namespace: spec.namespace,
  };
}

export function moverTaskRef(spec: Pick<MoverSpec, 'operation' | 'index' | 'namespace'>): ObjectRef {
  return { apiVersion: 'v1', kind: 'Secret', name: operationObjectName(spec.operation, 'task', spec.index), namespace: spec.namespace };
}

/** Where the mover finds the volume. */
export function moverDataPath(mode: 'filesystem' | 'block'): string {
  return mode === 'block' ? MOVER_PATHS.device : MOVER_PATHS.data;
}

/**
 * The Job, suspended: its Secret, which names the Job as owner, does not exist yet. That the Job comes first means that no
 * Secret with a key is ever without an owner to go with.
 */
export function renderMoverJob(spec: MoverSpec, options: MoverOptions = {}): KubeObject {
  const ref = moverJobRef(spec);
  const labels = operationLabels(spec.operation, MOVER_ROLE);
  return {
    apiVersion: ref.apiVersion,
    kind: ref.kind,
    metadata: { name: ref.name, namespace: spec.namespace, labels },
    spec: {
      suspend: true,
      completions: 1,
      parallelism: 1,
      backoffLimit: spec.isTrial === true ? 0 : BACKOFF_LIMIT,
      // Two movers must never write one volume: the next pod waits for the end of the one before.
      podReplacementPolicy: 'Failed',
      podFailurePolicy: {
        rules: [
          { action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
          { action: 'FailJob', onExitCodes: { containerName: MOVER_CONTAINER, operator: 'In', values: FINAL_EXIT_CODES } },
        ],
      },
      ttlSecondsAfterFinished: spec.isTrial === true ? TRIAL_TTL_SECONDS : TTL_SECONDS,
      ...(options.activeDeadlineSeconds === undefined ? {} : { activeDeadlineSeconds: options.activeDeadlineSeconds }),
      template: {
        metadata: {
          // A sidecar that a mesh adds would keep the pod from ever finishing.
          labels: { ...labels, 'sidecar.istio.io/inject': 'false' },
          annotations: { 'linkerd.io/inject': 'disabled', 'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false' },
        },
        spec: podSpec(spec, options),
      },
    },
  };
}

/** The Secret that is the mover's input. `task` holds the store's credentials and the key of this namespace's repository only. */
export function renderMoverSecret(spec: MoverSpec, task: MoverTask, job: KubeObject): KubeObject {
  const ref = moverTaskRef(spec);
  return {
    apiVersion: ref.apiVersion,
    kind: ref.kind,
    metadata: {
      name: ref.name,
      namespace: spec.namespace,
      labels: operationLabels(spec.operation, MOVER_TASK_ROLE),
      ownerReferences: [ownedBy(job)],
    },
    type: 'dmaas.io/mover-task',
    immutable: true,
    data: { 'task.json': Buffer.from(JSON.stringify(task)).toString('base64') },
  };
}

/** What goes when the Job goes. */
export function ownedBy(job: KubeObject): OwnerReference {
  return { apiVersion: job.apiVersion, kind: job.kind, name: job.metadata.name, uid: job.metadata.uid ?? '' };
}

/** The pod alone, for a dry run: admission (Pod Security, quotas, policies) judges pods, not Jobs. */
export function renderMoverPod(spec: MoverSpec, options: MoverOptions = {}): KubeObject {
  const job = renderMoverJob(spec, options);
  const template = recordAt(job, 'spec', 'template');
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...recordAt(template, 'metadata'), name: job.metadata.name, namespace: spec.namespace },
    spec: template['spec'],
  };
}

function podSpec(spec: MoverSpec, options: MoverOptions): Json {
  const onDevice = spec.mode === 'block';
  const mount = onDevice
    ? { name: 'data', devicePath: MOVER_PATHS.device }
    : // Read-only for the container only: below, a file system from a volume snapshot may have to replay its log.
      { name: 'data', mountPath: MOVER_PATHS.data, readOnly: spec.direction === 'capture' };
  return {
    restartPolicy: 'Never',
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: GRACE_SECONDS,
    // Never fsGroup: the kubelet would change the owner of every file of the volume.
    securityContext: podSecurity(spec),
    ...placementOf(spec.placement),
    ...(options.imagePullSecrets === undefined ? {} : { imagePullSecrets: options.imagePullSecrets.map((name) => ({ name })) }),
    ...(options.priorityClassName === undefined ? {} : { priorityClassName: options.priorityClassName }),
    containers: [
      {
        name: MOVER_CONTAINER,
        image: options.image ?? DEFAULT_MOVER_IMAGE,
        imagePullPolicy: options.imagePullPolicy ?? 'IfNotPresent',
        args: [MOVER_PATHS.task],
        env: [
          { name: 'HOME', value: MOVER_PATHS.cache },
          { name: 'TMPDIR', value: MOVER_PATHS.cache },
        ],
        resources: options.resources ?? MOVER_RESOURCES,
        terminationMessagePolicy: 'FallbackToLogsOnError',
        securityContext: {
          privileged: false,
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: capabilitiesOf(spec),
        },
        volumeMounts: [
          ...(onDevice ? [] : [mount]),
          { name: 'cache', mountPath: MOVER_PATHS.cache },
          { name: 'task', mountPath: '/run/dmaas', readOnly: true },
        ],
        ...(onDevice ? { volumeDevices: [mount] } : {}),
      },
    ],
    volumes: [
      { name: 'data', persistentVolumeClaim: { claimName: spec.claim } },
      { name: 'cache', emptyDir: { sizeLimit: CACHE_LIMIT } },
      // Readable by all: a user other than root could not read root's 0400 file, and the pod has no other users.
      { name: 'task', secret: { secretName: moverTaskRef(spec).name, defaultMode: 0o444 } },
    ],
  };
}

function podSecurity({ profile, identity }: MoverSpec): Json {
  const seLinux = identity.seLinuxOptions === undefined ? {} : { seLinuxOptions: identity.seLinuxOptions };
  if (profile === 'baseline') {
    return { runAsUser: 0, runAsGroup: 0, runAsNonRoot: false, seccompProfile: { type: 'RuntimeDefault' }, ...seLinux };
  }
  const runAsUser = identity.runAsUser === undefined || identity.runAsUser === 0 ? NOBODY : identity.runAsUser;
  // The workload's fsGroup opens files to it as a group; as a supplementary one it does so here, and changes nothing on the volume.
  const groups = [...new Set([...(identity.supplementalGroups ?? []), ...(identity.fsGroup === undefined ? [] : [identity.fsGroup])])];
  return {
    runAsUser,
    runAsGroup: identity.runAsGroup ?? runAsUser,
    runAsNonRoot: true,
    ...(groups.length === 0 ? {} : { supplementalGroups: groups.sort((a, b) => a - b) }),
    seccompProfile: { type: 'RuntimeDefault' },
    ...seLinux,
  };
}

function capabilitiesOf({ profile, direction, allowDevices }: MoverSpec): Json {
  if (profile === 'restricted') return { drop: ['ALL'] };
  const forPopulate = direction === 'populate' ? ['CHOWN', 'FOWNER', 'FSETID', 'SETFCAP'] : [];
  return { drop: ['ALL'], add: ['DAC_OVERRIDE', ...forPopulate, ...(allowDevices === true ? ['MKNOD'] : [])] };
}

function placementOf({ nodeSelector, affinity, tolerations }: Scheduling): Json {
  return {
    ...(nodeSelector === undefined ? {} : { nodeSelector }),
    ...(affinity === undefined ? {} : { affinity }),
    ...(tolerations === undefined || tolerations.length === 0 ? {} : { tolerations }),
  };
}

/** Where the data of a live volume can be read: the node it is mounted on, whatever taints that has for the workload. */
export function placeOnNode(hostname: string | undefined, workload: Scheduling): Scheduling {
  return {
    ...(hostname === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': hostname } }),
    ...(workload.tolerations === undefined ? {} : { tolerations: workload.tolerations }),
  };
}

/**
 * Where a copy of a volume can be read: on the nodes that can reach the original (its PersistentVolume's node affinity), which
 * may be tainted for the workload.
 */
export function placeNearVolume(volumeAffinity: Json | undefined, workload: Scheduling): Scheduling {
  const required = recordAt(volumeAffinity, 'required');
  return {
    ...(listAt(required, 'nodeSelectorTerms').length === 0
      ? {}
      : { affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: required } } }),
    ...(workload.tolerations === undefined ? {} : { tolerations: workload.tolerations }),
  };
}

/**
 * Where a volume must be filled so that the workload can use it: on a node the workload itself could run on, because the first
 * pod decides where a WaitForFirstConsumer volume is made. What names other pods is left out: they do not run yet.
 */
export function placeForWorkload(workload: Scheduling): Scheduling {
  const nodeAffinity = recordAt(workload.affinity, 'nodeAffinity');
  return {
    ...(workload.nodeSelector === undefined ? {} : { nodeSelector: workload.nodeSelector }),
    ...(Object.keys(nodeAffinity).length === 0 ? {} : { affinity: { nodeAffinity } }),
    ...(workload.tolerations === undefined ? {} : { tolerations: workload.tolerations }),
  };
}

/** The profile that a namespace's Pod Security level allows. */
export function profileFor(namespace: KubeObject | undefined): MoverProfile {
  return namespace?.metadata.labels?.['pod-security.kubernetes.io/enforce'] === 'restricted' ? 'restricted' : 'baseline';
}
