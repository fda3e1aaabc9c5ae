/** What surfaces use: all of it, and nothing else of core. */
export * from './errors.ts';
export * from './events.ts';
export * from './model.ts';
export * from './operation.ts';
export * from './format.ts';
export { backupCommandLine, restoreCommandLine, type LocationReference } from './command-line.ts';
export { shellWord } from './shell.ts';
export { VERSION } from './version.ts';

export type { Cluster, ServerVersion } from './cluster/cluster.ts';
export { listContexts, type ClusterOptions, type ContextInfo } from './cluster/kubeconfig.ts';
export { connectCluster } from './cluster/connect.ts';
export { listNamespaces } from './cluster/namespaces.ts';

export { openStore } from './store/open.ts';
export { parseStoreUrl, type StoreConfig, type StoreFlags } from './store/config.ts';
export { PATIENT } from './store/retry.ts';
export type { CheckResult } from './store/checks.ts';

export type { Backup, BackupFilter, VolumeRecord } from './repository/records/backup-record.ts';
export type { DeletableBackup } from './repository/records/backups.ts';
export type { KeyInfo, KeyRing } from './repository/keys/key-ring.ts';
export { keyFrom, parseKey } from './repository/keys/keys.ts';
export { checkPassphrase, formatRecoveryKey, newRecoveryKey, parseRecipient, type Recipient } from './repository/keys/recipients.ts';
export type { PruneOptions, PruneReport } from './repository/collection/prune.ts';
export type { RepairReport } from './repository/repair.ts';

export type { Application, AppSelector, AppVolume, Edge, EdgeName, Member, ObjectFilter, Seed } from './discovery/application.ts';
export { listApplications, type AppList, type AppSummary } from './discovery/applications.ts';
export { discover } from './discovery/discover.ts';
export { EDGE_VERBS } from './discovery/findings.ts';
export { describeSelector, seedsOf } from './discovery/selection.ts';
export { explain, type Explanation } from './discovery/explain.ts';
export { objectMatcher } from './discovery/object-pattern.ts';
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
  listAllLocations,
  listLocations,
  setDefaultLocation,
  summarizeLocation,
  type Location,
  type LocationAccess,
  type LocationSummary,
} from './location/location.ts';
export {
  checkLocation,
  chooseRepositories,
  deleteBackup,
  findBackup,
  findDeletable,
  listBackups,
  listRepositories,
  openLocationRepository,
  placeOf,
  withLocationKeyRing,
  type LocatedBackup,
  type OpenDeps,
} from './location/open.ts';
export { groupByApplication, isPartial, protectionOf, type Protection } from './location/protection.ts';
export { openedByKey, recoverDocument } from './location/recover.ts';
export { assertTitle } from './location/title.ts';
export { DEFAULT_HOME_NAMESPACE, type Places } from './location/titled-secret.ts';

export { comparable, liveComparable } from './browse/compare.ts';
export { manifestText, toYaml } from './browse/manifest-text.ts';
export { OpenBackup, type FileInfo } from './browse/open-backup.ts';

export {
  initRepository,
  openWithKeyFile,
  withTargetKeyRing,
  type OpenedRepository,
  type RepositoryTarget,
} from './standalone/repository.ts';
export type { MoverOptions } from './mover/job.ts';
export { cleanupOperation, listOperations, type CleanupReport, type OperationLeftovers } from './transfer/cleanup.ts';
export type { BackupOptions, BackupPlan } from './transfer/model.ts';
export { backupFixesOf, type BackupFix } from './transfer/fixes.ts';
export { RECIPE_NAMES } from './transfer/recipes.ts';
export { redactBackupPlan } from './transfer/plan.ts';
export { checkedBackupPlan, executeBackup, prepareBackup, type PreparedBackup } from './transfer/prepare-backup.ts';

export { fixesOf, type RestoreFix } from './restore/fixes.ts';
export type { RestoreRecord, RestoreStatus } from './restore/journal.ts';
export type { Confidence, RestoreOptions, RestorePlan, RestoreStep, TextEdit } from './restore/model.ts';
export { parsePatches } from './restore/patches.ts';
export { parsePlanDocument } from './restore/plan-document.ts';
export { redactPlan } from './restore/plan.ts';
export { goBack } from './restore/go-back.ts';
export {
  activateRestore,
  executeRestore,
  getRestore,
  listRestores,
  preparePlanned,
  prepareRestore,
  resumeRestore,
  undoRestore,
  type LocatedRestore,
  type PreparedRestore,
  type RestoreRequest,
} from './restore/restore.ts';
export { CONFIDENCES } from './restore/text-references.ts';
export type { LabelMap, ValueMaps } from './restore/value-maps.ts';
export type { Replicas } from './restore/replicas.ts';
export type { RestoreReport } from './restore/run.ts';
export type { RemovalReport } from './restore/undo.ts';
