/** `npm run build`: the mover's bundle, the kubectl plugin and its launcher, the VS Code extension. */
import { chmod, copyFile, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { build, type BuildOptions, type Metafile } from 'esbuild';
import { buildExtension } from './build-extension.ts';
import { koffiFiles } from './koffi-files.ts';

const root = join(import.meta.dirname, '../../..');

const common: BuildOptions = {
  bundle: true,
  platform: 'node',
  target: 'node22',
  format: 'esm',
  minify: true,
  keepNames: true,
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
  absWorkingDir: root,
  // CommonJS dependencies call `require`, which an ES module lacks; some ask for `navigator`, which is not ours.
  banner: { js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);" },
  define: { navigator: 'undefined' },
  // koffi finds its native library beside itself; it is loaded at run time by posix.ts.
  external: ['koffi'],
};

/** Two files: the mover image holds Node, these and koffi. */
export async function buildMover(): Promise<string> {
  const outdir = join(root, 'core/dist');
  const outfile = join(outdir, 'mover.mjs');
  const { metafile } = await build({ ...common, entryPoints: ['core/src/mover/entry.ts'], outfile });
  if (metafile === undefined) throw new Error('esbuild gave no metafile');
  assertWithout(metafile, 'node_modules/@kubernetes/client-node', 'the mover must not contain a Kubernetes client');
  await buildThread(outdir);
  return outfile;
}

/** What the threads of a mover run: they look for it beside the bundle that starts them. */
async function buildThread(outdir: string): Promise<void> {
  const { metafile } = await build({ ...common, entryPoints: ['core/src/mover/thread.ts'], outfile: join(outdir, 'mover-thread.mjs') });
  if (metafile === undefined) throw new Error('esbuild gave no metafile');
  assertWithout(metafile, 'core/src/store/', 'a thread of the mover must not talk to a store');
  assertWithout(metafile, 'node_modules/zod', 'a thread of the mover starts in the time of a small file, and parses no documents');
}

/** Split into chunks, so that `--help` does not load the SDKs. */
export async function buildPlugin(): Promise<string> {
  const outdir = join(root, 'kubectl-plugin/dist');
  await rm(outdir, { recursive: true, force: true });
  await build({
    ...common,
    entryPoints: { main: 'kubectl-plugin/src/main.ts' },
    outdir: join(outdir, 'lib'),
    splitting: true,
    outExtension: { '.js': '.mjs' },
  });
  await copyKoffi(join(outdir, 'lib/node_modules'));
  await buildThread(join(outdir, 'lib'));
  const launcher = join(outdir, 'kubectl-dmaas');
  await mkdir(outdir, { recursive: true });
  // kubectl may call it through a symlink, and `node` on PATH may be too old: the workspace's own is used.
  await writeFile(
    launcher,
    `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/../../node_modules/node/bin/node" --disable-warning=ExperimentalWarning --max-semi-space-size=4 "$here/lib/main.mjs" "$@"
`,
  );
  await chmod(launcher, 0o755);
  return launcher;
}

/** For the native calls, without which backups of directories lose attributes. It exists for Linux only, as those calls do. */
async function copyKoffi(modules: string): Promise<void> {
  if (process.platform !== 'linux') return;
  for (const path of await koffiFiles()) {
    await mkdir(dirname(join(modules, path)), { recursive: true });
    await copyFile(join(root, 'node_modules', path), join(modules, path));
  }
}

function assertWithout(metafile: Metafile, path: string, message: string): void {
  const found = Object.keys(metafile.inputs).find((input) => input.includes(path));
  if (found !== undefined) throw new Error(`${message}, but it holds ${found}`);
}

/** The commands' reference, which is kept in the repository. */
async function writeReference(): Promise<string> {
  const { writeReference: write, REFERENCE } = await import('./docs.ts');
  await write(false);
  return REFERENCE;
}

if (import.meta.main) {
  for (const [name, step] of Object.entries({
    mover: buildMover,
    'kubectl plugin': buildPlugin,
    'VS Code extension': buildExtension,
    reference: writeReference,
  })) {
    process.stderr.write(`build: ${name} … `);
    process.stderr.write(`${await step()}\n`);
  }
}
