import type { Finding } from '../model.ts';
import type { BackupOptions } from './model.ts';

/** A change of options after which a finding is gone. */
export interface BackupFix {
  /** For people, as a button says it. */
  readonly title: string;
  readonly options: BackupOptions;
}

/** What can be done, by planning again, about a volume that stands in the way of a backup; the hints of findings name the same ways. */
export function backupFixesOf({ level, hint, ref }: Finding, options: BackupOptions): readonly BackupFix[] {
  if (level !== 'blocker' || ref?.kind !== 'PersistentVolumeClaim') return [];
  const { name } = ref;
  const live = Array.isArray(options.live) ? (options.live as readonly string[]) : [];
  const leaveOut = { title: `Leave out ${name}`, options: { ...options, excludeVolumes: [...(options.excludeVolumes ?? []), name] } };
  if (hint?.includes('--live') !== true) return [leaveOut];
  return [{ title: `Read ${name} while it is in use: not one moment`, options: { ...options, live: [...live, name] } }, leaveOut];
}
