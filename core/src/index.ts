/** What surfaces use: all of it, and nothing else of core. */
export * from './errors.ts';
export * from './events.ts';
export * from './model.ts';
export * from './operation.ts';
export { VERSION } from './version.ts';

export type { Cluster, ServerVersion } from './cluster/cluster.ts';
export type { ClusterOptions, ContextInfo } from './cluster/kubeconfig.ts';
export { connectCluster } from './cluster/connect.ts';

export { openStore } from './store/open.ts';
export { parseStoreUrl, type StoreConfig, type StoreFlags } from './store/config.ts';
export { PATIENT } from './store/retry.ts';
export type { CheckResult } from './store/checks.ts';

export type { Backup, BackupFilter, VolumeRecord } from './repository/backup-record.ts';
export type { KeyInfo, KeyRing } from './repository/key-ring.ts';
export { parseKey } from './repository/keys.ts';
export { checkPassphrase, formatRecoveryKey, newRecoveryKey, parseRecipient, type Recipient } from './repository/recipients.ts';
export type { PruneOptions, PruneReport } from './repository/prune.ts';
export type { RepairReport } from './repository/repair.ts';

export type { Application, AppSelector, AppVolume, Edge, EdgeName, Member } from './discovery/application.ts';
export { listApplications, type AppList, type AppSummary } from './discovery/applications.ts';
export { discover } from './discovery/discover.ts';
export { EDGE_VERBS } from './discovery/findings.ts';
export { describeSelector } from './discovery/selection.ts';
export { applicationTree, type TreeNode } from './discovery/tree.ts';

export {
  createCredential,
  deleteCredential,
  getCredential,
  listCredentials,
  parseCredentialValues,
  summarizeCredential,
  type Credential,
  type CredentialSummary,
  type CredentialValues,
} from './location/credential.ts';
export { accessFromDocument, exportLocation, importLocation, parseLocationDocument, type LocationDocument } from './location/document.ts';
export {
  createLocation,
  deleteLocation,
  getLocation,
  getLocationAccess,
  listLocations,
  setDefaultLocation,
  summarizeLocation,
  type Location,
  type LocationAccess,
  type LocationSummary,
} from './location/location.ts';
export {
  checkLocation,
  deleteBackup,
  findBackup,
  listBackups,
  listRepositories,
  openLocationRepository,
  withLocationKeyRing,
  type LocatedBackup,
  type OpenDeps,
} from './location/open.ts';
export { assertTitle } from './location/title.ts';
export { DEFAULT_HOME_NAMESPACE, type Places } from './location/titled-secret.ts';

export {
  initRepository,
  openWithKeyFile,
  withTargetKeyRing,
  type OpenedRepository,
  type RepositoryTarget,
} from './standalone/repository.ts';
export { repairRepository, verifyRepository } from './standalone/verify.ts';
export { backupVolume, type VolumeBackupRequest } from './standalone/volume-backup.ts';
export { listVolumeEntries, readVolumeFile, type VolumeEntry } from './standalone/volume-browse.ts';
export { restoreVolume, type RestoredVolume, type VolumeRestoreRequest } from './standalone/volume-restore.ts';
export type { MoverOptions } from './mover/job.ts';
export { cleanupOperation, listOperations, type CleanupReport, type OperationLeftovers } from './transfer/cleanup.ts';
export type { BackupOptions, BackupPlan } from './transfer/model.ts';
export { redactBackupPlan } from './transfer/plan.ts';
export { checkedBackupPlan, executeBackup, prepareBackup, type PreparedBackup } from './transfer/prepare-backup.ts';

export type { RestoreRecord, RestoreStatus } from './restore/journal.ts';
export type { RestoreOptions, RestorePlan, RestoreStep } from './restore/model.ts';
export { redactPlan } from './restore/plan.ts';
export {
  executeRestore,
  getRestore,
  listRestores,
  prepareRestore,
  resumeRestore,
  undoRestore,
  type LocatedRestore,
  type PreparedRestore,
  type RestoreRequest,
} from './restore/restore.ts';
export type { RestoreReport } from './restore/run.ts';
export type { RemovalReport } from './restore/undo.ts';
