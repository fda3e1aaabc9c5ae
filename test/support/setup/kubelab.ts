import { mkdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { buildPauseImage } from '../images/pause.ts';
import { saveImage } from '../images/oci.ts';
import { cacheDir, withLock } from './cache.ts';
import { run, SetupError } from './command.ts';
import { ensurePrograms, isRoot } from './debian.ts';
import { goEnvironment } from './go.ts';
import { step } from './progress.ts';

/** What the recipe calls, and the packages that it comes in. */
const PROGRAMS = {
  containerd: 'containerd',
  ctr: 'containerd',
  runc: 'runc',
  '/usr/lib/cni/ptp': 'containernetworking-plugins',
  iptables: 'iptables',
  conntrack: 'conntrack',
  ip: 'iproute2',
  'mkfs.btrfs': 'btrfs-progs',
  mount: 'mount',
  losetup: 'mount',
  sysctl: 'procps',
  curl: 'curl',
};

const recipe = resolve(import.meta.dirname, '../cluster');

/** The scripts that start and end clusters. */
export const clusterScript = (name: 'build' | 'up' | 'down' | 'prove'): string => join(recipe, name);

/** Holds the programs of the clusters, kubectl among them. */
export const clusterPrograms = join(cacheDir, 'bin');

async function modifiedAt(file: string): Promise<number> {
  return stat(file).then(
    (found) => found.mtimeMs,
    () => 0,
  );
}

let ensured: Promise<void> | undefined;

/** Makes everything that starting a cluster takes: packages, Kubernetes' programs, the pause image. */
export function ensureKubelab(): Promise<void> {
  ensured ??= makeKubelab();
  return ensured;
}

async function makeKubelab(): Promise<void> {
  if (!isRoot()) {
    throw new SetupError(
      'starting a cluster needs root, for its namespaces, mounts and network',
      'run it with sudo, or name a cluster of yours in DMAAS_TEST_KUBECONFIG (test/README.md)',
    );
  }
  await ensurePrograms(PROGRAMS);
  const env = { ...(await goEnvironment()), DMAAS_TEST_CACHE: cacheDir };
  await step('compiling Kubernetes, which takes about ten minutes the first time', (detail) =>
    run(clusterScript('build'), [], {
      env,
      onLine: (line) => {
        if (line.startsWith('build: ')) detail(line.slice('build: '.length));
      },
    }),
  );
  await withLock('pause', async () => {
    const archive = join(cacheDir, 'images/pause.tar');
    const program = join(clusterPrograms, 'pause');
    if ((await modifiedAt(archive)) > (await modifiedAt(program))) return;
    await mkdir(join(cacheDir, 'images'), { recursive: true });
    await saveImage(await buildPauseImage(program), archive);
  });
}
