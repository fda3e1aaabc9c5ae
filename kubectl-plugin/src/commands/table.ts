import type { Command, Group } from '../command.ts';
import { appDescribe, appExplain, appList, appTree } from './app.ts';
import { backupCreate, backupDelete, backupDescribe, backupList } from './backup.ts';
import { backupBrowse, backupCat, backupDownload } from './backup-files.ts';
import { cleanup } from './cleanup.ts';
import { completionInstall, completionScript } from './completion.ts';
import {
  credentialCreateAws,
  credentialCreateGcp,
  credentialCreateS3,
  credentialDelete,
  credentialDescribe,
  credentialList,
} from './credential.ts';
import {
  locationCheck,
  locationCreate,
  locationDelete,
  locationDescribe,
  locationExport,
  locationImport,
  locationList,
  locationRecover,
  locationSetDefault,
} from './location.ts';
import { keyAdd, keyList, keyRemove, keyRotate } from './key.ts';
import { options } from './options.ts';
import { repositoryPrune } from './repository-prune.ts';
import { repositoryInit, repositoryRepair, repositoryStats, repositoryVerify } from './repository.ts';
import { restoreActivate, restoreCreate, restoreDelete, restoreUndo, restoreDescribe, restoreList, restoreResume } from './restore.ts';
import { restoreApply, restorePlan } from './restore-plan.ts';
import { version } from './version.ts';
import { volumeBackup, volumeCat, volumeDelete, volumeList, volumeLs, volumeRestore } from './volume.ts';

/** The nouns, in the order in which help shows them. */
export const GROUPS: readonly Group[] = [
  { name: 'app', aliases: ['apps', 'application'], summary: 'Applications: what belongs together in a namespace' },
  { name: 'backup', aliases: ['backups', 'bk'], summary: 'Backups of applications' },
  { name: 'restore', aliases: ['restores'], summary: 'Restores of backups, here or in another cluster' },
  { name: 'location', aliases: ['locations', 'loc'], summary: 'Buckets that hold backups, and their keys' },
  { name: 'credential', aliases: ['credentials', 'cred'], summary: 'Access keys of object stores' },
  { name: 'repository', aliases: ['repositories', 'repo'], summary: 'What a bucket or a directory holds' },
  { name: 'volume', aliases: ['volumes', 'vol'], summary: 'Directories and devices of this machine, without any cluster' },
  { name: 'key', aliases: ['keys'], summary: 'Who can open a repository' },
  { name: 'completion', aliases: [], summary: 'Tab completion' },
];

/** Every command. Parser, help, completion and reference are made from this table. */
export const COMMANDS: readonly Command[] = [
  appList,
  appDescribe,
  appTree,
  appExplain,
  backupCreate,
  backupList,
  backupDescribe,
  backupBrowse,
  backupCat,
  backupDownload,
  backupDelete,
  restoreCreate,
  restorePlan,
  restoreApply,
  restoreList,
  restoreDescribe,
  restoreResume,
  restoreActivate,
  restoreDelete,
  restoreUndo,
  locationCreate,
  locationList,
  locationDescribe,
  locationCheck,
  locationSetDefault,
  locationExport,
  locationImport,
  locationRecover,
  locationDelete,
  credentialCreateAws,
  credentialCreateGcp,
  credentialCreateS3,
  credentialList,
  credentialDescribe,
  credentialDelete,
  repositoryInit,
  repositoryVerify,
  repositoryStats,
  repositoryPrune,
  repositoryRepair,
  keyList,
  keyAdd,
  keyRemove,
  keyRotate,
  volumeBackup,
  volumeList,
  volumeLs,
  volumeCat,
  volumeRestore,
  volumeDelete,
  cleanup,
  completionInstall,
  completionScript,
  options,
  version,
];
