import { resolve } from 'node:path';
import { makeLayer } from './layer.ts';
import { imageName } from './names.ts';
import { copyOf, nodeInImage, nodeLayer } from './node-layer.ts';
import { type Image, makeImage } from './oci.ts';

const server = resolve(import.meta.dirname, '../../demo/web/server.mjs');

/** The front end of the demo application. */
export async function buildWebImage(): Promise<Image> {
  const layers = [await nodeLayer(), await makeLayer('web', new Map([['/app/server.mjs', copyOf(server)]]))];
  return makeImage(imageName('web:1'), layers, { entrypoint: [nodeInImage, '/app/server.mjs'], user: '65532:65532', workingDir: '/app' });
}
