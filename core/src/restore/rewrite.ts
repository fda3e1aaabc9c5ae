/**
 * Rewriting raw JSON (`discovery/read.ts` reads it). Every function is pure and returns its argument itself when nothing changes,
 * so that `===` tells whether a rule did something.
 */

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Rewrites what is at `path`; `*` stands for each item of a list. `change` is called for what exists only, and answers with
 * the new value, or `undefined` to remove the key or item.
 */
export function update<T>(value: T, path: readonly string[], change: (found: unknown) => unknown): T {
  return step(value, path, change) as T;
}

function step(value: unknown, path: readonly string[], change: (found: unknown) => unknown): unknown {
  const [key, ...rest] = path;
  if (key === undefined) return change(value);
  if (key === '*') {
    if (!Array.isArray(value)) return value;
    const before = value as readonly unknown[];
    const after = before.map((item) => step(item, rest, change)).filter((item) => item !== undefined);
    return after.length === before.length && after.every((item, i) => item === before[i]) ? value : after;
  }
  if (!isRecord(value) || !Object.hasOwn(value, key)) return value;
  const before = value[key];
  const after = step(before, rest, change);
  if (after === before) return value;
  if (after !== undefined) return { ...value, [key]: after };
  return Object.fromEntries(Object.entries(value).filter(([k]) => k !== key));
}

/** Removes the key, or the list items, at `path`. */
export function remove<T>(value: T, ...path: readonly string[]): T {
  return update(value, path, () => undefined);
}

/** Removes the keys of the object at `path` that `matches`, and the object itself when that leaves it empty. */
export function removeKeys<T>(value: T, path: readonly string[], matches: (key: string) => boolean): T {
  return update(value, path, (found) => {
    if (!isRecord(found) || !Object.keys(found).some(matches)) return found;
    const kept = Object.entries(found).filter(([key]) => !matches(key));
    return kept.length === 0 ? undefined : Object.fromEntries(kept);
  });
}

/** Sets the value at `path`, making the objects on the way. */
export function put<T>(value: T, path: readonly string[], to: unknown): T {
  const [key, ...rest] = path;
  if (key === undefined) return to as T;
  const base: Readonly<Record<string, unknown>> = isRecord(value) ? value : {};
  return { ...base, [key]: put(base[key], rest, to) } as T;
}

/** JSON merge patch (RFC 7386). */
export function mergePatch<T>(value: T, patch: unknown): T {
  if (!isRecord(patch)) return patch as T;
  const base: Readonly<Record<string, unknown>> = isRecord(value) ? value : {};
  const merged = new Map(Object.entries(base));
  for (const [key, change] of Object.entries(patch)) {
    if (change === null) merged.delete(key);
    else merged.set(key, mergePatch(merged.get(key), change));
  }
  return Object.fromEntries(merged) as T;
}

/** Whether two JSON values are equal; keys that are `undefined` count as absent. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => sameJson(item, b[i]));
  if (!isRecord(a) || !isRecord(b)) return false;
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => sameJson(a[key], b[key]));
}
