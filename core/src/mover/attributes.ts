import { readlinkSync } from 'node:fs';
import type { FileStat } from './file-stat.ts';
import type { VolumeFindings } from './findings.ts';
import { NO_CONTENT } from './content-format.ts';
import { showName } from './paths.ts';
import { systemCode, type Posix } from './posix.ts';
import type { Entry, ExtendedAttribute } from './tree-format.ts';
import type { Walked } from './walk.ts';

/** Those that describe the machine and not the data: their values are wrong anywhere else. */
const NEVER_KEPT = new Set(['security.ima', 'security.evm']);

/** chattr(1)'s flags that a user sets: sync, immutable, append, nodump, noatime, journal, dirsync, nocow, projinherit, casefold. */
const USER_FLAGS = 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x4000 | 0x1_0000 | 0x80_0000 | 0x2000_0000 | 0x4000_0000;

/**
 * Everything of an entry but the content of a file. What is not complete gets no time of change, so that the next backup does not take
 * it for unchanged. Throws the system's error when it is gone, or a symlink that cannot be read.
 */
export function entryOf(
  { path, stat, at, linkGroup }: Pick<Walked, 'path' | 'stat' | 'at' | 'linkGroup'>,
  native: Posix | undefined,
  findings: Pick<VolumeFindings, 'addFor'>,
): Entry {
  const { type } = stat;
  const xattrs = native === undefined ? undefined : readXattrs({ path, at }, native, findings);
  return {
    ...statAttributes(stat),
    ...(xattrs?.isComplete === true ? {} : { ctimeNs: 0n }),
    path,
    type,
    size: type === 'file' ? stat.size : 0,
    content: NO_CONTENT,
    ...(type === 'symlink' ? { target: readlinkSync(at, { encoding: 'buffer' }) } : {}),
    ...(stat.rdev === undefined ? {} : { device: stat.rdev }),
    ...(linkGroup === undefined ? {} : { linkGroup }),
    xattrs: xattrs?.list ?? [],
  };
}

export function statAttributes(stat: FileStat): Pick<Entry, 'mode' | 'uid' | 'gid' | 'mtimeNs' | 'ctimeNs' | 'inode'> {
  const { mode, uid, gid, mtimeNs, ctimeNs, inode } = stat;
  return { mode, uid, gid, mtimeNs, ctimeNs, inode };
}

interface ReadXattrs {
  readonly list: readonly ExtendedAttribute[];
  readonly isComplete: boolean;
}

function readXattrs({ path, at }: Pick<Walked, 'path' | 'at'>, native: Posix, findings: Pick<VolumeFindings, 'addFor'>): ReadXattrs {
  const list: ExtendedAttribute[] = [];
  try {
    const names = native.listXattrs(at).filter((name) => !NEVER_KEPT.has(name.toString('latin1')));
    for (const name of names.sort((a, b) => Buffer.compare(a, b))) {
      const value = native.getXattr(at, name);
      if (value !== undefined) list.push({ name, value });
      else
        findings.addFor('attribute-unreadable', path, `has the extended attribute ${showName(name)}, which is gone or larger than 64 KiB`);
    }
    return { list, isComplete: list.length === names.length };
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') throw error;
    findings.addFor('attribute-unreadable', path, `has extended attributes that cannot be read (${code})`);
    return { list, isComplete: false };
  }
}

/** The flags that a user set with chattr(1); undefined when there are none. */
export function userFlags(fd: number, native: Posix | undefined): number | undefined {
  const flags = (native?.inodeFlags(fd) ?? 0) & USER_FLAGS;
  return flags === 0 ? undefined : flags;
}
