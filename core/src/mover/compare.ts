import { throwIfCancelled } from '../errors.ts';
import { entryOf } from './attributes.ts';
import type { VolumeFindings } from './findings.ts';
import { MissingEntries, type Missing } from './missing.ts';
import { showName } from './paths.ts';
import { systemCode, type Posix } from './posix.ts';
import type { Problems } from './problems.ts';
import { isRestored } from './restored-xattrs.ts';
import type { Entry } from './tree-format.ts';
import type { TreeReader } from './tree-reader.ts';
import { walk, type Walked } from './walk.ts';

export interface CompareTask {
  readonly path: string;
  readonly tree: Pick<TreeReader, 'leaves'>;
  readonly native: Posix | undefined;
  readonly findings: VolumeFindings;
  /** Why entries are known not to be as they should. */
  readonly problems: Problems;
  /** Names in the root that are no part of the volume. */
  readonly skip: readonly string[];
  readonly signal: AbortSignal | undefined;
}

/** Without native calls, times are set as floating-point seconds. */
const COARSE_NS = 2000n;
/** A file with larger holes should take less space than it has bytes. */
const MIN_HOLE_BYTES = 64 << 10;

/**
 * Walks a directory beside the tree that it was filled from. Whatever is missing, extra or different is a finding that names the path and the
 * attribute; what is missing is also summed up. Content is not read: it was checked as it was written, and what could not be is known.
 */
export async function compareTree(task: CompareTask): Promise<Missing> {
  const { tree, findings, problems, signal } = task;
  const links = new LinkGroups();
  const missing = new MissingEntries();
  const actual = walk(task.path, {
    native: task.native,
    skip: task.skip,
    onError: (path, error) => {
      findings.addFor('directory-unreadable', path, `cannot be checked (${systemCode(error)})`);
    },
    onMount: (path) => {
      findings.addFor('unexpected-entry', path, 'is on another file system');
    },
  });
  try {
    let found = take(actual);
    for await (const leaf of tree.leaves()) {
      throwIfCancelled(signal);
      for (const entry of leaf) {
        while (found !== undefined && Buffer.compare(found.path, entry.path) < 0) {
          findings.addFor('unexpected-entry', found.path, 'is in the volume, but not in the backup');
          found = take(actual);
        }
        const there = found?.path.equals(entry.path) === true ? found : undefined;
        missing.count(entry, !hasContent(entry, there, links, task), problems.of(entry.path)?.isDeclined);
        if (there !== undefined) found = take(actual);
      }
    }
    if (problems.hasMoreOfContent) {
      findings.add('entry-not-restored', 'more files were not restored than are named: they may have other content');
      missing.countUnnamed();
    }
    for (; found !== undefined; found = take(actual))
      findings.addFor('unexpected-entry', found.path, 'is in the volume, but not in the backup');
  } finally {
    actual.return(undefined);
  }
  return missing.sums();
}

function take(walked: Generator<Walked>): Walked | undefined {
  const next = walked.next();
  return next.done === true ? undefined : next.value;
}

/** Tells what of an entry is not as in the backup. False when it is not there, or with other content. */
function hasContent(entry: Entry, there: Walked | undefined, links: LinkGroups, task: CompareTask): boolean {
  const { findings, problems, native } = task;
  const problem = problems.of(entry.path);
  const why = problem === undefined ? '' : ` (${problem.reason})`;
  const isNot = (fact: string): false => {
    findings.addFor('entry-not-restored', entry.path, fact);
    return false;
  };
  if (there === undefined) return isNot(`was not restored: ${problem?.reason ?? 'it is not there'}`);
  if (problem?.isOfContent === true) return isNot(`was not restored: ${problem.reason}; what is there may have other content`);
  let actual: Entry;
  try {
    actual = entryOf(there, native, findings);
  } catch (error) {
    findings.addFor('attribute-not-kept', entry.path, `cannot be checked (${systemCode(error)})${why}`);
    return true;
  }
  const other = otherContent(entry, actual);
  if (other !== undefined) return isNot(`${other}${why}`);
  for (const attribute of compareAttributes(entry, actual, there, links, task))
    findings.addFor('attribute-not-kept', entry.path, `${attribute}${why}`);
  return true;
}

function otherContent(entry: Entry, actual: Entry): string | undefined {
  if (actual.type !== entry.type) return `is a ${actual.type} instead of a ${entry.type}`;
  if (entry.target?.equals(actual.target ?? Buffer.alloc(0)) === false) return 'points to something else';
  return actual.size === entry.size ? undefined : `has the size ${actual.size} instead of ${entry.size}`;
}

/** What differs, each as `has owner 0:0 instead of 7:7`. */
function compareAttributes(entry: Entry, actual: Entry, there: Walked, links: LinkGroups, { native, findings }: CompareTask): string[] {
  const differences: string[] = [];
  const expect = (attribute: string, is: string | number, should: string | number): void => {
    if (is !== should) differences.push(`has ${attribute} ${is} instead of ${should}`);
  };
  expect('the owner', `${actual.uid}:${actual.gid}`, `${entry.uid}:${entry.gid}`);
  if (entry.type !== 'symlink') expect('the mode', actual.mode.toString(8), entry.mode.toString(8));
  const late = actual.mtimeNs - entry.mtimeNs;
  if (native === undefined ? late > COARSE_NS || late < -COARSE_NS : late !== 0n)
    expect('the time', showTime(actual.mtimeNs), showTime(entry.mtimeNs));
  if (entry.device !== undefined) expect('the device number', showDevice(actual), showDevice(entry));
  if (!links.isSame(entry, there.stat.inode)) differences.push('is no longer a hard link to the same file');
  if (holeBytes(entry) >= MIN_HOLE_BYTES && there.stat.blocks * 512 >= entry.size) differences.push('has lost its holes');
  // An incomplete entry has no time of change; that its attributes cannot be read has been told.
  if (native !== undefined && actual.ctimeNs !== 0n) differences.push(...compareXattrs(entry, actual));
  if (entry.inodeFlags !== undefined)
    findings.addFor('attribute-not-kept', entry.path, `had flags of chattr(1), 0x${entry.inodeFlags.toString(16)}`, 'info');
  return differences;
}

function compareXattrs(entry: Entry, actual: Entry): string[] {
  const differences: string[] = [];
  const left = new Map(actual.xattrs.filter(({ name }) => isRestored(name)).map(({ name, value }) => [name.toString('latin1'), value]));
  for (const { name, value } of entry.xattrs) {
    if (!isRestored(name)) continue;
    const key = name.toString('latin1');
    const is = left.get(key);
    left.delete(key);
    if (is === undefined) differences.push(`has lost the extended attribute ${showName(name)}`);
    else if (!is.equals(value)) differences.push(`has another value of the extended attribute ${showName(name)}`);
  }
  for (const key of left.keys())
    differences.push(`has the extended attribute ${showName(Buffer.from(key, 'latin1'))}, which is not in the backup`);
  return differences;
}

/** Entries of one group must be one inode, and no two groups the same. */
class LinkGroups {
  readonly #inodes = new Map<bigint, bigint>();

  isSame({ linkGroup }: Entry, inode: bigint): boolean {
    if (linkGroup === undefined) return true;
    const known = this.#inodes.get(linkGroup);
    if (known === undefined) this.#inodes.set(linkGroup, inode);
    return known === undefined || known === inode;
  }
}

/** Of what the leaf lists; a file with content nodes would need them read again. */
function holeBytes({ content }: Entry): number {
  if ('node' in content) return 0;
  return content.items.reduce((sum, item) => sum + (item.id === undefined ? item.length : 0), 0);
}

function showTime(timeNs: bigint): string {
  const fraction = ((timeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return `${(timeNs - fraction) / 1_000_000_000n}.${fraction.toString().padStart(9, '0')}`;
}

function showDevice({ device }: Entry): string {
  return device === undefined ? 'none' : `${device.major}:${device.minor}`;
}
