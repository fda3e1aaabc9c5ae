import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from '../cluster/cluster.ts';
import { knownKind } from '../cluster/known-kinds.ts';
import { DmaasError, throwIfCancelled } from '../errors.ts';
import type { DmaasEvent, RunOptions } from '../events.ts';
import { refOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { at, stringAt } from '../discovery/read.ts';
import type { RunRecords } from '../repository/repository.ts';
import { diagnoseEnding, diagnoseFailure, diagnoseWaiting, jobState } from './diagnosis.ts';
import type { Diagnosis, MoverFacts, MoverFailure } from './diagnosis.ts';
import { MOVER_CONTAINER, moverJobRef, moverTaskRef, ownedBy, renderMoverJob, renderMoverSecret } from './job.ts';
import type { MoverOptions, MoverSpec } from './job.ts';
import type { Mover, MoverRequest } from './mover.ts';
import { moverResultName, moverResultSchema } from './task.ts';
import type { MoverResult } from './task.ts';

export interface JobMoverDeps {
  readonly cluster: Cluster;
  /** Of the repository that the movers write to: their results are there. */
  readonly runs: Pick<RunRecords, 'get' | 'delete'>;
  readonly options?: MoverOptions;
  readonly timing?: Partial<MoverTiming>;
}

/** Milliseconds. */
export interface MoverTiming {
  readonly poll: number;
  /** How long a mover may wait to run, e.g. for a node, or to end on one that does not answer. */
  readonly pending: number;
  /** The same while its image cannot be pulled, which passes soon or not at all. */
  readonly imagePull: number;
  /** How long the API server may be away while a mover works. */
  readonly outage: number;
  /** How long waiting is not looked into: volumes and images take a few seconds. */
  readonly unremarkable: number;
  /** How long an earlier mover of the same task may take to end. */
  readonly ending: number;
}

const TIMING: MoverTiming = { poll: 2000, pending: 600_000, imagePull: 120_000, outage: 900_000, unremarkable: 5000, ending: 120_000 };
/** Runs each task as a Job in the namespace of the volume. */
export class JobMover implements Mover {
  readonly #cluster: Cluster;
  readonly #runs: Pick<RunRecords, 'get' | 'delete'>;
  readonly #options: MoverOptions;
  readonly #timing: MoverTiming;

  constructor({ cluster, runs, options = {}, timing = {} }: JobMoverDeps) {
    this.#cluster = cluster;
    this.#runs = runs;
    this.#options = options;
    this.#timing = { ...TIMING, ...timing };
  }

  async run(request: MoverRequest, run: RunOptions): Promise<MoverResult> {
    const result = await this.#run(request, run);
    const { bytes, missing, addedBytes } = result;
    // A volume that moved between two lines of progress would show none.
    run.emit({ type: 'bytes', volume: request.spec.claim, done: bytes, total: bytes + (missing?.bytes ?? 0), added: addedBytes });
    return result;
  }

  async #run(request: MoverRequest, run: RunOptions): Promise<MoverResult> {
    if (request.task.direction === 'populate') await this.#forgetEarlier(request, run);
    const earlier = await this.#result(request, run);
    if (earlier !== undefined) {
      // Whoever started that mover may have died before it took it away.
      await this.#remove(request).catch(() => undefined);
      return earlier;
    }
    return this.#follow(request, run);
  }

  /**
   * What an earlier mover could not restore is tried again, perhaps without what is still missing then. That nothing uses a volume which is rewritten in
   * place is known of now, not of the time since an earlier mover was done with it, so that is compared again. Two movers must never write one volume: one
   * that still runs is let end. Its Job goes before its result, without which it would be a failure.
   */
  async #forgetEarlier(request: MoverRequest, run: RunOptions): Promise<void> {
    const { spec, task } = request;
    if (isUnderWay(await this.#cluster.get(moverJobRef(spec)))) await this.#follow(request, run);
    const earlier = await this.#result(request, run);
    if (earlier === undefined || (!isInPlace(request) && earlier.isUnfinished !== true)) return;
    await this.#end(request, run);
    await this.#runs.delete(spec.operation, signalOf(run), [moverResultName(task)]);
  }

  async #follow(request: MoverRequest, run: RunOptions): Promise<MoverResult> {
    const followed = new AbortController();
    const follower = new LogFollower(this.#cluster, run, followed.signal);
    let uid: string | undefined;
    try {
      uid = (await this.#start(request, run)).metadata.uid;
      return await this.#wait(request, follower, run);
    } finally {
      followed.abort();
      // Cleaning up is never cancelled, and never hides why it came to it: what stays is found by its labels.
      await this.#remove(request, uid).catch(() => undefined);
    }
  }

  async #result({ task }: MoverRequest, run: RunOptions): Promise<MoverResult | undefined> {
    const call = run.signal === undefined ? {} : { signal: run.signal };
    const record = await this.#runs.get(task.operation, moverResultName(task), call);
    return record === undefined ? undefined : moverResultSchema.parse(record);
  }

  /** Creates the Job and its Secret and lets it go; takes those of an earlier call that are there. */
  async #start(request: MoverRequest, run: RunOptions): Promise<KubeObject> {
    const { spec, task } = request;
    const ref = moverJobRef(spec);
    let job = await this.#cluster.get(ref);
    if (job !== undefined && (job.metadata.deletionTimestamp !== undefined || jobState({ job, pods: [] }) === 'failed')) {
      await this.#end(request, run);
      job = undefined;
    }
    if (job === undefined) await this.#waitForEarlier(request, run);
    throwIfCancelled(run.signal);
    job ??= await this.#createOrGet(renderMoverJob(spec, this.#options));
    throwIfCancelled(run.signal);
    if (request.ownClaim !== undefined) {
      const { metadata } = request.ownClaim;
      await this.#createOrGet({ ...request.ownClaim, metadata: { ...metadata, ownerReferences: [ownedBy(job)] } });
    }
    await this.#createSecret(renderMoverSecret(spec, task, job));
    throwIfCancelled(run.signal);
    if (at(job, 'spec', 'suspend') === true) await this.#cluster.patch(ref, { spec: { suspend: false } });
    return job;
  }

  /** Takes the Job away, and waits until its pods are gone too. */
  async #end({ spec }: MoverRequest, run: RunOptions): Promise<void> {
    const ref = moverJobRef(spec);
    await this.#cluster.delete(ref, { propagation: 'foreground' });
    await this.#cluster.waitFor(ref, (o) => o === undefined, { timeoutMs: this.#timing.ending, ...signalOf(run) });
  }

  /** A pod outlives its Job until it has ended, which a node that does not answer never says. Two movers must never write one volume. */
  async #waitForEarlier(request: MoverRequest, run: RunOptions): Promise<void> {
    const since = Date.now();
    for (;;) {
      throwIfCancelled(run.signal);
      const pods = await this.#pods(request.spec);
      const earlier = pods.find((pod) => !['Succeeded', 'Failed'].includes(stringAt(pod, 'status', 'phase') ?? ''));
      if (earlier === undefined) return;
      this.#giveUpWaiting(request, diagnoseEnding(earlier), Date.now() - since, this.#timing.ending);
      await sleep(this.#timing.poll, undefined, signalOf(run)).catch(() => undefined);
    }
  }

  async #createOrGet(manifest: KubeObject): Promise<KubeObject> {
    try {
      return await this.#cluster.create(manifest);
    } catch (e) {
      const existing = DmaasError.is(e, 'CLUSTER_CONFLICT') ? await this.#cluster.get(refOf(manifest)) : undefined;
      if (existing === undefined) throw e;
      return existing;
    }
  }

  async #createSecret(manifest: KubeObject): Promise<void> {
    const existing = await this.#createOrGet(manifest);
    const ownerOf = (o: KubeObject) => o.metadata.ownerReferences?.[0]?.uid;
    if (ownerOf(existing) === ownerOf(manifest)) return;
    // It belongs to a Job that is gone, and goes with it at any moment.
    await this.#cluster.delete(refOf(manifest));
    await this.#cluster.create(manifest);
  }

  async #wait(request: MoverRequest, follower: LogFollower, run: RunOptions): Promise<MoverResult> {
    let waitingSince = Date.now();
    let answeredAt = Date.now();
    for (;;) {
      throwIfCancelled(run.signal);
      try {
        const facts = await this.#facts(request, Date.now() - waitingSince > this.#timing.unremarkable);
        answeredAt = Date.now();
        const state = facts === undefined ? 'gone' : jobState(facts);
        if (state === 'running') waitingSince = Date.now();
        if (facts !== undefined) follower.follow(facts.pods);
        if (facts !== undefined && state === 'waiting') this.#giveUpWaiting(request, diagnoseWaiting(facts), Date.now() - waitingSince);
        if (state === 'succeeded' || state === 'failed' || state === 'gone') return await this.#outcome(request, facts, run);
      } catch (e) {
        // The mover works on without the API server.
        if (!DmaasError.is(e, 'CLUSTER_UNREACHABLE') || Date.now() - answeredAt > this.#timing.outage) throw e;
      }
      await sleep(this.#timing.poll, undefined, signalOf(run)).catch(() => undefined);
    }
  }

  async #facts({ spec }: MoverRequest, withEvents: boolean): Promise<MoverFacts | undefined> {
    const job = await this.#cluster.get(moverJobRef(spec));
    if (job === undefined) return undefined;
    const name = job.metadata.name;
    const pods = await this.#pods(spec);
    const isOver = ['failed', 'succeeded'].includes(jobState({ job, pods }));
    const subjects = new Set([name, spec.claim, ...pods.map((pod) => pod.metadata.name)]);
    const events = withEvents || isOver ? await this.#events(spec) : [];
    return { job, pods, events: events.filter((e) => subjects.has(stringAt(e, 'involvedObject', 'name') ?? '')) };
  }

  #pods(spec: MoverSpec): Promise<KubeObject[]> {
    const { name, namespace = '' } = moverJobRef(spec);
    return this.#list('Pod', { namespace, labelSelector: `batch.kubernetes.io/job-name=${name}` });
  }

  /** Events explain, but nothing depends on them: who may not read them is told less. */
  async #events({ namespace, claim }: MoverSpec): Promise<readonly KubeObject[]> {
    try {
      const warnings = await this.#list('Event', { namespace, fieldSelector: 'type=Warning' });
      // That nobody makes the volume is no warning to Kubernetes.
      const ofClaim = `type=Normal,involvedObject.kind=PersistentVolumeClaim,involvedObject.name=${claim}`;
      return [...warnings, ...(await this.#list('Event', { namespace, fieldSelector: ofClaim }))];
    } catch (e) {
      if (DmaasError.is(e, 'CLUSTER_FORBIDDEN')) return [];
      throw e;
    }
  }

  async #list(kind: string, scope: { namespace: string; labelSelector?: string; fieldSelector?: string }): Promise<KubeObject[]> {
    const found: KubeObject[] = [];
    for await (const object of this.#cluster.list(knownKind(kind), scope)) found.push(object);
    return found;
  }

  #giveUpWaiting(
    request: MoverRequest,
    why: Diagnosis | undefined,
    waitedMs: number,
    limit = why?.patience === 'short' ? this.#timing.imagePull : this.#timing.pending,
  ): void {
    const { claim } = request.task.volume;
    const fact = why?.fact ?? 'its pod is still waiting';
    const init = {
      ...(why?.hint === undefined ? {} : { hint: why.hint }),
      details: { claim, fact, ...(why === undefined ? {} : { about: why.about }) },
    };
    if (why?.patience === 'none') throw new DmaasError('MOVER_FAILED', `the mover of claim ${claim} cannot start: ${fact}`, init);
    if (waitedMs <= limit) return;
    throw new DmaasError('TIMEOUT', `the mover of claim ${claim} has not run for ${Math.round(limit / 1000)} s: ${fact}`, init);
  }

  /** The result that the mover left in the repository decides, whatever became of its Job. */
  async #outcome(request: MoverRequest, facts: MoverFacts | undefined, run: RunOptions): Promise<MoverResult> {
    const result = await this.#result(request, run);
    if (result !== undefined) return result;
    const failure: MoverFailure = facts === undefined ? { state: 'its Job was deleted while it ran' } : diagnoseFailure(facts);
    throw moverFailed(request.task.volume.claim, failure);
  }

  /** With a uid that Job only: another process may have begun the next. */
  async #remove({ spec }: MoverRequest, uid?: string): Promise<void> {
    await this.#cluster.delete(moverJobRef(spec), { propagation: 'background', ...(uid === undefined ? {} : { uid }) });
    await this.#cluster.delete(moverTaskRef(spec));
  }
}

function isInPlace({ task }: MoverRequest): boolean {
  return task.direction === 'populate' && task.isInPlace === true;
}

/** Begun, and neither over nor being deleted. */
function isUnderWay(job: KubeObject | undefined): boolean {
  if (job === undefined || job.metadata.deletionTimestamp !== undefined || at(job, 'spec', 'suspend') === true) return false;
  return !['succeeded', 'failed'].includes(jobState({ job, pods: [] }));
}

export function moverFailed(claim: string, { state, exitCode, reported, hint }: MoverFailure): DmaasError {
  const parts = [
    state,
    ...(exitCode === undefined ? [] : [`exit code ${exitCode}`]),
    ...(reported === undefined ? [] : [`it said: ${reported.message}`]),
  ];
  const advice = reported?.hint ?? hint ?? 'run the same again: what is stored already is not sent again';
  const fact = parts.join('; ');
  return new DmaasError('MOVER_FAILED', `the mover of claim ${claim} failed: ${fact}`, {
    hint: advice,
    details: {
      claim,
      fact,
      ...(exitCode === undefined ? {} : { exitCode }),
      ...(reported?.code === undefined ? {} : { reported: reported.code }),
    },
  });
}

/** Passes on the progress that pods write to their logs. It is worth no error: without it there is only no progress to see. */
class LogFollower {
  readonly #cluster: Cluster;
  readonly #run: RunOptions;
  readonly #signal: AbortSignal;
  readonly #following = new Set<string>();

  constructor(cluster: Cluster, run: RunOptions, signal: AbortSignal) {
    this.#cluster = cluster;
    this.#run = run;
    this.#signal = run.signal === undefined ? signal : AbortSignal.any([signal, run.signal]);
  }

  follow(pods: readonly KubeObject[]): void {
    for (const pod of pods) {
      const { name } = pod.metadata;
      if (stringAt(pod, 'status', 'phase') !== 'Running' || this.#following.has(name)) continue;
      this.#following.add(name);
      // A stream that breaks off is taken up again at the next look.
      void this.#read(refOf(pod)).finally(() => this.#following.delete(name));
    }
  }

  async #read(pod: ObjectRef): Promise<void> {
    try {
      for await (const line of this.#cluster.logs(pod, MOVER_CONTAINER, { signal: this.#signal, follow: true, tailLines: 1 })) {
        const event = progressEvent(line);
        if (event !== undefined) this.#run.emit(event);
      }
    } catch (e) {
      if (!DmaasError.is(e)) throw e;
    }
  }
}

/** The progress in a line of a mover's log. Logs are not trusted: anything else is ignored. */
export function progressEvent(line: string): DmaasEvent | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  const [type, volume, done, added, total] = ['type', 'volume', 'done', 'added', 'total'].map((field) => at(value, field));
  if (type !== 'bytes' || typeof volume !== 'string' || !CLAIM_NAME.test(volume) || !isCount(done) || !isCount(added)) return undefined;
  return { type, volume, done, added, ...(isCount(total) ? { total } : {}) };
}

/** What is shown in a terminal must not steer it. */
const CLAIM_NAME = /^[a-z0-9][a-z0-9.-]{0,252}$/;

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function signalOf(run: RunOptions): { readonly signal?: AbortSignal } {
  return run.signal === undefined ? {} : { signal: run.signal };
}
