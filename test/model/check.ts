/** Runs the model of garbage collection (`collection.pml`) in spin: whole, and with each rule of the protocol taken out. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { attempt, run } from '../support/setup/command.ts';
import { ensurePrograms } from '../support/setup/debian.ts';

const MODEL = join(import.meta.dirname, 'collection.pml');

/** How many of each take part, and how much there is to choose from. */
export const WORLDS = {
  /** A collector that condemns, sweeps, tidies and releases, beside a writer and a merge of the index. */
  merge: { WRITERS: 1, COLLECTORS: 1, ROUNDS: 2, MERGERS: 1, LISTS: 2, PACKS: 2, SEGMENTS: 4, TIDY: 1 },
  /** Two collectors that race for lists and sweep each other's. */
  collectors: { WRITERS: 1, COLLECTORS: 2, ROUNDS: 1, LISTS: 2, PACKS: 4, SEGMENTS: 5 },
  writers: { WRITERS: 2, COLLECTORS: 1, ROUNDS: 1, LISTS: 1, PACKS: 4, SEGMENTS: 4 },
  /** Nothing is stored yet: packs that no segment names are condemned under their writer. */
  empty: { WRITERS: 2, COLLECTORS: 1, ROUNDS: 2, LISTS: 2, PACKS: 2, SEGMENTS: 4, TIDY: 1, EMPTY: 1 },
  both: { WRITERS: 2, COLLECTORS: 2, ROUNDS: 1, LISTS: 2, PACKS: 4, SEGMENTS: 5 },
} as const;
export type World = keyof typeof WORLDS;

/** What the last whole run saw (test/long/collection-model.test.ts). */
export const EXPLORED: {
  readonly at: string;
  readonly minutes: number;
  readonly worlds: Readonly<Record<World, { readonly states: number; readonly isComplete: boolean }>>;
} = {
  at: '2026-11-27',
  minutes: 12,
  worlds: {
    merge: { states: 33_623_852, isComplete: true },
    collectors: { states: 59_837_405, isComplete: true },
    writers: { states: 5_555_935, isComplete: true },
    empty: { states: 351_354_970, isComplete: true },
    both: { states: 637_000_000, isComplete: false },
  },
};

/** Each rule, the smallest world that needs it, and what goes wrong without. */
export const SAFEGUARDS: readonly { readonly rule: string; readonly without: string; readonly world: World; readonly bug: string }[] = [
  {
    rule: 'NO_LIST_BEFORE_INDEX',
    without: 'opening reads the list before the index',
    world: 'merge',
    bug: 'a row that was read before its pack went is trusted after the pack left the list',
  },
  {
    rule: 'NO_TOMBSTONES_RESPECTED',
    without: 'condemned packs count as not stored',
    world: 'writers',
    bug: 'a new backup relies on a pack that is about to be deleted',
  },
  { rule: 'NO_SESSION', without: 'a commit has a session', world: 'merge', bug: 'a stopped writer commits after the sweep' },
  {
    rule: 'NO_LIST_BEFORE_COMMIT',
    without: 'a commit reads the lists that are new',
    world: 'writers',
    bug: 'what was stored at the beginning is gone at the end',
  },
  {
    rule: 'NO_COPY_AT_COMMIT',
    without: 'a commit copies what is condemned',
    world: 'writers',
    bug: 'the record names a blob that is to be deleted',
  },
  {
    rule: 'NO_UNDECIDED_SESSIONS',
    without: 'a session stays while the outcome of its create is not known',
    world: 'merge',
    bug: 'a record arrives late, when nobody waits for it',
  },
  {
    rule: 'NO_KEY_FENCE',
    without: 'a fence in the place of what was announced',
    world: 'merge',
    bug: 'a stopped writer commits after the sweep',
  },
  {
    rule: 'NO_CHAIN_FENCE',
    without: 'a fence as the next object of a session',
    world: 'empty',
    bug: 'a stopped writer indexes a pack that is deleted and forgotten; another writer relies on it',
  },
  {
    rule: 'NO_LIST_AFTER_FENCE',
    without: 'the chain is listed once more after the fence',
    world: 'empty',
    bug: 'a writer that goes on twice while it is settled has the fence behind it, and goes on after what it stored is deleted and forgotten',
  },
  {
    rule: 'NO_SETTLING_BEFORE_RELEASE',
    without: 'older sessions are settled before a pack leaves the list',
    world: 'merge',
    bug: 'a stopped merge brings back the row of a deleted pack',
  },
  {
    rule: 'NO_ELECTION',
    without: 'one collector wins the next list',
    world: 'collectors',
    bug: 'a pack is condemned for one and sound for the other',
  },
  {
    rule: 'NO_LIST_BEFORE_SESSIONS',
    without: 'sessions are listed after the list is there',
    world: 'writers',
    bug: 'a writer that began in between is not waited for',
  },
  {
    rule: 'NO_MARK_AFTER_SETTLING',
    without: 'the second mark comes after settling',
    world: 'merge',
    bug: 'a backup that was committed in between is not seen',
  },
  { rule: 'NO_SECOND_MARK', without: 'a second mark', world: 'merge', bug: 'a backup that was committed since loses its blobs' },
];

export interface ModelResult {
  readonly states: number;
  /** Whether every state was visited. */
  readonly isComplete: boolean;
  /** Steps to the first state in which a backup has lost a blob; undefined when there is none. */
  readonly counterExample: number | undefined;
}

export async function ensureModelChecker(): Promise<void> {
  await ensurePrograms({ spin: 'spin', gcc: 'gcc' });
}

/** `bitState`: a hash of each state instead of the state, in so many bits (2^n): far more states, a few of which may be passed over. */
export async function checkModel(
  world: World,
  opts: { readonly without?: string; readonly bitState?: number; readonly minutes?: number } = {},
): Promise<ModelResult> {
  const folder = await mkdtemp(join(tmpdir(), 'dmaas-model-'));
  try {
    const defines = Object.entries(WORLDS[world]).map(([name, value]) => `-D${name}=${value}`);
    await run('spin', [...defines, ...(opts.without === undefined ? [] : [`-D${opts.without}`]), '-a', MODEL], { cwd: folder });
    const store = opts.bitState === undefined ? ['-DCOLLAPSE'] : ['-DBITSTATE'];
    await run('gcc', ['-O2', '-DSAFETY', '-DMEMLIM=6000', ...store, '-o', 'pan', 'pan.c'], { cwd: folder });
    const size = opts.bitState === undefined ? [] : [`-w${opts.bitState}`];
    // -E: a process that waits for ever is a process that was stopped.
    const { stdout } = await attempt('timeout', [`${opts.minutes ?? 5}m`, './pan', '-E', '-m1000000', '-v', ...size], { cwd: folder });
    const number = (pattern: RegExp) => {
      const found = pattern.exec(stdout)?.[1];
      return found === undefined ? undefined : Number(found);
    };
    const errors = number(/errors: (\d+)/);
    const progress = [...stdout.matchAll(/States=\s*([\d.e+]+)/g)].at(-1)?.[1];
    return {
      states: number(/(\d[\d.e+]*) states, stored/) ?? Number(progress ?? 0),
      isComplete: errors !== undefined && !stdout.includes('out of memory') && !stdout.includes('max search depth too small'),
      counterExample: stdout.includes('assertion violated') ? (number(/at depth (\d+)/) ?? 0) : undefined,
    };
  } finally {
    await rm(folder, { recursive: true });
  }
}
