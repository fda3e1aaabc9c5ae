import { readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Image } from '../images/oci.ts';
import { cacheDir, isPresent, lock, tryLock } from '../setup/cache.ts';
import { run, SetupError } from '../setup/command.ts';
import { clusterPrograms, clusterScript, ensureKubelab } from '../setup/kubelab.ts';
import { importEarly, importImage } from './containerd.ts';

const clustersDir = join(cacheDir, 'clusters');
const env = { DMAAS_TEST_CACHE: cacheDir, KUBELAB_CLUSTERS: clustersDir };

/** The address on which a server of this machine is reached from the pods of every cluster started here. */
const BRIDGE = '198.18.0.1';

/** A real cluster, started here or named by the user. */
export interface TestCluster {
  readonly name: string;
  /** Path of a kubeconfig with this cluster only. Those of several clusters can be merged. */
  readonly kubeconfig: string;
  readonly context: string;
  /** Path of a kubectl. */
  readonly kubectlProgram: string;
  /** Where servers of this machine must listen for the cluster's pods to reach them. */
  readonly hostAddress: string;
  /** Runs kubectl against this cluster; returns its standard output. */
  kubectl(...args: readonly string[]): Promise<string>;
  /** Applies manifests (YAML or JSON); returns what kubectl says. */
  apply(manifests: string, ...args: readonly string[]): Promise<string>;
  /** Makes images known to the node, for pods with imagePullPolicy Never or IfNotPresent. */
  importImages(...images: readonly Image[]): Promise<void>;
  /** Ends the cluster, unless it is kept (`keepCluster`), the user's own, or still in use by another process. */
  stop(): Promise<void>;
}

export interface ClusterOptions {
  readonly images?: readonly Image[];
}

/** The clusters of the tests' that clusters of the user's can stand in for. */
const USER_CLUSTERS: Readonly<Record<string, string>> = { source: 'DMAAS_TEST_KUBECONFIG', target: 'DMAAS_TEST_KUBECONFIG_TARGET' };

function commandsFor(name: string, kubeconfig: string, context: string, kubectlProgram: string) {
  const kubectl = (args: readonly string[], input?: string): Promise<string> =>
    run(kubectlProgram, ['--kubeconfig', kubeconfig, '--context', context, ...args], input === undefined ? {} : { input });
  return {
    name,
    kubeconfig,
    context,
    kubectlProgram,
    kubectl: (...args: readonly string[]) => kubectl(args),
    apply: (manifests: string, ...args: readonly string[]) => kubectl(['apply', '-f', '-', ...args], manifests),
  };
}

async function userCluster(name: string, kubeconfig: string): Promise<TestCluster> {
  const hostAddress = process.env['DMAAS_TEST_HOST_ADDRESS'];
  if (hostAddress === undefined) {
    throw new SetupError(
      'DMAAS_TEST_KUBECONFIG is set, but not where pods of that cluster reach this machine',
      'set DMAAS_TEST_HOST_ADDRESS to an address of this machine, for kind that of the network bridge (test/README.md)',
    );
  }
  const path = resolve(kubeconfig);
  const context = await run('kubectl', ['--kubeconfig', path, 'config', 'current-context']).catch((error: unknown) => {
    throw new SetupError(`kubectl finds no current context in ${path}`, 'install kubectl and set the current-context of that file', error);
  });
  return {
    ...commandsFor(name, path, context.trim(), 'kubectl'),
    hostAddress,
    importImages: () => Promise.resolve(), // the user has loaded them: npm run cluster -- images DIR
    stop: () => Promise.resolve(),
  };
}

const kubeconfigOf = (name: string): string => join(clustersDir, name, 'pki/admin.kubeconfig');
const keptMark = (name: string): string => join(clustersDir, name, 'kept');

/**
 * Starts the cluster of that name, or joins it when it runs, and waits until it is ready. Several processes may use one; the
 * last to stop it ends it. For `source` and `target` DMAAS_TEST_KUBECONFIG and DMAAS_TEST_KUBECONFIG_TARGET can name clusters
 * to use instead.
 */
export async function startCluster(name: string, options: ClusterOptions = {}): Promise<TestCluster> {
  const own = process.env[USER_CLUSTERS[name] ?? ''];
  if (own !== undefined) return userCluster(name, own);
  await ensureKubelab();
  const dir = join(clustersDir, name);
  const release = await lock(`cluster-${name}`, { shared: true });
  try {
    const started = run(clusterScript('up'), [name], { env });
    await Promise.all([started, importEarly(dir, options.images ?? [], started)]);
    return {
      ...commandsFor(name, kubeconfigOf(name), name, join(clusterPrograms, 'kubectl')),
      hostAddress: BRIDGE,
      async importImages(...images) {
        for (const image of images) await importImage(dir, image);
      },
      async stop() {
        await release();
        await stopUnused(name);
      },
    };
  } catch (error) {
    await release();
    throw error;
  }
}

async function stopUnused(name: string): Promise<void> {
  const release = await tryLock(`cluster-${name}`);
  if (release === undefined) return;
  try {
    if (!(await isPresent(keptMark(name)))) await run(clusterScript('down'), [name], { env });
  } finally {
    await release();
  }
}

/** Lets a running cluster run on when the last process that uses it ends. */
export async function keepCluster(name: string): Promise<void> {
  await writeFile(keptMark(name), '');
}

/** Ends a cluster, whoever uses it. */
export async function removeCluster(name: string): Promise<void> {
  await run(clusterScript('down'), [name], { env });
}

/** The clusters that were started and not ended, with their kubeconfigs. */
export async function listClusters(): Promise<{ name: string; kubeconfig: string; isKept: boolean }[]> {
  const names = await readdir(clustersDir).catch(() => []);
  const found: { name: string; kubeconfig: string; isKept: boolean }[] = [];
  for (const name of names.sort()) {
    if (!(await isPresent(join(clustersDir, name, 'index')))) continue;
    found.push({ name, kubeconfig: kubeconfigOf(name), isKept: await isPresent(keptMark(name)) });
  }
  return found;
}

/** The directory with the logs of a cluster's programs. */
export function clusterLogs(name: string): string {
  return join(clustersDir, name, 'log');
}
