import { DmaasError } from '../errors.ts';
import type { ErrorInit } from '../errors.ts';
import type { KubeObject, ObjectRef, ResourceKind } from '../model.ts';
import { refName, refOf } from '../model.ts';
import type { Access } from './cluster.ts';

/** `secrets`, `statefulsets.apps`, `pods/exec`, or with a name `pods/web-0/exec`. */
export function resourceName({ group, resource, name }: Pick<Access, 'group' | 'resource' | 'name'>): string {
  const [plural = '', subresource] = resource.startsWith('/') ? [resource] : resource.split('/', 2);
  return [group === '' ? plural : `${plural}.${group}`, name, subresource].filter((part) => part !== undefined).join('/');
}

/** The kubectl command that asks the server the same question. `flags` choose the same cluster and user. */
export function canICommand(access: Access, flags: readonly string[] = []): string {
  const [plural = '', subresource] = access.resource.startsWith('/') ? [access.resource] : access.resource.split('/', 2);
  return [
    'kubectl',
    ...flags,
    'auth can-i',
    access.verb,
    resourceName({ ...access, resource: plural }),
    ...(subresource === undefined ? [] : [`--subresource=${subresource}`]),
    ...(access.namespace === undefined ? [] : [`-n ${access.namespace}`]),
  ].join(' ');
}

export function forbidden(user: string | undefined, access: Access, init: ErrorInit = {}): DmaasError {
  const who = user === undefined ? 'this user' : `user ${user}`;
  const where = access.namespace === undefined ? '' : ` in namespace ${access.namespace}`;
  return new DmaasError('CLUSTER_FORBIDDEN', `${who} may not ${access.verb} ${resourceName(access)}${where}`, {
    hint: canICommand(access),
    ...init,
  });
}

export function alreadyExists(ref: ObjectRef, init?: ErrorInit): DmaasError {
  return new DmaasError('CLUSTER_CONFLICT', `${refName(ref, true)} already exists`, init);
}

export function absent(ref: ObjectRef, init?: ErrorInit): DmaasError {
  return new DmaasError('CLUSTER_REJECTED', `${refName(ref, true)} does not exist`, init);
}

export function namespaceAbsent(namespace: string, init?: ErrorInit): DmaasError {
  return new DmaasError('CLUSTER_REJECTED', `namespace ${namespace} does not exist`, {
    hint: `kubectl create namespace ${namespace}`,
    ...init,
  });
}

/** The server answers this one with status 500, as if it were its own fault and would pass. */
export function checkIsNew(manifest: KubeObject): void {
  if (manifest.metadata.resourceVersion === undefined) return;
  throw new DmaasError('CLUSTER_REJECTED', `${refName(refOf(manifest), true)} has a resourceVersion, which only existing objects have`);
}

export function unknownKind(ref: Pick<ObjectRef, 'apiVersion' | 'kind'>): DmaasError {
  return new DmaasError('CLUSTER_REJECTED', `the cluster has no kind ${ref.kind} in ${ref.apiVersion}`, {
    hint: 'kubectl api-resources',
  });
}

/** A ref or manifest whose namespace does not fit its kind: nobody but DMaaS can have made it. */
export function wrongScope(ref: ObjectRef, kind: ResourceKind): DmaasError {
  return new DmaasError('INTERNAL', `${refName(ref)} ${kind.namespaced ? 'lacks its' : 'is cluster-scoped and has a'} namespace`);
}

export function timedOut(ref: ObjectRef, timeoutMs: number, init?: ErrorInit): DmaasError {
  return new DmaasError('TIMEOUT', `${refName(ref, true)} was not ready within ${String(timeoutMs / 1000)} s`, init);
}
