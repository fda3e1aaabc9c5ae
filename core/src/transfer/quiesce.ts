import type { Cluster } from '../cluster/cluster.ts';
import { numberAt } from '../discovery/read.ts';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { refName } from '../model.ts';
import type { Finding, ObjectRef } from '../model.ts';
import type { OperationId } from '../operation.ts';
import { outwaitUsers } from './claim-users.ts';
import { runHookCommand } from './hook-command.ts';
import type { HookFailure } from './hook-command.ts';
import { stoppedByAnother } from './plan-quiesce.ts';
import type { HookCommand, PlannedHook, QuiescePlan } from './plan-quiesce.ts';
import { EXPIRED, NOT_RUNNING } from './recipes.ts';
import { QUIESCED, startAgain } from './stopped.ts';

const STOP_TIMEOUT_MS = 300_000;

/**
 * Makes an application stand still and lets it go on: `freeze` is every command before, in order, then workloads stop; `thaw` is all of the commands after,
 * whatever of it fails, and workloads start. `thaw` can be called at any time, and does each thing once.
 */
export class Quiesce {
  readonly #cluster: Cluster;
  readonly #id: OperationId;
  readonly #plan: QuiescePlan;
  readonly #run: RunOptions;
  /** What has to be undone, the last first. */
  readonly #undo: (() => Promise<Finding | undefined>)[] = [];

  constructor(cluster: Cluster, id: OperationId, plan: QuiescePlan, run: RunOptions) {
    this.#cluster = cluster;
    this.#id = id;
    this.#plan = plan;
    this.#run = run;
  }

  /** Throws QUIESCE_FAILED when a command that must not fail does; what is frozen by then, `thaw` releases. */
  async freeze(): Promise<readonly Finding[]> {
    const findings: Finding[] = [];
    for (const hook of this.#plan.hooks) {
      throwIfCancelled(this.#run.signal);
      // Before the command: one that fails half-way may have frozen something.
      const { post } = hook;
      if (post !== undefined) this.#undo.push(() => this.#attempt(hook, post, 'after'));
      if (hook.pre === undefined) continue;
      const failure = await this.#attempt(hook, hook.pre, 'before');
      if (failure !== undefined) findings.push(failure);
    }
    for (const { ref, replicas } of this.#plan.scale) {
      throwIfCancelled(this.#run.signal);
      await this.#stop(ref, replicas);
    }
    await this.#awaitStop();
    return findings;
  }

  /**
   * Undoes all of `freeze`. Throws QUIESCE_FAILED afterwards when something did not stand still to the end, or may not go on; `thaw` does not stop for it,
   * nor for a cancelled signal.
   */
  async thaw(): Promise<readonly Finding[]> {
    const findings: Finding[] = [];
    const failures: unknown[] = [];
    for (let undo = this.#undo.pop(); undo !== undefined; undo = this.#undo.pop()) {
      try {
        const finding = await undo();
        if (finding !== undefined) findings.push(finding);
      } catch (e) {
        failures.push(e);
      }
    }
    if (failures.length > 0) throw failures[0];
    return findings;
  }

  async #attempt(hook: PlannedHook, command: HookCommand, when: 'before' | 'after'): Promise<Finding | undefined> {
    const what = `the command ${when} the volume snapshots in container ${hook.container} of ${refName(hook.pod)} (${hook.by})`;
    const title = when === 'before' ? `freeze ${refName(hook.pod)}` : `release ${refName(hook.pod)}`;
    this.#run.emit({ type: 'step', phase: 'capture', title, state: 'start' });
    const problem = await this.#exec(hook, command, when);
    this.#run.emit({
      type: 'step',
      phase: 'capture',
      title,
      state: problem === undefined ? 'done' : 'failed',
      ...(problem === undefined ? {} : { reason: problem.fact }),
    });
    if (problem === undefined) return undefined;
    const message = `${what} ${problem.fact}`;
    const hint = hook.by.startsWith('recipe ')
      ? `mend it, or leave it out with --without-recipe ${hook.by.slice('recipe '.length)}`
      : 'mend it, or leave hooks out with --quiesce none';
    if (command.failsBackup && problem.isDeclined !== true)
      throw new DmaasError('QUIESCE_FAILED', message, { hint, ...(problem.cause === undefined ? {} : { cause: problem.cause }) });
    return { level: 'warning', code: problem.isDeclined === true ? 'recipe-declined' : 'hook-failed', message, ref: hook.pod, hint };
  }

  async #exec(hook: PlannedHook, command: HookCommand, when: 'before' | 'after'): Promise<Problem | undefined> {
    // What is frozen is released even when the user has stopped us.
    const failure = await runHookCommand(this.#cluster, hook, command, when === 'after' ? undefined : this.#run.signal);
    if (failure?.exitCode === NOT_RUNNING && when === 'before' && hook.by.startsWith('recipe '))
      return { fact: 'found no server that answers, so nothing is held', isDeclined: true };
    if (failure?.exitCode === EXPIRED && when === 'after')
      return { fact: 'came too late: the container had given up its lock, so the volumes may be of different moments' };
    return failure;
  }

  async #stop(ref: ObjectRef, replicas: number): Promise<void> {
    this.#run.emit({ type: 'step', phase: 'capture', title: `stop ${refName(ref)}`, state: 'start' });
    // Another backup may have stopped it since this one was planned, and would start it while ours takes its volume snapshots.
    const other = stoppedByAnother(await this.#cluster.get(ref), this.#id);
    if (other !== undefined) throw new DmaasError('QUIESCE_FAILED', other.message, { hint: other.hint });
    this.#undo.push(() => this.#start(ref, replicas));
    const marks = { labels: { [QUIESCED.label]: this.#id }, annotations: { [QUIESCED.replicas]: String(replicas) } };
    await this.#cluster.patch(ref, { metadata: marks, spec: { replicas: 0 } });
  }

  /** Most controllers do not count pods that are ending, which may still write for as long as their grace period lasts. */
  async #awaitStop(): Promise<void> {
    const { scale, unused } = this.#plan;
    const { signal } = this.#run;
    const fact = `did not stop within ${String(STOP_TIMEOUT_MS / 1000)} s`;
    for (const { ref } of scale) {
      try {
        await this.#cluster.waitFor(ref, (o) => o === undefined || (numberAt(o, 'status', 'replicas') ?? 0) === 0, {
          timeoutMs: STOP_TIMEOUT_MS,
          ...(signal === undefined ? {} : { signal }),
        });
      } catch (e) {
        if (!DmaasError.is(e, 'TIMEOUT')) throw e;
        throw new DmaasError('QUIESCE_FAILED', `${refName(ref)} ${fact}`, { cause: e });
      }
    }
    const using = unused.length === 0 ? [] : await outwaitUsers(this.#cluster, unused, STOP_TIMEOUT_MS, this.#run);
    if (using.length > 0) {
      const hint = 'see why its containers do not end, or which other workload makes it';
      throw new DmaasError('QUIESCE_FAILED', `${using.join(', ')} ${fact}`, { hint });
    }
    for (const { ref } of scale) this.#run.emit({ type: 'step', phase: 'capture', title: `stop ${refName(ref)}`, state: 'done' });
  }

  /** Only what bears our mark: somebody may have started it, and somebody else stopped it again. */
  async #start(ref: ObjectRef, replicas: number): Promise<undefined> {
    const found = await this.#cluster.get(ref);
    if (found === undefined) return;
    const isOurs = found.metadata.labels?.[QUIESCED.label] === this.#id;
    if (isOurs) await startAgain(this.#cluster, ref, replicas);
    if (isOurs && numberAt(found, 'spec', 'replicas') === 0) return;
    throw new DmaasError('QUIESCE_FAILED', `somebody has started ${refName(ref)} again before the volume snapshots were taken`, {
      hint: 'pause what keeps it running (an operator, Argo CD, Flux)',
    });
  }
}

interface Problem extends HookFailure {
  /** There is nothing to do for it. */
  readonly isDeclined?: boolean;
}
