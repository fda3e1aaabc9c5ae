import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Image, imageArchive } from '../images/oci.ts';
import { isPresent } from '../setup/cache.ts';
import { run } from '../setup/command.ts';

/** Runs containerd's client inside the node of the cluster with that directory. */
async function containerd(clusterDir: string, args: readonly string[], image?: Image): Promise<string> {
  const [pid] = (await readFile(join(clusterDir, 'init'), 'utf8')).split(' ');
  const command = ['-t', pid!, '-m', '-p', '-n', 'ctr', '-n', 'k8s.io', ...args];
  return run('nsenter', command, image === undefined ? {} : { input: imageArchive(image) });
}

/** Gives the node an image, unless it has the same one under that name. */
export async function importImage(clusterDir: string, image: Image): Promise<void> {
  const known = await containerd(clusterDir, ['images', 'list', `name==${image.name}`]);
  if (!known.includes(image.digest)) await containerd(clusterDir, ['images', 'import', '-'], image);
}

/** Gives images to a cluster that is being started, as soon as its container runtime serves; `started` is its start. */
export async function importEarly(clusterDir: string, images: readonly Image[], started: Promise<unknown>): Promise<void> {
  const end = started.then(
    () => true,
    () => true,
  );
  const socket = join(clusterDir, 'run-containerd/containerd.sock');
  while (!(await isPresent(socket)) && !(await Promise.race([end, sleep(100, false)])));
  for (const image of images) {
    try {
      await importImage(clusterDir, image);
    } catch {
      await started; // what was there may have been the remains of a cluster that died
      await importImage(clusterDir, image);
    }
  }
}
