import { DmaasError } from '../../errors.ts';
import type { RunOptions } from '../../events.ts';
import { plural } from '../../format.ts';
import type { Finding } from '../../model.ts';
import { forEachParallel } from '../../parallel.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import type { BlobReader } from '../blobs/blob-reader.ts';
import type { BlobId, BlobKind } from '../format/blob.ts';
import { isUnreadable } from '../format/damage.ts';
import type { Random } from '../format/derive.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { misfitOf, packIdOf, packKey, PACKS } from '../format/pack-reader.ts';
import type { IndexLoader } from '../index/index-loader.ts';
import { deleteReplaced, mergeSegments } from '../index/index-merge.ts';
import { SegmentVanished, type OpenSegment } from '../index/open-segment.ts';
import { listSessions, Session, settleSession, SILENT_MS, type SessionInfo } from '../protocol/sessions.ts';
import type { Tombstones } from '../protocol/tombstones.ts';
import { BackupList } from '../records/backup-list.ts';
import type { BackupRecords } from '../records/backups.ts';
import type { RunRecords } from '../records/runs.ts';
import { deleteFinishedRuns } from './finished-runs.ts';
import { extendLocks, type LockReport } from './locks.ts';
import { Mark } from './mark.ts';
import { planPrune, type PrunePlan } from './prune-plan.ts';

export type { PrunePlan } from './prune-plan.ts';

/** How long condemned packs stay, so that restores and backups that run are not disturbed. */
export const DEFAULT_GRACE_MS = 24 * 60 * 60_000;
const MAX_DELETES = 8;
const MAX_TRIES = 5;

export interface PruneOptions {
  /** Says what would be done, and changes nothing. */
  readonly dryRun?: boolean;
  /** Default: 24 hours. Nothing is lost with 0 either, but restores that run may have to begin again. */
  readonly graceMs?: number;
}

/** What a collection did, or would do. */
export interface PruneReport extends PrunePlan {
  /** The earliest time by the store's clock at which what is condemned now can be deleted. */
  readonly deletableAt: string;
  /** For each backup, newest first: bytes that no newer one needs, before compression. They come back when it and all older ones are deleted. */
  readonly keeps: readonly { readonly backup: string; readonly name: string; readonly bytes: number }[];
  /** Where the bucket's rule locks what is written to it. */
  readonly locks: LockReport | undefined;
  readonly findings: readonly Finding[];
}

export interface PruneParts {
  readonly store: ObjectStore;
  readonly keys: RepositoryKeys;
  readonly random: Random;
  readonly loader: IndexLoader;
  readonly reader: BlobReader;
  readonly records: BackupRecords;
  readonly runs: RunRecords;
  readonly tombstones: Tombstones;
  readonly packBytes: Readonly<Record<BlobKind, number>>;
  /** Writes these anew, as none of them counts as stored; resolves when they are in the index. */
  readonly copy: (ids: readonly BlobId[], onUnreadable: (i: number, error: DmaasError) => void, opts: CallOptions) => Promise<void>;
}

/** Collects garbage (core/DESIGN.md, 7.3): deletes what an earlier collection condemned, and condemns what nothing needs now. */
export async function prune(parts: PruneParts, opts: PruneOptions, run: RunOptions): Promise<PruneReport> {
  const call = run.signal === undefined ? {} : { signal: run.signal };
  const session = await Session.begin('collect', parts, call);
  try {
    for (let tries = 1; ; tries++) {
      try {
        return await new Collection(parts, opts, run, session).run();
      } catch (e) {
        // Somebody merged segments of the index, or deleted a backup, while it was read; nothing is deleted before all has been.
        if (!(e instanceof SegmentVanished) && !(e instanceof RepositoryChanged)) throw e;
        if (tries === MAX_TRIES) throw doubt('the repository changed again and again while it was read', undefined, 'run it again');
      }
    }
  } finally {
    await session.end();
  }
}

/** While it was read, another collection took something, or merged segments of the index. */
class RepositoryChanged extends Error {
  override readonly name = 'RepositoryChanged';
}

interface ListedPack {
  readonly size: number;
  /** By the store's clock. */
  readonly writtenAt: number;
}

class Collection {
  readonly #parts: PruneParts;
  readonly #opts: PruneOptions;
  readonly #run: RunOptions;
  readonly #session: Session;
  readonly #graceMs: number;
  readonly #findings: Finding[] = [];
  /** By the store's clock. */
  #now = 0;

  constructor(parts: PruneParts, opts: PruneOptions, run: RunOptions, session: Session) {
    this.#parts = parts;
    this.#opts = opts;
    this.#run = run;
    this.#session = session;
    this.#graceMs = opts.graceMs ?? DEFAULT_GRACE_MS;
  }

  async run(): Promise<PruneReport> {
    const { tombstones, loader } = this.#parts;
    this.#refuseStrangers();
    await this.#readClock();
    if (this.#opts.dryRun !== true) {
      await this.#witnessLists();
      await orLater(deleteReplaced(this.#parts, { ...this.#call, now: this.#now }));
    }
    const ripe = await this.#ripeUpTo();
    // The second mark: over what is there after every older session has ended or was settled.
    await tombstones.refresh(this.#call);
    tombstones.requireKnown();
    const backups = await this.#readRecords();
    await loader.refresh(this.#call);
    this.#refuseDoubts();
    // What others condemn from here on may have been stored after the listing: that it is not in it means nothing.
    const condemned = new Set(tombstones.condemned.keys());
    const packs = await this.#listPacks();
    await this.#refuseBrokenPacks(packs);
    const segments = [...loader.index.segments];
    const absent = new Set([...condemned].filter((id) => !packs.has(id)));
    const mark = await this.#mark(backups);
    const isSound = (id: string) => packs.has(id) && !tombstones.condemned.has(id);
    const uses = await orDoubtful(mark.assign(loader.index, isSound, this.#call));
    this.#refuseChange(segments);
    const oldest = Math.min(...(await this.#living()).map(({ beganAt }) => beganAt.getTime()));
    const named = loader.index.packs();
    const plan = planPrune({
      packs: [...packs].map(([id, { size, writtenAt }]) => ({
        id,
        size,
        kind: named.get(id)?.kind,
        use: uses.get(id),
        isSettled: writtenAt < oldest && writtenAt <= this.#now - this.#graceMs,
      })),
      condemned: tombstones.newest,
      ripe,
      packBytes: this.#parts.packBytes,
    });
    const locks = this.#opts.dryRun === true ? undefined : await this.#extendLocks(plan, packs.keys());
    if (this.#opts.dryRun !== true) {
      await this.#apply(plan, mark, packs, absent, segments);
      const ages = { finishedBefore: this.#now - this.#graceMs, now: this.#now };
      await deleteFinishedRuns(this.#parts.runs, backups, ages, this.#call);
    }
    return {
      ...plan,
      locks,
      deletableAt: new Date(this.#now + this.#graceMs).toISOString(),
      keeps: [...backups.reversed()].map(({ id, name }, i) => ({ backup: id, name, bytes: mark.keeps[i] as number })),
      findings: this.#findings,
    };
  }

  /** What the store says the time is: when it received our own session. */
  async #readClock(): Promise<void> {
    const { store, tombstones } = this.#parts;
    const own = (await listSessions(store, this.#call)).find(({ id }) => id === this.#session.id);
    if (own === undefined) throw doubt('the store does not list what was just written to it');
    this.#now = own.seenAt.getTime();
    await tombstones.refresh(this.#call);
    tombstones.requireKnown();
    const last = tombstones.lists.at(-1);
    if (last !== undefined && Math.max(last.createdAt.getTime(), last.witnessedAt?.getTime() ?? 0) > this.#now) {
      throw doubt('the clock of the store went back since the last collection');
    }
  }

  /** Completes what a collection that died has begun. */
  async #witnessLists(): Promise<void> {
    const { tombstones, store } = this.#parts;
    const missing = tombstones.lists.filter(({ witnessedAt }) => witnessedAt === undefined);
    if (missing.length === 0) return;
    const ids = (await listSessions(store, this.#call)).filter(({ isSettled }) => !isSettled).map(({ id }) => id);
    for (const { number } of missing) {
      await tombstones.witness(number, ids, number === tombstones.number ? tombstones.newest : undefined, this.#call);
    }
  }

  /** The newest list of which all may be deleted; settles sessions that stand in the way and are silent. */
  async #ripeUpTo(): Promise<number> {
    const { tombstones, store } = this.#parts;
    // Listed after the lists and their witnesses: who is among those and not here has ended.
    const sessions = await listSessions(store, this.#call);
    const open = new Map(
      sessions.filter(({ id, isSettled }) => !isSettled && id !== this.#session.id).map((session) => [session.id, session]),
    );
    let ripe = 0;
    const since = Math.min(...tombstones.newest.values());
    for (const { number, witnessedAt } of tombstones.lists) {
      // Older ones have nothing left that is not on the newest.
      if (number < since) continue;
      if (witnessedAt === undefined || witnessedAt.getTime() + this.#graceMs > this.#now) break;
      const witnessed = await tombstones.witnessed(number, this.#call);
      if (witnessed === undefined) {
        // Who is left of them was there for the next list, too.
        this.#note(
          'warning',
          'list-damaged',
          `what list ${number} has condemned waits for the next list: nobody knows who was there for it`,
        );
        continue;
      }
      const older = witnessed.flatMap((id) => open.get(id) ?? []);
      const living = older.filter((session) => this.#isLiving(session));
      if (living.length > 0) {
        this.#note(
          'info',
          'prune-waits',
          `what was condemned before ${living[0]?.beganAt.toISOString() ?? ''} waits for ${plural(living.length, 'running operation')}`,
        );
        break;
      }
      for (const session of older) {
        if (this.#opts.dryRun !== true) await settleSession(this.#parts, session, this.#call);
        open.delete(session.id);
      }
      ripe = number;
    }
    return ripe;
  }

  async #readRecords(): Promise<BackupList> {
    const backups = new BackupList();
    try {
      for await (const backup of this.#parts.records.list(undefined, this.#call)) {
        backups.add(backup);
      }
    } catch (e) {
      throw orDoubt(e);
    }
    return backups;
  }

  async #mark(backups: BackupList): Promise<Mark> {
    const { loader, reader } = this.#parts;
    try {
      return await Mark.of(backups, { index: loader.index, reader }, this.#call);
    } catch (e) {
      if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw orDoubt(e);
      const present = new Set([...(await this.#readRecords())].map(({ id }) => id));
      throw [...backups].every(({ id }) => present.has(id)) ? orDoubt(e) : new RepositoryChanged(e.message, { cause: e });
    }
  }

  #refuseDoubts(): void {
    this.#refuseStrangers();
    const [first] = this.#parts.loader.damaged.values();
    if (first !== undefined) throw doubt(first.message, first, 'kubectl dmaas repository repair');
  }

  /** What is sealed with keys that are not at hand. */
  #refuseStrangers(): void {
    try {
      this.#parts.loader.requireKeys();
    } catch (e) {
      throw orDoubt(e);
    }
  }

  /** What lies in them may have its only sound copy in a pack that looks unneeded. Once `repair` has condemned them they keep nothing from anybody. */
  async #refuseBrokenPacks(packs: ReadonlyMap<string, ListedPack>): Promise<void> {
    const { loader, tombstones } = this.#parts;
    for (const { id, size } of loader.index.packs().values()) {
      const fact = misfitOf({ id, size }, packs.get(id)?.size);
      if (fact === undefined || tombstones.condemned.has(id)) continue;
      await tombstones.refresh(this.#call);
      if (tombstones.condemned.has(id)) throw new RepositoryChanged(`${packKey(id)} was deleted`);
      throw doubt(fact, undefined, 'kubectl dmaas repository repair');
    }
  }

  /** A segment that was found damaged, or merged by others, while the mark was made may have named what looks unneeded without it. */
  #refuseChange(segments: readonly OpenSegment[]): void {
    this.#refuseDoubts();
    const open = new Set(this.#parts.loader.index.segments);
    const lost = segments.find((segment) => !open.has(segment));
    if (lost !== undefined) throw new RepositoryChanged(`${lost.key} was merged`);
  }

  async #listPacks(): Promise<Map<string, ListedPack>> {
    const packs = new Map<string, ListedPack>();
    for await (const { key, size, modifiedAt } of this.#parts.store.list(PACKS, this.#call)) {
      const id = packIdOf(key);
      if (id !== undefined) packs.set(id, { size, writtenAt: modifiedAt.getTime() });
    }
    return packs;
  }

  #isLiving({ seenAt }: SessionInfo): boolean {
    return this.#now - seenAt.getTime() <= SILENT_MS;
  }

  async #living(): Promise<SessionInfo[]> {
    const sessions = await listSessions(this.#parts.store, this.#call);
    return sessions.filter((session) => !session.isSettled && session.id !== this.#session.id && this.#isLiving(session));
  }

  /** Of what backups need: before anything goes, so that it is done also where nobody may delete. */
  async #extendLocks(plan: PrunePlan, packs: Iterable<string>): Promise<LockReport | undefined> {
    const { store, loader, tombstones } = this.#parts;
    const leaving = new Set([...tombstones.condemned.keys(), ...plan.condemn.map(({ pack }) => pack)]);
    const needed = [...packs].filter((id) => !leaving.has(id)).map(packKey);
    try {
      return await extendLocks(store, [...needed, ...[...loader.index.segments].map(({ key }) => key)], this.#now, this.#call);
    } catch (e) {
      if (!DmaasError.is(e) || !e.code.startsWith('STORE_')) throw e;
      const hint = 'allow s3:GetObjectRetention and s3:PutObjectRetention';
      this.#note('warning', 'locks-not-extended', `locks of what backups need were not made longer: ${e.message}`, hint);
      return undefined;
    }
  }

  /** `absent`: condemned packs that are not in the bucket any more. */
  async #apply(
    plan: PrunePlan,
    mark: Mark,
    packs: ReadonlyMap<string, ListedPack>,
    absent: ReadonlySet<string>,
    segments: readonly OpenSegment[],
  ): Promise<void> {
    const { tombstones, loader, store } = this.#parts;
    const leaving = new Set(plan.condemn.map(({ pack }) => pack));
    const listed = new Set([...packs.keys()].filter((id) => tombstones.condemned.has(id)));
    const ids = await orDoubtful(mark.toCopy(loader.index, leaving, listed, this.#call));
    this.#refuseChange(segments);
    mark.release();
    // From here on this process relies on none of them; if another collector is first, that is still true enough.
    for (const id of leaving) tombstones.condemned.set(id, tombstones.number + 1);
    const refuse = (_: number, error: DmaasError) => {
      throw doubt(error.message, error, 'kubectl dmaas repository repair');
    };
    await this.#parts.copy(ids, refuse, this.#call);
    await forEachParallel(plan.delete, MAX_DELETES, ({ pack }) => store.delete(packKey(pack), this.#call));
    await orLater(this.#tidy(new Set([...absent, ...plan.delete.map(({ pack }) => pack)])));
    await this.#condemn(plan, absent);
  }

  /** Writes anew, without their rows, the segments that name packs which are gone. */
  async #tidy(gone: ReadonlySet<string>): Promise<void> {
    const { loader } = this.#parts;
    for (const segment of [...loader.index.segments]) {
      if (![...segment.packs].some(({ id }) => gone.has(id))) continue;
      await mergeSegments([segment], { ...this.#parts, session: this.#session, gone }, this.#call);
    }
    await deleteReplaced(this.#parts, { ...this.#call, now: this.#now });
  }

  async #condemn(plan: PrunePlan, absent: ReadonlySet<string>): Promise<void> {
    const { tombstones, store } = this.#parts;
    const released = await this.#released(absent);
    const next = tombstones.number + 1;
    const list = new Map([...tombstones.newest].filter(([id]) => !released.has(id)));
    for (const { pack } of plan.condemn) list.set(pack, next);
    const isWorthIt = plan.condemn.length > 0 || (released.size > 0 && list.size === 0);
    if (!isWorthIt) return;
    if (!(await tombstones.add(list, this.#call))) {
      this.#note('info', 'prune-raced', 'another collection was faster; what this one found goes with the next');
      return;
    }
    await tombstones.refresh(this.#call);
    const sessions = await listSessions(store, this.#call);
    const ids = sessions.filter(({ id, isSettled }) => !isSettled && id !== this.#session.id).map(({ id }) => id);
    await tombstones.witness(next, ids, list, this.#call);
  }

  /** Packs that are gone from the bucket and the index, when nobody is left who could still write a row for them. */
  async #released(absent: ReadonlySet<string>): Promise<ReadonlySet<string>> {
    const { tombstones, loader, store } = this.#parts;
    const gone = [...tombstones.newest.keys()].filter((id) => absent.has(id));
    if (gone.length === 0) return new Set();
    const before = await this.#unnamed(gone);
    // A segment that is replaced counts again when the one that replaces it is damaged.
    if (loader.replaced.length > 0) return new Set();
    const sessions = await listSessions(store, this.#call);
    for (const session of sessions) {
      if (session.isSettled || session.id === this.#session.id) continue;
      if (this.#isLiving(session)) return new Set();
      await settleSession(this.#parts, session, this.#call);
    }
    const after = new Set(await this.#unnamed(gone));
    if (loader.replaced.length > 0) return new Set();
    return new Set(before.filter((id) => after.has(id)));
  }

  async #unnamed(ids: readonly string[]): Promise<string[]> {
    const { loader } = this.#parts;
    await loader.refresh(this.#call);
    this.#refuseDoubts();
    const named = loader.index.packs();
    return ids.filter((id) => !named.has(id));
  }

  get #call(): CallOptions {
    return this.#run.signal === undefined ? {} : { signal: this.#run.signal };
  }

  #note(level: Finding['level'], code: string, message: string, hint?: string): void {
    const finding: Finding = { level, code, message, ...(hint !== undefined && { hint }) };
    this.#findings.push(finding);
    this.#run.emit({ type: 'finding', finding });
  }
}

/** Tidying the index can wait for the next collection when somebody else does it at the same time. */
async function orLater(tidying: Promise<void>): Promise<void> {
  try {
    await tidying;
  } catch (e) {
    if (!(e instanceof SegmentVanished)) throw e;
  }
}

/** Nothing is deleted when anything is not certain. */
function doubt(fact: string, cause?: DmaasError, hint = 'kubectl dmaas repository verify'): DmaasError {
  const code = cause?.code ?? 'REPOSITORY_CORRUPT';
  return new DmaasError(code, `nothing was deleted, because ${fact}`, {
    cause,
    hint,
    ...(cause !== undefined && { details: cause.details }),
  });
}

async function orDoubtful<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (e) {
    throw orDoubt(e);
  }
}

function orDoubt(e: unknown): unknown {
  if (!isUnreadable(e)) return e;
  return doubt(e.message, e, e.code === 'REPOSITORY_KEY' ? e.hint : undefined);
}
