/** The extension as the editor loads it: bundles, each below two megabytes and loaded when it is needed, and the package that users install. */
import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../setup/command.ts';
import { build, type BuildOptions, type Metafile, type Plugin } from 'esbuild';

const root = join(import.meta.dirname, '../../..');
const extension = join(root, 'vscode-extension');
const dist = join(extension, 'dist');
/** The package that users install. */
export const VSIX = join(dist, 'dmaas.vsix');
const MAX_BUNDLE_BYTES = 2_000_000;

/** What core loads when it is used: the Kubernetes client, and the SDK of each kind of store. */
const LAZY = { 'kube-cluster': 'core/src/cluster/kube-cluster.ts', s3: 'core/src/store/s3.ts', gcs: 'core/src/store/gcs.ts' } as const;

const common: BuildOptions = {
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'cjs',
  minify: true,
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
  absWorkingDir: root,
  outExtension: { '.js': '.cjs' },
  outdir: dist,
  external: ['vscode'],
  // Dependencies look for a browser's `navigator`, which the extension host warns of; CommonJS has no `import.meta`.
  define: { navigator: 'undefined', 'import.meta.url': '__fileUrl' },
  banner: { js: 'const __fileUrl = require("node:url").pathToFileURL(__filename).href;' },
};

/** `import()` of these stays one, of the bundle beside this one. */
const apart = (bundles: Readonly<Record<string, string>>): Plugin => ({
  name: 'apart',
  setup(build) {
    build.onResolve({ filter: /.*/ }, ({ kind, path }) => {
      const name = kind === 'dynamic-import' ? bundles[path] : undefined;
      return name === undefined ? undefined : { path: `./${name}.cjs`, external: true };
    });
  },
});

/** zod brings messages in 50 languages; core writes its own. */
const englishOnly: Plugin = {
  name: 'english-only',
  setup(build) {
    build.onResolve({ filter: /\/locales\/index\.js$/ }, ({ importer }) =>
      importer.includes('node_modules/zod/') ? { path: 'en', namespace: 'locales' } : undefined,
    );
    build.onLoad({ filter: /.*/, namespace: 'locales' }, () => ({ contents: 'export {};' }));
  },
};

async function bundle(name: string, entry: string, plugins: readonly Plugin[]): Promise<void> {
  const { metafile } = await build({ ...common, entryPoints: { [name]: entry }, plugins: [...plugins, englishOnly] });
  for (const [file, { bytes }] of Object.entries((metafile as Metafile).outputs)) {
    if (bytes > MAX_BUNDLE_BYTES) throw new Error(`${file} has ${String(bytes)} bytes, and a bundle may have ${String(MAX_BUNDLE_BYTES)}`);
  }
  const native = Object.keys((metafile as Metafile).inputs).find((input) => /node_modules\/koffi|mover\/posix\.ts|\.node$/.test(input));
  if (native !== undefined) throw new Error(`the extension must run wherever the editor does, but ${name} holds ${native}`);
}

/** What runs in the webview. Of core it uses formats only; whatever else came along would not run there. */
async function buildTimeline(): Promise<void> {
  const { outExtension: _, banner: _banner, ...options } = common;
  const { metafile } = await build({
    ...options,
    format: 'iife',
    entryPoints: { timeline: 'vscode-extension/src/timeline/webview/main.ts' },
  });
  const [output] = Object.values((metafile as Metafile).outputs);
  const foreign = output?.imports.find(({ external }) => external === true)?.path;
  if (foreign !== undefined) throw new Error(`the timeline runs in a web page, which has no ${foreign}`);
}

/** Makes the package of an extension's folder. What it needs is in its bundles, so no npm packages go with it. */
export async function packExtension(folder: string, target: string, ...more: readonly string[]): Promise<void> {
  await run(
    join(root, 'node_modules/.bin/vsce'),
    ['package', '--no-dependencies', '--allow-missing-repository', '--out', target, ...more],
    { cwd: folder },
  );
}

/** @returns the path of the package. */
export async function buildExtension(): Promise<string> {
  await rm(dist, { recursive: true, force: true });
  const lazy = apart({ './kube-cluster.ts': 'kube-cluster', './s3.ts': 's3', './gcs.ts': 'gcs' });
  await Promise.all([
    bundle('extension', 'vscode-extension/src/extension.ts', [apart({ '@dmaas/core': 'core' })]),
    bundle('core', 'core/src/index.ts', [lazy]),
    ...Object.entries(LAZY).map(([name, entry]) => bundle(name, entry, [])),
    buildTimeline(),
  ]);
  await copyFile(join(extension, 'src/timeline/webview/timeline.css'), join(dist, 'timeline.css'));
  await packExtension(extension, VSIX);
  return VSIX;
}
