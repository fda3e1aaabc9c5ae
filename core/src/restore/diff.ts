import { stringAt } from '../discovery/read.ts';
import { isRecord, sameJson } from './rewrite.ts';

/** One field that differs. `before` or `after` is absent where the field does not exist on that side. */
export interface FieldChange {
  /** As people write it: `spec.ports[http].nodePort`, `metadata.annotations["a.b/c"]`. */
  readonly path: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

/**
 * The fields in which two objects differ, sorted by path; a subtree that is only on one side is one change. Lists whose items all have
 * different names are compared by name, as Kubernetes merges them, other lists by position.
 */
export function diffFields(before: unknown, after: unknown): readonly FieldChange[] {
  const changes: FieldChange[] = [];
  collect(before, after, '', changes);
  return changes;
}

function collect(before: unknown, after: unknown, path: string, into: FieldChange[]): void {
  if (sameJson(before, after)) return;
  const left = entries(before);
  const right = entries(after);
  if (left === undefined || right === undefined || left.named !== right.named || Array.isArray(before) !== Array.isArray(after)) {
    into.push({ path, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) });
    return;
  }
  for (const key of [...new Set([...left.items.keys(), ...right.items.keys()])].sort(byNumberThenText)) {
    collect(left.items.get(key), right.items.get(key), join(path, key, Array.isArray(before)), into);
  }
}

function entries(value: unknown): { readonly items: ReadonlyMap<string, unknown>; readonly named: boolean } | undefined {
  if (isRecord(value)) return { items: new Map(Object.entries(value)), named: false };
  if (!Array.isArray(value)) return undefined;
  const list = value as readonly unknown[];
  const names = list.map((item) => stringAt(item, 'name'));
  const named = list.length === 0 || (names.every((name) => name !== undefined) && new Set(names).size === names.length);
  return { items: new Map(list.map((item, i) => [named ? (names[i] ?? '') : String(i), item])), named };
}

function byNumberThenText(a: string, b: string): number {
  const numbers = [Number(a), Number(b)] as const;
  if (numbers.every(Number.isInteger)) return numbers[0] - numbers[1];
  return a < b ? -1 : a > b ? 1 : 0;
}

function join(path: string, key: string, inList: boolean): string {
  if (inList) return `${path}[${key}]`;
  if (!/^[A-Za-z0-9_-]+$/.test(key)) return `${path}["${key}"]`;
  return path === '' ? key : `${path}.${key}`;
}

const LONGEST_VALUE = 80;

/**
 * The difference as lines for people: `spec.storageClassName: gp3 -> standard`, `spec.clusterIP: 10.0.0.7 removed`,
 * `metadata.labels.tier: web added`. What a Secret holds never appears in them.
 */
export function describeDiff(before: unknown, after: unknown): readonly string[] {
  const secret = [before, after].some((side) => stringAt(side, 'kind') === 'Secret');
  return diffFields(before, after).map(({ path, before: from, after: to }) => {
    const hide = secret && /^(data|stringData|metadata\.annotations)\b/.test(path);
    const show = (value: unknown): string => (hide ? '(hidden)' : brief(value));
    const name = path === '' ? 'object' : path;
    if (from === undefined) return `${name}: ${show(to)} added`;
    if (to === undefined) return `${name}: ${show(from)} removed`;
    return `${name}: ${show(from)} -> ${show(to)}`;
  });
}

function brief(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const line = text.replaceAll(/\s+/g, ' ');
  if (line === '') return '""';
  return line.length <= LONGEST_VALUE ? line : `${line.slice(0, LONGEST_VALUE - 3)}...`;
}
