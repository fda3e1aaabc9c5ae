import type { Application, AppVolume, Scheduling } from '../discovery/application.ts';
import type { Finding, KubeObject } from '../model.ts';
import type { MoverProfile } from '../mover/job.ts';
import type { OperationId } from '../operation.ts';

/**
 * The facts about a cluster that a backup's plan rests on; `gatherCaptureFacts` reads them. What this identity may not read is
 * absent, which is not the same as there being none.
 */
export interface CaptureFacts {
  /** The application's namespace, for its Pod Security level. */
  readonly namespace?: KubeObject;
  /** Whether the cluster serves VolumeSnapshots. */
  readonly hasSnapshotApi: boolean;
  readonly snapshotClasses?: readonly KubeObject[];
  readonly storageClasses?: readonly KubeObject[];
  /** Of the application's namespace. */
  readonly quotas?: readonly KubeObject[];
}

export interface BackupOptions {
  /** For people. Default: the application's name and the operation's id. */
  readonly name?: string;
  /**
   * `true`: volumes that cannot be snapshotted are read while in use. A list of claims: these are, and no others. Without it such
   * a volume blocks the backup.
   */
  readonly live?: boolean | readonly string[];
  /** Names of claims to leave out. */
  readonly excludeVolumes?: readonly string[];
  readonly resourcesOnly?: boolean;
  readonly volumesOnly?: boolean;
  /** The VolumeSnapshotClass for every volume, instead of the one that is found. */
  readonly snapshotClass?: string;
  /** `ReadOnlyMany` lets some drivers (CephFS) mount a volume snapshot without copying it. Default `ReadWriteOnce`. */
  readonly stagedAccessMode?: 'ReadWriteOnce' | 'ReadOnlyMany';
  readonly labels?: Readonly<Record<string, string>>;
}

export type CaptureMethod = 'volume-snapshot' | 'live';

/** How one volume is captured. */
export interface VolumePlan {
  /** Of the volume within the operation; part of the names of what is created for it. */
  readonly index: number;
  readonly volume: AppVolume;
  readonly method: CaptureMethod;
  /** For `volume-snapshot`. */
  readonly staging?: Staging;
  readonly profile: MoverProfile;
  readonly placement: Scheduling;
  /** Root of this claim in the latest backup that has it: unchanged files are not read again. */
  readonly parentRoot?: string;
}

/** How a volume snapshot is taken and made readable. */
export interface Staging {
  /** Absent: the cluster's default for the driver. */
  readonly snapshotClass?: string;
  /** The class keeps the storage system's snapshot when the VolumeSnapshot is deleted, unless its content is told otherwise. */
  readonly snapshotRetained: boolean;
  readonly storageClass: string;
  /** The class makes volumes without waiting for a pod. */
  readonly bindsAtOnce: boolean;
  readonly accessMode: 'ReadWriteOnce' | 'ReadOnlyMany';
}

/**
 * What a backup will do. Plain JSON: what `--dry-run` prints, what the editor shows and what is executed is this value. Holds the
 * application's Secrets; show `redactBackupPlan(plan)`.
 */
export interface BackupPlan {
  readonly schema: 1;
  readonly id: OperationId;
  readonly name: string;
  readonly app: Application;
  /** Which of the application's members are recorded. */
  readonly manifests: 'all' | 'claims';
  readonly volumes: readonly VolumePlan[];
  /** Id of the latest backup of the same application. */
  readonly parent?: string;
  /** The newest list of condemned packs before the parents were looked for; absent: none is known. */
  readonly condemnedLists?: number;
  readonly labels: Readonly<Record<string, string>>;
  /** A plan with blockers is not executed. */
  readonly findings: readonly Finding[];
}
