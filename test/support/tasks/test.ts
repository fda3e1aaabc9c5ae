/**
 * `npm test [-- FILE...]`: makes what the tests need, runs them set by set, the quick ones first, and ends with the line
 * `N passed, N failed`. `--long` adds the sets that take long. Files can be named to run these only.
 */
import { fork } from 'node:child_process';
import { cp, glob, mkdir, rm } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { clusterLogs, startCluster, type TestCluster } from '../cluster/cluster.ts';
import { bookworm } from '../databases.ts';
import { testImages } from '../images/all.ts';
import { attempt } from '../setup/command.ts';
import { ensureFakeGcs, ensureMinio } from '../setup/go.ts';
import { clusterScript } from '../setup/kubelab.ts';
import { elapsed, say, step } from '../setup/progress.ts';
import { ensureSeaweedfs } from '../setup/seaweedfs.ts';
import { runTask } from '../setup/task.ts';
import { ensureCodeServer } from '../setup/vscode.ts';
import { buildMover, buildPlugin } from './build.ts';
import { buildExtension } from './build-extension.ts';
import { noteRun } from './matrix-results.ts';
import type { Summary } from './mocha.ts';

const root = resolve(import.meta.dirname, '../../..');
const artifacts = join(root, 'test/artifacts');

type Need = 'databases' | 'stores' | 'clusters' | 'build' | 'images' | 'vscode';

interface TestSet {
  /** The folder in test/. */
  readonly name: string;
  readonly needs: readonly Need[];
  /** Of one test, unless it says otherwise. */
  readonly timeoutSeconds: number;
  /** Of the whole set; one that takes longer has hung. */
  readonly limitMinutes: number;
  readonly isLong?: boolean;
}

const SETS: readonly TestSet[] = [
  { name: 'unit', needs: [], timeoutSeconds: 10, limitMinutes: 5 },
  { name: 'property', needs: [], timeoutSeconds: 120, limitMinutes: 15 },
  { name: 'databases', needs: ['databases'], timeoutSeconds: 60, limitMinutes: 15 },
  { name: 'contract', needs: ['stores', 'clusters'], timeoutSeconds: 120, limitMinutes: 20 },
  { name: 'fault', needs: ['stores', 'build'], timeoutSeconds: 120, limitMinutes: 30 },
  { name: 'standalone', needs: ['stores', 'build'], timeoutSeconds: 60, limitMinutes: 10 },
  { name: 'cli', needs: ['stores', 'clusters', 'build', 'images'], timeoutSeconds: 120, limitMinutes: 20 },
  { name: 'e2e', needs: ['stores', 'clusters', 'build', 'images'], timeoutSeconds: 600, limitMinutes: 60 },
  { name: 'vscode', needs: ['stores', 'clusters', 'build', 'images', 'vscode'], timeoutSeconds: 120, limitMinutes: 20 },
  { name: 'long', needs: ['stores', 'clusters', 'build', 'images'], timeoutSeconds: 3600, limitMinutes: 180, isLong: true },
];

const clusters: TestCluster[] = [];
const NOTHING: Summary = { passed: 0, failed: 0, skipped: 0, failures: [], rows: {} };
let isAborted = false;

async function startClusters(): Promise<void> {
  await step('starting two clusters', async () => {
    const outcomes = await Promise.allSettled(['source', 'target'].map((name) => startCluster(name)));
    for (const outcome of outcomes) if (outcome.status === 'fulfilled') clusters.push(outcome.value);
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  });
}

async function importImages(): Promise<void> {
  const images = await testImages();
  await step('giving the clusters their images', () => Promise.all(clusters.map((cluster) => cluster.importImages(...images))));
}

const PREPARE: Readonly<Record<Need, () => Promise<unknown>>> = {
  databases: bookworm,
  stores: async () => [await ensureSeaweedfs(), await ensureMinio(), await ensureFakeGcs()],
  build: () => step('building the mover and the kubectl plugin', () => Promise.all([buildMover(), buildPlugin()])),
  clusters: startClusters,
  images: importImages,
  vscode: async () => [await ensureCodeServer(), await step('building the VS Code extension', buildExtension)],
};

const prepared = new Map<Need, Promise<unknown>>();

async function prepare(needs: readonly Need[]): Promise<void> {
  for (const need of needs) {
    const work = prepared.get(need) ?? PREPARE[need]();
    prepared.set(need, work);
    await work;
  }
}

function isSummary(message: unknown): message is Summary {
  return typeof message === 'object' && message !== null && 'passed' in message && 'failed' in message;
}

/** Runs one set in a mocha of its own. Whatever goes wrong with the process as a whole counts as one more failure. */
function runMocha(set: TestSet, files: readonly string[]): Promise<Summary> {
  return new Promise((done) => {
    const child = fork(join(import.meta.dirname, 'mocha.ts'), [String(set.timeoutSeconds * 1000), ...files], { cwd: root });
    let summary: Summary | undefined;
    let hung = '';
    const limit = (minutes: number, what: string): NodeJS.Timeout =>
      setTimeout(() => {
        hung = what;
        child.kill('SIGKILL');
      }, minutes * 60_000);
    let timer = limit(set.limitMinutes, `took longer than ${set.limitMinutes} minutes`);
    child.once('message', (message) => {
      if (isSummary(message)) summary = message;
      clearTimeout(timer);
      timer = limit(1, 'left something open after the last test, and does not end');
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      const result = summary ?? NOTHING;
      if (summary !== undefined && hung === '') {
        done(result);
        return;
      }
      const ending = `the set ${set.name} ${hung === '' ? `ended with ${code ?? signal ?? '?'}` : hung}`;
      say(ending);
      done({ ...result, failed: result.failed + 1, failures: [...result.failures, ending] });
    });
  });
}

async function runSet(set: TestSet, files: readonly string[]): Promise<Summary> {
  say(`\n== ${set.name} ==`);
  try {
    await prepare(set.needs);
  } catch (error) {
    const message = `the set ${set.name} cannot be prepared: ${error instanceof Error ? error.message : String(error)}`;
    say(message);
    if (error instanceof Error && 'hint' in error) say(`hint: ${String(error.hint)}`);
    return { ...NOTHING, failed: 1, failures: [message] };
  }
  return runMocha(set, files);
}

/** The recipe's own checks of what tests rely on. */
async function proveCluster(): Promise<Summary> {
  say('\n== the cluster itself ==');
  try {
    await prepare(['clusters', 'images']);
    const { stdout } = await attempt(clusterScript('prove'), ['source']);
    process.stdout.write(stdout);
    const counts = /^(\d+) passed, (\d+) failed$/m.exec(stdout);
    return counts === null
      ? { ...NOTHING, failed: 1 }
      : { passed: Number(counts[1]), failed: Number(counts[2]), skipped: 0, failures: [], rows: {} };
  } catch (error) {
    say(`the checks of the cluster cannot run: ${error instanceof Error ? error.message : String(error)}`);
    return { ...NOTHING, failed: 1 };
  }
}

async function filesOf(set: TestSet, chosen: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for await (const file of glob(`test/${set.name}/**/*.test.ts`, { cwd: root })) files.push(join(root, file));
  const paths = chosen.map((file) => resolve(process.env['INIT_CWD'] ?? process.cwd(), file));
  return files.filter((file) => paths.length === 0 || paths.includes(file)).sort();
}

/** Keeps the logs of the clusters' programs where somebody who looks for a failure finds them. */
async function keepLogs(): Promise<void> {
  for (const { name } of clusters) {
    const target = join(artifacts, `cluster-${name}`);
    await rm(target, { recursive: true, force: true });
    await mkdir(artifacts, { recursive: true });
    await cp(clusterLogs(name), target, { recursive: true }).catch(() => undefined); // clusters of the user's have none here
  }
  if (clusters.length > 0) say(`the logs of the clusters are in ${relative(root, artifacts)}`);
}

async function runSets(sets: readonly TestSet[], chosen: readonly string[], isLong: boolean): Promise<Map<string, Summary>> {
  const results = new Map<string, Summary>();
  for (const set of sets) {
    const files = await filesOf(set, chosen);
    if (files.length === 0 || isAborted) continue;
    const began = Date.now();
    const result = await runSet(set, files);
    results.set(`${set.name} (${elapsed(Date.now() - began)})`, result);
    noteRun(result.rows);
  }
  if (results.size === 0 && chosen.length > 0) say(`no test file is named ${chosen.join(' or ')}; they end in .test.ts`);
  if (isLong && chosen.length === 0 && !isAborted && process.env['DMAAS_TEST_KUBECONFIG'] === undefined) {
    results.set('the cluster itself', await proveCluster());
  }
  return results;
}

await runTask(async (args) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => (isAborted = true));
  const isLong = args.includes('--long');
  const chosen = args.filter((argument) => !argument.startsWith('-'));
  const sets = SETS.filter((set) => isLong || chosen.length > 0 || set.isLong !== true);
  const total = { passed: 0, failed: 0, skipped: 0 };
  try {
    const results = await runSets(sets, chosen, isLong);
    say('');
    for (const { failures } of results.values()) for (const failure of failures) say(`failed: ${failure}`);
    for (const [name, { passed, failed, skipped }] of results) {
      say(`${name}: ${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
      total.passed += passed;
      total.failed += failed;
      total.skipped += skipped;
    }
    if (total.failed > 0) await keepLogs();
  } finally {
    for (const cluster of clusters) await cluster.stop();
  }
  process.stdout.write(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}\n`);
  if (isAborted) return 130;
  return total.failed === 0 && total.passed > 0 ? 0 : 1;
});
