import { readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { makeLayer } from './layer.ts';
import { imageName } from './names.ts';
import { copyOf, nodeInImage, nodeLayer } from './node-layer.ts';
import { type Image, makeImage } from './oci.ts';

const core = resolve(import.meta.dirname, '../../../core');

/** Where `npm run build` puts the mover's bundle; that of its threads lies beside it. */
export const moverBundle = join(core, 'dist/mover.mjs');

async function version(): Promise<string> {
  const manifest = JSON.parse(await readFile(join(core, 'package.json'), 'utf8')) as { version: string };
  return manifest.version;
}

/** Keeps a mover's memory at what it needs: without, V8 lets short-lived values take 100 MiB more, and libc has memory for each thread. */
export const SMALL_MEMORY = { MALLOC_ARENA_MAX: '2', NODE_OPTIONS: '--max-semi-space-size=4' } as const;

/**
 * The mover's image, as core/src/mover/Dockerfile makes it where Docker is. Its tag holds a hash of the content, so a cluster
 * never runs an older build that it has under the same name.
 */
export async function buildMoverImage(bundle = moverBundle): Promise<Image> {
  const release = await version();
  const thread = join(dirname(bundle), 'mover-thread.mjs');
  const files = [
    ['/app/mover.mjs', copyOf(bundle)],
    ['/app/mover-thread.mjs', copyOf(thread)],
  ] as const;
  const layers = [await nodeLayer(), await makeLayer('mover', new Map(files))];
  return makeImage((digest) => imageName(`mover:${release}-${digest.slice('sha256:'.length).slice(0, 12)}`), layers, {
    entrypoint: [nodeInImage, '/app/mover.mjs'],
    env: { NODE_ENV: 'production', HOME: '/tmp', ...SMALL_MEMORY },
    user: '65532:65532',
    workingDir: '/app',
  });
}
