import type { Cluster } from './cluster.ts';
import { knownKind } from './known-kinds.ts';

/** Names of the namespaces that are not being deleted, sorted. Throws CLUSTER_FORBIDDEN where this identity may not list them. */
export async function listNamespaces(cluster: Cluster): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const { metadata } of cluster.list(knownKind('Namespace'), {}))
    if (metadata.deletionTimestamp === undefined) names.push(metadata.name);
  return names.sort();
}
