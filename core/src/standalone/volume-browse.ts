import type { CallOptions } from '../store/object-store.ts';
import { DmaasError } from '../errors.ts';
import { VolumeBrowser } from '../mover/browse.ts';
import { parsePath, showPath } from '../mover/paths.ts';
import type { Entry, EntryType } from '../mover/tree-format.ts';
import type { Backup } from '../repository/records/backup-record.ts';
import type { Repository } from '../repository/repository.ts';
import { volumeOf } from './volume-of.ts';

/** An entry of a backed-up volume, as people and programs read it. */
export interface VolumeEntry {
  /** Bytes that are no UTF-8 as `\xNN`. */
  readonly path: string;
  readonly type: EntryType;
  /** Octal, e.g. `0644`. */
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  /** Of a file, its bytes; else 0. */
  readonly size: number;
  /** RFC 3339. */
  readonly modifiedAt: string;
  /** Of a symlink. */
  readonly target?: string;
}

export interface Browsed {
  readonly backup: Backup;
  readonly claim?: string;
}

/** What a directory holds, or the one entry when the path is none. Throws USAGE when there is no such path. */
export async function* listVolumeEntries(
  repository: Repository,
  { backup, claim }: Browsed,
  path: string,
  opts: CallOptions = {},
): AsyncGenerator<VolumeEntry> {
  const browser = await VolumeBrowser.open(repository, volumeOf(backup, claim).root, opts);
  const parsed = parsePath(path);
  const entry = await browser.stat(parsed);
  if (entry === undefined) throw new DmaasError('USAGE', `${showPath(parsed)} is not in the volume`);
  if (entry.type !== 'directory') yield shown(entry);
  else for await (const child of browser.list(parsed)) yield shown(child);
}

/** A file's bytes; of a block volume, with the path `''`, the device's. Throws USAGE when there is no such file. */
export async function* readVolumeFile(
  repository: Repository,
  { backup, claim }: Browsed,
  path: string,
  opts: CallOptions = {},
): AsyncGenerator<Uint8Array> {
  const browser = await VolumeBrowser.open(repository, volumeOf(backup, claim).root, opts);
  yield* browser.readFile(parsePath(path));
}

function shown({ path, type, mode, uid, gid, size, mtimeNs, target }: Entry): VolumeEntry {
  return {
    path: showPath(path),
    type,
    mode: mode.toString(8).padStart(4, '0'),
    uid,
    gid,
    size,
    modifiedAt: showTime(mtimeNs),
    ...(target === undefined ? {} : { target: showPath(target) }),
  };
}

/** File systems keep times that the calendar of RFC 3339 does not reach. */
function showTime(ns: bigint): string {
  const date = new Date(Number(ns / 1_000_000n));
  return Number.isNaN(date.getTime()) ? `@${ns / 1_000_000_000n}` : date.toISOString();
}
