import type { Cluster, ContextInfo, MoverOptions, OpenDeps, Places } from '@dmaas/core';
import { loadCore } from './core.ts';
import { settings } from './settings.ts';

/** The clusters of the kubeconfig. Views share one connection to each; what runs for long makes its own. */
export class Session {
  readonly #clusters = new Map<string, Promise<Cluster>>();

  /** The contexts that settings do not hide, the current one first. */
  async contexts(): Promise<readonly ContextInfo[]> {
    const { listContexts } = await loadCore();
    const { kubeconfig, contexts: shown } = settings;
    const all = await listContexts(kubeconfig === undefined ? {} : { kubeconfig });
    const wanted = shown.length === 0 ? all : all.filter(({ name }) => shown.includes(name));
    return wanted.toSorted((a, b) => Number(b.isCurrent) - Number(a.isCurrent) || a.name.localeCompare(b.name));
  }

  /** A connection that the caller closes. */
  async connect(context: string): Promise<Cluster> {
    const { connectCluster } = await loadCore();
    const { kubeconfig } = settings;
    const options = { context, requestTimeout: '20s', ...(kubeconfig === undefined ? {} : { kubeconfig }) };
    return connectCluster(options, { env: process.env, isInteractive: false });
  }

  /** The connection that views share. */
  cluster(context: string): Promise<Cluster> {
    const known = this.#clusters.get(context);
    if (known !== undefined) return known;
    const connecting = this.connect(context);
    this.#clusters.set(context, connecting);
    connecting.catch(() => this.#clusters.delete(context));
    return connecting;
  }

  /** The context of the cluster with that id: the one named first, if it is; else any other that answers and is. */
  async contextOf(clusterId: string, named: string): Promise<string | undefined> {
    const contexts = (await this.contexts()).map(({ name }) => name);
    const likely = [...contexts.filter((name) => name === named), ...contexts.filter((name) => name !== named && this.#clusters.has(name))];
    for (const context of likely) {
      const id = await this.cluster(context).then(
        (cluster) => cluster.id(),
        () => undefined,
      );
      if (id === clusterId) return context;
    }
    return undefined;
  }

  get stores(): OpenDeps {
    return { openStore: async (config) => (await loadCore()).openStore(config, { proxyEnv: process.env }) };
  }

  places(namespace: string): Places {
    return { namespace, homeNamespace: settings.homeNamespace };
  }

  movers(): { readonly moverOptions: MoverOptions; readonly maxMovers: number } {
    const image = settings.moverImage;
    return { moverOptions: image === undefined ? {} : { image }, maxMovers: settings.maxMovers };
  }

  /** Forgets all connections: the kubeconfig may have changed. */
  async reset(): Promise<void> {
    const open = [...this.#clusters.values()];
    this.#clusters.clear();
    await Promise.allSettled(open.map(async (cluster) => (await cluster).close()));
  }
}
