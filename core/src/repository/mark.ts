import type { CallOptions } from '../store/object-store.ts';
import { rootsOf, type Backup } from './backup-record.ts';
import { BLOB_ID_BYTES, blobIdAt, type BlobId } from './blob.ts';
import { LiveSet } from './live-set.ts';
import type { PackUse } from './prune-plan.ts';
import type { RepositoryIndex } from './repository-index.ts';
import { ROW_BYTES } from './table.ts';
import { walk, type WalkParts } from './walk.ts';

const INNER_LENGTH_AT = 40;

/** What the backups need, and which pack is to keep each blob of it. */
export class Mark {
  readonly #live = new LiveSet();
  readonly #packs = new Map<string, number>();
  /** Bytes of each backup, by id, that no newer one needs. */
  readonly keeps = new Map<string, number>();

  private constructor() {
    // Made by `of`.
  }

  /** `backups`: newest first. Throws REPOSITORY_CORRUPT when it cannot be known what they need. */
  static async of(backups: readonly Backup[], parts: WalkParts, opts: CallOptions = {}): Promise<Mark> {
    const mark = new Mark();
    const visited = new Set<BlobId>();
    for (const backup of backups) {
      let bytes = 0;
      await walk(
        rootsOf(backup),
        visited,
        parts,
        (ids, found) => {
          for (const id of ids) {
            const entry = found.find(id);
            if (mark.#live.add(id) && entry !== undefined) bytes += found.inner(entry, id).innerLength;
          }
        },
        opts,
      );
      mark.keeps.set(backup.id, bytes);
    }
    return mark;
  }

  /** Chooses for each blob the first pack that `isSound` lets have it, and says what is used of every pack that the index names. */
  async assign(index: RepositoryIndex, isSound: (pack: string) => boolean, opts: CallOptions = {}): Promise<Map<string, PackUse>> {
    const uses = new Map<string, { live: number; dead: number }>();
    await eachRow(index, opts, (rows, at, pack) => {
      const use = uses.get(pack) ?? { live: 0, dead: 0 };
      uses.set(pack, use);
      const bytes = rows.readUInt32LE(at + INNER_LENGTH_AT);
      if (isSound(pack) && this.#live.claim(rows, at, this.#numberOf(pack))) use.live += bytes;
      else use.dead += bytes;
    });
    return new Map([...uses].map(([pack, { live, dead }]) => [pack, { liveBytes: live, deadBytes: dead }]));
  }

  /** What must be copied before `leaving` go: blobs that one of these keeps, and, of what no pack keeps, that which lies in `condemned`. */
  async toCopy(
    index: RepositoryIndex,
    leaving: ReadonlySet<string>,
    condemned: ReadonlySet<string>,
    opts: CallOptions = {},
  ): Promise<BlobId[]> {
    const ids = new Set<BlobId>();
    await eachRow(index, opts, (rows, at, pack) => {
      const isKeptHere = leaving.has(pack) && this.#live.isOwner(rows, at, this.#numberOf(pack));
      if (isKeptHere || (condemned.has(pack) && this.#live.isOrphan(rows, at))) ids.add(blobIdAt(rows, at));
    });
    return [...ids];
  }

  #numberOf(pack: string): number {
    const known = this.#packs.get(pack);
    if (known !== undefined) return known;
    this.#packs.set(pack, this.#packs.size);
    return this.#packs.size - 1;
  }
}

async function eachRow(index: RepositoryIndex, opts: CallOptions, onRow: (rows: Buffer, at: number, pack: string) => void): Promise<void> {
  for (const segment of [...index.segments]) {
    const packs = [...segment.packs].map(({ id }) => id);
    for await (const rows of segment.rows(opts)) {
      for (let at = 0; at < rows.length; at += ROW_BYTES) onRow(rows, at, packs[rows.readUInt32LE(at + BLOB_ID_BYTES)] as string);
    }
  }
}
