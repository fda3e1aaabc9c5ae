import { makeLayer } from './layer.ts';
import { copyOf } from './node-layer.ts';
import { type Image, makeImage } from './oci.ts';

/** The image of the container that holds a pod's namespaces. The recipe names it in containerd's settings. */
export async function buildPauseImage(program: string): Promise<Image> {
  const layer = await makeLayer('pause', new Map([['/pause', copyOf(program, 0o755)]]));
  return makeImage('dmaas.test/pause:1', [layer], { entrypoint: ['/pause'], user: '65535:65535' });
}
