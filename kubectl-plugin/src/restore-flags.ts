import {
  CONFIDENCES,
  DmaasError,
  parsePatches,
  prepareRestore,
  type Confidence,
  type LabelMap,
  type PreparedRestore,
  type Replicas,
  type RestoreOptions,
  type ValueMaps,
} from '@dmaas/core';
import type { Args } from './args.ts';
import type { Flag } from './command.ts';
import { locateBackup } from './commands/backup.ts';
import { parseHook } from './hook-flag.ts';
import { readTextFile } from './read-text-file.ts';
import type { Session } from './session.ts';

export const ALLOW_MISSING_FLAG: Flag = {
  name: 'allow-missing-files',
  type: 'boolean',
  describe: 'Go on, and start the application, without files that cannot be restored; they are listed, and the exit code is 3',
};

/** What to restore, where to, and how it is changed on the way. */
export const RESTORE_FLAGS: readonly Flag[] = [
  { name: 'to-namespace', type: 'string', value: 'NAME', describe: 'Namespace to restore to; default is that of the backup' },
  { name: 'to-context', type: 'string', value: 'NAME', describe: 'Context of the cluster to restore to; default is the current one' },
  { name: 'map-storage-class', type: 'list', value: 'OLD=NEW', describe: 'Storage class to use instead of another; can be repeated' },
  { name: 'map-size', type: 'list', value: 'CLAIM=SIZE', describe: 'New size of a claim and of the template it is made from; * in names' },
  {
    name: 'map-access-mode',
    type: 'list',
    value: 'OLD=NEW',
    describe: 'Access mode to use instead of another, e.g. ReadWriteMany=ReadWriteOnce',
  },
  {
    name: 'map-image',
    type: 'list',
    value: 'OLD=NEW',
    describe: 'Beginning of image names to replace, e.g. docker.io/acme=registry.local/acme',
  },
  { name: 'map-host', type: 'list', value: 'OLD=NEW', describe: 'Host name of Ingresses and routes to replace; *.OLD=*.NEW for a domain' },
  {
    name: 'map-node-selector',
    type: 'list',
    value: 'KEY=VALUE:[KEY=VALUE]',
    describe: 'Node label that pods ask for to replace, or to leave out',
  },
  {
    name: 'map-label',
    type: 'list',
    value: 'KEY=VALUE:KEY=VALUE',
    describe: 'Label to replace, on objects and pods and in all selectors',
  },
  { name: 'add-label', type: 'list', value: 'KEY=VALUE', describe: 'Label to add to every object' },
  { name: 'name-prefix', type: 'string', value: 'PREFIX', describe: 'Begin the names of all objects with this; references follow' },
  {
    name: 'patch-file',
    type: 'list',
    value: 'FILE',
    describe: 'Patches: Velero’s resource modifiers, kustomize’s patches (JSON 6902 or strategic), or objects to merge',
  },
  {
    name: 'edit-text',
    type: 'string',
    choices: [...CONFIDENCES],
    describe:
      'Change what names the old place in environment, arguments, ConfigMaps and Secrets, if at least so certain; otherwise it is proposed in the plan',
  },
  {
    name: 'on-conflict',
    type: 'string',
    choices: ['fail', 'skip', 'overwrite', 'rename'],
    default: 'fail',
    describe: 'What to do about objects that exist: rename restores beside them, as NAME-restored; volumes are never overwritten',
  },
  { name: 'include', type: 'list', value: 'KIND[/NAME]', describe: 'Only these objects; can be repeated' },
  { name: 'exclude', type: 'list', value: 'KIND[/NAME]', describe: 'Not these objects; can be repeated' },
  {
    name: 'allow',
    type: 'list',
    value: 'KIND[/NAME]',
    describe:
      'Allow these objects what reaches beyond the namespace: rights in the cluster, webhooks, definitions, privileged pods; with --in-place, stop these workloads although an operator or a GitOps controller manages them',
  },
  ALLOW_MISSING_FLAG,
  {
    name: 'volume',
    type: 'list',
    value: 'CLAIM[=NAME]',
    describe: 'Only this claim and its data, perhaps under another name, beside the original; can be repeated',
  },
  {
    name: 'replicas',
    type: 'list',
    value: 'KIND/NAME=N',
    describe: 'Number of replicas; claims of replicas that a StatefulSet does not get are left out',
  },
  {
    name: 'ordinals',
    type: 'list',
    value: 'STATEFULSET=FIRST[-LAST]',
    describe: 'Only these replicas of a StatefulSet, with their claims',
  },
  {
    name: 'in-place',
    type: 'boolean',
    describe:
      'Over the data of existing claims: stops what uses them, takes volume snapshots to go back to, writes only what differs, starts again',
  },
  { name: 'without-undo', type: 'boolean', describe: 'With --in-place: without volume snapshots, so with no way back' },
  { name: 'data-only', type: 'boolean', describe: 'Claims and their data, nothing else' },
  { name: 'manifests-only', type: 'boolean', describe: 'Everything but claims and their data' },
  { name: 'no-activate', type: 'boolean', describe: 'Leave it staged: volumes filled, workloads inactive' },
  {
    name: 'hook-after',
    type: 'list',
    value: 'KIND/NAME[:CONTAINER]=COMMAND',
    describe: 'Command in the pods of a workload when they are ready: for a shell, or a JSON list of words; can be repeated',
  },
  { name: 'start-jobs', type: 'boolean', describe: 'Start Jobs and CronJobs too; they stay suspended otherwise' },
  { name: 'ready-timeout', type: 'string', value: 'DURATION', describe: 'How long each workload may take to become ready (default 10m)' },
  {
    name: 'canary',
    type: 'boolean',
    describe: 'Try it out in the preflight check: a mover on a small new volume of each kind that the restore makes, taken away again',
  },
  { name: 'canary-timeout', type: 'string', value: 'DURATION', describe: 'How long each canary may take to start (default 3m)' },
  { name: 'app', type: 'string', value: 'NAME', describe: 'With "latest": of this application' },
  { name: 'everywhere', type: 'boolean', describe: 'Look for the backup in all clusters and namespaces that the location holds' },
];

/** `KEY=VALUE:KEY=VALUE` pairs; with `optional`, the second may be left out. */
function labelMaps(args: Args, name: string, optional: boolean): LabelMap[] {
  return args.list(name).map((text) => {
    const [from = '', to = '', ...more] = text.split(':');
    const [before, after] = [from, to].map((pair): [string, string] | undefined => {
      const at = pair.indexOf('=');
      return at > 0 ? [pair.slice(0, at), pair.slice(at + 1)] : undefined;
    });
    const isDone = before !== undefined && more.length === 0 && (after !== undefined || (optional && to === ''));
    if (!isDone) throw new DmaasError('USAGE', `--${name} ${text} is not of the form KEY=VALUE:KEY=VALUE`);
    return { from: before, ...(after === undefined ? {} : { to: after }) };
  });
}

const SIZE = /^\d+(\.\d+)?([kMGTPE]|[KMGTPE]i)?$/;
const ACCESS_MODES = ['ReadWriteOnce', 'ReadWriteOncePod', 'ReadWriteMany', 'ReadOnlyMany'];

function valueMaps(args: Args): ValueMaps {
  const claimSizes = args.map('map-size', { form: 'CLAIM=SIZE' });
  for (const [claim, size] of Object.entries(claimSizes)) {
    if (!SIZE.test(size)) throw new DmaasError('USAGE', `--map-size ${claim}=${size} names no size`, { hint: 'write it as 20Gi or 500M' });
  }
  const accessModes = args.map('map-access-mode');
  for (const mode of Object.entries(accessModes).flat()) {
    if (!ACCESS_MODES.includes(mode))
      throw new DmaasError('USAGE', `"${mode}" is not an access mode`, { hint: `there are ${ACCESS_MODES.join(', ')}` });
  }
  const labels = labelMaps(args, 'map-label', false).flatMap(({ from, to }) => (to === undefined ? [] : [{ from, to }]));
  return {
    claimSizes,
    accessModes,
    images: args.map('map-image'),
    hosts: args.map('map-host'),
    nodeSelectors: labelMaps(args, 'map-node-selector', true),
    labels,
    addLabels: args.map('add-label', { form: 'KEY=VALUE' }),
  };
}

function volumesOf(args: Args): Record<string, string> {
  return Object.fromEntries(
    args.list('volume').map((text) => {
      const [claim = '', name = claim, ...more] = text.split('=');
      if (claim === '' || name === '' || more.length > 0)
        throw new DmaasError('USAGE', `--volume ${text} is not of the form CLAIM or CLAIM=NAME`);
      checkName('volume', name, 'the name of a claim', NAME);
      return [claim, name];
    }),
  );
}

function replicasOf(args: Args): Replicas {
  const wanted: Record<string, { replicas: number; start?: number }> = {};
  for (const [name, count] of Object.entries(args.map('replicas', { form: 'KIND/NAME=N' }))) {
    if (!/^[a-z]+\/[^/]+$/.test(name) || !/^\d+$/.test(count))
      throw new DmaasError('USAGE', `--replicas ${name}=${count} is not of the form KIND/NAME=N`);
    wanted[name] = { replicas: Number(count) };
  }
  for (const [name, range] of Object.entries(args.map('ordinals', { form: 'STATEFULSET=FIRST[-LAST]' }))) {
    const [, first = '', last = first] = /^(\d+)(?:-(\d+))?$/.exec(range) ?? [];
    const replicas = Number(last) - Number(first) + 1;
    if (first === '' || replicas < 1)
      throw new DmaasError('USAGE', `--ordinals ${name}=${range} is not of the form STATEFULSET=FIRST or STATEFULSET=FIRST-LAST`);
    wanted[`statefulset/${name.replace(/^statefulset\//, '')}`] = { replicas, start: Number(first) };
  }
  return wanted;
}

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const NAME = /^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/;
const PREFIX = /^[a-z0-9][-.a-z0-9]{0,61}$/;

/** The API server would refuse it with the same words for every object. */
function checkName(flag: string, name: string, of: string, pattern: RegExp): void {
  if (pattern.test(name)) return;
  throw new DmaasError('USAGE', `--${flag} ${name} cannot be ${of}`, {
    hint: 'names are of lower-case letters, digits and -, and begin and end with a letter or digit',
  });
}

/** Flags that choose what is restored, each in its own way. */
const EXCLUSIVE: readonly (readonly [flag: string, ...others: readonly string[]])[] = [
  ['data-only', 'manifests-only'],
  ['volume', 'manifests-only', 'include'],
  ['in-place', 'manifests-only'],
  ['allow-missing-files', 'manifests-only'],
];
/** What a restore in place does not do: it changes the data of claims that exist. */
const NOT_IN_PLACE = [
  ...['map-storage-class', 'map-size', 'map-access-mode', 'map-image', 'map-host', 'map-node-selector', 'map-label', 'add-label'],
  ...['name-prefix', 'patch-file', 'edit-text', 'replicas', 'ordinals', 'start-jobs'],
];

/** What would have no effect is refused: whoever asks for it expects one. */
function checkTogether(args: Args): void {
  const isGiven = (flag: string): boolean => args.bool(flag) || args.list(flag).length > 0;
  for (const [flag, ...others] of EXCLUSIVE) {
    const other = isGiven(flag) ? others.find(isGiven) : undefined;
    if (other !== undefined)
      throw new DmaasError('USAGE', `--${flag} and --${other} exclude each other`, { hint: 'leave one of them out' });
  }
  const without = args.bool('in-place') ? NOT_IN_PLACE.find(isGiven) : undefined;
  if (without !== undefined)
    throw new DmaasError('USAGE', `--in-place changes what claims hold and nothing else, so --${without} would have no effect`, {
      hint: 'leave one of them out',
    });
  if (args.bool('without-undo') && !args.bool('in-place'))
    throw new DmaasError('USAGE', '--without-undo is of use with --in-place only', {
      hint: 'a restore that creates objects is taken back by "restore delete"',
    });
}

/** The options that a command line describes. Throws USAGE. */
async function restoreOptions(args: Args): Promise<RestoreOptions> {
  checkTogether(args);
  const files = await Promise.all(args.list('patch-file').map(async (file) => parsePatches(await readTextFile(file), file)));
  const hooks = args.each('hook-after').map((text) => parseHook('hook-after', text));
  const acceptEdits = args.string('edit-text');
  const namePrefix = args.string('name-prefix');
  const namespace = args.string('to-namespace');
  const readyTimeoutMs = args.duration('ready-timeout');
  const conflict = args.string('on-conflict');
  if (namespace !== undefined) checkName('to-namespace', namespace, 'the name of a namespace', LABEL);
  if (namePrefix !== undefined) checkName('name-prefix', namePrefix, 'the beginning of a name', PREFIX);
  return {
    ...(namespace === undefined ? {} : { namespace }),
    storageClassMap: args.map('map-storage-class', { withEmpty: true }), // '' are claims without a class
    replicas: replicasOf(args),
    ...(args.list('volume').length === 0 ? {} : { volumes: volumesOf(args) }),
    values: valueMaps(args),
    ...(namePrefix === undefined ? {} : { namePrefix }),
    patches: files.flat(),
    ...(isConfidence(acceptEdits) ? { acceptEdits } : {}),
    ...(conflict === 'skip' || conflict === 'overwrite' || conflict === 'rename' ? { conflict } : {}),
    allow: args.list('allow'),
    ...(args.bool('allow-missing-files') ? { allowMissingFiles: true } : {}),
    ...(hooks.length === 0 ? {} : { hooks }),
    ...(args.bool('in-place') ? { inPlace: true } : {}),
    ...(args.bool('without-undo') ? { withoutUndo: true } : {}),
    volumesOnly: args.bool('data-only'),
    resourcesOnly: args.bool('manifests-only'),
    ...(args.list('include').length === 0 ? {} : { include: args.list('include') }),
    ...(args.list('exclude').length === 0 ? {} : { exclude: args.list('exclude') }),
    activate: !args.bool('no-activate'),
    startJobs: args.bool('start-jobs'),
    ...(readyTimeoutMs === undefined ? {} : { readyTimeoutMs }),
  };
}

function isConfidence(text: string | undefined): text is Confidence {
  return CONFIDENCES.some((c) => c === text);
}

const CANARY_TIMEOUT_MS = 180_000;

function canaryOf(args: Args): { readonly canaryTimeoutMs?: number } {
  const timeoutMs = args.duration('canary-timeout');
  if (!args.bool('canary')) {
    if (timeoutMs !== undefined) throw new DmaasError('USAGE', '--canary-timeout is of use with --canary only');
    return {};
  }
  const without = ['in-place', 'manifests-only'].find((flag) => args.bool(flag));
  if (without !== undefined)
    throw new DmaasError('USAGE', `--canary tries the new volumes of a restore, and --${without} makes none`, {
      hint: 'leave one of them out',
    });
  return { canaryTimeoutMs: timeoutMs ?? CANARY_TIMEOUT_MS };
}

/** Finds the backup that the command line names, looks at the target and plans. */
export async function prepareFrom(session: Session, args: Args): Promise<PreparedRestore> {
  const options = await restoreOptions(args); // what is wrong with the command line is said before anything is looked up
  const canary = canaryOf(args);
  const located = await locateBackup(session, args);
  const cluster = await session.cluster(args.string('to-context'));
  const access = await session.location();
  const request = { cluster, access, stores: session.stores, commandFlags: commandFlags(session), ...session.movers(), ...canary };
  return session.withProgress((emit) => prepareRestore(request, located, options, { emit, signal: session.signal }));
}

/** For the hints of an interrupted restore: where its location is, and what its movers are. */
export function commandFlags(session: Session): { readonly resume: string; readonly undo: string } {
  const location = ['kubeconfig', 'context', 'namespace', 'home-namespace', 'location', 'location-file', 'to-context'];
  return { resume: session.repeat([...location, 'mover-image', 'max-movers']), undo: session.repeat(location) };
}
