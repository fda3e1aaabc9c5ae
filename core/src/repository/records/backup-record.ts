import * as z from 'zod';
import type { Finding } from '../../model.ts';
import { isBlobId, type BlobId } from '../format/blob.ts';

const blobId = z.custom<BlobId>((v) => typeof v === 'string' && isBlobId(v), 'expected a blob id');
/** RFC 3339, UTC. */
const time = z.iso.datetime();
const count = z.number().int().nonnegative();

const finding: z.ZodType<Finding> = z.looseObject({
  level: z.enum(['blocker', 'warning', 'info']),
  code: z.string(),
  message: z.string(),
  ref: z.looseObject({ apiVersion: z.string(), kind: z.string(), name: z.string(), namespace: z.string().exactOptional() }).exactOptional(),
  hint: z.string().exactOptional(),
});

const volumeRecord = z.looseObject({
  /** Name of the PersistentVolumeClaim. */
  claim: z.string(),
  mode: z.enum(['filesystem', 'block']),
  storageClass: z.string(),
  /** The CSI driver's name, or '' when it has none. */
  driver: z.string(),
  accessModes: z.array(z.string()),
  capacityBytes: count,
  method: z.enum(['volume-snapshot', 'live']),
  /** When the data was as it is in the backup. For a live read, when reading began. */
  consistentAt: time,
  /** The volume node. */
  root: blobId,
  files: count,
  /** Of the source. */
  bytes: count,
  /** What this backup added to the repository, before compression. */
  addedBytes: count,
});

/** What a backup record holds. Members this version does not know are kept. */
export const backupSchema = z.looseObject({
  /** `<time>-<operation>`, unique in its repository and in order of time. */
  id: z.string(),
  operation: z.string(),
  /** For people; need not be unique. */
  name: z.string(),
  createdAt: time,
  startedAt: time,
  /** Name and version of what made it, e.g. `dmaas/0.1.0`. */
  tool: z.string(),
  /** `selector`: what chose it, as discovery states it. */
  app: z.looseObject({ name: z.string(), namespace: z.string(), selector: z.record(z.string(), z.unknown()) }),
  /** `id` is the UID of the namespace kube-system. */
  cluster: z.looseObject({ id: z.string(), context: z.string(), version: z.string() }),
  /** Of a directory or device that was backed up without a cluster: where it was. `app.namespace` and all of `cluster` are '' then. */
  origin: z.looseObject({ hostname: z.string(), path: z.string() }).exactOptional(),
  /** The manifests node. */
  manifests: blobId,
  /** How many objects the manifests hold. */
  members: count,
  volumes: z.array(volumeRecord),
  findings: z.array(finding),
  /** The backup it was compared with, by id. */
  parent: z.string().exactOptional(),
  labels: z.record(z.string(), z.string()),
});

export type VolumeRecord = Readonly<z.infer<typeof volumeRecord>>;
export type Backup = Readonly<z.infer<typeof backupSchema>>;
/** A backup before it is committed: the repository gives it its id and time. */
export type NewBackup = { readonly [K in keyof Backup as K extends 'id' | 'createdAt' ? never : K]: Backup[K] };

export interface BackupFilter {
  /** Name of the application. */
  readonly app?: string;
  readonly namespace?: string;
  readonly clusterId?: string;
  /** All of these labels. */
  readonly labels?: Readonly<Record<string, string>>;
}

export function matchesFilter(backup: Backup, filter: BackupFilter | undefined): boolean {
  if (filter === undefined) return true;
  return (
    (filter.app === undefined || filter.app === backup.app.name) &&
    (filter.namespace === undefined || filter.namespace === backup.app.namespace) &&
    (filter.clusterId === undefined || filter.clusterId === backup.cluster.id) &&
    Object.entries(filter.labels ?? {}).every(([key, value]) => backup.labels[key] === value)
  );
}

/** Every root from which all blobs of a backup are reached. */
export function rootsOf(backup: Pick<Backup, 'manifests' | 'volumes'>): BlobId[] {
  return [backup.manifests, ...backup.volumes.map((v) => v.root)];
}
