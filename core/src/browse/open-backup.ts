import { DmaasError } from '../errors.ts';
import type { LocationAccess } from '../location/location.ts';
import { openLocationRepository } from '../location/open.ts';
import type { LocatedBackup, LocationRepository, OpenDeps } from '../location/open.ts';
import { refKey, refOf } from '../model.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { VolumeBrowser } from '../mover/browse.ts';
import type { ByteRange } from '../mover/content.ts';
import { nameOf, parseShownPath, showName, showPath } from '../mover/paths.ts';
import type { Entry, EntryType } from '../mover/tree-format.ts';
import type { Backup, VolumeRecord } from '../repository/records/backup-record.ts';
import { readManifests } from '../repository/manifests.ts';
import type { CallOptions } from '../store/object-store.ts';

/** What lies at one path of a volume. */
export interface FileInfo {
  /** As people write it, relative to the volume's root; bytes that are no text as `\xNN`. `.` is the root. */
  readonly path: string;
  readonly name: string;
  readonly type: EntryType;
  readonly sizeBytes: number;
  readonly mtimeMs: number;
  /** Of a symlink. */
  readonly target?: string;
}

const NS_PER_MS = 1_000_000n;

/** A backup to look into: its manifests, and the files of its volumes, of which only what is asked for is read. Close it in the end. */
export class OpenBackup {
  readonly backup: Backup;
  readonly #open: LocationRepository;
  #manifests: Promise<readonly KubeObject[]> | undefined;

  private constructor(backup: Backup, open: LocationRepository) {
    this.backup = backup;
    this.#open = open;
  }

  /** Throws BACKUP_NOT_FOUND when it has been deleted meanwhile. */
  static async open(
    access: LocationAccess,
    { backup, source }: LocatedBackup,
    deps: OpenDeps,
    opts: CallOptions = {},
  ): Promise<OpenBackup> {
    const open = await openLocationRepository(access, source, deps, opts);
    try {
      return new OpenBackup(await open.repository.backup(backup.id, undefined, opts), open);
    } catch (e) {
      await open.close();
      throw e;
    }
  }

  /** Every object of the application as it was captured, in the order of the record. */
  manifests(opts: CallOptions = {}): Promise<readonly KubeObject[]> {
    this.#manifests ??= readManifests(this.#open.repository, this.backup.manifests, opts).then(
      (members) => members.map(({ object }) => object),
      (e: unknown) => {
        this.#manifests = undefined; // the next call may have more luck
        throw e;
      },
    );
    return this.#manifests;
  }

  /** One object, whatever API version it was captured in. */
  async manifest(ref: ObjectRef, opts: CallOptions = {}): Promise<KubeObject | undefined> {
    const wanted = refKey(ref);
    return (await this.manifests(opts)).find((object) => refKey(refOf(object)) === wanted);
  }

  async stat(claim: string, path: string, opts: CallOptions = {}): Promise<FileInfo | undefined> {
    const entry = await (await this.#browser(claim, opts)).stat(parseShownPath(path));
    return entry === undefined ? undefined : infoOf(entry);
  }

  /** What a directory holds, in order. Throws USAGE when there is no such directory. */
  async *list(claim: string, path: string, opts: CallOptions = {}): AsyncGenerator<FileInfo> {
    for await (const entry of (await this.#browser(claim, opts)).list(parseShownPath(path))) yield infoOf(entry);
  }

  /** The bytes of a file or of a part of it, or with the path `.` those of a block volume. Reads the chunks that these need. */
  async *read(claim: string, path: string, opts: CallOptions & { readonly range?: ByteRange } = {}): AsyncGenerator<Uint8Array> {
    yield* (await this.#browser(claim, opts)).readFile(parseShownPath(path), opts.range);
  }

  /** Throws USAGE when the backup has no volume of that claim. */
  volume(claim: string): VolumeRecord {
    const found = this.backup.volumes.find((volume) => volume.claim === claim);
    if (found !== undefined) return found;
    const known = this.backup.volumes.map((volume) => volume.claim);
    throw new DmaasError('USAGE', `backup ${this.backup.name} has no volume ${claim}`, {
      hint: known.length === 0 ? 'it has no volumes at all' : `it has ${known.join(', ')}`,
    });
  }

  async close(): Promise<void> {
    await this.#open.close();
  }

  #browser(claim: string, opts: CallOptions): Promise<VolumeBrowser> {
    return VolumeBrowser.open(this.#open.repository, this.volume(claim).root, opts);
  }
}

function infoOf({ path, type, size, mtimeNs, target }: Entry): FileInfo {
  return {
    path: showPath(path),
    name: showName(nameOf(path)),
    type,
    sizeBytes: size,
    mtimeMs: Number(mtimeNs / NS_PER_MS),
    ...(target === undefined ? {} : { target: showPath(target) }),
  };
}
