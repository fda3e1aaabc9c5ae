import { kindId, podTemplateOf } from '../discovery/pod-template.ts';
import { at, listAt, mapAt, stringAt } from '../discovery/read.ts';
import { refName, refOf } from '../model.ts';
import type { Finding, KubeObject } from '../model.ts';
import { parseHookCommand, parseHookTimeout } from '../transfer/plan-quiesce.ts';
import type { RestoreHook, RestoreOptions } from './model.ts';

const POST = 'post.hook.restore.velero.io/';
const INIT = 'init.hook.restore.velero.io/';
const TIMEOUT_MS = 30_000;

/** What Velero's annotations on the pods of a workload ask for after a restore. */
export function restoreHooksOf(workload: KubeObject): { readonly hooks: readonly RestoreHook[]; readonly findings: readonly Finding[] } {
  const annotations =
    kindId(workload) === 'Pod' ? mapAt(workload, 'metadata', 'annotations') : mapAt(templateMetadata(workload), 'annotations');
  const ref = refOf(workload);
  const initial: Finding[] = Object.keys(annotations).some((key) => key.startsWith(INIT))
    ? [
        {
          level: 'warning',
          code: 'hook-not-honoured',
          message: `pods of ${refName(ref)} ask for init containers of a restore, which are not added: data are there before any pod is`,
          ref,
        },
      ]
    : [];
  const text = annotations[`${POST}command`];
  if (text === undefined) return { hooks: [], findings: initial };
  try {
    const hook = {
      container: annotations[`${POST}container`] ?? stringAt(listAt(podTemplateOf(workload)?.spec, 'containers')[0], 'name') ?? '',
      command: parseHookCommand(text),
      timeoutMs: parseHookTimeout(annotations[`${POST}exec-timeout`]) ?? TIMEOUT_MS,
      failsRestore: annotations[`${POST}on-error`] === 'Fail',
    };
    return { hooks: [hook], findings: initial };
  } catch (e) {
    if (!(e instanceof RangeError)) throw e;
    const problem: Finding = {
      level: 'blocker',
      code: 'hook-malformed',
      message: `${refName(ref)} has a restore hook that makes no sense: ${e.message}`,
      ref,
      hint: 'mend the annotation with a --patch-file',
    };
    return { hooks: [], findings: [...initial, problem] };
  }
}

/** Those that the options ask for. */
export function givenHooks(workload: KubeObject, requests: RestoreOptions['hooks'] = []): readonly RestoreHook[] {
  const name = refName(refOf(workload));
  const first = stringAt(listAt(podTemplateOf(workload)?.spec, 'containers')[0], 'name') ?? '';
  return requests
    .filter(({ target }) => target === name)
    .map(({ container = first, command }) => ({ container, command, timeoutMs: TIMEOUT_MS, failsRestore: true }));
}

/** Requests for workloads that are not started: a slip of the pen. */
export function unmetHooks(started: readonly KubeObject[], requests: RestoreOptions['hooks'] = []): readonly Finding[] {
  const names = new Set(started.map((o) => refName(refOf(o))));
  return requests
    .filter(({ target }) => !names.has(target))
    .map(({ target }) => ({
      level: 'blocker',
      code: 'hook-without-pod',
      message: `${target} is not started by this restore, so there is no pod of it to run a command in`,
      hint: 'commands are for KIND/NAME of a workload, by its name on the target',
    }));
}

function templateMetadata(workload: KubeObject): unknown {
  return at(workload, 'spec', 'template', 'metadata') ?? at(workload, 'spec', 'jobTemplate', 'spec', 'template', 'metadata');
}
