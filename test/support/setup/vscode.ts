import { writeFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { cached } from './cache.ts';
import { run } from './command.ts';
import { ensurePrograms } from './debian.ts';
import { step } from './progress.ts';

/** code-server carries VS Code itself: 4.139.1 has 1.139.1. */
const VERSION = '4.139.1';

/** Of VS Code's native modules those that the server loads; others are for desktops, or for authentication that tests do not use. */
const NATIVE_MODULES = ['@vscode/spdlog', '@vscode/sqlite3', '@vscode/native-watchdog', '@vscode/fs-copyfile'];

/** What compiles them, and the browser that shows the editor. */
const PROGRAMS = { 'g++': 'g++', make: 'make', python3: 'python3', chromium: 'chromium' };

const nodePackage = resolve(import.meta.dirname, '../../../node_modules/node');
/** Beside Node itself its package holds the headers that native modules are compiled with: nothing else is fetched. */
const nodeHeaders = join(nodePackage, 'node_modules', `node-linux-${process.arch}`);

/**
 * The path of code-server's entry, to be run with the workspace's Node. Installed in a folder of its own: npm would otherwise
 * add its hundreds of packages to the workspace.
 */
export async function ensureCodeServer(): Promise<string> {
  await ensurePrograms(PROGRAMS);
  const dir = await cached('code-server', `${VERSION} node ${process.version}`, (target) =>
    step(`installing VS Code (code-server ${VERSION}), which takes some minutes`, async (detail) => {
      const env = { ...withoutNpmSettings(), PATH: [join(nodePackage, 'bin'), process.env['PATH']].join(delimiter) };
      const npm = (args: readonly string[], cwd: string, more: Readonly<Record<string, string>> = {}) =>
        run('npm', [...args, '--no-audit', '--no-fund'], { cwd, env: { ...env, ...more } });
      await writeFile(join(target, 'package.json'), '{"private":true}');
      detail('code-server');
      await npm(['install', '--ignore-scripts', `code-server@${VERSION}`], target);
      const vscode = join(target, 'node_modules/code-server/lib/vscode');
      detail('packages of VS Code');
      await npm(['install', '--omit=dev', '--ignore-scripts'], vscode);
      detail('native modules');
      await npm(['rebuild', ...NATIVE_MODULES], vscode, { npm_config_nodedir: nodeHeaders });
    }),
  );
  return join(dir, 'node_modules/code-server/out/node/entry.js');
}

/** Settings of the `npm run` around this would make npm work on the workspace instead. */
function withoutNpmSettings(): Record<string, undefined> {
  const names = Object.keys(process.env).filter((name) => /^npm_(config_local_prefix|package|lifecycle|command)/.test(name));
  return Object.fromEntries(names.map((name) => [name, undefined]));
}
