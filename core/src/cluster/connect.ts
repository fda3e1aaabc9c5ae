import type { Cluster } from './cluster.ts';
import type { ConnectHost } from './kube-cluster.ts';
import type { ClusterOptions } from './kubeconfig.ts';

/** As `kube-cluster.ts`'s, whose libraries are loaded only now: commands that need no cluster start fast. */
export async function connectCluster(options: ClusterOptions = {}, host: Partial<ConnectHost> = {}): Promise<Cluster> {
  const { connectCluster: connect } = await import('./kube-cluster.ts');
  return connect(options, host);
}
