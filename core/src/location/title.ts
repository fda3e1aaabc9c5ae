import { createHash } from 'node:crypto';
import { DmaasError } from '../errors.ts';

/** Titles of credentials and names of locations: what people type, so one rule for both. */
const TITLE = /^[A-Za-z][A-Za-z0-9-]{0,23}$/;
export const MAX_TITLE_LENGTH = 24;
const HASH_LENGTH = 6;

/** Throws USAGE with the rule that is broken and, where one exists, a title that keeps it. `what` is `title` or `name`. */
export function assertTitle(title: string, what: 'title' | 'name' = 'title'): void {
  const broken = brokenRule(title, what);
  if (broken === undefined) return;
  const suggestion = suggestTitle(title);
  throw new DmaasError('USAGE', broken, suggestion === undefined ? {} : { hint: `for example ${suggestion}` });
}

/** The sentence that says what is wrong with a title, `undefined` when nothing is: what input boxes validate with. */
export function brokenRule(title: string, what: 'title' | 'name' = 'title'): string | undefined {
  if (TITLE.test(title)) return undefined;
  if (!/^[A-Za-z]/.test(title)) return `${what} "${title}" must start with a letter`;
  if (!/^[A-Za-z0-9-]*$/.test(title)) return `${what} "${title}" may contain only letters, digits and "-"`;
  return `${what} is ${title.length} characters long, at most ${MAX_TITLE_LENGTH} are allowed`;
}

/** The nearest valid title, `undefined` when nothing of it can be kept. */
export function suggestTitle(title: string): string | undefined {
  const fixed = title
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/[^A-Za-z0-9-]+/g, '-')
    .replace(/^[^A-Za-z]+/, '')
    .slice(0, MAX_TITLE_LENGTH)
    .replace(/-+$/, '');
  return TITLE.test(fixed) ? fixed : undefined;
}

/**
 * Name of the Secret that holds what has this title. A title may have capitals and may end with '-', an object's name may not:
 * it is the title in lower case, so two titles that differ only in case claim the same object and the API server refuses the
 * second; and where a final '-' had to go, a hash of the title follows, so that `a` and `a-` differ.
 */
export function titledObjectName(role: 'credential' | 'location', title: string): string {
  const lower = title.toLowerCase();
  const trimmed = lower.replace(/-+$/, '');
  const suffix = trimmed === lower ? '' : `-${createHash('sha256').update(lower).digest('hex').slice(0, HASH_LENGTH)}`;
  return `dmaas-${role}-${trimmed}${suffix}`;
}
