import * as z from 'zod';
import { DmaasError } from '../../errors.ts';
import type { CallOptions } from '../../store/object-store.ts';
import { blobIdAt, type BlobId } from '../format/blob.ts';
import { unnamed } from '../format/damage.ts';
import { fenced } from '../protocol/fence.ts';
import type { Tombstones } from '../protocol/tombstones.ts';
import { rootsOf, type NewBackup } from '../records/backup-record.ts';
import type { RunRecords } from '../records/runs.ts';
import type { MarkParts } from './mark.ts';
import { walk } from './walk.ts';

/** The run record that says which packs were condemned when an operation began that is to make a backup. */
export const BEGAN = 'gc';
const beganSchema = z.looseObject({ condemned: z.number().int().nonnegative() });

export interface CommitParts extends MarkParts {
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
  const [note] = await Promise.all([runs.get(record.operation, BEGAN, opts), tombstones.refresh(opts)]);
  tombstones.requireKnown();
  const began = beganSchema.safeParse(note);
  if (tombstones.number <= (began.success ? began.data.condemned : 0)) return;
  await parts.refresh(opts);
  const { index, reader } = parts;
  const leaving = new Set<BlobId>();
  const nodes = new Set<BlobId>();
  const visitor = {
    follow: (ids: Buffer, at: number) => !nodes.has(blobIdAt(ids, at)),
    visit: async (ids: readonly BlobId[]) => {
      const found = await index.locate(ids, opts);
      return ids.flatMap((id, i) => {
        const entry = found.find(id);
        if (entry === undefined) throw unnamed(id);
        if ([...found.copies(id)].every((copy) => tombstones.condemned.has(found.pack(copy).id))) leaving.add(id);
        if (found.pack(entry).kind !== 'node' || nodes.has(id)) return [];
        nodes.add(id);
        return i;
      });
    },
    read: (ids: readonly BlobId[], deliver: (i: number, node: Uint8Array) => Promise<void>) =>
      reader.readMany(ids, deliver, { ...opts, isLent: true }),
  };
  try {
    await walk([rootsOf(record).join('')], visitor, opts);
    await parts.copy([...leaving], opts);
  } catch (e) {
    throw DmaasError.is(e, 'REPOSITORY_CORRUPT') ? fenced(`what the backup of operation ${record.operation} relied on`) : e;
  }
}
