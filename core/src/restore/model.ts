import type { Access, ServerVersion } from '../cluster/cluster.ts';
import type { Scheduling } from '../discovery/application.ts';
import type { Finding, KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import type { MoverIdentity, MoverProfile } from '../mover/job.ts';
import type { OperationId } from '../operation.ts';
import type { ObjectPatch } from './patches.ts';
import type { Replicas } from './replicas.ts';
import type { ValueMaps } from './value-maps.ts';

/** What a plan needs of a backup. Plain JSON. */
export interface BackupView {
  /** Its name. */
  readonly id: string;
  /** The id of its record. */
  readonly recordId: string;
  readonly createdAt: string;
  readonly app: {
    readonly name: string;
    readonly namespace: string;
    /** What people call the cluster: its context. */
    readonly cluster: string;
    /** Uid of kube-system there. */
    readonly clusterId: string;
  };
  /** As captured: nothing removed, managedFields and status included. */
  readonly objects: readonly KubeObject[];
  readonly volumes: readonly VolumeView[];
}

export interface VolumeView {
  readonly claim: ObjectRef;
  readonly mode: 'filesystem' | 'block';
  /** Blob id of the volume's top tree (or block list) in the repository. */
  readonly root: string;
  /** Bytes of data. */
  readonly bytes: number;
  readonly files: number;
  readonly storageClass: string;
  readonly accessModes: readonly string[];
  readonly capacityBytes: number;
}

/** The facts about a target that a plan rests on. Plain JSON; `preflight.ts` gathers it. */
export interface TargetState {
  readonly context: string;
  /** Uid of kube-system. */
  readonly clusterId: string;
  readonly version: ServerVersion;
  readonly kinds: readonly ResourceKind[];
  readonly storageClasses: readonly KubeObject[];
  /**
   * Every object there is under a name that `plannedRefs` gives, and in the target namespace its resource quotas, network policies and services. An
   * object that is not here does not exist, unless its kind is unreadable.
   */
  readonly existing: readonly KubeObject[];
  /** Kinds (`Kind.group`) that this identity may not read. What they are needed for is left to the server. */
  readonly unreadable: readonly string[];
  /** Absent when this identity may not list them. */
  readonly nodes?: readonly KubeObject[];
  /** CSIStorageCapacity objects, where drivers publish them. */
  readonly capacities?: readonly KubeObject[];
  /** Webhook configurations, and the services named there that do not exist; absent when this identity may not list them. */
  readonly webhooks?: { readonly configurations: readonly KubeObject[]; readonly missing: readonly ObjectRef[] };
  /** The target namespace, if it exists; without labels when this identity may not read it. */
  readonly namespace?: KubeObject;
  /** Rights that the plan needs and this identity lacks. */
  readonly denied: readonly Access[];
}

/** `sure`: it has no other meaning. `likely`: it names something of the application in a place where such names stand. `guess`: the word is the same. */
export type Confidence = 'sure' | 'likely' | 'guess';

/** A place in free text that names what is called otherwise after the restore, and what it would say then. Plain JSON. */
export interface TextEdit {
  readonly ref: ObjectRef;
  readonly where: string;
  readonly from: string;
  readonly to: string;
  readonly confidence: Confidence;
  /** Whether it is made. Nothing is edited in silence: the operator says so, by confidence or one by one. */
  readonly apply: boolean;
  readonly field: readonly string[];
  readonly isEncoded: boolean;
  /** Of `from` in the (decoded) text of the field. */
  readonly offset: number;
}

/**
 * What to do about an object of the target that has the name of one to restore. A claim is never overwritten. `rename` restores it beside, as
 * `NAME-restored`, with all references to it.
 */
export type ConflictPolicy = 'fail' | 'skip' | 'overwrite' | 'rename';

export interface RestoreOptions {
  /** Where to; the namespace of the backup when absent. */
  readonly namespace?: string;
  /** Old class to new; '' names claims without a class. */
  readonly storageClassMap?: Readonly<Record<string, string>>;
  /** Other values that differ on the target. */
  readonly values?: ValueMaps;
  readonly replicas?: Replicas;
  /** Only these claims and their data, by the names they get: `data-db-0` to `data-db-0-old`. */
  readonly volumes?: Readonly<Record<string, string>>;
  /** Before the names of all objects. */
  readonly namePrefix?: string;
  /** Changes to the objects after all mapping, in order. */
  readonly patches?: readonly ObjectPatch[];
  /** Of the edits that free text calls for, those are made that are at least so certain; none when absent. */
  readonly acceptEdits?: Confidence;
  /** `fail` when absent. */
  readonly conflict?: ConflictPolicy;
  /** Claims and their data, nothing else. */
  readonly volumesOnly?: boolean;
  /** Everything but claims and their data. */
  readonly resourcesOnly?: boolean;
  /** `KIND`, `KIND/NAME`, with `*` in either; kinds as kubectl names them. Only these when present. */
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  /** Makes claims that exist what the backup has, and touches nothing else; their workloads are stopped meanwhile. */
  readonly inPlace?: boolean;
  /** In place without a volume snapshot to go back to. */
  readonly withoutUndo?: boolean;
  /** `KIND` or `KIND/NAME` of objects that may reach beyond the namespace. */
  readonly allow?: readonly string[];
  /** Files that cannot be restored are done without. Otherwise they stop the restore before it activates anything. */
  readonly allowMissingFiles?: boolean;
  /** Without it everything is left staged: claims filled, workloads inactive; the plan holds the rest for later. */
  readonly activate: boolean;
  /** Commands in the pods of workloads, when they are ready, besides those that annotations ask for. A failure stops the restore. */
  readonly hooks?: readonly { readonly target: string; readonly container?: string; readonly command: readonly string[] }[];
  /** Stand-alone Jobs and CronJobs start too. They stay suspended otherwise: running a migration twice is worse than late. */
  readonly startJobs?: boolean;
  /** How long a workload may take to become ready; ten minutes when absent. */
  readonly readyTimeoutMs?: number;
}

export type RestorePhase = 'populate' | 'activate';

interface Step {
  readonly phase: RestorePhase;
}

/** What an object was when the plan was made. An apply refuses when that is no longer so. */
export interface Observed {
  readonly uid: string;
  readonly resourceVersion: string;
}

/** `skip` leaves what is there; `conflict` would, and stands in the way of the whole plan. */
export type StepAction = 'create' | 'update' | 'skip' | 'conflict';

/** Creates or updates an object, or leaves it as it is. */
export interface ApplyStep extends Step {
  readonly do: 'apply';
  readonly action: StepAction;
  readonly ref: ObjectRef;
  /** What it is in the backup. */
  readonly source: ObjectRef;
  /** What is sent; of a skipped object what would have been. */
  readonly manifest: KubeObject;
  /** What differs from the captured object (from the existing one for an update), and why. */
  readonly changes: readonly string[];
  /** Why it is skipped. */
  readonly reason?: string;
  /** Present unless it is created. */
  readonly observed?: Observed;
  /** The server's answer to a dry run; absent where none was asked for. */
  readonly server?: ServerAnswer;
}

export type ServerAnswer =
  | { readonly verdict: 'accepted' }
  | { readonly verdict: 'refused'; readonly message: string }
  /** It can be asked only when something else is there, or nothing is sent. */
  | { readonly verdict: 'not-asked'; readonly message: string };

/** Creates a claim. Its own kind of step, because a claim that exists holds data. */
export interface ClaimStep extends Step {
  readonly do: 'create-claim';
  readonly action: Exclude<StepAction, 'update'>;
  readonly ref: ObjectRef;
  readonly source: ObjectRef;
  readonly manifest: KubeObject;
  readonly changes: readonly string[];
  readonly reason?: string;
  readonly observed?: Observed;
  readonly server?: ServerAnswer;
}

/** Fills a claim from the repository; the mover that does is the claim's first consumer. */
export interface PopulateStep extends Step {
  readonly do: 'populate';
  readonly phase: 'populate';
  readonly claim: ObjectRef;
  /** Of the volume within the backup, whatever else is restored: names of movers and of their results derive from it. */
  readonly index: number;
  readonly mode: 'filesystem' | 'block';
  readonly root: string;
  readonly bytes: number;
  readonly files: number;
  readonly profile: MoverProfile;
  /** As whom and where the workload that mounts the claim will run; empty when none does. */
  readonly identity: MoverIdentity;
  readonly placement: Scheduling;
  /** The claim holds data, and is made what the backup has. It must still be this object. */
  readonly inPlace?: { readonly uid: string };
}

/** Stops a workload that uses a volume which is rewritten. */
export interface StopStep extends Step {
  readonly do: 'stop';
  readonly phase: 'populate';
  readonly ref: ObjectRef;
  /** Merge patches: what stops it, and what makes it what it was. */
  readonly patch: Readonly<Record<string, unknown>>;
  readonly back: Readonly<Record<string, unknown>>;
  /** For people: `replicas 3 -> 0`. */
  readonly how: string;
}

/** Deletes a pod that uses a volume which is rewritten, and that nobody can stop. */
export interface DeletePodStep extends Step {
  readonly do: 'delete-pod';
  readonly phase: 'populate';
  readonly ref: ObjectRef;
  readonly uid: string;
}

/** Waits until no pod has these claims mounted. */
export interface WaitUnusedStep extends Step {
  readonly do: 'wait-unused';
  readonly phase: 'populate';
  readonly claims: readonly ObjectRef[];
}

/** Takes a volume snapshot to go back to. */
export interface SnapshotStep extends Step {
  readonly do: 'snapshot';
  readonly phase: 'populate';
  /** The VolumeSnapshot. */
  readonly ref: ObjectRef;
  readonly claim: ObjectRef;
  /** Absent: the default one of the driver. */
  readonly snapshotClass?: string;
  /** The claim that going back makes of it, in place of the one that is there. */
  readonly back: KubeObject;
}

/** Starts what a `stop` has stopped. */
export interface StartStep extends Step {
  readonly do: 'start';
  readonly phase: 'activate';
  readonly ref: ObjectRef;
  readonly patch: Readonly<Record<string, unknown>>;
}

/** Makes a pod again that a `delete-pod` has deleted. */
export interface CreatePodStep extends Step {
  readonly do: 'create-pod';
  readonly phase: 'activate';
  readonly ref: ObjectRef;
  readonly pod: KubeObject;
}

/** Merges `patch` into an inactive workload. */
export interface ActivateStep extends Step {
  readonly do: 'activate';
  readonly phase: 'activate';
  readonly ref: ObjectRef;
  readonly patch: Readonly<Record<string, unknown>>;
  /** For people: `replicas 0 -> 3`. */
  readonly how: string;
}

/** A command in each pod of a workload, when it is ready. Plain JSON. */
export interface RestoreHook {
  readonly container: string;
  readonly command: readonly string[];
  readonly timeoutMs: number;
  /** A failure stops the restore; otherwise it is a warning. */
  readonly failsRestore: boolean;
}

export interface WaitStep extends Step {
  readonly do: 'wait-ready';
  readonly ref: ObjectRef;
  readonly timeoutMs: number;
  /** Commands in its pods, once it is ready. */
  readonly hooks?: readonly RestoreHook[];
  /** The restored object whose controller makes it. That it does not is no failure of the restore, but said. */
  readonly madeBy?: ObjectRef;
}

/** Points an object's owner references to the new uids of owners that were restored too. */
export interface LinkStep extends Step {
  readonly do: 'link-owners';
  readonly ref: ObjectRef;
  readonly owners: readonly { readonly ref: ObjectRef; readonly controller?: boolean; readonly blockOwnerDeletion?: boolean }[];
}

export type RestoreStep =
  | ApplyStep
  | ClaimStep
  | PopulateStep
  | ActivateStep
  | WaitStep
  | LinkStep
  | StopStep
  | DeletePodStep
  | WaitUnusedStep
  | SnapshotStep
  | StartStep
  | CreatePodStep;

/**
 * What a restore will do, in order. Plain JSON: what `--dry-run` prints, what the editor shows and what is executed is this
 * value. Holds the contents of Secrets; show `redactPlan(plan)`.
 */
export interface RestorePlan {
  readonly schema: 1;
  readonly id: OperationId;
  /** Its name, for people. */
  readonly backup: string;
  /** The id of its record. */
  readonly backupId: string;
  /** What was asked for; planning again takes them, and applying the values of Secrets. */
  readonly options: RestoreOptions;
  readonly source: { readonly app: string; readonly namespace: string; readonly cluster: string };
  readonly target: { readonly context: string; readonly clusterId: string; readonly namespace: string };
  readonly steps: readonly RestoreStep[];
  /** Without activation: what `restore activate` does after these steps, as it is written here. */
  readonly later?: readonly RestoreStep[];
  /** Free text that names what is called otherwise on the target. The manifests of the steps are without them. */
  readonly edits?: readonly TextEdit[];
  /** Sorted by level, blockers first. A plan with blockers is not applied. */
  readonly findings: readonly Finding[];
}
