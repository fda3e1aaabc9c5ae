import { plural, type DeletableBackup } from '@dmaas/core';

/** What both commands that delete backups say of it in their help. */
export const DELETING =
  'The space that only they use comes back with "repository prune". A backup whose record is damaged is given by its whole id, as "repository verify" names it: it cannot be restored, and as long as the record is there no garbage is collected.';

/** Names each: by what its record says, or that it says nothing any more. */
export function deleteQuestion(backups: readonly DeletableBackup[], place: string): string {
  const names = backups.map(({ id, backup }) =>
    backup === undefined ? `${id}, whose record is damaged` : backup.name === backup.app.name ? `${backup.name} ${id}` : backup.name,
  );
  return `Delete ${plural(backups.length, 'backup')} (${names.join('; ')}) from ${place}?`;
}
