/** Repositories and volumes without a cluster. Apart from core's other exports: this alone needs native calls of Linux. */
export { backupVolume, type VolumeBackupRequest } from './volume-backup.ts';
export { listVolumeEntries, readVolumeFile, type VolumeEntry } from './volume-browse.ts';
export { restoreVolume, type RestoredVolume, type VolumeRestoreRequest } from './volume-restore.ts';
export { repairRepository, verifyRepository } from './verify.ts';
