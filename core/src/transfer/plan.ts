import type { Application, AppVolume } from '../discovery/application.ts';
import { claimFindings, sortFindings } from '../discovery/findings.ts';
import { stringAt } from '../discovery/read.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { Finding, KubeObject } from '../model.ts';
import { placeNearVolume, placeOnNode, profileFor } from '../mover/job.ts';
import type { MoverProfile } from '../mover/job.ts';
import type { OperationId } from '../operation.ts';
import type { Backup } from '../repository/records/backup-record.ts';
import { findingsOfLiveReads, NO_QUIESCE, planQuiesce, stoppedByAnother } from './plan-quiesce.ts';
import type { BackupOptions, BackupPlan, CaptureFacts, CaptureMethod, Staging, VolumePlan } from './model.ts';

const DEFAULT_SNAPSHOT_CLASS = 'snapshot.storage.kubernetes.io/is-default-class';
const LIVE_HINT = '--live reads it while it is in use, which is not one moment';

/**
 * Decides how each volume of an application is captured. Pure. `history`: the earlier backups of this application, in order of
 * time. A volume that cannot be captured as asked is a blocker, never captured some other way.
 */
export function planBackup(
  id: OperationId,
  app: Application,
  history: readonly Backup[],
  facts: CaptureFacts,
  options: BackupOptions = {},
): BackupPlan {
  const findings: Finding[] = [...optionFindings(app, options), ...stoppedFindings(id, app)];
  const excluded = (volume: AppVolume) => options.resourcesOnly === true || (options.excludeVolumes ?? []).includes(volume.claim.name);
  const leftOut = app.volumes.filter(excluded);
  const leftOutKeys = new Set(leftOut.map(({ claim }) => refKey(claim)));
  // That a volume cannot be read is no obstacle to a backup without it.
  findings.push(...app.findings.filter((f) => !(f.level === 'blocker' && f.ref !== undefined && leftOutKeys.has(refKey(f.ref)))));
  findings.push(...leftOut.map(leftOutFinding));
  const profile = profileFor(facts.namespace);
  const volumes: VolumePlan[] = [];
  for (const [index, volume] of app.volumes.entries()) {
    if (excluded(volume)) continue;
    const planned = planVolume(volume, profile, facts, options);
    findings.push(...planned.findings.filter((f) => !findings.some((known) => known.code === f.code && known.message === f.message)));
    const parentRoot = latestRoot(history, volume);
    if (planned.plan !== undefined) volumes.push({ index, ...planned.plan, ...(parentRoot === undefined ? {} : { parentRoot }) });
  }
  const by = (method: CaptureMethod) => volumes.filter((v) => v.method === method).map(({ volume }) => volume);
  const snapshotted = by('volume-snapshot');
  const pods = facts.pods ?? [];
  const still =
    snapshotted.length > 0 ? planQuiesce(id, { ...app, volumes: snapshotted }, pods, options) : { quiesce: NO_QUIESCE, findings: [] };
  // Of a volume that cannot be captured as it is asked for, nobody knows how it will be.
  const isSnapshotted = snapshotted.length > 0 || volumes.length + leftOut.length < app.volumes.length;
  findings.push(...still.findings, ...findingsOfLiveReads(id, app, by('live'), isSnapshotted, pods, options));
  const parent = history.at(-1)?.id;
  return {
    schema: 1,
    id,
    name: options.name ?? `${app.name}-${id}`,
    app,
    manifests: options.volumesOnly === true ? 'claims' : 'all',
    volumes,
    quiesce: still.quiesce,
    ...(parent === undefined ? {} : { parent }),
    labels: options.labels ?? {},
    findings: sortFindings(findings),
  };
}

/** A plan as it may be shown: members by name, without their content. */
export function redactBackupPlan(plan: BackupPlan): unknown {
  const members = plan.app.members.map(({ object, because }) => ({
    object: {
      apiVersion: object.apiVersion,
      kind: object.kind,
      metadata: { name: object.metadata.name, namespace: object.metadata.namespace },
    },
    because,
  }));
  return { ...plan, app: { ...plan.app, members } };
}

function optionFindings(app: Application, options: BackupOptions): Finding[] {
  const named = [...(options.excludeVolumes ?? []), ...(Array.isArray(options.live) ? (options.live as readonly string[]) : [])];
  const unknown = [...new Set(named)].filter((name) => !app.volumes.some(({ claim }) => claim.name === name));
  const findings: Finding[] = unknown.map((name) => ({
    level: 'blocker',
    code: 'volume-unknown',
    message: `${app.name} has no volume ${name}`,
    hint: app.volumes.length === 0 ? 'it has no volumes at all' : `it has ${app.volumes.map(({ claim }) => claim.name).join(', ')}`,
  }));
  if (options.resourcesOnly === true && options.volumesOnly === true) {
    findings.push({
      level: 'blocker',
      code: 'nothing-to-capture',
      message: 'a backup of resources only and of volumes only holds nothing',
    });
  }
  return findings;
}

/** Recorded as it is now, a workload that another backup has stopped would be restored without replicas. */
function stoppedFindings(id: OperationId, app: Application): Finding[] {
  return app.members.flatMap(({ object }): Finding[] => {
    const other = stoppedByAnother(object, id);
    if (other === undefined) return [];
    return [{ level: 'blocker', code: 'stopped-by-another', ...other, ref: refOf(object) }];
  });
}

function leftOutFinding(volume: AppVolume): Finding {
  return {
    level: 'info',
    code: 'volume-left-out',
    message: `the data of ${refName(volume.claim)} is left out, as asked`,
    ref: volume.claim,
  };
}

interface Planned {
  /** Absent when the volume cannot be captured; then there is a blocker among the findings. */
  readonly plan?: Omit<VolumePlan, 'index' | 'parentRoot'>;
  readonly findings: readonly Finding[];
}

function planVolume(volume: AppVolume, profile: MoverProfile, facts: CaptureFacts, options: BackupOptions): Planned {
  if (volume.phase !== 'Bound') return { findings: claimFindings([volume]) };
  const findings = identityFindings(volume, profile);
  const isLiveForced = Array.isArray(options.live) && (options.live as readonly string[]).includes(volume.claim.name);
  if (isLiveForced) return withFindings(planLive(volume, profile), findings);
  const staged = planStaging(volume, facts, options);
  if ('staging' in staged) {
    const placement = placeNearVolume(volume.nodeAffinity, volume.scheduling);
    return {
      plan: { volume, method: 'volume-snapshot', staging: staged.staging, profile, placement },
      findings: [...findings, ...staged.findings],
    };
  }
  if (options.live === true) return withFindings(planLive(volume, profile), findings);
  return { findings: [...findings, staged.blocker] };
}

function withFindings(planned: Planned, more: readonly Finding[]): Planned {
  return { ...planned, findings: [...planned.findings, ...more] };
}

function planLive(volume: AppVolume, profile: MoverProfile): Planned {
  const { claim, accessModes, mountedBy } = volume;
  const name = refName(claim);
  if (accessModes.includes('ReadWriteOncePod') && mountedBy.length > 0) {
    const blocker: Finding = {
      level: 'blocker',
      code: 'volume-exclusive',
      message: `${name} cannot be read while it is in use: its access mode ReadWriteOncePod admits one pod, which is ${mountedBy.map((pod) => refName(pod)).join(', ')}`,
      ref: claim,
      hint: `stop ${volume.consumers.map((c) => refName(c)).join(', ')} first, or use a storage class whose driver takes volume snapshots`,
    };
    return { findings: [blocker] };
  }
  const isShared = accessModes.some((mode) => mode === 'ReadWriteMany' || mode === 'ReadOnlyMany');
  const placement =
    isShared || mountedBy.length === 0
      ? placeNearVolume(volume.nodeAffinity, volume.scheduling)
      : placeOnNode(volume.node, volume.scheduling);
  const inUse = mountedBy.length > 0;
  const finding: Finding = {
    level: inUse ? 'warning' : 'info',
    code: 'live-read',
    message: inUse
      ? `${name} is read while ${mountedBy.map((pod) => refName(pod)).join(', ')} may write to it: its files may be of different moments`
      : `${name} is read without a volume snapshot; no pod uses it now`,
    ref: claim,
  };
  return { plan: { volume, method: 'live', profile, placement }, findings: [finding] };
}

type StagingDecision = { readonly staging: Staging; readonly findings: readonly Finding[] } | { readonly blocker: Finding };

/** Whether and how the volume can be snapshotted. Declining is an answer: the blocker says why and what could be done. */
export function planStaging(volume: AppVolume, facts: CaptureFacts, options: BackupOptions): StagingDecision {
  const name = refName(volume.claim);
  const block = (code: string, message: string, hint: string): StagingDecision => ({
    blocker: { level: 'blocker', code, message, ref: volume.claim, hint },
  });
  const driver = volume.driver;
  // The types of volumes that are no CSI driver have no dot in their name, drivers must have one.
  if (driver === undefined || !driver.includes('.')) {
    const what = driver === undefined ? 'a volume of unknown type' : `a volume of type ${driver}`;
    return block(
      'volume-not-csi',
      `${name} is on ${what}, which has no volume snapshots`,
      `move it to a storage class of a CSI driver, or ${LIVE_HINT}`,
    );
  }
  if (!facts.hasSnapshotApi) {
    return block(
      'snapshot-api-missing',
      `${name} cannot be snapshotted: the cluster has no VolumeSnapshot API`,
      `install the CSI snapshot controller and its CRDs, or ${LIVE_HINT}`,
    );
  }
  const choice = chooseSnapshotClass(driver, facts.snapshotClasses, options.snapshotClass);
  if ('missing' in choice) {
    return block(
      'snapshot-class-missing',
      `${name} cannot be snapshotted: ${choice.missing}`,
      `install a VolumeSnapshotClass for the driver ${driver}, or ${LIVE_HINT}`,
    );
  }
  const storageClass = chooseStorageClass(volume, driver, facts.storageClasses);
  if (storageClass === undefined) {
    return block(
      'staging-class-missing',
      `${name} cannot be read from a volume snapshot: no storage class of the driver ${driver} exists to make a claim from it`,
      `create a StorageClass with provisioner ${driver}, or ${LIVE_HINT}`,
    );
  }
  const { class: snapshotClass, retained, findings } = choice;
  return {
    staging: {
      ...(snapshotClass === undefined ? {} : { snapshotClass }),
      snapshotRetained: retained,
      storageClass,
      bindsAtOnce: bindsAtOnce(facts.storageClasses?.find((c) => c.metadata.name === storageClass)),
      accessMode: options.stagedAccessMode ?? 'ReadWriteOnce',
    },
    findings: findings.map((f) => ({ ...f, ref: volume.claim })),
  };
}

type ClassChoice =
  { readonly class?: string; readonly retained: boolean; readonly findings: readonly Finding[] } | { readonly missing: string };

/** The named class, else the driver's default, else one that deletes what it made, else any, by name. */
function chooseSnapshotClass(driver: string, classes: readonly KubeObject[] | undefined, wanted: string | undefined): ClassChoice {
  if (classes === undefined) {
    const message = 'VolumeSnapshotClasses may not be listed: the cluster chooses the default one of the driver';
    return wanted === undefined
      ? { retained: false, findings: [{ level: 'info', code: 'snapshot-class-unknown', message }] }
      : { class: wanted, retained: false, findings: [] };
  }
  const own = classes.filter((c) => c['driver'] === driver).sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  if (wanted !== undefined) {
    const named = classes.find((c) => c.metadata.name === wanted);
    if (named === undefined) return { missing: `there is no VolumeSnapshotClass ${wanted}` };
    if (named['driver'] !== driver)
      return { missing: `VolumeSnapshotClass ${wanted} is of the driver ${String(named['driver'])}, not ${driver}` };
    return chosen(named);
  }
  const best =
    own.find((c) => c.metadata.annotations?.[DEFAULT_SNAPSHOT_CLASS] === 'true') ??
    own.find((c) => c['deletionPolicy'] === 'Delete') ??
    own[0];
  return best === undefined ? { missing: `no VolumeSnapshotClass is of its driver ${driver}` } : chosen(best);
}

function chosen(snapshotClass: KubeObject): ClassChoice {
  const { name } = snapshotClass.metadata;
  if (snapshotClass['deletionPolicy'] !== 'Retain') return { class: name, retained: false, findings: [] };
  const message = `VolumeSnapshotClass ${name} retains snapshots: deleting one takes the right to patch its VolumeSnapshotContent`;
  const hint = 'a class with deletionPolicy Delete needs no such right';
  return { class: name, retained: true, findings: [{ level: 'info', code: 'snapshot-class-retains', message, hint }] };
}

/** The volume's own class if its driver makes claims from the snapshot, else one of the same driver. */
function chooseStorageClass(volume: AppVolume, driver: string, classes: readonly KubeObject[] | undefined): string | undefined {
  if (classes === undefined) return volume.storageClass === '' ? undefined : volume.storageClass;
  const fitting = classes.filter((c) => stringAt(c, 'provisioner') === driver).map((c) => c.metadata.name);
  return fitting.includes(volume.storageClass) ? volume.storageClass : fitting.sort()[0];
}

/** `Immediate` is the API's default. Of a class that may not be read the question is open: then a mover shows that the volume is wanted. */
function bindsAtOnce(storageClass: KubeObject | undefined): boolean {
  return storageClass !== undefined && (stringAt(storageClass, 'volumeBindingMode') ?? 'Immediate') === 'Immediate';
}

/** Under the restricted Pod Security level a mover is no more than the workload itself: it cannot read what that cannot. */
function identityFindings(volume: AppVolume, profile: MoverProfile): Finding[] {
  if (profile === 'baseline') return [];
  const { claim, security, mode } = volume;
  const base = { level: 'warning', ref: claim } as const;
  if (mode === 'block') {
    const message = `${refName(claim)} is a block device, which movers in a namespace of Pod Security level restricted can open only if its node gives devices to their user`;
    return [{ ...base, code: 'device-may-be-refused', message, hint: 'set device_ownership_from_security_context of containerd or CRI-O' }];
  }
  if (security.runAsUser === undefined || security.runAsUser === 0) {
    const message = `the namespace is of Pod Security level restricted, and the user that ${refName(claim)} belongs to is not known: files that not everybody may read will be left out`;
    return [{ ...base, code: 'reader-unknown', message, hint: 'set securityContext.runAsUser of the workload that uses it' }];
  }
  const message = `the namespace is of Pod Security level restricted: files of ${refName(claim)} that user ${security.runAsUser} may not read will be left out`;
  return [{ ...base, level: 'info', code: 'reader-restricted', message }];
}

function latestRoot(history: readonly Backup[], volume: AppVolume): string | undefined {
  const has = (backup: Backup) => backup.volumes.find((v) => v.claim === volume.claim.name && v.mode === volume.mode);
  const latest = history.findLast((backup) => has(backup) !== undefined);
  return latest === undefined ? undefined : has(latest)?.root;
}
