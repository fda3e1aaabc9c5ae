import * as z from 'zod';
import { DmaasError } from '../../errors.ts';
import type { CallOptions, ObjectStore } from '../../store/object-store.ts';
import type { Random } from '../format/derive.ts';
import type { RepositoryKeys } from '../format/key-set.ts';
import { openRecord, sealRecord } from '../format/sealed-record.ts';
import { OBJECT_TYPE } from '../format/sealed.ts';
import { FENCE_BYTES, fenced, putFence } from './fence.ts';
import { requireConditionalCreates } from './put-once.ts';

const SESSIONS = 'sessions/';
const SESSION_KEY = /^sessions\/([0-9a-f]{16})\/(\d{8})$/;
const ID_BYTES = 8;
/** A session shows at least this often that it lives. */
const BEAT_MS = 60_000;
/** By the store's clock; then it may be fenced. */
export const SILENT_MS = 60 * 60_000;
const MAX_TRIES = 5;

export type SessionKind = 'write' | 'commit' | 'collect';

/** What an object of a session's chain says. */
export const sessionSchema = z.looseObject({ kind: z.string(), creates: z.array(z.string()) });

export interface SessionParts {
  readonly store: ObjectStore;
  readonly keys: RepositoryKeys;
  readonly random: Random;
}

/**
 * What a writer is about to create, said before it does: a chain of objects, of which the newest names every key whose fate is open. Whoever puts a fence in the
 * place of the next one, and of these keys, knows that nothing more will come (core/DESIGN.md, 7.1).
 */
export class Session {
  readonly id: string;
  readonly #kind: SessionKind;
  readonly #parts: SessionParts;
  /** Announced, and neither created nor given up. */
  readonly #open = new Set<string>();
  #next = 0;
  /** What was sent as the next object by calls that failed: it may be there. */
  #sent: Uint8Array[] = [];
  #tail: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  private constructor(kind: SessionKind, parts: SessionParts) {
    this.id = Buffer.from(parts.random(ID_BYTES)).toString('hex');
    this.#kind = kind;
    this.#parts = parts;
  }

  static async begin(kind: SessionKind, parts: SessionParts, opts: CallOptions & { readonly creates?: string } = {}): Promise<Session> {
    const session = new Session(kind, parts);
    if (opts.creates !== undefined) session.#open.add(opts.creates);
    const call = opts.signal === undefined ? {} : { signal: opts.signal };
    const newest = await session.#append(call);
    // Writers take names that nobody else has; what collectors agree on would be lost.
    if (kind === 'collect') await requireConditionalCreates(parts.store, sessionKey(session.id, session.#next - 1), newest, call);
    session.#timer = setInterval(() => void session.#enqueue({}).catch(() => undefined), BEAT_MS).unref();
    return session;
  }

  /** Creates an object by `create`, announced before. REPOSITORY_FENCED when a collection has given this session up. */
  async create<T>(key: string, create: () => Promise<T>, opts: CallOptions = {}): Promise<T> {
    if (!this.#open.has(key)) {
      this.#open.add(key);
      await this.#enqueue(opts);
    }
    try {
      const result = await create();
      this.#open.delete(key);
      return result;
    } catch (e) {
      if (!DmaasError.is(e, 'STORE_EXISTS')) throw e;
      // Keys are chosen at random: what is there is a fence.
      this.#open.delete(key);
      throw fenced(key);
    }
  }

  /** What was announced will not be created, for sure. */
  giveUp(key: string): void {
    this.#open.delete(key);
  }

  /** Stays as it is while the fate of something announced is open: a collection decides it. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    await this.#tail.catch(() => undefined);
    if (this.#open.size > 0 || this.#sent.length > 0) return;
    try {
      await Promise.all([...new Set([0, this.#next - 1])].map((n) => this.#parts.store.delete(sessionKey(this.id, n))));
    } catch (e) {
      // It will look dead some time, and is settled then.
      if (!DmaasError.is(e)) throw e;
    }
  }

  #enqueue(opts: CallOptions): Promise<void> {
    this.#tail = this.#tail
      .catch(() => undefined)
      .then(async () => {
        await this.#append(opts);
      });
    return this.#tail;
  }

  /** Without gaps: a fence as the next object ends the chain. Resolves with the last. */
  async #append(opts: CallOptions): Promise<Uint8Array> {
    const { store, keys, random } = this.#parts;
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const key = sessionKey(this.id, this.#next);
      const body = sealRecord(keys, OBJECT_TYPE.session, key, { kind: this.#kind, creates: [...this.#open] }, random);
      try {
        await store.put(key, body, { ...opts, ifAbsent: true });
      } catch (e) {
        this.#sent.push(body);
        if (!DmaasError.is(e, 'STORE_EXISTS')) throw e;
        const present = await store.get(key, opts);
        if (present !== undefined && !this.#sent.some((sent) => Buffer.compare(sent, present) === 0)) {
          this.#sent = [];
          throw fenced(`session ${this.id}`);
        }
        if (present !== undefined) this.#advance();
        continue;
      }
      this.#advance();
      // The first says when the session began, the newest all else.
      if (this.#next > 2) await store.delete(sessionKey(this.id, this.#next - 2), opts).catch(() => undefined);
      return body;
    }
    throw new DmaasError('STORE_UNAVAILABLE', `the session ${this.id} could not be kept`);
  }

  #advance(): void {
    this.#next++;
    this.#sent = [];
  }
}

/** A session as listed. */
export interface SessionInfo {
  readonly id: string;
  readonly beganAt: Date;
  /** When it last showed that it lives, by the store's clock. */
  readonly seenAt: Date;
  /** The number of its newest record. */
  readonly last: number;
  /** It can create nothing any more: only fences are left of its chain. Where there is a record beside a fence, whoever was about to settle it has died before all that it announced was fenced. */
  readonly isSettled: boolean;
}

export async function listSessions(store: ObjectStore, opts: CallOptions = {}): Promise<SessionInfo[]> {
  const sessions = new Map<string, SessionInfo>();
  for await (const { key, size, modifiedAt } of store.list(SESSIONS, opts)) {
    const [, id, n] = SESSION_KEY.exec(key) ?? [];
    if (id === undefined) continue;
    const before = sessions.get(id);
    const isSettled = size === FENCE_BYTES;
    // A fence is not the session's own: it shows nothing of it.
    if (isSettled && before?.isSettled === false) continue;
    sessions.set(id, { id, beganAt: before?.beganAt ?? modifiedAt, seenAt: modifiedAt, last: Number(n), isSettled });
  }
  return [...sessions.values()];
}

/** What is wrong with the objects of a session's chain, by key. */
export async function sessionFaults(
  { store, keys }: Omit<SessionParts, 'random'>,
  session: SessionInfo,
  opts: CallOptions = {},
): Promise<ReadonlyMap<string, DmaasError>> {
  const faults = new Map<string, DmaasError>();
  for (const { key } of await recordsOf(store, session.id, opts)) {
    const object = await store.get(key, opts);
    try {
      if (object !== undefined) await keys.opening(() => openRecord(keys, OBJECT_TYPE.session, key, object, sessionSchema));
    } catch (e) {
      if (DmaasError.is(e, 'REPOSITORY_VERSION')) continue;
      if (!DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
      faults.set(key, e);
    }
  }
  return faults;
}

/**
 * Makes sure that a session creates nothing any more; whatever it has created until then stays. Only its last fence remains of it. REPOSITORY_CORRUPT when an object of its chain cannot be
 * read, unless `isDead`: what that announced may then still be created by a process that went on after all.
 */
export async function settleSession(
  { store, keys }: Omit<SessionParts, 'random'>,
  session: SessionInfo,
  opts: CallOptions & { readonly isDead?: boolean } = {},
): Promise<void> {
  for (const key of await fenceChain(store, session, opts)) {
    const object = await store.get(key, opts);
    try {
      const record = object && (await keys.opening(() => openRecord(keys, OBJECT_TYPE.session, key, object, sessionSchema)));
      for (const announced of record?.creates ?? []) await putFence(store, announced, opts);
    } catch (e) {
      if (opts.isDead !== true || !DmaasError.is(e, 'REPOSITORY_CORRUPT')) throw e;
    }
    await store.delete(key, opts);
  }
}

/** Puts a fence where the session would go on, and resolves with the keys of its records, of which the newest then stays the newest. */
async function fenceChain(store: ObjectStore, { id, last }: SessionInfo, opts: CallOptions): Promise<readonly string[]> {
  let newest = last;
  for (let tries = 0; tries <= MAX_TRIES; tries++) {
    if (await putFence(store, sessionKey(id, newest + 1), opts)) {
      const records = await recordsOf(store, id, opts);
      const found = Math.max(newest, ...records.map(({ n }) => n));
      // A session that goes on deletes what is behind its newest record: a fence that got into such a gap stops nobody.
      if (found === newest) return records.map(({ key }) => key);
      newest = found;
    } else newest++; // It went on in between: it lives. What it announced there counts.
  }
  throw new DmaasError('STORE_UNAVAILABLE', `the session ${id} is in use`);
}

/** All of its chain but fences. */
async function recordsOf(store: ObjectStore, id: string, opts: CallOptions): Promise<{ readonly key: string; readonly n: number }[]> {
  const records = [];
  for await (const { key, size } of store.list(`${SESSIONS}${id}/`, opts)) {
    const n = SESSION_KEY.exec(key)?.[2];
    if (n !== undefined && size !== FENCE_BYTES) records.push({ key, n: Number(n) });
  }
  return records;
}

function sessionKey(id: string, n: number): string {
  return `${SESSIONS}${id}/${String(n).padStart(8, '0')}`;
}
