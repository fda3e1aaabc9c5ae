import { objectMatcher } from '../discovery/object-pattern.ts';
import type { Finding, KubeObject, ResourceKind } from '../model.ts';
import type { RestoreOptions } from './model.ts';

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
      const matches = objectMatcher(pattern, kinds);
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
  const volumes = options.volumes ?? {};
  for (const name of Object.keys(volumes)) {
    if (objects.some((o) => o.kind === 'PersistentVolumeClaim' && o.metadata.name === name)) continue;
    const known = objects.filter((o) => o.kind === 'PersistentVolumeClaim').map((o) => o.metadata.name);
    findings.push({
      level: 'blocker',
      code: 'volume-unknown',
      message: `the backup has no volume ${name}`,
      hint: known.length === 0 ? 'it has no volumes at all' : `it has ${known.join(', ')}`,
    });
  }
  const isSelected = (object: KubeObject): boolean => {
    const isClaim = object.kind === 'PersistentVolumeClaim';
    if (Object.keys(volumes).length > 0) return isClaim && Object.hasOwn(volumes, object.metadata.name) && !excluded(object);
    if (options.volumesOnly === true && !isClaim) return false;
    if (options.resourcesOnly === true && isClaim) return false;
    return included(object) && !excluded(object);
  };
  return { isSelected, findings };
}
