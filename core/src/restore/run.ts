import type { Cluster } from '../cluster/cluster.ts';
import { mapAt } from '../discovery/read.ts';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import { inPhase } from '../in-phase.ts';
import { refKey, refName } from '../model.ts';
import type { Finding, KubeObject, ObjectRef } from '../model.ts';
import type { Missing } from '../mover/missing.ts';
import { ANNOTATIONS, LABELS, newOperationId } from '../operation.ts';
import { isStaged } from './activation.ts';
import { isDefaultAccount, isOwn, isSent } from './conflicts.ts';
import { listed, resumeCommand, undoCommand } from './hints.ts';
import type {
  ActivateStep,
  ApplyStep,
  ClaimStep,
  LinkStep,
  PopulateStep,
  RestorePhase,
  RestorePlan,
  RestoreStep,
  StopStep,
  WaitUnusedStep,
} from './model.ts';
import {
  assertStill,
  beginRewriting,
  createPod,
  deletePod,
  endRewriting,
  isRewritten,
  startWorkload,
  stopWorkload,
  takeUndoSnapshot,
  waitUnused,
} from './in-place.ts';
import { readExisting } from './read-target.ts';
import { filesMissing, lackOf, populateTitle, stepFailed, titleOf } from './steps.ts';
import { withEdits } from './text-references.ts';
import { waitReady } from './waiting.ts';
import type { WaitContext } from './waiting.ts';

export interface PopulateResult {
  /** Name of the claim. */
  readonly claim: string;
  readonly files: number;
  readonly bytes: number;
  /** Of content, that was not there before. */
  readonly writtenBytes?: number;
  readonly missing?: Missing;
  /** Something is missing that was not allowed to be. Repeating it tries again. */
  readonly isUnfinished?: boolean;
  /** What of the data could not be restored as it was. */
  readonly findings: readonly Finding[];
}

/**
 * Fills claims; resolves when all are filled and verified, as far as they can be. Repeating it with the same steps of the same operation goes on where it
 * stopped, or gives the same results; volumes in place are compared again.
 */
export type Populate = (steps: readonly PopulateStep[], run: RunOptions) => Promise<readonly PopulateResult[]>;

/** Where a restore is recorded for those who look at it later. What is done is known from the cluster alone. */
export interface RestoreJournal {
  /** Before the first change. The same plan again is no error. */
  begin(plan: RestorePlan): Promise<void>;
  /** After each attempt. */
  end(outcome: RestoreOutcome): Promise<void>;
}

export type RestoreOutcome =
  | { readonly state: 'done'; readonly report: RestoreReport }
  | {
      readonly state: 'failed' | 'stopped';
      readonly stepsLeft: number;
      readonly error: { readonly code: string; readonly message: string; readonly hint?: string };
    };

export interface CommandFlags {
  readonly resume: string;
  readonly undo: string;
}

export interface RestoreDeps {
  readonly cluster: Cluster;
  readonly populate: Populate;
  /** What is recorded of volumes that earlier attempts have filled; they are left alone. */
  readonly filledBefore?: Populate;
  readonly journal: RestoreJournal;
  /** Flags with which a person's next command finds this restore again, for hints. Default: the namespace of the backup. */
  readonly commandFlags?: CommandFlags;
}

export interface RestoreReport {
  readonly created: number;
  readonly updated: number;
  /** Existed, by the plan or from an earlier attempt. */
  readonly skipped: number;
  readonly activated: number;
  readonly populatedBytes: number;
  readonly populatedFiles: number;
  /** Of any kind: what the backup has and the volumes have not. */
  readonly missingFiles: number;
  /** Of `populatedBytes`, those that were written: fewer where a volume was rewritten in place. */
  readonly writtenBytes: number;
  /** Those of the plan, and what movers found. */
  readonly findings: readonly Finding[];
}

/**
 * Does what the plan says. Throws PREFLIGHT_FAILED, having changed nothing, when the plan has blockers or the target has moved since; after that
 * RESTORE_STEP_FAILED, MOVER_FAILED or CANCELLED, each with the command that goes on. Idempotent: the same plan again continues where
 * the last attempt stopped, since everything done bears the operation's marks.
 */
export async function applyRestore(plan: RestorePlan, deps: RestoreDeps, run: RunOptions): Promise<RestoreReport> {
  const attempt = new Attempt(plan, deps, run);
  await inPhase('preflight', run, () => attempt.check());
  let outcome: RestoreOutcome | undefined;
  try {
    const report = await attempt.apply();
    outcome = { state: 'done', report };
    return report;
  } catch (e) {
    const error = attempt.explain(e);
    const { code, message, hint } = error;
    const state = code === 'CANCELLED' ? 'stopped' : 'failed';
    outcome = { state, stepsLeft: attempt.stepsLeft, error: { code, message, ...(hint === undefined ? {} : { hint }) } };
    throw error;
  } finally {
    // A journal that cannot be written must not hide how the restore ended.
    if (outcome !== undefined) await deps.journal.end(outcome).catch(() => undefined);
  }
}

type Done = 'created' | 'updated' | 'skipped' | 'activated' | 'other';

class Attempt {
  /** As it was given: what is recorded is applied again, and an edit that was made must not be made twice. */
  readonly #given: RestorePlan;
  readonly #plan: RestorePlan;
  readonly #cluster: Cluster;
  readonly #deps: RestoreDeps;
  readonly #run: RunOptions;
  readonly #counts: Record<Done, number> = { created: 0, updated: 0, skipped: 0, activated: 0, other: 0 };
  readonly #populated: PopulateResult[] = [];
  /** By earlier attempts. What these did is not counted again, but what is missing is missing still. */
  #filledBefore: readonly PopulateResult[] = [];
  /** Of hooks, and of what controllers have not made. */
  readonly #runFindings: Finding[] = [];
  #next = 0;
  /** All volumes that are rewritten in place have been, by an earlier attempt: nothing is stopped again. */
  #isRewritten = false;
  /** Tells this process from others that go on with the same restore. */
  readonly #attempt = newOperationId();

  constructor(plan: RestorePlan, deps: RestoreDeps, run: RunOptions) {
    this.#given = plan;
    this.#plan = withEdits(plan);
    this.#deps = deps;
    this.#cluster = deps.cluster;
    this.#run = run;
  }

  get stepsLeft(): number {
    return this.#plan.steps.length - this.#next;
  }

  /** The target is still what the plan was made for. */
  async check(): Promise<void> {
    const { target, findings } = this.#plan;
    const blockers = findings.filter((f) => f.level === 'blocker');
    if (blockers.length > 0) {
      throw preflightFailed(
        blockers.map((f) => f.message),
        blockers[0]?.hint,
      );
    }
    throwIfCancelled(this.#run.signal);
    if ((await this.#cluster.id()) !== target.clusterId) {
      throw preflightFailed(
        [`the plan was made for another cluster than that of context ${this.#cluster.context}`],
        `--context ${target.context}`,
      );
    }
    const steps = this.#plan.steps.filter((s): s is ApplyStep | ClaimStep => s.do === 'apply' || s.do === 'create-claim');
    const { byKey } = await readExisting(
      this.#cluster,
      steps.map((s) => s.ref),
      await this.#cluster.kinds(),
      this.#run,
    );
    const rewritten = await this.#checkInPlace();
    const moved = [...rewritten, ...steps.flatMap((step) => movedSince(step, byKey.get(refKey(step.ref)), this.#plan) ?? [])];
    if (moved.length > 0) throw preflightFailed(moved, 'plan the restore again, and look at what changed');
    await this.#deps.journal.begin(this.#given);
  }

  async #checkInPlace(): Promise<readonly string[]> {
    const steps = this.#plan.steps.filter((s): s is PopulateStep => s.do === 'populate' && s.inPlace !== undefined);
    const claims = await Promise.all(steps.map(({ claim }) => this.#cluster.get(claim)));
    this.#isRewritten = steps.length > 0 && claims.every((claim) => isRewritten(claim, this.#plan.id));
    return steps.flatMap(({ claim, inPlace }, i) => {
      const uid = claims[i]?.metadata.uid;
      if (uid === inPlace?.uid) return [];
      return [`claim ${claim.name} ${uid === undefined ? 'has been deleted' : 'is another one'} since the plan was made`];
    });
  }

  async apply(): Promise<RestoreReport> {
    for (const phase of ['populate', 'activate'] as const) {
      const steps = this.#plan.steps.filter((s) => s.phase === phase);
      if (steps.length === 0) continue;
      await inPhase(phase, this.#run, () => this.#applyPhase(phase, steps));
    }
    const { created, updated, skipped, activated } = this.#counts;
    const sum = (of: (result: PopulateResult) => number, results: readonly PopulateResult[] = this.#populated): number =>
      results.reduce((total, result) => total + of(result), 0);
    const all = [...this.#filledBefore, ...this.#populated];
    const findings = [...this.#plan.findings, ...all.flatMap((r) => r.findings), ...this.#runFindings];
    return {
      ...{ created, updated, skipped, activated },
      populatedBytes: sum(({ bytes }) => bytes),
      populatedFiles: sum(({ files }) => files),
      missingFiles: sum(({ missing }) => missing?.entries ?? 0, all),
      writtenBytes: sum(({ bytes, writtenBytes = bytes }) => writtenBytes),
      findings,
    };
  }

  async #applyPhase(phase: RestorePhase, steps: readonly RestoreStep[]): Promise<void> {
    const volumes = steps.filter((s) => s.do === 'populate');
    for (const step of steps) {
      throwIfCancelled(this.#run.signal);
      if (step.do === 'populate') {
        // Movers run side by side, so the first volume's turn is the turn of all.
        if (step === volumes[0]) await this.#populate(volumes);
      } else {
        await this.#reported(phase, step);
      }
      this.#next += 1;
    }
  }

  async #reported(phase: RestorePhase, step: Exclude<RestoreStep, PopulateStep>): Promise<void> {
    const title = titleOf(step);
    this.#run.emit({ type: 'step', phase, title, state: 'start' });
    try {
      const done = await this.#applyStep(step);
      this.#counts[done] += 1;
      this.#run.emit({ type: 'step', phase, title, state: done === 'skipped' ? 'skipped' : 'done' });
    } catch (e) {
      this.#run.emit({ type: 'step', phase, title, state: 'failed', ...(DmaasError.is(e) ? { reason: e.message } : {}) });
      throw e;
    }
  }

  #applyStep(step: Exclude<RestoreStep, PopulateStep>): Promise<Done> {
    switch (step.do) {
      case 'apply':
      case 'create-claim':
        return this.#send(step);
      case 'activate':
        return this.#activate(step);
      case 'wait-ready':
        return waitReady(step, this.#waiting).then((ready) => (ready ? 'other' : 'skipped'));
      case 'link-owners':
        return this.#linkOwners(step);
      case 'stop':
        return this.#unlessRewritten(() => stopWorkload(this.#cluster, this.#plan.id, step));
      case 'wait-unused':
        return this.#unlessRewritten(() => this.#waitUnused(step));
      case 'snapshot':
        return this.#unlessRewritten(() => takeUndoSnapshot(this.#cluster, this.#plan.id, this.#plan.backup, step, this.#run));
      case 'delete-pod':
        return this.#unlessRewritten(() => deletePod(this.#cluster, step.ref, step.uid, this.#run));
      case 'start':
        return startWorkload(this.#cluster, this.#plan.id, step.ref, step.patch).then((started) => (started ? 'activated' : 'skipped'));
      case 'create-pod':
        return createPod(this.#cluster, step.pod).then((created) => (created ? 'activated' : 'skipped'));
    }
  }

  get #waiting(): WaitContext {
    const note = (finding: Finding): void => {
      this.#runFindings.push(finding);
      this.#run.emit({ type: 'finding', finding });
    };
    return { cluster: this.#cluster, target: this.#plan.target, run: this.#run, note };
  }

  async #unlessRewritten(work: () => Promise<boolean>): Promise<Done> {
    return !this.#isRewritten && (await work()) ? 'other' : 'skipped';
  }

  async #waitUnused({ claims }: WaitUnusedStep): Promise<boolean> {
    await waitUnused(this.#cluster, { claims, stops: this.#stops }, this.#run);
    return true;
  }

  get #stops(): readonly StopStep[] {
    return this.#plan.steps.filter((s) => s.do === 'stop');
  }

  async #send(step: ApplyStep | ClaimStep): Promise<Done> {
    if (!isSent(step.action)) return 'skipped';
    if (step.action === 'update') {
      // Sent by an earlier attempt, it may be active by now; the manifest is of its inactive form.
      const found = await this.#cluster.get(step.ref);
      if (found?.metadata.annotations?.[LABELS.operation] === this.#plan.id) return 'skipped';
      await this.#cluster.apply(step.manifest, { force: true });
      return 'updated';
    }
    try {
      await this.#cluster.create(step.manifest);
      return 'created';
    } catch (e) {
      if (!DmaasError.is(e, 'CLUSTER_CONFLICT')) throw e;
      const found = await this.#cluster.get(step.ref);
      if (found === undefined) throw e;
      if (!isOwn(found, this.#plan.id)) throw stepFailed(`${refName(step.ref, true)} appeared while the restore was running`, e);
      return 'skipped';
    }
  }

  /** What is filled bears the root it was filled with: a volume in use is never written to, whatever became of other records. */
  async #populate(steps: readonly PopulateStep[]): Promise<void> {
    const waiting: PopulateStep[] = [];
    const filled: PopulateStep[] = [];
    for (const step of steps) {
      if (await this.#isFilled(step)) {
        this.#run.emit({ type: 'step', phase: 'populate', title: populateTitle(step), state: 'skipped', reason: 'filled before' });
        filled.push(step);
      } else waiting.push(step);
    }
    this.#filledBefore = (await this.#deps.filledBefore?.(filled, this.#run)) ?? [];
    for (const { findings } of this.#filledBefore) for (const finding of findings) this.#run.emit({ type: 'finding', finding });
    if (waiting.length === 0) return;
    for (const step of waiting) this.#run.emit({ type: 'step', phase: 'populate', title: populateTitle(step), state: 'start' });
    const results = await this.#deps.populate(waiting, this.#run);
    const rewritten = waiting.filter((step) => step.inPlace !== undefined).map(({ claim }) => claim);
    if (rewritten.length > 0) await assertStill(this.#cluster, { claims: rewritten, stops: this.#stops });
    const unfinished = results.filter((result) => result.isUnfinished === true);
    for (const step of waiting) {
      const result = results.find((r) => r.claim === step.claim.name);
      if (result === undefined) throw new DmaasError('INTERNAL', `no result for the volume of claim ${step.claim.name}`);
      for (const finding of result.findings) this.#run.emit({ type: 'finding', finding });
      const title = populateTitle(step);
      if (unfinished.includes(result)) {
        this.#run.emit({ type: 'step', phase: 'populate', title, state: 'failed', reason: lackOf(result) });
        continue;
      }
      if (step.inPlace === undefined)
        await this.#cluster.patch(step.claim, { metadata: { annotations: { [ANNOTATIONS.populated]: step.root } } });
      else await endRewriting(this.#cluster, step.claim, this.#plan.id, this.#attempt);
      this.#populated.push(result);
      this.#run.emit({ type: 'step', phase: 'populate', title, state: 'done' });
    }
    if (unfinished.length > 0) throw filesMissing(unfinished);
  }

  async #isFilled({ claim: ref, root, inPlace }: PopulateStep): Promise<boolean> {
    const claim = await this.#mustGet(ref);
    if (inPlace === undefined) return mapAt(claim, 'metadata', 'annotations')[ANNOTATIONS.populated] === root;
    return isRewritten(claim, this.#plan.id) || !(await beginRewriting(this.#cluster, ref, this.#plan.id, this.#attempt));
  }

  async #activate(step: ActivateStep): Promise<Done> {
    if (!isStaged(await this.#mustGet(step.ref))) return 'skipped';
    await this.#cluster.patch(step.ref, step.patch);
    return 'activated';
  }

  async #linkOwners(step: LinkStep): Promise<Done> {
    const object = await this.#mustGet(step.ref);
    const present = object.metadata.ownerReferences ?? [];
    const owners = await Promise.all(
      step.owners.map(async ({ ref, ...flags }) => {
        const uid = (await this.#mustGet(ref)).metadata.uid ?? '';
        return { apiVersion: ref.apiVersion, kind: ref.kind, name: ref.name, uid, ...flags };
      }),
    );
    const missing = owners.filter((owner) => present.every((p) => p.uid !== owner.uid));
    if (missing.length === 0) return 'skipped';
    await this.#cluster.patch(step.ref, { metadata: { ownerReferences: [...present, ...missing] } });
    return 'other';
  }

  async #mustGet(ref: ObjectRef): Promise<KubeObject> {
    const object = await this.#cluster.get(ref);
    if (object === undefined) throw stepFailed(`${refName(ref, true)} was deleted while the restore was running`);
    return object;
  }

  /** The same error, in terms of the restore and with the way on. */
  explain(e: unknown): DmaasError {
    const { id, source, steps } = this.#plan;
    const namespace = `-n ${source.namespace}`;
    const flags = this.#deps.commandFlags ?? { resume: namespace, undo: namespace };
    const goOn = `go on with "${resumeCommand(id, flags.resume)}", or undo with "${undoCommand(id, flags.undo)}"`;
    if (!DmaasError.is(e))
      return new DmaasError('INTERNAL', 'the restore stopped for a reason that DMaaS does not know', { cause: e, hint: goOn });
    if (e.code === 'CANCELLED') {
      const left = `${String(this.stepsLeft)} of ${String(steps.length)} steps left`;
      return new DmaasError('CANCELLED', `stopped with ${left}; what is done stays`, { cause: e, hint: goOn });
    }
    const step = steps[this.#next];
    const isTold = e.code === 'RESTORE_STEP_FAILED' || step === undefined || !('ref' in step) || e.message.includes(refName(step.ref));
    const message = isTold ? e.message : `could not ${titleOf(step)}: ${e.message}`;
    const code = step?.do === 'populate' ? e.code : 'RESTORE_STEP_FAILED';
    return new DmaasError(code, message, { cause: e, hint: e.hint === undefined ? goOn : `${e.hint}; then ${goOn}`, details: e.details });
  }
}

function movedSince(step: ApplyStep | ClaimStep, found: KubeObject | undefined, plan: RestorePlan): string | undefined {
  const name = refName(step.ref, true);
  if (step.action === 'create') {
    return found === undefined || isOwn(found, plan.id) ? undefined : `${name} has appeared since the plan was made`;
  }
  // It comes with the namespace, at its own time.
  if (step.observed === undefined || (isDefaultAccount(step.manifest) && found !== undefined)) return undefined;
  if (found?.metadata.uid !== step.observed.uid) return `${name} has been deleted since the plan was made`;
  const isOurs = found.metadata.annotations?.[LABELS.operation] === plan.id;
  if (!isSent(step.action) || isOurs || found.metadata.resourceVersion === step.observed.resourceVersion) return undefined;
  return `${name} has changed since the plan was made`;
}

function preflightFailed(messages: readonly string[], hint?: string): DmaasError {
  const message = messages.length === 1 ? (messages[0] ?? '') : `${String(messages.length)} checks failed: ${listed(messages)}`;
  return new DmaasError('PREFLIGHT_FAILED', message, hint === undefined ? {} : { hint });
}
