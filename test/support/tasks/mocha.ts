/** Runs test files in one mocha, and tells the process that started this one how many passed and failed. */
import Mocha from 'mocha';

export interface Summary {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Of each failed test its whole title and what was wrong, for the end of the output, which is what most people see. */
  readonly failures: readonly string[];
}

const [timeoutMs, ...files] = process.argv.slice(2);
const mocha = new Mocha({ timeout: Number(timeoutMs), slow: Number(timeoutMs) / 2, reporter: 'spec', color: process.stdout.isTTY });
for (const file of files) mocha.addFile(file);
await mocha.loadFilesAsync();
const failures: string[] = [];
const runner = mocha.run((failed) => {
  const { passes, pending } = runner.stats ?? { passes: 0, pending: 0 };
  const summary: Summary = { passed: passes, failed, skipped: pending, failures };
  process.exitCode = failed === 0 ? 0 : 1;
  process.send?.(summary, () => {
    process.disconnect(); // from here on only something that a test left open keeps this process alive
  });
});
runner.on('fail', (test, error: unknown) => {
  const message = error instanceof Error ? error.message : String(error);
  failures.push(`${test.fullTitle()}: ${message.trim().split('\n', 3).join(' ')}`);
});
