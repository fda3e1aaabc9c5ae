import type { Application, AppVolume } from '../discovery/application.ts';
import { stringAt } from '../discovery/read.ts';
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
import type { BackupView, RestoreOptions, RestorePlan, RestoreStep, SnapshotStep, VolumeView } from './model.ts';
import { givenHooks, unmetHooks } from './restore-hooks.ts';
import { put, remove } from './rewrite.ts';
import { scrub } from './scrub.ts';
import { selectionOf } from './selection.ts';
import { stoppingOf } from './stopping.ts';

/** What a restore in place rests on. Plain JSON. */
export interface InPlaceFacts {
  readonly context: string;
  readonly clusterId: string;
  readonly kinds: readonly ResourceKind[];
  /** The claims that exist with what they need; absent when none exists. */
  readonly app?: Application;
  /** What uses them, and what is to be stopped for that, as it is. */
  readonly consumers: readonly KubeObject[];
  /** By the key of what uses a volume: what is to be stopped instead of it, such as the StatefulSet of a custom resource. */
  readonly below?: Readonly<Record<string, readonly ObjectRef[]>>;
  /** By the key of what is to be stopped: the topmost owner that is no part of Kubernetes. */
  readonly owners?: Readonly<Record<string, ObjectRef>>;
  readonly capture: CaptureFacts;
}

const READY_TIMEOUT_MS = 10 * 60_000;

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
  const users = found.flatMap(({ volume }) => volume.consumers).flatMap((ref) => facts.below?.[refKey(ref)] ?? [ref]);
  const stoppings = [...new Map(users.map((ref) => [refKey(ref), ref]))].map(([key, ref]) => {
    const owner = facts.owners?.[key];
    const { context, kinds } = facts;
    const common = { id, context, kinds, allow: options.allow ?? [], ...(owner === undefined ? {} : { owner }) };
    return { ref, ...stoppingOf(ref, members.get(key), common) };
  });
  findings.push(...stoppings.flatMap((s) => s.findings));
  const stops = stoppings.flatMap((s) => s.stops);
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
  const starts = stoppings.flatMap((s) => s.starts);
  const timeoutMs = options.readyTimeoutMs ?? READY_TIMEOUT_MS;
  const stopped = stoppings.filter((s) => s.isAwaited).flatMap(({ ref }) => members.get(refKey(ref)) ?? []);
  findings.push(...unmetHooks(stopped, options.hooks));
  const waits = stopped.map((workload): RestoreStep => {
    const hooks = givenHooks(workload, options.hooks);
    return { do: 'wait-ready', phase: 'activate', ref: refOf(workload), timeoutMs, ...(hooks.length === 0 ? {} : { hooks }) };
  });
  const active = [...starts, ...waits];
  if (!options.activate && starts.length > 0)
    findings.push({
      level: 'info',
      code: 'staged',
      message: `${stoppings.flatMap(({ ref, starts: s }) => (s.length > 0 ? [refName(ref)] : [])).join(', ')} stay stopped until the restore is activated`,
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
