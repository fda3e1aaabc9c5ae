/** What the last runs of the tests gave for each row of the fault matrix. `npm test` writes it beside its other artifacts; `docs.ts --results` takes it over into the tree. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../../..');
const LAST_RUN = join(root, 'test/artifacts/matrix-results.json');
const KEPT = join(root, 'test/matrix-results.json');

export interface RowResult {
  readonly tests: number;
  readonly cases: number;
  readonly failed: number;
}

/** By file of tests, below test/, and by row. */
export type RowResults = Record<string, Record<string, RowResult>>;

/** Of one file: when, and the tests of which commit (with a + when the tree had changes). */
export interface FileResult {
  readonly at: string;
  readonly commit: string;
  readonly rows: Readonly<Record<string, RowResult>>;
}

export function addResult(results: RowResults, file: string, row: string, cases: number, hasFailed: boolean): void {
  const rows = (results[file] ??= {});
  const before = rows[row] ?? { tests: 0, cases: 0, failed: 0 };
  rows[row] = { tests: before.tests + 1, cases: before.cases + cases, failed: before.failed + (hasFailed ? 1 : 0) };
}

/** Files that did not run keep what they had. */
export function noteRun(results: RowResults): void {
  if (Object.keys(results).length === 0) return;
  const commit = commitOfTree();
  const at = new Date().toISOString().slice(0, 10);
  const run = Object.entries(results).map(([file, rows]) => [file, { at, commit, rows }] as const);
  mkdirSync(join(root, 'test/artifacts'), { recursive: true });
  write(LAST_RUN, { ...read(LAST_RUN), ...Object.fromEntries(run) });
}

/** Takes over what the last runs gave. */
export function keepResults(): void {
  write(KEPT, { ...read(KEPT), ...read(LAST_RUN) });
}

export function keptResults(): Readonly<Record<string, FileResult>> {
  return read(KEPT);
}

function read(path: string): Record<string, FileResult> {
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Record<string, FileResult>) : {};
}

function write(path: string, results: Readonly<Record<string, FileResult>>): void {
  const sorted = Object.fromEntries(Object.entries(results).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(path, `${JSON.stringify(sorted, undefined, 2)}\n`);
}

function commitOfTree(): string {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return git('rev-parse', '--short=7', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') === '' ? '' : '+');
  } catch {
    return 'unknown';
  }
}
