import { step } from '../setup/progress.ts';
import { buildMover } from '../tasks/build.ts';
import { buildMoverImage } from './mover.ts';
import type { Image } from './oci.ts';
import { buildPostgresImage } from './postgres.ts';
import { buildWebImage } from './web.ts';

/** Every image that tests and demo use, with the mover built from the sources as they are now. */
export async function testImages(): Promise<Image[]> {
  return [
    await step('building the mover', async () => buildMoverImage(await buildMover())),
    await buildWebImage(),
    await buildPostgresImage(),
  ];
}
