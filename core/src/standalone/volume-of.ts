import { DmaasError } from '../errors.ts';
import type { Backup, VolumeRecord } from '../repository/records/backup-record.ts';

/** The volume of a backup, by the name of its claim where there are several. Throws USAGE. */
export function volumeOf(backup: Backup, claim: string | undefined): VolumeRecord {
  const claims = backup.volumes.map((v) => v.claim);
  const found = backup.volumes.find((v) => claim === undefined || v.claim === claim);
  if (found !== undefined && (claim !== undefined || claims.length === 1)) return found;
  if (found === undefined) {
    throw new DmaasError('USAGE', `the backup ${backup.id} holds no volume${claim === undefined ? '' : ` "${claim}"`}`, {
      hint: claims.length === 0 ? 'it holds manifests only' : `its volumes are ${claims.join(', ')}`,
    });
  }
  throw new DmaasError('USAGE', `the backup ${backup.id} holds ${claims.length} volumes`, {
    hint: `choose one: --claim ${claims.join('|')}`,
  });
}
