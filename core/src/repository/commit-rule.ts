import { z } from 'zod';
import { DmaasError } from '../errors.ts';
import type { CallOptions } from '../store/object-store.ts';
import { rootsOf, type NewBackup } from './backup-record.ts';
import type { BlobId } from './blob.ts';
import { fenced } from './fence.ts';
import type { RunRecords } from './runs.ts';
import type { Tombstones } from './tombstones.ts';
import { walk, type WalkParts } from './walk.ts';

/** The run record that says which packs were condemned when an operation began. */
const BEGAN = 'gc';
const beganSchema = z.looseObject({ condemned: z.number().int().nonnegative() });

export interface CommitParts extends WalkParts {
  readonly runs: RunRecords;
  readonly tombstones: Tombstones;
  readonly refresh: (opts: CallOptions) => Promise<void>;
  /** Writes these anew, as none of them counts as stored; resolves when they are in the index. */
  readonly copy: (ids: readonly BlobId[], opts: CallOptions) => Promise<void>;
}

/** Notes the newest list when an operation begins. Whoever writes for it must read the lists later than this, and choose after that list what it takes over from older backups. */
export async function noteBeginning(operation: string, condemned: number, runs: RunRecords, opts: CallOptions): Promise<void> {
  try {
    await runs.put(operation, BEGAN, { condemned }, opts);
  } catch (e) {
    // It has begun already: what was condemned since then is looked at.
    if (!DmaasError.is(e, 'STORE_EXISTS')) throw e;
  }
}

/** Core/DESIGN.md, 7.2: what was condemned while the operation ran is written anew, if the backup needs it. The session that announces the record has begun before. */
export async function keepReachable(record: NewBackup, parts: CommitParts, opts: CallOptions): Promise<void> {
  const { tombstones, runs } = parts;
  await tombstones.refresh(opts);
  tombstones.requireKnown();
  const began = beganSchema.safeParse(await runs.get(record.operation, BEGAN, opts));
  if (tombstones.number <= (began.success ? began.data.condemned : 0)) return;
  await parts.refresh(opts);
  const leaving = new Set<BlobId>();
  const onReached = (ids: readonly BlobId[], found: Awaited<ReturnType<WalkParts['index']['locate']>>) => {
    for (const id of ids) if ([...found.copies(id)].every((entry) => tombstones.condemned.has(found.pack(entry).id))) leaving.add(id);
  };
  try {
    await walk(rootsOf(record), new Set(), parts, onReached, opts);
    await parts.copy([...leaving], opts);
  } catch (e) {
    throw DmaasError.is(e, 'REPOSITORY_CORRUPT') ? fenced(`what the backup of operation ${record.operation} relied on`) : e;
  }
}
