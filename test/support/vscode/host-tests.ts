import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { packExtension } from '../tasks/build-extension.ts';

const root = join(import.meta.dirname, '../../..');
const source = join(root, 'test/vscode/host');

/** Makes the extension that runs the API tests, in that folder; returns the path of its package. */
export async function buildHostTests(folder: string): Promise<string> {
  const work = join(folder, 'host-tests');
  await mkdir(join(work, 'dist'), { recursive: true });
  await build({
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    logLevel: 'warning',
    absWorkingDir: root,
    entryPoints: [join(source, 'run.ts')],
    outfile: join(work, 'dist/run.cjs'),
    external: ['vscode', 'mocha', '@dmaas/core'],
    define: { 'import.meta.url': '__fileUrl' },
    banner: { js: 'const __fileUrl = require("node:url").pathToFileURL(__filename).href;' },
  });
  await copyFile(join(source, 'package.json'), join(work, 'package.json'));
  const packagePath = join(folder, 'host-tests.vsix');
  await packExtension(work, packagePath, '--skip-license');
  return packagePath;
}
