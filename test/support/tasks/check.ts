/** `npm run check`: everything that can be said of the sources without running them. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { elapsed, say } from '../setup/progress.ts';
import { runTask } from '../setup/task.ts';

const root = resolve(import.meta.dirname, '../../..');

const CHECKS: readonly { readonly title: string; readonly command: readonly string[]; readonly file?: string }[] = [
  ...['core', 'kubectl-plugin', 'vscode-extension', 'test'].map((folder) => ({
    title: `types of ${folder}`,
    command: ['tsc', '--project', folder],
    file: `${folder}/tsconfig.json`,
  })),
  { title: 'rules and layers', command: ['eslint', '--config', '.eslint.config.js', '--max-warnings', '0', '.'] },
  { title: 'format', command: ['prettier', '--check', '--log-level', 'warn', '.'] },
  { title: 'unused files, exports and packages', command: ['knip'] },
  { title: 'generated documents', command: ['node', 'test/support/tasks/docs.ts', '--check'], file: 'test/support/tasks/docs.ts' },
];

function succeeds([program, ...args]: readonly string[]): Promise<boolean> {
  return new Promise((done, reject) => {
    const child = spawn(program ?? '', args, { cwd: root, stdio: 'inherit' });
    child.once('error', reject);
    child.once('close', (code) => {
      done(code === 0);
    });
  });
}

await runTask(async () => {
  const failed: string[] = [];
  for (const { title, command, file } of CHECKS) {
    if (file !== undefined && !existsSync(join(root, file))) continue;
    say(`== ${title} ==`);
    const began = Date.now();
    const isClean = await succeeds(command);
    if (!isClean) failed.push(title);
    say(`${isClean ? 'clean' : 'NOT CLEAN'} (${elapsed(Date.now() - began)})\n`);
  }
  say(failed.length === 0 ? 'all clean' : `not clean: ${failed.join('; ')}`);
  return failed.length === 0 ? 0 : 1;
});
