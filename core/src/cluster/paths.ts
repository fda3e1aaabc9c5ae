import type { ResourceKind } from '../model.ts';

export function collectionPath({ group, version, plural }: ResourceKind, namespace: string | undefined): string {
  const api = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
  return `${api}${namespace === undefined ? '' : `/namespaces/${encodeURIComponent(namespace)}`}/${plural}`;
}

export function objectPath(kind: ResourceKind, { namespace, name }: { readonly namespace?: string; readonly name: string }): string {
  return `${collectionPath(kind, namespace)}/${encodeURIComponent(name)}`;
}
