import type { CallOptions } from '../../store/object-store.ts';
import type { BlobReader } from '../blobs/blob-reader.ts';
import { BLOB_ID_BYTES, blobIdAt, type BlobId } from '../format/blob.ts';
import { unnamed } from '../format/damage.ts';
import { ROW_BYTES } from '../format/table.ts';
import type { RepositoryIndex } from '../index/repository-index.ts';
import { rootsOfEach, type BackupList } from '../records/backup-list.ts';
import { LiveSet } from './live-set.ts';
import type { PackUse } from './prune-plan.ts';
import { walk } from './walk.ts';

const INNER_LENGTH_AT = 40;
/** No pack keeps it yet. */
const ORPHAN = 0;

export interface MarkParts {
  readonly index: RepositoryIndex;
  readonly reader: BlobReader;
}

/** What the backups need, and which pack is to keep each blob of it. */
export class Mark {
  /** First by the number of the newest backup that needs it, then by that of the pack that keeps it. */
  #live: LiveSet;
  readonly #packs = new Map<string, number>();
  /** Bytes of each backup, the newest first, that no newer one needs. */
  readonly keeps: Float64Array;

  /** `expected`: how many blobs there are, at most. */
  private constructor(expected: number, backups: number) {
    this.#live = new LiveSet(expected);
    this.keeps = new Float64Array(backups);
  }

  /** `backups`: in order of time. Throws REPOSITORY_CORRUPT when it cannot be known what they need. */
  static async of(backups: BackupList, { index, reader }: MarkParts, opts: CallOptions = {}): Promise<Mark> {
    const mark = new Mark(index.size, backups.length);
    const { keeps } = mark;
    const add = (backup: number, bytes: number) => (keeps[backup] = (keeps[backup] as number) + bytes);
    const moved = new MovedBlobs();
    const visitor = {
      follow: (ids: Buffer, at: number, by: number) => {
        const before = mark.#live.get(ids, at);
        if (before !== undefined && before <= by) return false;
        mark.#live.set(ids, at, by);
        if (before !== undefined) moved.add(blobIdAt(ids, at), before);
        return true;
      },
      visit: async (ids: readonly BlobId[], by: readonly number[]) => {
        const found = await index.locate(ids, opts);
        const nodes = ids.flatMap((id, i) => {
          const entry = found.find(id);
          if (entry === undefined) throw unnamed(id);
          const { innerLength } = found.inner(entry, id);
          add(by[i] as number, innerLength);
          const before = moved.take(id);
          if (before !== undefined) add(before, -innerLength);
          return found.pack(entry).kind === 'node' ? i : [];
        });
        found.discard();
        return nodes;
      },
      read: (nodes: readonly BlobId[], deliver: (i: number, node: Uint8Array) => Promise<void>) =>
        reader.readMany(nodes, deliver, { ...opts, isLent: true }),
    };
    await walk(rootsOfEach(backups.reversed()), visitor, opts);
    mark.#live.setAll(ORPHAN);
    return mark;
  }

  /** Chooses for each blob the first pack that `isSound` lets have it, and says what is used of every pack that the index names. */
  async assign(index: RepositoryIndex, isSound: (pack: string) => boolean, opts: CallOptions = {}): Promise<Map<string, PackUse>> {
    const uses = new Map<string, { liveBytes: number; deadBytes: number; liveBlobs: number }>();
    const useOf = (pack: string) => {
      const use = uses.get(pack) ?? { liveBytes: 0, deadBytes: 0, liveBlobs: 0 };
      uses.set(pack, use);
      return { use, number: this.#numberOf(pack), isSound: isSound(pack) };
    };
    await eachRow(index, useOf, opts, (rows, at, pack) => {
      const bytes = rows.readUInt32LE(at + INNER_LENGTH_AT);
      let owner = this.#live.get(rows, at);
      if (owner === ORPHAN && pack.isSound) this.#live.set(rows, at, (owner = pack.number));
      if (owner !== pack.number) pack.use.deadBytes += bytes;
      else {
        pack.use.liveBytes += bytes;
        pack.use.liveBlobs++;
      }
    });
    return uses;
  }

  /** What must be copied before `leaving` go: blobs that one of these keeps, and, of what no pack keeps, that which lies in `condemned`. */
  async toCopy(
    index: RepositoryIndex,
    leaving: ReadonlySet<string>,
    condemned: ReadonlySet<string>,
    opts: CallOptions = {},
  ): Promise<BlobId[]> {
    const ids = new Set<BlobId>();
    const fateOf = (pack: string) => ({
      number: this.#numberOf(pack),
      isLeaving: leaving.has(pack),
      isCondemned: condemned.has(pack),
    });
    await eachRow(index, fateOf, opts, (rows, at, { number, isLeaving, isCondemned }) => {
      if (!isLeaving && !isCondemned) return;
      const owner = this.#live.get(rows, at);
      if ((isLeaving && owner === number) || (isCondemned && owner === ORPHAN)) ids.add(blobIdAt(rows, at));
    });
    return [...ids];
  }

  /** Gives the memory back; what was found out stays. */
  release(): void {
    this.#live.discard();
    this.#live = new LiveSet();
  }

  #numberOf(pack: string): number {
    const known = this.#packs.get(pack);
    if (known !== undefined) return known;
    this.#packs.set(pack, ORPHAN + 1 + this.#packs.size);
    return this.#packs.size;
  }
}

/** Blobs that were counted, or are about to be, for a backup, and then found in a newer one. */
class MovedBlobs {
  readonly #from = new Map<BlobId, number[]>();

  add(id: BlobId, from: number): void {
    this.#from.set(id, [...(this.#from.get(id) ?? []), from]);
  }

  take(id: BlobId): number | undefined {
    const from = this.#from.get(id);
    const last = from?.pop();
    if (from?.length === 0) this.#from.delete(id);
    return last;
  }
}

/** Calls `onRow` for each row of the index, with what `about` says of its pack. */
async function eachRow<T>(
  index: RepositoryIndex,
  about: (pack: string) => T,
  opts: CallOptions,
  onRow: (rows: Buffer, at: number, pack: T) => void,
): Promise<void> {
  for (const segment of [...index.segments]) {
    const packs = [...segment.packs].map(({ id }) => about(id));
    for await (const rows of segment.rows(opts)) {
      for (let at = 0; at < rows.length; at += ROW_BYTES) onRow(rows, at, packs[rows.readUInt32LE(at + BLOB_ID_BYTES)] as T);
    }
  }
}
