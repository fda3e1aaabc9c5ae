import { DmaasError } from '../errors.ts';
import type { KubeObject } from '../model.ts';

type Labels = Readonly<Record<string, string>>;

const SET = /^([\w./-]+)\s+(in|notin)\s*\(([\w.,\s-]*)\)$/;
const EQUALITY = /^([\w./-]+)\s*(==|=|!=)\s*([\w./-]*)$/;
const EXISTENCE = /^(!?)\s*([\w./-]+)$/;

/**
 * Compiles a label selector (`app=web,tier!=db,env in (a,b),!old`). As in Kubernetes, `!=` and `notin` also match objects
 * without the label. Throws CLUSTER_REJECTED on a syntax error, as the server does.
 */
export function labelMatcher(selector: string): (labels: Labels | undefined) => boolean {
  const tests = splitOutsideParentheses(selector).map(labelTest);
  return (labels = {}) => tests.every((test) => test(labels));
}

function labelTest(term: string): (labels: Labels) => boolean {
  const [, setKey, operator, list] = SET.exec(term) ?? [];
  if (setKey !== undefined && list !== undefined) {
    const values = new Set(list.split(',').map((v) => v.trim()));
    return (labels) => {
      const value = labels[setKey];
      return (value !== undefined && values.has(value)) === (operator === 'in');
    };
  }
  const [, key, sign, value] = EQUALITY.exec(term) ?? [];
  if (key !== undefined) return (labels) => (labels[key] === value) === (sign !== '!=');
  const [, not, name] = EXISTENCE.exec(term) ?? [];
  if (name !== undefined) return (labels) => name in labels === (not === '');
  throw new DmaasError('CLUSTER_REJECTED', `"${term}" is not a label selector`);
}

/** Compiles a field selector (`metadata.name=a,status.phase!=Running`). An absent field reads as the empty string. */
export function fieldMatcher(selector: string): (object: KubeObject) => boolean {
  const tests = splitOutsideParentheses(selector).map((term) => {
    const [, path, sign, value] = EQUALITY.exec(term) ?? [];
    if (path === undefined) throw new DmaasError('CLUSTER_REJECTED', `"${term}" is not a field selector`);
    return (object: KubeObject) => (readPath(object, path) === value) === (sign !== '!=');
  });
  return (object) => tests.every((test) => test(object));
}

function readPath(object: unknown, path: string): string {
  let at = object;
  for (const field of path.split('.')) at = (at as Readonly<Record<string, unknown>> | null | undefined)?.[field];
  return typeof at === 'string' || typeof at === 'number' || typeof at === 'boolean' ? String(at) : '';
}

function splitOutsideParentheses(selector: string): string[] {
  return selector
    .split(/,(?![^(]*\))/)
    .map((term) => term.trim())
    .filter((term) => term !== '');
}
