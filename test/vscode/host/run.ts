/** The development-only extension: runs mocha inside the extension host, and leaves what came of it in a file. */
import { rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type MochaType from 'mocha';

export interface HostResult {
  readonly passed: readonly string[];
  readonly failed: readonly { readonly title: string; readonly message: string }[];
}

export async function activate(): Promise<void> {
  const { DMAAS_TEST_ROOT: root = '', DMAAS_TEST_RESULT: file = '' } = process.env;
  const result = await runAll(root).catch((e: unknown): HostResult => ({
    passed: [],
    failed: [{ title: 'the tests as such', message: String(e) }],
  }));
  await writeFile(`${file}.new`, JSON.stringify(result));
  await rename(`${file}.new`, file);
}

async function runAll(root: string): Promise<HostResult> {
  const Mocha = createRequire(join(root, 'package.json'))('mocha') as typeof MochaType;
  const mocha = new Mocha({ ui: 'bdd', timeout: 60_000, reporter: 'min' });
  mocha.suite.emit('pre-require', globalThis, '', mocha);
  await import('./api.ts');
  const passed: string[] = [];
  const failed: { title: string; message: string }[] = [];
  await new Promise<void>((resolve) => {
    mocha
      .run(() => {
        resolve();
      })
      .on('pass', (test) => passed.push(test.fullTitle()))
      .on('fail', (test, error) => failed.push({ title: test.fullTitle(), message: (error as Error).stack ?? String(error) }));
  });
  return { passed, failed };
}
