import type { Application, AppVolume } from '../discovery/application.ts';
import { kindId } from '../discovery/pod-template.ts';
import { numberAt, stringAt } from '../discovery/read.ts';
import { sortFindings } from '../discovery/findings.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import { placeNearVolume, profileFor } from '../mover/job.ts';
import { ANNOTATIONS, operationObjectName } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { SNAPSHOT_API } from '../transfer/cleanup.ts';
import type { CaptureFacts } from '../transfer/model.ts';
import { planStaging } from '../transfer/plan.ts';
import { formatBytes } from './bytes.ts';
import { onTarget } from './hints.ts';
import type { BackupView, RestoreOptions, RestorePlan, RestoreStep, SnapshotStep, StartStep, StopStep, VolumeView } from './model.ts';
import { givenHooks, unmetHooks } from './restore-hooks.ts';
import { put, remove } from './rewrite.ts';
import { scrub } from './scrub.ts';
import { selectionOf } from './selection.ts';

/** What a restore in place rests on. Plain JSON. */
export interface InPlaceFacts {
  readonly context: string;
  readonly clusterId: string;
  readonly kinds: readonly ResourceKind[];
  /** The claims that exist with what they need; absent when none exists. */
  readonly app?: Application;
  /** What uses them, as it is. */
  readonly consumers: readonly KubeObject[];
  readonly capture: CaptureFacts;
}

/** On a workload that a restore in place has stopped. Not the mark of a backup: what is half rewritten must not be started by a clean-up. */
export const STOPPED = { label: 'dmaas.io/stopped-by', replicas: 'dmaas.io/stopped-replicas' } as const;

const READY_TIMEOUT_MS = 10 * 60_000;
const SCALABLE = ['Deployment.apps', 'StatefulSet.apps', 'ReplicaSet.apps', 'ReplicationController'];

interface Pair {
  readonly view: VolumeView;
  readonly index: number;
  readonly ref: ObjectRef;
}

/** The volumes of a backup that are to be written, and the claims they go to. */
export function inPlaceClaims(
  backup: BackupView,
  kinds: readonly ResourceKind[],
  options: RestoreOptions,
): { readonly pairs: readonly Pair[]; readonly findings: readonly Finding[] } {
  const namespace = options.namespace ?? backup.app.namespace;
  const objects = backup.volumes.map(
    ({ claim }) =>
      backup.objects.find((o) => refKey(refOf(o)) === refKey(claim)) ?? {
        apiVersion: claim.apiVersion,
        kind: claim.kind,
        metadata: { name: claim.name, namespace: backup.app.namespace },
      },
  );
  const { isSelected, findings } = selectionOf(objects, kinds, options);
  const chosen = new Set(objects.filter(isSelected).map((o) => o.metadata.name));
  const pairs = backup.volumes
    .toSorted((a, b) => (a.claim.name < b.claim.name ? -1 : 1))
    .map((view, index) => ({ view, index, ref: { ...view.claim, name: options.volumes?.[view.claim.name] ?? view.claim.name, namespace } }))
    .filter(({ view }) => chosen.has(view.claim.name));
  return { pairs, findings };
}

/**
 * What a restore over existing volumes does: stops what uses them, takes volume snapshots to go back to, makes their data what the backup has, and
 * starts everything again. Pure.
 */
export function planInPlace(id: OperationId, backup: BackupView, facts: InPlaceFacts, options: RestoreOptions): RestorePlan {
  const { pairs, findings: chosen } = inPlaceClaims(backup, facts.kinds, options);
  const findings: Finding[] = [...chosen];
  const found = pairs.flatMap((pair) => {
    const volume = facts.app?.volumes.find((v) => refKey(v.claim) === refKey(pair.ref));
    findings.push(...volumeFindings(pair, volume, options));
    return volume === undefined ? [] : [{ pair, volume }];
  });
  const members = new Map(
    [...(facts.app?.members ?? []).map(({ object }) => object), ...facts.consumers].map((object) => [refKey(refOf(object)), object]),
  );
  const consumers = new Map(found.flatMap(({ volume }) => volume.consumers).map((ref) => [refKey(ref), ref]));
  const stops: StopStep[] = [];
  for (const [key, ref] of consumers) {
    const stop = stopOf(ref, members.get(key), id, facts.context);
    if ('level' in stop) findings.push(stop);
    else if (stop.replicas > 0) stops.push(stop);
  }
  const profile = profileFor(facts.capture.namespace);
  const snapshots: SnapshotStep[] = [];
  const populates = found.map(({ pair: { view, index, ref }, volume }): RestoreStep => {
    if (options.withoutUndo !== true) {
      const snapshot = snapshotOf(id, backup, { ref, index, volume }, members.get(refKey(ref)), facts.capture);
      if ('blocker' in snapshot) findings.push({ ...snapshot.blocker, hint: '--without-undo restores with no way back' });
      else snapshots.push(snapshot);
    }
    const { mode, root, bytes, files } = view;
    const uid = members.get(refKey(ref))?.metadata.uid ?? '';
    const placement = placeNearVolume(volume.nodeAffinity, volume.scheduling);
    return {
      do: 'populate',
      phase: 'populate',
      claim: ref,
      index,
      mode,
      root,
      bytes,
      files,
      profile,
      identity: volume.security,
      placement,
      inPlace: { uid },
    };
  });
  const claims = found.map(({ pair }) => pair.ref);
  const starts = stops.map(({ ref, replicas }): StartStep => ({ do: 'start', phase: 'activate', ref, replicas }));
  const timeoutMs = options.readyTimeoutMs ?? READY_TIMEOUT_MS;
  const stopped = stops.flatMap(({ ref }) => members.get(refKey(ref)) ?? []);
  findings.push(...unmetHooks(stopped, options.hooks));
  const waits = stopped.map((workload): RestoreStep => {
    const hooks = givenHooks(workload, options.hooks);
    return { do: 'wait-ready', phase: 'activate', ref: refOf(workload), timeoutMs, ...(hooks.length === 0 ? {} : { hooks }) };
  });
  const active = [...starts, ...waits];
  if (!options.activate && stops.length > 0)
    findings.push({
      level: 'info',
      code: 'staged',
      message: `${stops.map(({ ref }) => refName(ref)).join(', ')} stay stopped until the restore is activated`,
      hint: `kubectl dmaas restore activate ${id} -n ${backup.app.namespace}`,
    });
  return {
    schema: 1,
    id,
    backup: backup.id,
    backupId: backup.recordId,
    options,
    source: { app: backup.app.name, namespace: backup.app.namespace, cluster: backup.app.cluster },
    target: { context: facts.context, clusterId: facts.clusterId, namespace: options.namespace ?? backup.app.namespace },
    steps: [
      ...stops,
      ...(claims.length === 0 ? [] : [{ do: 'wait-unused', phase: 'populate', claims } as const]),
      ...snapshots,
      ...populates,
      ...(options.activate ? active : []),
    ],
    ...(options.activate || active.length === 0 ? {} : { later: active }),
    findings: sortFindings(findings),
  };
}

function volumeFindings({ view, ref }: Pair, volume: AppVolume | undefined, options: RestoreOptions): Finding[] {
  const block = (code: string, message: string, hint: string): Finding[] => [{ level: 'blocker', code, message, ref, hint }];
  if (volume === undefined)
    return block('claim-missing', `claim ${ref.name} does not exist in namespace ${ref.namespace ?? ''}`, 'restore it without --in-place');
  if (volume.mode !== view.mode)
    return block(
      'volume-mode',
      `claim ${ref.name} is a ${volume.mode} volume, the backup is of a ${view.mode} volume`,
      `--exclude pvc/${view.claim.name}`,
    );
  if (volume.phase !== 'Bound')
    return block(
      'claim-not-bound',
      `claim ${ref.name} is ${volume.phase}: it has no volume to write to`,
      'kubectl describe pvc ' + ref.name,
    );
  if (view.bytes > volume.capacityBytes) {
    const message = `claim ${ref.name} has ${formatBytes(volume.capacityBytes)}, and the data of the backup are ${formatBytes(view.bytes)}`;
    return [{ level: view.mode === 'block' ? 'blocker' : 'warning', code: 'claim-too-small', message, ref }];
  }
  if (options.withoutUndo === true)
    return [{ level: 'warning', code: 'no-way-back', message: `what claim ${ref.name} holds now is lost`, ref }];
  return [];
}

function stopOf(ref: ObjectRef, object: KubeObject | undefined, id: OperationId, context: string): StopStep | Finding {
  const block = (code: string, message: string, hint: string): Finding => ({ level: 'blocker', code, message, ref, hint });
  const owner = object?.metadata.labels?.[STOPPED.label];
  if (owner !== undefined && owner !== id)
    return block(
      'stopped-by-another',
      `${refName(ref)} is stopped by the restore ${owner}`,
      `kubectl dmaas restore resume ${owner}, or undo it`,
    );
  if (object === undefined || !SCALABLE.includes(kindId(ref))) {
    return block(
      'cannot-be-stopped',
      `${refName(ref)} uses a volume that is to be rewritten, and has no replicas to take away`,
      'stop or delete it, and restore again',
    );
  }
  if (stringAt(object, 'spec', 'persistentVolumeClaimRetentionPolicy', 'whenScaled') === 'Delete') {
    const patch = `{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Retain"}}}`;
    const command = onTarget(`kubectl patch ${refName(ref)} -n ${ref.namespace ?? ''} --type merge -p '${patch}'`, { context });
    return block('claims-go-with-replicas', `${refName(ref)} deletes its claims when it is scaled down, so it cannot be stopped`, command);
  }
  const known = owner === undefined ? undefined : Number(object.metadata.annotations?.[STOPPED.replicas]);
  return { do: 'stop', phase: 'populate', ref, replicas: known ?? numberAt(object, 'spec', 'replicas') ?? 1 };
}

function snapshotOf(
  id: OperationId,
  backup: BackupView,
  { ref, index, volume }: { readonly ref: ObjectRef; readonly index: number; readonly volume: AppVolume },
  claim: KubeObject | undefined,
  capture: CaptureFacts,
): SnapshotStep | { readonly blocker: Finding } {
  const decision = planStaging(volume, capture, {});
  if ('blocker' in decision) return decision;
  const snapshot = {
    apiVersion: SNAPSHOT_API,
    kind: 'VolumeSnapshot',
    name: operationObjectName(id, 'undo', index),
    ...(ref.namespace === undefined ? {} : { namespace: ref.namespace }),
  };
  const { snapshotClass } = decision.staging;
  return {
    do: 'snapshot',
    phase: 'populate',
    ref: snapshot,
    claim: ref,
    ...(snapshotClass === undefined ? {} : { snapshotClass }),
    back: claimFrom(claim ?? { apiVersion: ref.apiVersion, kind: ref.kind, metadata: { name: ref.name } }, snapshot.name, id, backup.id),
  };
}

/** The claim as it is, made from the volume snapshot. */
function claimFrom(claim: KubeObject, snapshot: string, id: OperationId, backup: string): KubeObject {
  const bare = ['volumeName', 'dataSource', 'dataSourceRef'].reduce((o, field) => remove(o, 'spec', field), scrub(claim).object);
  const size = stringAt(claim, 'status', 'capacity', 'storage');
  const sized = size === undefined ? bare : put(bare, ['spec', 'resources', 'requests', 'storage'], size);
  const sourced = put(sized, ['spec', 'dataSource'], { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: snapshot });
  const marked = put(sourced, ['metadata', 'annotations', ANNOTATIONS.backup], backup);
  return put(marked, ['metadata', 'annotations', ANNOTATIONS.undone], id);
}
