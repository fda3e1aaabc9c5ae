import { at, listAt, mapAt, recordAt, stringAt } from '../discovery/read.ts';
import type { Json } from '../discovery/read.ts';
import type { KubeObject } from '../model.ts';

/**
 * Tells which ports have a node port that a person chose. The evidence is what kubectl applied last, and which fields a client
 * ever set (managedFields; what the server allocates is not in there). An object without either was not read from a server: a
 * person wrote all of it.
 */
export function explicitNodePort(service: KubeObject): (port: Json) => boolean {
  const { applied, managed } = evidence(service);
  if (applied === undefined && managed.length === 0) return () => true;
  return (port) => {
    const number = at(port, 'port');
    const protocol = stringAt(port, 'protocol') ?? 'TCP';
    const inApplied = listAt(applied, 'spec', 'ports').some((p) => at(p, 'port') === number && at(p, 'nodePort') === at(port, 'nodePort'));
    const key = `k:{"port":${String(number)},"protocol":"${protocol}"}`;
    return inApplied || managed.some((fields) => 'f:nodePort' in recordAt(fields, 'f:spec', 'f:ports', key));
  };
}

export function isExplicitHealthPort(service: KubeObject): boolean {
  const { applied, managed } = evidence(service);
  if (applied === undefined && managed.length === 0) return true;
  return (
    at(applied, 'spec', 'healthCheckNodePort') !== undefined ||
    managed.some((fields) => 'f:healthCheckNodePort' in recordAt(fields, 'f:spec'))
  );
}

function evidence(object: KubeObject): { readonly applied: unknown; readonly managed: readonly Json[] } {
  const text = mapAt(object, 'metadata', 'annotations')['kubectl.kubernetes.io/last-applied-configuration'];
  const managed = listAt(object, 'metadata', 'managedFields').map((entry) => recordAt(entry, 'fieldsV1'));
  return { applied: text === undefined ? undefined : parsed(text), managed };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return {}; // unreadable, but kubectl did apply something
  }
}
