/** Runs test files in one mocha, and tells the process that started this one how many passed and failed. */
import { relative, resolve } from 'node:path';
import Mocha from 'mocha';
import { takeCases } from '../cases.ts';
import { addResult, type RowResults } from './matrix-results.ts';

export interface Summary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Of each failed test its whole title and what was wrong, for the end of the output, which is what most people see. */
  readonly failures: readonly string[];
  /** Of the fault matrix. */
  readonly rows: RowResults;
}

const ROW = /\b[A-H]\d{1,2}\b/g;
const testRoot = resolve(import.meta.dirname, '../..');

const [timeoutMs, ...files] = process.argv.slice(2);
const mocha = new Mocha({ timeout: Number(timeoutMs), slow: Number(timeoutMs) / 2, reporter: 'spec', color: process.stdout.isTTY });
for (const file of files) mocha.addFile(file);
await mocha.loadFilesAsync();
const failures: string[] = [];
const rows: RowResults = {};
const runner = mocha.run((failed) => {
  const { passes, pending } = runner.stats ?? { passes: 0, pending: 0 };
  const summary: Summary = { passed: passes, failed, skipped: pending, failures, rows };
  process.exitCode = failed === 0 ? 0 : 1;
  process.send?.(summary, () => {
    process.disconnect(); // from here on only something that a test left open keeps this process alive
  });
});
function noteRows(test: Mocha.Test | Mocha.Hook, hasFailed: boolean): void {
  const cases = takeCases();
  if (test.file === undefined) return;
  for (const row of new Set(test.fullTitle().match(ROW))) addResult(rows, relative(testRoot, test.file), row, cases, hasFailed);
}
runner.on('pass', (test) => {
  noteRows(test, false);
});
runner.on('fail', (test, error: unknown) => {
  noteRows(test, true);
  const message = error instanceof Error ? error.message : String(error);
  failures.push(`${test.fullTitle()}: ${message.trim().split('\n', 3).join(' ')}`);
});
