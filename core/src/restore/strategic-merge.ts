import { isRecord } from './rewrite.ts';

/** By which field Kubernetes merges the items of a list; lists that are not here are replaced. */
const MERGE_KEYS: Readonly<Record<string, readonly string[]>> = {
  containers: ['name'],
  initContainers: ['name'],
  ephemeralContainers: ['name'],
  env: ['name'],
  volumes: ['name'],
  volumeMounts: ['mountPath'],
  volumeDevices: ['devicePath'],
  imagePullSecrets: ['name'],
  secrets: ['name'],
  hostAliases: ['ip'],
  topologySpreadConstraints: ['topologyKey'],
  ownerReferences: ['uid'],
  // Of containers by `containerPort`, of Services by `port`.
  ports: ['containerPort', 'port'],
};
const DIRECTIVE = '$patch';

/** Kubernetes' strategic merge: lists of named items are merged by name; `$patch: delete` and `$patch: replace` as there. Pure. */
export function strategicMerge<T>(value: T, patch: unknown): T {
  return merge(value, patch, '') as T;
}

function merge(value: unknown, patch: unknown, field: string): unknown {
  if (Array.isArray(patch)) return mergeList(value, patch as readonly unknown[], field);
  if (!isRecord(patch)) return patch;
  const { [DIRECTIVE]: directive, ...changes } = patch;
  const base: Readonly<Record<string, unknown>> = isRecord(value) && directive !== 'replace' ? value : {};
  const merged = new Map(Object.entries(base));
  for (const [key, change] of Object.entries(changes)) {
    const isDeleted = change === null || (isRecord(change) && change[DIRECTIVE] === 'delete');
    if (isDeleted) merged.delete(key);
    else merged.set(key, merge(merged.get(key), change, key));
  }
  return Object.fromEntries(merged);
}

function mergeList(value: unknown, patch: readonly unknown[], field: string): unknown {
  const items = patch.filter((item) => !(isRecord(item) && item[DIRECTIVE] === 'replace' && Object.keys(item).length === 1));
  const key = (MERGE_KEYS[field] ?? []).find((name) => items.some((item) => isRecord(item) && item[name] !== undefined));
  if (key === undefined || !Array.isArray(value) || items.length < patch.length) return items.map((item) => merge(undefined, item, ''));
  let list: readonly unknown[] = value;
  for (const item of items) {
    const at = list.findIndex((present) => isRecord(present) && isRecord(item) && present[key] === item[key]);
    if (isRecord(item) && item[DIRECTIVE] === 'delete') list = at < 0 ? list : list.toSpliced(at, 1);
    else list = at < 0 ? [...list, merge(undefined, item, '')] : list.with(at, merge(list[at], item, ''));
  }
  return list;
}
