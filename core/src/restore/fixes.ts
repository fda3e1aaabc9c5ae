import type { Finding } from '../model.ts';
import type { RestoreOptions } from './model.ts';

/** A change of options after which a finding is gone. */
export interface RestoreFix {
  /** For people, as a button says it. */
  readonly title: string;
  readonly options: RestoreOptions;
}

const FLAG = /--([a-z-]+) ([^\s,]+)/g;

/**
 * What can be done about a finding of a plan by planning again with other options. The hints of findings name the flags; this is what these
 * mean. Empty when nothing but work outside of the restore helps.
 */
export function fixesOf({ hint }: Pick<Finding, 'hint'>, options: RestoreOptions): readonly RestoreFix[] {
  if (hint?.startsWith('--') !== true) return [];
  return [...hint.matchAll(FLAG)].flatMap(([, flag = '', value = '']) => fixOf(flag, value, options) ?? []);
}

function fixOf(flag: string, value: string, options: RestoreOptions): RestoreFix | undefined {
  switch (flag) {
    case 'map-storage-class': {
      const equals = value.indexOf('=');
      const [from, to] = [value.slice(0, equals), value.slice(equals + 1)];
      if (to === 'NAME') return undefined; // the user's to choose
      const title = from === '' ? `Use storage class ${to} for claims without one` : `Use storage class ${to} instead of ${from}`;
      return { title, options: { ...options, storageClassMap: { ...options.storageClassMap, [from]: to } } };
    }
    case 'to-namespace':
      return { title: `Restore to namespace ${value}`, options: { ...options, namespace: value } };
    case 'on-conflict':
      if (value !== 'skip' && value !== 'overwrite') return undefined;
      return { title: value === 'skip' ? 'Keep what exists' : 'Overwrite what exists', options: { ...options, conflict: value } };
    case 'exclude':
      return { title: `Leave out ${value}`, options: { ...options, exclude: [...(options.exclude ?? []), value] } };
    case 'include':
      // Where nothing is chosen everything is included already.
      return options.include === undefined
        ? undefined
        : { title: `Include ${value}`, options: { ...options, include: [...options.include, value] } };
    case 'allow':
      return { title: `Allow ${value}: I trust this backup`, options: { ...options, allow: [...(options.allow ?? []), value] } };
    case 'map-label':
      return labelFix(value, options);
    default:
      return undefined;
  }
}

function labelFix(value: string, options: RestoreOptions): RestoreFix | undefined {
  const [, key, old, newKey, renamed] = /^([^=:]+)=([^=:]*):([^=:]+)=([^=:]*)$/.exec(value) ?? [];
  if (key === undefined || old === undefined || newKey === undefined || renamed === undefined) return undefined;
  const labels = [...(options.values?.labels ?? []), { from: [key, old], to: [newKey, renamed] } as const];
  return {
    title: `Label it ${newKey}=${renamed} instead of ${key}=${old}`,
    options: { ...options, values: { ...options.values, labels } },
  };
}
