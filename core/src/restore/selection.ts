import { idOfKind } from '../discovery/inventory.ts';
import { kindId } from '../discovery/pod-template.ts';
import { kindsNamed } from '../discovery/selection.ts';
import type { Finding, KubeObject, ResourceKind } from '../model.ts';
import type { RestoreOptions } from './model.ts';

/** `KIND` or `KIND/NAME`: the kind as kubectl takes it, or `*`; in the name `*` stands for any run of characters. */
function matcher(pattern: string, kinds: readonly ResourceKind[]): (object: KubeObject) => boolean {
  const slash = pattern.indexOf('/');
  const word = slash < 0 ? pattern : pattern.slice(0, slash);
  const namePattern = wildcard(slash < 0 ? '*' : pattern.slice(slash + 1));
  const ids = new Set(kindsNamed(kinds, word).map(idOfKind));
  // Kinds that the target does not serve can be named too: to leave them out is the way past that.
  const isKind = (o: KubeObject): boolean => word === '*' || ids.has(kindId(o)) || o.kind.toLowerCase() === word.toLowerCase();
  return (object) => isKind(object) && namePattern.test(object.metadata.name);
}

function wildcard(pattern: string): RegExp {
  const escaped = pattern.split('*').map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${escaped.join('.*')}$`);
}

export interface Selection {
  readonly isSelected: (object: KubeObject) => boolean;
  /** A pattern that matches nothing is a slip of the pen, and restoring the wrong set is worse than stopping. */
  readonly findings: readonly Finding[];
}

/** What the options leave of a backup's objects. */
export function selectionOf(objects: readonly KubeObject[], kinds: readonly ResourceKind[], options: RestoreOptions): Selection {
  const findings: Finding[] = [];
  const compile = (flag: string, patterns: readonly string[]): ((object: KubeObject) => boolean) => {
    const matchers = patterns.map((pattern) => {
      const matches = matcher(pattern, kinds);
      if (!objects.some(matches)) {
        findings.push({
          level: 'blocker',
          code: 'pattern-without-match',
          message: `nothing in the backup matches ${flag} ${pattern}`,
          hint: 'patterns are KIND or KIND/NAME, as in deployment/web or configmap/web-*',
        });
      }
      return matches;
    });
    return (object) => matchers.some((matches) => matches(object));
  };
  const included = options.include === undefined ? () => true : compile('--include', options.include);
  const excluded = compile('--exclude', options.exclude ?? []);
  const isSelected = (object: KubeObject): boolean => {
    const isClaim = object.kind === 'PersistentVolumeClaim';
    if (options.volumesOnly === true && !isClaim) return false;
    if (options.resourcesOnly === true && isClaim) return false;
    return included(object) && !excluded(object);
  };
  return { isSelected, findings };
}
