import { DmaasError } from '../errors.ts';
import type { RunOptions } from '../events.ts';
import type { Finding } from '../model.ts';
import type { CallOptions, ObjectStore } from '../store/object-store.ts';
import type { BlobId } from './format/blob.ts';
import type { Random } from './format/derive.ts';
import { encodeSegment, newSegmentKey } from './format/index-segment.ts';
import type { RepositoryKeys } from './format/key-set.ts';
import { packIdOf, PACKS } from './format/pack-reader.ts';
import { joinTables, readRow, rowCount, type PackInfo, type Table } from './format/table.ts';
import type { IndexLoader } from './index/index-loader.ts';
import type { RepositoryConfig } from './keys/config.ts';
import { restoreKeyCopies } from './keys/key-copies.ts';
import { listSessions, Session, sessionFaults, settleSession } from './protocol/sessions.ts';
import type { Tombstones } from './protocol/tombstones.ts';

/** Rows in one new segment, about. */
const SEGMENT_ROWS = 1 << 17;
const MAX_TRIES = 5;
/** By the store's clock. */
const DEAD_MS = 24 * 60 * 60_000;

export interface RepairReport {
  /** Objects with wrapped keys that stood in one place only, and stand in both now. */
  readonly restoredKeys: readonly string[];
  /** Packs that no segment named, and that one names now. */
  readonly indexedPacks: number;
  /** Damaged segments that were removed. */
  readonly removedSegments: readonly string[];
  /** Writers that ended badly, of which it cannot be read any more what they were about to write. */
  readonly settledSessions: readonly string[];
  /** Packs that count as not stored any more. */
  readonly condemnedPacks: readonly string[];
  /** Blobs that were copied out of them, and blobs that could not be read. */
  readonly savedBlobs: number;
  readonly lostBlobs: number;
  readonly findings: readonly Finding[];
}

export interface RepairParts {
  readonly store: ObjectStore;
  readonly keys: RepositoryKeys;
  readonly config: RepositoryConfig;
  readonly random: Random;
  readonly loader: IndexLoader;
  readonly tombstones: Tombstones;
  /** Reads all of the repository; tells `onPackFault` of each pack that is damaged or missing. */
  readonly verify: (onPackFault: (key: string) => void) => Promise<readonly Finding[]>;
  /** Writes these anew, as none of them counts as stored; resolves when they are in the index. */
  readonly copy: (ids: readonly BlobId[], onUnreadable: (i: number, error: DmaasError) => void, opts: CallOptions) => Promise<void>;
}

/**
 * Makes what can be read findable, and what cannot be read count as not stored, so that the next backup that has it heals the older ones (core/DESIGN.md, 7.5). Never removes anything that
 * can be read, and touches no record.
 */
export async function repair(parts: RepairParts, run: RunOptions): Promise<RepairReport> {
  const call = run.signal === undefined ? {} : { signal: run.signal };
  const session = await Session.begin('write', parts, call);
  try {
    parts.tombstones.requireKnown();
    await parts.loader.refresh(call);
    await parts.loader.checkAll(call);
    parts.loader.requireKeys();
    const restoredKeys = await restoreKeyCopies(parts.store, parts.config, call);
    const indexedPacks = await indexPacks(parts, session, call);
    const removedSegments = await removeDamagedSegments(parts, call);
    const settledSessions = await settleUnreadable(parts, session, call);
    const faulty = new Set<string>();
    const findings = await parts.verify((key) => faulty.add(packIdOf(key) ?? key));
    const condemned = await condemnPacks([...faulty], parts, call);
    return { restoredKeys, indexedPacks, removedSegments, settledSessions, ...condemned, findings };
  } finally {
    await session.end();
  }
}

/** Names what lies in packs that no segment names, but not in those that are condemned. */
async function indexPacks({ store, keys, random, loader, tombstones }: RepairParts, session: Session, call: CallOptions): Promise<number> {
  let tables: Table[] = [];
  let packs = 0;
  const write = async () => {
    if (tables.length === 0) return;
    const key = newSegmentKey(0, random);
    const segment = encodeSegment(keys, key, { table: joinTables(tables), replaces: [] }, random);
    await session.create(key, () => store.put(key, segment, { ...call, ifAbsent: true }), call);
    packs += tables.length;
    tables = [];
  };
  for await (const table of loader.unindexedTables(call)) {
    if (tombstones.condemned.has((table.packs[0] as PackInfo).id)) continue;
    tables.push(table);
    if (tables.reduce((sum, { rows }) => sum + rowCount(rows), 0) >= SEGMENT_ROWS) await write();
  }
  await write();
  await loader.refresh(call);
  return packs;
}

/** Only when nothing can be learned from them any more: every pack is named otherwise. */
async function removeDamagedSegments({ store, loader, tombstones }: RepairParts, call: CallOptions): Promise<string[]> {
  const named = loader.index.packs();
  for await (const { key } of store.list(PACKS, call)) {
    const id = packIdOf(key);
    if (id !== undefined && !named.has(id) && !tombstones.condemned.has(id)) return [];
  }
  loader.requireKeys();
  const removed = [...loader.damaged.keys()];
  for (const key of removed) await store.delete(key, call);
  await loader.refresh(call);
  return removed;
}

/**
 * A session that has ended badly, and of which an object of its chain cannot be read, keeps collections from deleting for ever. After a day of silence it counts as dead: the process that wrote it
 * must not go on.
 */
async function settleUnreadable(parts: RepairParts, own: Session, call: CallOptions): Promise<string[]> {
  const settled: string[] = [];
  const sessions = await listSessions(parts.store, call);
  const now = sessions.find(({ id }) => id === own.id)?.seenAt.getTime() ?? 0;
  for (const session of sessions) {
    if (session.isSettled || session.id === own.id || now - session.seenAt.getTime() < DEAD_MS) continue;
    if ((await sessionFaults(parts, session, call)).size === 0) continue;
    await settleSession(parts, session, { ...call, isDead: true });
    settled.push(session.id);
  }
  return settled;
}

async function condemnPacks(
  faulty: readonly string[],
  parts: RepairParts,
  call: CallOptions,
): Promise<Omit<RepairReport, 'restoredKeys' | 'indexedPacks' | 'removedSegments' | 'settledSessions' | 'findings'>> {
  const { tombstones, loader, store } = parts;
  const packs = faulty.filter((id) => !tombstones.newest.has(id));
  if (packs.length === 0) return { condemnedPacks: [], savedBlobs: 0, lostBlobs: 0 };
  const named = loader.index.packs();
  const ids = new Set<BlobId>();
  for (const pack of packs.flatMap((id) => named.get(id) ?? [])) {
    const { rows } = await loader.index.tableOf(pack, call);
    for (let i = 0; i < rowCount(rows); i++) ids.add(readRow(rows, i).id);
  }
  // From here on they count as not stored, here.
  for (const id of packs) tombstones.condemned.set(id, tombstones.number + 1);
  const sound = await loader.index.known([...ids], call);
  const toCopy = [...ids].filter((_, i) => sound[i] !== true);
  let lostBlobs = 0;
  await parts.copy(toCopy, () => lostBlobs++, call);
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const next = tombstones.number + 1;
    const list = new Map(tombstones.newest);
    for (const id of packs) if (!list.has(id)) list.set(id, next);
    const isFirst = await tombstones.add(list, call);
    await tombstones.refresh(call);
    tombstones.requireKnown();
    if (!isFirst) continue;
    const sessions = (await listSessions(store, call)).filter(({ isSettled }) => !isSettled);
    await tombstones.witness(
      next,
      sessions.map(({ id }) => id),
      list,
      call,
    );
    return { condemnedPacks: packs, savedBlobs: toCopy.length - lostBlobs, lostBlobs };
  }
  throw new DmaasError('STORE_UNAVAILABLE', 'other collections were faster each time', { hint: 'run it again' });
}
