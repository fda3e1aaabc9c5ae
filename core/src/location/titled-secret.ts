import type { Cluster } from '../cluster/cluster.ts';
import { DmaasError } from '../errors.ts';
import type { Finding, KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import { refName, refOf } from '../model.ts';
import { LABELS } from '../operation.ts';
import { assertTitle, titledObjectName } from './title.ts';

export type TitledRole = 'credential' | 'location';
export const DEFAULT_HOME_NAMESPACE = 'dmaas';

const SECRET_KIND: ResourceKind = {
  group: '',
  version: 'v1',
  kind: 'Secret',
  plural: 'secrets',
  namespaced: true,
  verbs: ['get', 'list', 'create', 'delete', 'patch'],
};

/** Where credentials and locations are looked for: the application's namespace first, then the operators' home namespace. */
export interface Places {
  readonly namespace: string;
  /** Default `dmaas`. */
  readonly homeNamespace?: string;
}

export function searchOrder(places: Places): readonly string[] {
  return [...new Set([places.namespace, places.homeNamespace ?? DEFAULT_HOME_NAMESPACE])];
}

export function titledRef(role: TitledRole, title: string, namespace: string): ObjectRef {
  return { apiVersion: 'v1', kind: 'Secret', name: titledObjectName(role, title), namespace };
}

export function titledSecret(role: TitledRole, title: string, namespace: string, data: Readonly<Record<string, string>>): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: titledObjectName(role, title),
      namespace,
      labels: { [LABELS.managedBy]: 'dmaas', [LABELS.role]: role },
    },
    type: `dmaas.io/${role}`,
    data: Object.fromEntries(Object.entries({ title, ...data }).map(([field, text]) => [field, Buffer.from(text).toString('base64')])),
  };
}

/** The fields of a Secret as text; those that are not base64 text are absent. */
export function secretData(secret: KubeObject): Readonly<Record<string, string>> {
  const data = secret['data'];
  if (typeof data !== 'object' || data === null) return {};
  const fields = Object.entries(data as Readonly<Record<string, unknown>>);
  return Object.fromEntries(fields.flatMap(([k, v]) => (typeof v === 'string' ? [[k, Buffer.from(v, 'base64').toString('utf8')]] : [])));
}

/** Creates the Secret; throws USAGE when the title is taken, also by one that differs in capitals only. */
export async function createTitled(cluster: Cluster, role: TitledRole, secret: KubeObject): Promise<KubeObject> {
  try {
    return await cluster.create(secret);
  } catch (e) {
    if (!DmaasError.is(e, 'CLUSTER_CONFLICT')) throw e;
    const existing = await cluster.get(refOf(secret));
    if (existing === undefined) throw e;
    throw titleTaken(role, secretData(secret)['title'] ?? '', existing, e);
  }
}

function titleTaken(role: TitledRole, title: string, existing: KubeObject, cause: unknown): DmaasError {
  const namespace = existing.metadata.namespace ?? '';
  const taken = secretData(existing)['title'];
  const hint = `kubectl dmaas ${role} list -n ${namespace}`;
  if (taken === title) return new DmaasError('USAGE', `${role} ${title} exists in namespace ${namespace}`, { hint, cause });
  if (taken?.toLowerCase() === title.toLowerCase()) {
    return new DmaasError('USAGE', `${role} ${taken} exists in namespace ${namespace} and differs from ${title} in capitals only`, {
      hint,
      cause,
    });
  }
  return new DmaasError('USAGE', `${refName(refOf(existing), true)} exists and is no ${role} ${title}`, { hint, cause });
}

/** The Secret of that title in the first of the namespaces that has one. Capitals do not matter. */
export async function findTitled(
  cluster: Cluster,
  role: TitledRole,
  title: string,
  namespaces: readonly string[],
): Promise<KubeObject | undefined> {
  assertTitle(title, role === 'location' ? 'name' : 'title');
  for (const namespace of namespaces) {
    const secret = await cluster.get(titledRef(role, title, namespace));
    if (secret !== undefined) return secret;
  }
  return undefined;
}

export function notFound(role: TitledRole, title: string, namespaces: readonly string[]): DmaasError {
  const where = namespaces.length === 1 ? `namespace ${namespaces.join('')}` : `the namespaces ${namespaces.join(' and ')}`;
  return new DmaasError('USAGE', `no ${role} ${title} in ${where}`, { hint: `kubectl dmaas ${role} list -n ${namespaces[0] ?? ''}` });
}

/**
 * Every Secret of that role, in search order; `undefined` stands for all namespaces. One that may not be read becomes a
 * finding, unless it is the first.
 */
export async function listTitled(
  cluster: Cluster,
  role: TitledRole,
  namespaces: readonly (string | undefined)[],
): Promise<{ readonly secrets: readonly KubeObject[]; readonly findings: readonly Finding[] }> {
  const secrets: KubeObject[] = [];
  const findings: Finding[] = [];
  for (const namespace of namespaces) {
    try {
      const scope = namespace === undefined ? {} : { namespace };
      for await (const secret of cluster.list(SECRET_KIND, { ...scope, labelSelector: `${LABELS.role}=${role}` })) secrets.push(secret);
    } catch (e) {
      if (!DmaasError.is(e, 'CLUSTER_FORBIDDEN') || namespace === namespaces[0]) throw e;
      findings.push({
        level: 'info',
        code: `${role}s-hidden`,
        message: `${role}s in namespace ${namespace ?? ''} are not shown: ${e.message}`,
        ...(e.hint === undefined ? {} : { hint: e.hint }),
      });
    }
  }
  return { secrets, findings };
}

/** A Secret of ours that somebody edited. Names the field and never its value. */
export function damaged(role: TitledRole, secret: KubeObject, what: string): DmaasError {
  const ref = refOf(secret);
  return new DmaasError('USAGE', `${refName(ref, true)} is no valid ${role}: ${what}`, {
    hint: `kubectl delete secret ${ref.name} -n ${ref.namespace ?? ''}, then create the ${role} again`,
  });
}
