import type { Application, AppVolume } from '../discovery/application.ts';
import { idOfKind } from '../discovery/inventory.ts';
import { kindId } from '../discovery/pod-template.ts';
import { listAt, mapAt, numberAt, stringAt } from '../discovery/read.ts';
import { refKey, refName, refOf } from '../model.ts';
import type { Finding, KubeObject, ObjectRef } from '../model.ts';
import { isOperationId } from '../operation.ts';
import type { OperationId } from '../operation.ts';
import { usesClaim } from './claim-users.ts';
import { cleanupCommand } from './cleanup.ts';
import { freezeScript, recipeFor, releaseScript } from './recipes.ts';
import { QUIESCED, STOPPED_KINDS } from './stopped.ts';

/** `hooks`: commands in the application's containers. `scale`: workloads that use the volumes are stopped. `none`: volumes are of one moment, as after a power cut. */
export type QuiesceMode = 'hooks' | 'scale' | 'none';

/** A command before the volume snapshots and one after them, in one container. Plain JSON. */
export interface PlannedHook {
  readonly pod: ObjectRef;
  readonly container: string;
  /** Who asked for it: `recipe postgresql`, `annotation of pod/db-0`. */
  readonly by: string;
  /** For people. */
  readonly does: string;
  readonly pre?: HookCommand;
  readonly post?: HookCommand;
}

export interface HookCommand {
  readonly command: readonly string[];
  readonly timeoutMs: number;
  /** A failure stops the backup; otherwise it is a warning. */
  readonly failsBackup: boolean;
}

export interface QuiescePlan {
  readonly mode: QuiesceMode;
  readonly hooks: readonly PlannedHook[];
  /** Workloads to stop, and what they go back to. */
  readonly scale: readonly { readonly ref: ObjectRef; readonly replicas: number }[];
  /** Claims that no pod may use any more when the volume snapshots are taken. */
  readonly unused: readonly ObjectRef[];
}

export interface QuiesceOptions {
  /** `hooks` when absent. */
  readonly quiesce?: QuiesceMode;
  /** Commands that the user gives, besides those of annotations and recipes. Each runs in every running pod of its target. */
  readonly hooks?: readonly HookRequest[];
  /** Names of recipes not to use. */
  readonly withoutRecipes?: readonly string[];
  /** After that a container that is frozen by a recipe thaws by itself. Two minutes when absent. */
  readonly freezeLimitSeconds?: number;
}

/** A command in the pods of a workload, or in one pod. Plain JSON. */
export interface HookRequest {
  /** `statefulset/db`, `pod/db-0`: kinds in lower case. */
  readonly target: string;
  /** The first one when absent. */
  readonly container?: string;
  readonly before?: readonly string[];
  readonly after?: readonly string[];
}

export const NO_QUIESCE: QuiescePlan = { mode: 'none', hooks: [], scale: [], unused: [] };

const FREEZE_LIMIT_SECONDS = 120;
/** Velero's, when its annotations name none. */
const HOOK_TIMEOUT_MS = 30_000;
const STOPPABLE = new Set(STOPPED_KINDS.map(idOfKind));

/**
 * Decides how an application is made to stand still while volume snapshots are taken, of all of its `volumes`. `pods`: those of its namespace that this
 * identity could read. Pure.
 */
export function planQuiesce(
  id: OperationId,
  app: Application,
  pods: readonly KubeObject[],
  options: QuiesceOptions,
): { readonly quiesce: QuiescePlan; readonly findings: readonly Finding[] } {
  const mode = options.quiesce ?? 'hooks';
  if (mode === 'none') return { quiesce: NO_QUIESCE, findings: [] };
  if (mode === 'scale') {
    const unused = app.volumes.map(({ claim }) => claim);
    const scale = stoppable(app).filter(({ replicas }) => replicas > 0);
    return { quiesce: { mode, hooks: [], scale, unused }, findings: [...losesClaims(app, scale), ...goesOn(app, pods)] };
  }
  const own = podsOf(app, pods);
  const given = givenHooks(app, own, options.hooks ?? []);
  const annotated = own.map((pod) => ({ pod, hook: annotatedHook(pod) }));
  const findings = annotated.flatMap(({ hook }) => (hook !== undefined && 'problem' in hook ? [hook.problem] : []));
  const found = annotated.flatMap(({ pod, hook }): PlannedHook[] => {
    if (hook !== undefined) return 'problem' in hook ? [] : [hook.planned];
    return recipeHooks(id, app, pod, options);
  });
  const hooks = [...given.hooks, ...found];
  const notes = hooks.map(({ pod, container, does, by }): Finding => ({
    level: 'info',
    code: 'quiesce',
    message: `before the volume snapshots container ${container} of ${refName(pod)} ${does} (${by})`,
    ref: pod,
    ...(by === COMMAND_LINE
      ? {}
      : {
          hint: by.startsWith('recipe ') ? `--without-recipe ${by.slice('recipe '.length)} leaves it out` : '--quiesce none leaves it out',
        }),
  }));
  return { quiesce: { mode, hooks, scale: [], unused: [] }, findings: [...given.findings, ...findings, ...notes] };
}

/**
 * What is not done for `live`, volumes that are read live: that takes as long as there are data, nobody is made to stand still for it. What the user has asked
 * for stands in the way then, when no volume snapshot is taken either. Pure.
 */
export function findingsOfLiveReads(
  id: OperationId,
  app: Application,
  live: readonly AppVolume[],
  isSnapshotted: boolean,
  pods: readonly KubeObject[],
  options: QuiesceOptions,
): Finding[] {
  const mode = options.quiesce ?? 'hooks';
  const block = (message: string, hint: string): Finding => ({ level: 'blocker', code: 'quiesce-without-snapshot', message, hint });
  if (mode === 'none') return [];
  if (mode === 'scale') {
    if (isSnapshotted || live.every(({ mountedBy }) => mountedBy.length === 0)) return [];
    const message = 'no workload would be stopped: that is done for volume snapshots only, and all volumes are read live';
    return [block(message, 'stop the workloads yourself for as long as the backup runs, or --quiesce none')];
  }
  const warn = (pod: KubeObject, message: string): Finding => ({
    level: 'warning',
    code: 'not-held',
    message,
    ref: refOf(pod),
    hint: 'use a storage class whose driver takes volume snapshots, or stop it for as long as the backup runs',
  });
  const asked = isSnapshotted ? [] : [...new Set((options.hooks ?? []).map(({ target }) => target))];
  return [
    ...asked.map((target) => {
      const message = `the command for ${target} would not run: that is done around volume snapshots only, and none is taken`;
      return block(message, 'run it yourself before and after the backup, without --hook-before and --hook-after');
    }),
    ...podsOf(app, pods).flatMap((pod): Finding[] => {
      const name = refName(refOf(pod));
      if (annotatedHook(pod) !== undefined) {
        const message = `the hooks that annotations of ${name} ask for do not run: that is done around volume snapshots only, and none is taken`;
        return isSnapshotted || live.length === 0 ? [] : [warn(pod, message)];
      }
      return recipeHooks(id, { ...app, volumes: live }, pod, options).map(({ container, by }) =>
        warn(pod, `container ${container} of ${name} is not held while its volumes are read live: ${by} does so for volume snapshots only`),
      );
    }),
  ];
}

/** What another backup has stopped has no replicas now, and gets them back at a time that is not ours to choose. That backup may well be alive. */
export function stoppedByAnother(
  workload: KubeObject | undefined,
  id: OperationId,
): { readonly message: string; readonly hint: string } | undefined {
  const holder = workload?.metadata.labels?.[QUIESCED.label];
  if (workload === undefined || holder === undefined || holder === id || !isOperationId(holder)) return undefined;
  const ref = refOf(workload);
  return {
    message: `${refName(ref)} is stopped by the backup ${holder}`,
    hint: `wait until that backup has ended; if nothing runs it any more: ${cleanupCommand(ref.namespace ?? '', holder)}`,
  };
}

function stoppable(app: Application): QuiescePlan['scale'] {
  const consumers = new Set(app.volumes.flatMap((v) => v.consumers.map(refKey)));
  return app.members
    .map(({ object }) => object)
    .filter((o) => STOPPABLE.has(kindId(o)) && consumers.has(refKey(refOf(o))))
    .map((o) => ({ ref: refOf(o), replicas: numberAt(o, 'spec', 'replicas') ?? 1 }));
}

/** To stop these would delete the data that are to be backed up. */
function losesClaims(app: Application, scale: QuiescePlan['scale']): Finding[] {
  const stopped = new Set(scale.map(({ ref }) => refKey(ref)));
  return app.members
    .map(({ object }) => object)
    .filter((o) => stopped.has(refKey(refOf(o))) && stringAt(o, 'spec', 'persistentVolumeClaimRetentionPolicy', 'whenScaled') === 'Delete')
    .map((o) => ({
      level: 'blocker',
      code: 'claims-go-with-replicas',
      message: `${refName(refOf(o))} deletes its claims when it is scaled down, so it cannot be stopped`,
      ref: refOf(o),
      hint: 'set persistentVolumeClaimRetentionPolicy.whenScaled to Retain, or --quiesce hooks',
    }));
}

/** Pods that would use the volumes although all that can be stopped is: of a DaemonSet or a Job, of an operator, of another application. */
function goesOn(app: Application, pods: readonly KubeObject[]): Finding[] {
  const stopped = new Set(stoppable(app).map(({ ref }) => refKey(ref)));
  return pods.flatMap((pod): Finding[] => {
    const used = app.volumes.filter(({ claim }) => usesClaim(pod, [claim])).map(({ claim }) => refName(claim));
    const owners = ownersOf(app, refOf(pod));
    const isStopped = pod.metadata.deletionTimestamp !== undefined || owners.some((ref) => stopped.has(refKey(ref)));
    if (used.length === 0 || isStopped) return [];
    const maker = owners
      .slice(1)
      .slice(-1)
      .map((ref) => ` of ${refName(ref)}`);
    const message = `${refName(refOf(pod))}${maker.join('')} uses ${used.join(', ')} and would go on: what is stopped are the application’s Deployments, StatefulSets, ReplicaSets and ReplicationControllers`;
    return [{ level: 'blocker', code: 'cannot-be-stopped', message, ref: refOf(pod), hint: 'stop it first, or --quiesce hooks' }];
  });
}

/** Running pods that are members, or that members made; in order of their names. */
function podsOf(app: Application, pods: readonly KubeObject[]): readonly KubeObject[] {
  const names = new Set(
    [...app.members.map(({ object }) => refOf(object)), ...app.leftOut.map(({ ref }) => ref)].filter((r) => r.kind === 'Pod').map(refKey),
  );
  return pods
    .filter(
      (pod) =>
        names.has(refKey(refOf(pod))) && stringAt(pod, 'status', 'phase') === 'Running' && pod.metadata.deletionTimestamp === undefined,
    )
    .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
}

const COMMAND_LINE = 'command line';

/** For each request, a hook in each running pod that it means. */
function givenHooks(
  app: Application,
  pods: readonly KubeObject[],
  requests: readonly HookRequest[],
): { readonly hooks: readonly PlannedHook[]; readonly findings: readonly Finding[] } {
  const findings: Finding[] = [];
  const hooks = requests.flatMap(({ target, container, before, after }): PlannedHook[] => {
    const own = pods.filter((pod) => ownersOf(app, refOf(pod)).some((ref) => refName(ref) === target));
    if (own.length === 0) {
      const message = `there is no running pod of ${target} in the application, to run a command in`;
      findings.push({ level: 'blocker', code: 'hook-without-pod', message, hint: 'commands are for KIND/NAME of a workload or a pod' });
    }
    const command = (words: readonly string[]): HookCommand => ({ command: words, timeoutMs: HOOK_TIMEOUT_MS, failsBackup: true });
    return own.map((pod) => ({
      pod: refOf(pod),
      container: container ?? stringAt(listAt(pod, 'spec', 'containers')[0], 'name') ?? '',
      by: COMMAND_LINE,
      does: `runs ${(before ?? after ?? []).join(' ')}`,
      ...(before === undefined ? {} : { pre: command(before) }),
      ...(after === undefined ? {} : { post: command(after) }),
    }));
  });
  return { hooks, findings };
}

/** The object, its owner, the owner's, and so on. */
function ownersOf(app: Application, ref: ObjectRef): readonly ObjectRef[] {
  const owners = app.edges.filter(({ name, from }) => name === 'owned-by' && refKey(from) === refKey(ref)).map(({ to }) => to);
  return [ref, ...owners.flatMap((owner) => ownersOf(app, owner))];
}

const PRE = 'pre.hook.backup.velero.io/';
const POST = 'post.hook.backup.velero.io/';

/** What Velero's annotations on a pod ask for. */
function annotatedHook(pod: KubeObject): { readonly planned: PlannedHook } | { readonly problem: Finding } | undefined {
  const annotations = mapAt(pod, 'metadata', 'annotations');
  if (annotations[`${PRE}command`] === undefined && annotations[`${POST}command`] === undefined) return undefined;
  const ref = refOf(pod);
  try {
    const pre = annotatedCommand(annotations, PRE);
    const post = annotatedCommand(annotations, POST);
    const container =
      annotations[`${PRE}container`] ?? annotations[`${POST}container`] ?? stringAt(listAt(pod, 'spec', 'containers')[0], 'name') ?? '';
    const planned = { pod: ref, container, by: `annotation of ${refName(ref)}`, does: `runs ${(pre ?? post)?.command[0] ?? ''}` };
    return { planned: { ...planned, ...(pre === undefined ? {} : { pre }), ...(post === undefined ? {} : { post }) } };
  } catch (e) {
    if (!(e instanceof RangeError)) throw e;
    return {
      problem: {
        level: 'blocker',
        code: 'hook-malformed',
        message: `${refName(ref)} has a hook that makes no sense: ${e.message}`,
        ref,
        hint: '--quiesce none leaves hooks out',
      },
    };
  }
}

function annotatedCommand(annotations: Readonly<Record<string, string>>, prefix: string): HookCommand | undefined {
  const text = annotations[`${prefix}command`];
  if (text === undefined) return undefined;
  return {
    command: parseHookCommand(text),
    timeoutMs: parseHookTimeout(annotations[`${prefix}timeout`]) ?? HOOK_TIMEOUT_MS,
    failsBackup: annotations[`${prefix}on-error`] !== 'Continue',
  };
}

/** A JSON list of words, or one word. Throws RangeError. */
export function parseHookCommand(text: string): readonly string[] {
  if (!text.trimStart().startsWith('[')) return [text];
  let words: unknown;
  try {
    words = JSON.parse(text);
  } catch {
    words = undefined;
  }
  if (!Array.isArray(words) || words.length === 0 || !words.every((w) => typeof w === 'string'))
    throw new RangeError(`${text} is no list of words`);
  return words;
}

/** `30s`, `1m30s`. Throws RangeError. */
export function parseHookTimeout(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map((p) => p[0]).join('') !== text) throw new RangeError(`${text} is no duration`);
  return parts.reduce((sum, [, n, unit]) => sum + Number(n) * units[unit as keyof typeof units], 0);
}

/** Recipes for the containers that mount one of the application's volumes. */
function recipeHooks(id: OperationId, app: Application, pod: KubeObject, options: QuiesceOptions): PlannedHook[] {
  const key = refKey(refOf(pod));
  if (!app.volumes.some((v) => v.mountedBy.some((ref) => refKey(ref) === key))) return [];
  const limit = options.freezeLimitSeconds ?? FREEZE_LIMIT_SECONDS;
  return listAt(pod, 'spec', 'containers').flatMap((container): PlannedHook[] => {
    const recipe = recipeFor(stringAt(container, 'image') ?? '');
    if (recipe === undefined || (options.withoutRecipes ?? []).includes(recipe.name)) return [];
    const shell = (script: string, timeoutMs: number): HookCommand => ({ command: ['sh', '-c', script], timeoutMs, failsBackup: true });
    return [
      {
        pod: refOf(pod),
        container: stringAt(container, 'name') ?? '',
        by: `recipe ${recipe.name}`,
        does: recipe.does,
        pre: shell(freezeScript(recipe, id, limit), (limit + 10) * 1000),
        post: shell(releaseScript(id), 60_000),
      },
    ];
  });
}
