import { prepareRestore, type PreparedRestore, type RestoreOptions } from '@dmaas/core';
import type { Args } from './args.ts';
import type { Flag } from './command.ts';
import { locateBackup } from './commands/backup.ts';
import type { Session } from './session.ts';

/** What to restore, where to, and how it is changed on the way. */
export const RESTORE_FLAGS: readonly Flag[] = [
  { name: 'to-namespace', type: 'string', value: 'NAME', describe: 'Namespace to restore to; default is that of the backup' },
  { name: 'to-context', type: 'string', value: 'NAME', describe: 'Context of the cluster to restore to; default is the current one' },
  { name: 'map-storage-class', type: 'list', value: 'OLD=NEW', describe: 'Storage class to use instead of another; can be repeated' },
  {
    name: 'on-conflict',
    type: 'string',
    choices: ['fail', 'skip', 'overwrite'],
    default: 'fail',
    describe: 'What to do about objects that exist; volumes are never overwritten',
  },
  { name: 'include', type: 'list', value: 'KIND[/NAME]', describe: 'Only these objects; can be repeated' },
  { name: 'exclude', type: 'list', value: 'KIND[/NAME]', describe: 'Not these objects; can be repeated' },
  { name: 'volumes-only', type: 'boolean', describe: 'Claims and their data, nothing else' },
  { name: 'resources-only', type: 'boolean', describe: 'Everything but claims and their data' },
  { name: 'no-activate', type: 'boolean', describe: 'Leave it staged: volumes filled, workloads inactive' },
  { name: 'start-jobs', type: 'boolean', describe: 'Start Jobs and CronJobs too; they stay suspended otherwise' },
  { name: 'ready-timeout', type: 'string', value: 'DURATION', describe: 'How long each workload may take to become ready (default 10m)' },
  { name: 'app', type: 'string', value: 'NAME', describe: 'With "latest": of this application' },
  { name: 'everywhere', type: 'boolean', describe: 'Look for the backup in all clusters and namespaces that the location holds' },
];

/** The options that a command line describes. Throws USAGE. */
function restoreOptions(args: Args): RestoreOptions {
  const namespace = args.string('to-namespace');
  const readyTimeoutMs = args.duration('ready-timeout');
  const conflict = args.string('on-conflict');
  return {
    ...(namespace === undefined ? {} : { namespace }),
    storageClassMap: args.map('map-storage-class'),
    ...(conflict === 'skip' || conflict === 'overwrite' ? { conflict } : {}),
    volumesOnly: args.bool('volumes-only'),
    resourcesOnly: args.bool('resources-only'),
    ...(args.list('include').length === 0 ? {} : { include: args.list('include') }),
    ...(args.list('exclude').length === 0 ? {} : { exclude: args.list('exclude') }),
    activate: !args.bool('no-activate'),
    startJobs: args.bool('start-jobs'),
    ...(readyTimeoutMs === undefined ? {} : { readyTimeoutMs }),
  };
}

/** Finds the backup that the command line names, looks at the target and plans. */
export async function prepareFrom(session: Session, args: Args): Promise<PreparedRestore> {
  const options = restoreOptions(args); // what is wrong with the command line is said before anything is looked up
  const located = await locateBackup(session, args);
  const cluster = await session.cluster(args.string('to-context'));
  const access = await session.location();
  const request = { cluster, access, stores: session.stores, commandFlags: commandFlags(session), ...session.movers() };
  return session.withProgress((emit) => prepareRestore(request, located, options, { emit, signal: session.signal }));
}

/** For the hints of an interrupted restore: where its location is, and what its movers are. */
export function commandFlags(session: Session): { readonly resume: string; readonly undo: string } {
  const location = ['kubeconfig', 'context', 'namespace', 'home-namespace', 'location', 'location-file', 'to-context'];
  return { resume: session.repeat([...location, 'mover-image', 'max-movers']), undo: session.repeat(location) };
}
