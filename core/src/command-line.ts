import type { AppSelector } from './discovery/application.ts';
import { DEFAULT_HOME_NAMESPACE } from './location/titled-secret.ts';
import type { RestoreOptions } from './restore/model.ts';
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

/** As `backupCommandLine`, for a restore. The backup is named by its id, which is unique in the location. */
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
    ...Object.entries(o.storageClassMap ?? {}).map(([from, to]) => ['--map-storage-class', `${from}=${to}`] as const),
    ...(o.conflict === undefined || o.conflict === 'fail' ? [] : [['--on-conflict', o.conflict] as const]),
    ...(o.include ?? []).map((pattern) => ['--include', pattern] as const),
    ...(o.exclude ?? []).map((pattern) => ['--exclude', pattern] as const),
    ...(o.volumesOnly === true ? [['--volumes-only'] as const] : []),
    ...(o.resourcesOnly === true ? [['--resources-only'] as const] : []),
    ...(o.activate ? [] : [['--no-activate'] as const]),
    ...(o.startJobs === true ? [['--start-jobs'] as const] : []),
    ...(o.readyTimeoutMs === undefined ? [] : [['--ready-timeout', `${String(Math.ceil(o.readyTimeoutMs / 1000))}s`] as const]),
  ];
  return line(['restore', 'create', backupId], flags);
}

type Flag = readonly [flag: string, value?: string];

function line(words: readonly string[], flags: readonly Flag[]): string {
  const given = flags.flatMap(([flag, value]) => (value === undefined ? [flag] : [flag, shellWord(value)]));
  return ['kubectl', 'dmaas', ...words.map(shellWord), ...given].join(' ');
}

function selectorFlags(selector: AppSelector): Flag[] {
  const { exclude } = selector;
  return [
    'labelSelector' in selector
      ? (['-l', selector.labelSelector] as const)
      : 'workload' in selector
        ? (['--workload', `${selector.workload.kind}/${selector.workload.name}`] as const)
        : 'helmRelease' in selector
          ? (['--helm-release', selector.helmRelease] as const)
          : (['--all'] as const),
    ...(exclude?.kinds ?? []).map((kind) => ['--exclude-kind', kind] as const),
    ...(exclude?.labelSelector === undefined ? [] : [['--exclude-selector', exclude.labelSelector] as const]),
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
