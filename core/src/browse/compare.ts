import type { Cluster } from '../cluster/cluster.ts';
import type { KubeObject, ObjectRef } from '../model.ts';
import { scrub } from '../restore/scrub.ts';

/**
 * An object without what servers and controllers write: two that a person would call the same are equal after it. The rules are
 * those of a restore.
 */
export function comparable(object: KubeObject): KubeObject {
  return scrub(object).object;
}

/** The object of that name as it runs now, in the form of `comparable`; undefined when there is none. */
export async function liveComparable(cluster: Cluster, ref: ObjectRef): Promise<KubeObject | undefined> {
  const object = await cluster.get(ref);
  return object === undefined ? undefined : comparable(object);
}
