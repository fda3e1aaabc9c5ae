import type { AppSelector, ObjectFilter, Seed } from './discovery/application.ts';
import { seedsOf } from './discovery/selection.ts';
import { DEFAULT_HOME_NAMESPACE } from './location/titled-secret.ts';
import type { RestoreOptions } from './restore/model.ts';
import type { Replicas } from './restore/replicas.ts';
import type { LabelMap } from './restore/value-maps.ts';
import { shellWord } from './shell.ts';

/** Where a command finds the location: by name from the cluster, or in an exported file. */
export type LocationReference = { readonly name: string; readonly homeNamespace?: string } | { readonly file: string };

/** The `kubectl dmaas` line that makes the same backup as a surface does. To be pasted: words are quoted for a shell. */
export function backupCommandLine(request: {
  readonly context: string;
  readonly selector: AppSelector;
  readonly location?: LocationReference;
}): string {
  const { selector } = request;
  return line(
    ['backup', 'create'],
    [...selectorFlags(selector), ['-n', selector.namespace], ['--context', request.context], ...locationFlags(request.location)],
  );
}

/**
 * As `backupCommandLine`, for a restore. The backup is named by its id, which is unique in the location. Patches are not in it: they come from a
 * file, and no surface but the command line takes them.
 */
export function restoreCommandLine(request: {
  readonly backupId: string;
  readonly context: string;
  readonly location: LocationReference;
  /** Where the location is looked for, when it is not a file. */
  readonly namespace?: string;
  readonly options: RestoreOptions;
}): string {
  const { backupId, context, location, namespace, options: o } = request;
  const flags: Flag[] = [
    ...(namespace === undefined || 'file' in location ? [] : [['-n', namespace] as const]),
    ['--context', context],
    ...locationFlags(location),
    ...('file' in location ? [] : [['--everywhere'] as const]),
    ...(o.namespace === undefined ? [] : [['--to-namespace', o.namespace] as const]),
    ...pairs('--map-storage-class', o.storageClassMap),
    ...valueFlags(o),
    ...(o.namePrefix === undefined ? [] : [['--name-prefix', o.namePrefix] as const]),
    ...(o.acceptEdits === undefined ? [] : [['--edit-text', o.acceptEdits] as const]),
    ...(o.conflict === undefined || o.conflict === 'fail' ? [] : [['--on-conflict', o.conflict] as const]),
    ...(o.include ?? []).map((pattern) => ['--include', pattern] as const),
    ...(o.exclude ?? []).map((pattern) => ['--exclude', pattern] as const),
    ...(o.allow ?? []).map((pattern) => ['--allow', pattern] as const),
    ...(o.allowMissingFiles === true ? [['--allow-missing-files'] as const] : []),
    ...Object.entries(o.volumes ?? {}).map(([claim, name]) => ['--volume', name === claim ? claim : `${claim}=${name}`] as const),
    ...Object.entries(o.replicas ?? {}).flatMap(([name, range]) => replicaFlags(name, range)),
    ...(o.hooks ?? []).map(hookFlag),
    ...(o.inPlace === true ? [['--in-place'] as const] : []),
    ...(o.withoutUndo === true ? [['--without-undo'] as const] : []),
    ...(o.volumesOnly === true ? [['--data-only'] as const] : []),
    ...(o.resourcesOnly === true ? [['--manifests-only'] as const] : []),
    ...(o.activate ? [] : [['--no-activate'] as const]),
    ...(o.startJobs === true ? [['--start-jobs'] as const] : []),
    ...(o.readyTimeoutMs === undefined ? [] : [['--ready-timeout', `${String(Math.ceil(o.readyTimeoutMs / 1000))}s`] as const]),
  ];
  return line(['restore', 'create', backupId], flags);
}

function pairs(flag: string, map: Readonly<Record<string, string>> | undefined): Flag[] {
  return Object.entries(map ?? {}).map(([from, to]): Flag => [flag, `${from}=${to}`]);
}

function valueFlags({ values = {} }: RestoreOptions): Flag[] {
  const label = ({ from, to }: LabelMap) => `${from.join('=')}:${to?.join('=') ?? ''}`;
  return [
    ...pairs('--map-size', values.claimSizes),
    ...pairs('--map-access-mode', values.accessModes),
    ...pairs('--map-image', values.images),
    ...pairs('--map-host', values.hosts),
    ...(values.nodeSelectors ?? []).map((map): Flag => ['--map-node-selector', label(map)]),
    ...(values.labels ?? []).map((map): Flag => ['--map-label', label(map)]),
    ...pairs('--add-label', values.addLabels),
  ];
}

function hookFlag({ target, container, command }: NonNullable<RestoreOptions['hooks']>[number]): Flag {
  const isScript = command.length === 3 && command[0] === 'sh' && command[1] === '-c';
  const text = isScript ? command[2] : JSON.stringify(command);
  return ['--hook-after', `${target}${container === undefined ? '' : `:${container}`}=${text ?? ''}`];
}

function replicaFlags(name: string, { replicas, start }: Replicas[string]): Flag[] {
  if (start !== undefined && replicas !== undefined)
    return [['--ordinals', `${name.replace(/^statefulset\//, '')}=${String(start)}-${String(start + replicas - 1)}`]];
  return replicas === undefined ? [] : [['--replicas', `${name}=${String(replicas)}`]];
}

type Flag = readonly [flag: string, value?: string];

function line(words: readonly string[], flags: readonly Flag[]): string {
  const given = flags.flatMap(([flag, value]) => (value === undefined ? [flag] : [flag, shellWord(value)]));
  return ['kubectl', 'dmaas', ...words.map(shellWord), ...given].join(' ');
}

function selectorFlags(selector: AppSelector): Flag[] {
  const { include, exclude } = selector;
  return [...seedsOf(selector).map(seedFlag), ...filterFlags('include', include), ...filterFlags('exclude', exclude)];
}

function seedFlag(seed: Seed): Flag {
  if ('labelSelector' in seed) return ['-l', seed.labelSelector];
  if ('workload' in seed) return ['--workload', `${seed.workload.kind}/${seed.workload.name}`];
  return 'helmRelease' in seed ? ['--helm-release', seed.helmRelease] : ['--all'];
}

function filterFlags(flag: 'include' | 'exclude', filter: ObjectFilter | undefined): Flag[] {
  return [
    ...(filter?.objects ?? []).map((pattern): Flag => [`--${flag}`, pattern]),
    ...(filter?.labelSelector === undefined ? [] : [[`--${flag}-selector`, filter.labelSelector] as const]),
  ];
}

function locationFlags(location: LocationReference | undefined): Flag[] {
  if (location === undefined) return [];
  if ('file' in location) return [['--location-file', location.file]];
  const { name, homeNamespace } = location;
  const home =
    homeNamespace === undefined || homeNamespace === DEFAULT_HOME_NAMESPACE ? [] : [['--home-namespace', homeNamespace] as const];
  return [['--location', name], ...home];
}
