/** Runs tests on sources with a fault each, and says which faults no test notices. */
import { spawn } from 'node:child_process';
import { join, relative } from 'node:path';
import { addCases } from './cases.ts';
import { chooser } from './interleaving.ts';
import type { Mutant } from './mutant.ts';
import { mutantsOf } from './mutants.ts';

const root = join(import.meta.dirname, '../..');
const SOURCES = join(root, 'core/src/repository');
const LOADER = join(import.meta.dirname, 'mutant-loader.ts');
const MOCHA = join(root, 'node_modules/mocha/bin/mocha.js');
/** Tests that take this many times as long as without a fault have noticed it. */
const SLOWER = 5;
const SPARE_MS = 20_000;

/** Modules in which a fault loses data, and the tests, quickest first, that are to notice it. */
const TESTS: Readonly<Record<string, readonly string[]>> = {
  'collection/prune-plan.ts': ['unit/repository-prune-plan', 'fault/collection', 'fault/collection-crash'],
  'collection/prune.ts': [
    'unit/repository-prune',
    'unit/repository-locks',
    'unit/repository-mark',
    'fault/collection',
    'fault/collection-crash',
  ],
  'collection/mark.ts': ['unit/repository-mark', 'fault/collection', 'fault/collection-crash'],
  'collection/walk.ts': ['unit/repository-walk', 'unit/repository-mark', 'fault/collection', 'fault/collection-crash'],
  'collection/live-set.ts': ['unit/repository-mark'],
  'protocol/sessions.ts': ['unit/repository-sessions', 'fault/collection', 'fault/collection-crash'],
  'protocol/tombstones.ts': ['unit/repository-tombstones', 'fault/collection', 'fault/collection-crash'],
  'collection/commit-rule.ts': ['unit/repository-commit-rule', 'unit/repository', 'fault/collection', 'fault/collection-crash'],
  'protocol/fence.ts': ['unit/repository-creates', 'fault/collection', 'fault/collection-crash'],
  'protocol/put-once.ts': ['unit/repository-creates', 'unit/repository', 'fault/repository-crash'],
  'format/frame.ts': ['unit/repository-codecs'],
  'format/sealed.ts': ['unit/repository-codecs', 'unit/repository'],
  'format/table.ts': ['unit/repository-pack-reader', 'unit/repository-codecs', 'unit/repository'],
  'format/pack-reader.ts': ['unit/repository-pack-reader', 'unit/repository', 'fault/repository-repair'],
  'index/index-merge.ts': ['unit/repository-index-merge', 'fault/repository-index', 'property/repository-index'],
  'blobs/write-session.ts': ['unit/repository-write-session', 'unit/repository', 'fault/repository-claims', 'fault/repository-crash'],
};

export interface MutationResult {
  readonly tried: number;
  readonly killed: number;
  /** As `prune.ts:12: a → b`. */
  readonly survivors: readonly string[];
}

/** Tries mutants in an order that the seed decides, of each module in turn, until the time is over, or there are no more, or `most` were tried. `isWanted`: of which modules. */
export async function runMutants(opts: {
  readonly seed: number;
  readonly minutes: number;
  readonly most?: number;
  readonly isWanted?: (module: string) => boolean;
}): Promise<MutationResult> {
  const choose = chooser(opts.seed);
  const end = Date.now() + opts.minutes * 60_000;
  const modules = Object.entries(TESTS).filter(([name]) => opts.isWanted?.(name) ?? true);
  const waiting = modules.map(([name, tests]) => ({ name, tests, mutants: shuffled(mutantsOf(join(SOURCES, name)), choose) }));
  console.log(`      ${waiting.map(({ name, mutants }) => `${name}: ${mutants.length}`).join(', ')}`);
  const usual = new Map<string, number>();
  const survivors: string[] = [];
  let tried = 0;
  for (let round = 0; waiting.some(({ mutants }) => mutants.length > round); round++) {
    for (const { name, tests, mutants } of waiting) {
      const mutant = mutants[round];
      if (mutant === undefined) continue;
      if (Date.now() > end || tried === opts.most) return { tried, killed: tried - survivors.length, survivors };
      for (const test of tests) if (!usual.has(test)) usual.set(test, await timeOf(test));
      tried++;
      addCases(1);
      if (await isNoticed(mutant, tests, usual)) continue;
      survivors.push(`${name}:${mutant.line}: ${mutant.before.replaceAll(/\s+/g, ' ').slice(0, 100)} → ${mutant.text}`);
      console.log(`      not noticed: ${survivors.at(-1) ?? ''}`);
    }
  }
  return { tried, killed: tried - survivors.length, survivors };
}

async function isNoticed(mutant: Mutant, tests: readonly string[], usual: ReadonlyMap<string, number>): Promise<boolean> {
  for (const test of tests) if (!(await passes(test, mutant, (usual.get(test) as number) * SLOWER + SPARE_MS))) return true;
  return false;
}

/** How long a test takes on the sources as they are. */
async function timeOf(test: string): Promise<number> {
  const began = Date.now();
  if (!(await passes(test, undefined, 600_000))) throw new Error(`test/${test}.test.ts fails without any fault`);
  return Date.now() - began;
}

function passes(test: string, mutant: Mutant | undefined, limitMs: number): Promise<boolean> {
  const env = { ...process.env, NODE_OPTIONS: `--import ${LOADER}`, DMAAS_TEST_MUTANT: JSON.stringify(mutant ?? null) };
  const args = [MOCHA, '--bail', '--timeout', '120000', '--exit', relative(root, join(root, `test/${test}.test.ts`))];
  const child = spawn(process.execPath, args, { cwd: root, env, stdio: 'ignore', timeout: limitMs, killSignal: 'SIGKILL' });
  return new Promise((done, fail) => {
    child.once('error', fail);
    child.once('close', (code) => {
      done(code === 0);
    });
  });
}

function shuffled<T>(items: readonly T[], choose: ReturnType<typeof chooser>): T[] {
  const left = [...items];
  return items.map(() => left.splice(choose(left.length), 1)[0] as T);
}
