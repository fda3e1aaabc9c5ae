import type { KubeObject } from '../model.ts';
import type { Graph } from './closure.ts';
import { listAt } from './read.ts';

/**
 * Cluster-scoped objects that are there for other namespaces only, though they bear the label that was selected: two installations of
 * one chart label theirs alike. Such are bindings and webhooks that name nothing of `namespace`, and roles that only these bindings grant.
 */
export function servesElsewhere(graph: Graph, namespace: string): (key: string) => boolean {
  const clusterScoped = [...graph.objects].filter(([, o]) => o.metadata.namespace === undefined);
  const abroad = new Set(graph.loose.filter((l) => l.relation === 'fronts' && isAbroad(l.to.namespace, namespace)).map((l) => l.from));
  const atHome = new Set([
    ...graph.links.filter((l) => l.relation === 'fronts').map((l) => l.from),
    ...graph.loose.filter((l) => l.relation === 'fronts' && l.to.namespace === namespace).map((l) => l.from),
  ]);
  const fronts = new Set(
    clusterScoped.filter(([key, o]) => abroad.has(key) && !atHome.has(key) && namesOnlyAccounts(o)).map(([key]) => key),
  );
  return (key) => {
    if (fronts.has(key)) return true;
    if (graph.objects.get(key)?.metadata.namespace !== undefined) return false;
    const grantedBy = (graph.around.get(key) ?? []).filter(({ link }) => link.name === 'grants' && link.to === key);
    return grantedBy.length > 0 && grantedBy.every(({ other }) => fronts.has(other));
  };
}

function isAbroad(target: string | undefined, namespace: string): boolean {
  return target !== undefined && target !== namespace;
}

/** Users and groups are of no namespace: whom they are for is not known. */
function namesOnlyAccounts(o: KubeObject): boolean {
  return listAt(o, 'subjects').every((subject) => subject['kind'] === 'ServiceAccount');
}
