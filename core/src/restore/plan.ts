import { controllerOf, kindId } from '../discovery/pod-template.ts';
import { parseQuantity } from '../discovery/quantity.ts';
import { at, mapAt, stringAt } from '../discovery/read.ts';
import { schedulingOf, securityOf } from '../discovery/volumes.ts';
import { groupOf, refKey, refName, refOf } from '../model.ts';
import type { Finding, KubeObject } from '../model.ts';
import { placeForWorkload, profileFor } from '../mover/job.ts';
import type { OperationId } from '../operation.ts';
import { formatBytes } from './bytes.ts';
import { activationPatch, activationWaves, stage } from './activation.ts';
import type { Staged } from './activation.ts';
import { decide, isDefaultAccount, isOwn, isSent, mark } from './conflicts.ts';
import type { ConflictContext, Decision } from './conflicts.ts';
import { onTarget } from './hints.ts';
import { mapSteps } from './later.ts';
import type { Mapping } from './mapping.ts';
import type {
  ActivateStep,
  ApplyStep,
  BackupView,
  ClaimStep,
  LinkStep,
  PopulateStep,
  RestoreOptions,
  RestorePhase,
  RestorePlan,
  RestoreStep,
  TargetState,
  WaitStep,
} from './model.ts';
import { inOrder, positionOf } from './order.ts';
import type { Position, Stage } from './order.ts';
import { checkPlan } from './plan-checks.ts';
import { editFindings, sharedPodFindings } from './renaming-checks.ts';
import { mountsClaim } from './pods.ts';
import { mappingOf, namespaceItem, prepare } from './prepare.ts';
import type { Item } from './prepare.ts';
import { givenHooks, restoreHooksOf, unmetHooks } from './restore-hooks.ts';
import { update } from './rewrite.ts';
import { proposeEdits, servicesOf } from './text-references.ts';

const READY_TIMEOUT_MS = 10 * 60_000;
/** A definition is established within seconds, or its schema is at fault. */
const ESTABLISHED_TIMEOUT_MS = 60_000;

interface Settled extends Item {
  readonly decision: Decision;
  readonly staged: Staged;
  readonly position: Position;
}

/**
 * What a restore of `backup` to `target` does, and everything that stands in its way: all of it, not only the first. Pure; the same input gives
 * the same plan. Planning again with the id of an unfinished restore gives a plan that finishes it.
 */
export function planRestore(id: OperationId, backup: BackupView, target: TargetState, options: RestoreOptions): RestorePlan {
  const map = mappingOf(backup, options);
  const existing = new Map(target.existing.map((o) => [refKey(refOf(o)), o]));
  const isTaken = (o: KubeObject): boolean => {
    const found =
      options.conflict === 'rename' && o.metadata.namespace !== undefined && !isDefaultAccount(o)
        ? existing.get(refKey(refOf(o)))
        : undefined;
    return found !== undefined && !isOwn(found, id);
  };
  const { items, findings, renames, owned } = prepare(backup, target, options, isTaken);
  const context = { id, policy: options.conflict ?? 'fail', namespace: map.to, existing };
  const namespace = namespaceItem(backup, target, map);
  const finalNamespace = target.namespace ?? namespace?.object;
  const settled = settle([...(namespace === undefined ? [] : [namespace]), ...items], owned, context);
  const changed = settled.filter((s) => isSent(s.decision.action));
  const checks = checkPlan({
    objects: changed.map((s) => s.decision.object),
    captured: new Map(changed.map((s) => [refKey(refOf(s.decision.object)), s.captured])),
    present: new Set([...existing.keys(), ...settled.map((s) => refKey(refOf(s.decision.object)))]),
    capturedClaims: new Set(backup.objects.filter((o) => kindId(o) === 'PersistentVolumeClaim').map((o) => o.metadata.name)),
    map,
    target,
    namespace: finalNamespace,
    isSameCluster: backup.app.clusterId === target.clusterId,
    allow: options.allow ?? [],
  });
  const renaming = { map, hosts: options.values?.hosts ?? {}, services: servicesOf(items), accept: options.acceptEdits };
  const edits = changed.flatMap((s) => proposeEdits(s.decision.object, renaming));
  const { steps, later, notes } = stepsOf(settled, { id, namespace: finalNamespace, backup, target, options, map, owned });
  return {
    schema: 1,
    id,
    backup: backup.id,
    backupId: backup.recordId,
    options,
    source: { app: backup.app.name, namespace: backup.app.namespace, cluster: backup.app.cluster },
    target: { context: target.context, clusterId: target.clusterId, namespace: map.to },
    steps,
    ...(later.length === 0 ? {} : { later }),
    ...(edits.length === 0 ? {} : { edits }),
    findings: byLevel([
      ...findings,
      ...settled.flatMap((s) => s.decision.findings),
      ...checks,
      ...editFindings(edits),
      ...sharedPodFindings(changed, renames, target),
      ...notes,
    ]),
  };
}

function byLevel(findings: readonly Finding[]): readonly Finding[] {
  const rank = { blocker: 0, warning: 1, info: 2 } as const;
  return findings.toSorted((a, b) => rank[a.level] - rank[b.level]);
}

/** Decides what happens to each object, and puts them in order. */
function settle(items: readonly Item[], owned: readonly KubeObject[], context: ConflictContext): readonly Settled[] {
  const converted = new Set(
    items
      .filter(({ object: o }) => o.kind === 'CustomResourceDefinition')
      .filter(({ object: o }) => stringAt(o, 'spec', 'conversion', 'webhook', 'clientConfig', 'service', 'namespace') === context.namespace)
      .map(({ object: o }) => `${stringAt(o, 'spec', 'names', 'kind') ?? ''}.${stringAt(o, 'spec', 'group') ?? ''}`),
  );
  const settled = items.map((item): Settled => {
    const decision = decide(item.object, context);
    const staged = stage(decision.object);
    const role = converted.has(kindId(item.object))
      ? 'served-by-application'
      : owned.some((o) => RUNS_PODS.has(kindId(o)) && isOwner(item.captured, o))
        ? 'starts-workloads'
        : undefined;
    return { ...item, decision, staged, position: positionOf(item.object, role) };
  });
  // The default account without anything of its own is not worth a line.
  return inOrder(settled.filter((s) => !(isDefaultAccount(s.object) && s.decision.action === 'skip')));
}

interface StepContext {
  readonly id: OperationId;
  /** As it will be. */
  readonly namespace: KubeObject | undefined;
  readonly backup: BackupView;
  readonly target: TargetState;
  readonly options: RestoreOptions;
  readonly map: Mapping;
  /** What owners make again, as captured. */
  readonly owned: readonly KubeObject[];
}

function stepsOf(
  settled: readonly Settled[],
  context: StepContext,
): { readonly steps: readonly RestoreStep[]; readonly later: readonly RestoreStep[]; readonly notes: readonly Finding[] } {
  const { options } = context;
  const inStage = (name: Stage): readonly RestoreStep[] =>
    settled.filter((s) => s.position.stage === name).flatMap((s) => applySteps(s, context));
  const populate = populateSteps(settled, context);
  const activation = activationSteps(settled, context);
  const links = linkSteps(settled);
  // A controller that acts at once finds what it owns.
  const starting = settled.filter((s) => s.position.stage === 'activation' && kindId(s.object) !== 'Pod');
  const started = new Set(starting.map((s) => refKey(refOf(s.decision.object))));
  const isEarly = (link: LinkStep): boolean => link.owners.every(({ ref }) => started.has(refKey(ref)));
  const staged = [...inStage('foundation'), ...populate.steps, ...inStage('staging'), ...links.filter((l) => l.phase === 'populate')];
  const active = [
    ...starting.flatMap((s) => applySteps(s, context)),
    ...links.filter((l) => l.phase === 'activate' && isEarly(l)),
    ...activation.steps,
    ...madeSteps(settled, 'activation', context),
    ...inStage('exposure'),
    ...links.filter((l) => l.phase === 'activate' && !isEarly(l)),
    ...madeSteps(settled, 'exposure', context),
  ];
  const notes = [...populate.notes, ...activation.notes];
  if (options.activate || active.length === 0) return { steps: [...staged, ...active], later: [], notes };
  const note: Finding = {
    level: 'info',
    code: 'staged',
    message: `everything is restored inactive; ${String(active.filter((s) => s.do !== 'wait-ready').length)} steps are left until it is activated`,
    hint: `kubectl dmaas restore activate ${context.id} -n ${context.backup.app.namespace}`,
  };
  return { steps: staged, later: active, notes: [...notes, note] };
}

function phaseOf(stageName: Stage): RestorePhase {
  return stageName === 'activation' || stageName === 'exposure' ? 'activate' : 'populate';
}

function applySteps(item: Settled, { id, backup }: StepContext): readonly RestoreStep[] {
  const { decision, staged } = item;
  const { action, reason, observed } = decision;
  const ref = refOf(decision.object);
  const manifest = isSent(action) ? mark(staged.object, action, id, backup.id) : decision.object;
  const common = {
    phase: phaseOf(item.position.stage),
    action,
    ref,
    source: refOf(item.captured),
    manifest,
    changes: [...item.changes, ...decision.changes],
    ...(reason === undefined ? {} : { reason }),
    ...(observed === undefined ? {} : { observed }),
  };
  if (kindId(decision.object) === 'PersistentVolumeClaim') {
    const claim: ClaimStep = { do: 'create-claim', ...common, action: action === 'update' ? 'create' : action };
    return [claim];
  }
  const apply: ApplyStep = { do: 'apply', ...common };
  if (ref.kind !== 'CustomResourceDefinition' || !isSent(action)) return [apply];
  return [apply, { do: 'wait-ready', phase: common.phase, ref, timeoutMs: ESTABLISHED_TIMEOUT_MS }];
}

function populateSteps(
  settled: readonly Settled[],
  { backup, namespace }: StepContext,
): { readonly steps: readonly PopulateStep[]; readonly notes: readonly Finding[] } {
  const volumes = new Map(
    backup.volumes
      .toSorted((a, b) => (a.claim.name < b.claim.name ? -1 : 1))
      .map((volume, index) => [volume.claim.name, { volume, index }]),
  );
  const workloads = settled.map((s) => s.object);
  const profile = profileFor(namespace);
  const steps: PopulateStep[] = [];
  const notes: Finding[] = [];
  for (const { object, captured, decision } of settled) {
    if (kindId(object) !== 'PersistentVolumeClaim' || decision.action !== 'create') continue;
    const claim = refOf(object);
    const found = volumes.get(captured.metadata.name);
    if (found === undefined) {
      notes.push({
        level: 'warning',
        code: 'claim-without-data',
        message: `the backup has no data of claim ${claim.name}; it stays empty`,
        ref: claim,
      });
      continue;
    }
    const consumer = workloads.find((w) => mountsClaim(w, claim.name));
    const { mode, root, bytes, files } = found.volume;
    const identity = consumer === undefined ? {} : (securityOf(consumer, object) ?? {});
    const placement = placeForWorkload(consumer === undefined ? {} : (schedulingOf(consumer) ?? {}));
    steps.push({ do: 'populate', phase: 'populate', claim, index: found.index, mode, root, bytes, files, profile, identity, placement });
    const size = parseQuantity(mapAt(object, 'spec', 'resources', 'requests')['storage'] ?? '') ?? 0;
    if (bytes > size) {
      const message = `claim ${claim.name} asks for ${formatBytes(size)}, and its data are ${formatBytes(bytes)}`;
      // Sparse files count with their holes, so a file system may hold more than its size.
      const level = mode === 'block' ? 'blocker' : 'warning';
      notes.push({ level, code: 'claim-too-small', message, ref: claim, hint: `--exclude pvc/${claim.name}` });
    }
  }
  return { steps, notes };
}

/** Bare pods and workloads wave by wave, each wave watched until it is ready. */
function activationSteps(
  settled: readonly Settled[],
  context: StepContext,
): { readonly steps: readonly RestoreStep[]; readonly notes: readonly Finding[] } {
  const timeoutMs = context.options.readyTimeoutMs ?? READY_TIMEOUT_MS;
  const isJob = (s: Settled): boolean => ['Job.batch', 'CronJob.batch'].includes(kindId(s.object));
  const waiting = settled.filter((s) => isSent(s.decision.action) && (s.staged.activation !== undefined || kindId(s.object) === 'Pod'));
  const held = waiting.filter((s) => isJob(s) && context.options.startJobs !== true);
  const started = waiting.filter((s) => !held.includes(s));
  const byKey = new Map(started.map((s) => [refKey(refOf(s.object)), s]));
  const waves = activationWaves(
    started.map((s) => s.object),
    settled.map((s) => s.object),
  );
  const steps = waves.flatMap((wave) => {
    const members = wave.flatMap((ref) => byKey.get(refKey(ref)) ?? []);
    const starts = members.flatMap((s) => startSteps(s, context));
    const waits = members.map((s): WaitStep => {
      const hooks = [...restoreHooksOf(s.object).hooks, ...givenHooks(s.object, context.options.hooks)];
      return { do: 'wait-ready', phase: 'activate', ref: refOf(s.object), timeoutMs, ...(hooks.length === 0 ? {} : { hooks }) };
    });
    return [...starts, ...waits];
  });
  const notes = held.map((s): Finding => {
    const name = refName(refOf(s.object));
    const patch = JSON.stringify(s.staged.activation === undefined ? {} : activationPatch(s.staged.activation));
    const hint = onTarget(`kubectl patch ${name} -n ${context.map.to} --type merge -p '${patch}'`, context.target);
    return { level: 'info', code: 'job-suspended', message: `${name} is restored suspended`, ref: refOf(s.object), hint };
  });
  const unmet = unmetHooks(
    started.map((s) => s.object),
    context.options.hooks,
  );
  return { steps, notes: [...unmet, ...notes, ...started.flatMap((s) => restoreHooksOf(s.object).findings)] };
}

/** Worth waiting for. */
const MADE_KINDS = new Set(['Deployment.apps', 'StatefulSet.apps', 'DaemonSet.apps']);
/** Whoever makes these makes pods. */
const RUNS_PODS = new Set([...MADE_KINDS, 'Pod', 'ReplicaSet.apps', 'ReplicationController', 'Job.batch', 'CronJob.batch']);

function isOwner(candidate: KubeObject, object: KubeObject): boolean {
  const owner = controllerOf(object);
  return (
    owner?.kind === candidate.kind && owner.name === candidate.metadata.name && groupOf(owner.apiVersion) === groupOf(candidate.apiVersion)
  );
}

/** Operators make the workloads of custom resources: the application works when these do. Owners that come in `ownersIn`. */
function madeSteps(settled: readonly Settled[], ownersIn: Stage, { owned, map, options }: StepContext): readonly WaitStep[] {
  const timeoutMs = options.readyTimeoutMs ?? READY_TIMEOUT_MS;
  return owned
    .filter((o) => MADE_KINDS.has(kindId(o)))
    .flatMap((o): WaitStep[] => {
      const owner = settled.find(({ captured }) => isOwner(captured, o));
      // Under another name its workloads have other names too, which only its operator knows.
      const isSame = owner !== undefined && isSent(owner.decision.action) && owner.object.metadata.name === owner.captured.metadata.name;
      if (!isSame || owner.position.stage !== ownersIn) return [];
      const ref = { ...refOf(o), namespace: map.to };
      return [{ do: 'wait-ready', phase: 'activate', ref, timeoutMs, madeBy: refOf(owner.object) }];
    });
}

function startSteps(item: Settled, context: StepContext): readonly RestoreStep[] {
  const { activation } = item.staged;
  if (activation === undefined) return applySteps(item, context);
  const step: ActivateStep = {
    do: 'activate',
    phase: 'activate',
    ref: refOf(item.object),
    patch: activationPatch(activation),
    how: activation.how,
  };
  return [step];
}

/** Owner references between restored objects, which need the uids that the target will give. */
function linkSteps(settled: readonly Settled[]): readonly LinkStep[] {
  const byCapturedKey = new Map(settled.map((s) => [refKey(refOf(s.captured)), s]));
  return settled.flatMap((item): LinkStep[] => {
    if (item.decision.action !== 'create') return [];
    const owners = (item.captured.metadata.ownerReferences ?? []).flatMap((owner) => {
      const ref = { apiVersion: owner.apiVersion, kind: owner.kind, name: owner.name };
      const { namespace } = item.captured.metadata;
      const found = byCapturedKey.get(refKey(namespace === undefined ? ref : { ...ref, namespace })) ?? byCapturedKey.get(refKey(ref));
      return found === undefined ? [] : [{ found, owner }];
    });
    if (owners.length === 0) return [];
    const stages = [item, ...owners.map((o) => o.found)].map((s) => phaseOf(s.position.stage));
    return [
      {
        do: 'link-owners',
        phase: stages.includes('activate') ? 'activate' : 'populate',
        ref: refOf(item.decision.object),
        owners: owners.map(({ found, owner }) => {
          const { controller } = owner;
          const block = at(owner, 'blockOwnerDeletion');
          return {
            ref: refOf(found.decision.object),
            ...(controller === undefined ? {} : { controller }),
            ...(typeof block === 'boolean' ? { blockOwnerDeletion: block } : {}),
          };
        }),
      },
    ];
  });
}

/** In the place of what a Secret holds. No base64, so no value of a Secret's data looks like it. */
export const HIDDEN = '(from the backup)';

/** The plan without what its Secrets hold: for showing, and for a document that is applied later, which takes them from the backup. */
export function redactPlan(plan: RestorePlan): RestorePlan {
  const hide = (values: unknown): unknown => Object.fromEntries(Object.keys(Object(values) as object).map((key) => [key, HIDDEN]));
  return mapSteps(plan, (step) => {
    if ((step.do !== 'apply' && step.do !== 'create-claim') || step.manifest.kind !== 'Secret') return step;
    return { ...step, manifest: update(update(step.manifest, ['data'], hide), ['stringData'], hide) };
  });
}
