import { DmaasError, listApplications, refName, seedsOf, type AppSelector, type ObjectFilter, type Seed } from '@dmaas/core';
import type { Args } from './args.ts';
import type { Completer, Flag } from './command.ts';
import type { Session } from './session.ts';

export const completeApps: Completer = async (session) => {
  const { applications } = await listApplications(
    await session.cluster(),
    { namespace: await session.namespace() },
    { emit: () => undefined },
  );
  return applications.map((a) => ({ value: a.name, describe: a.workloads.map((w) => refName(w)).join(', ') }));
};

/** Flags that say what an application is: at least one of the first five, and what is taken of it. */
export const APP_FLAGS: readonly Flag[] = [
  { name: 'app', type: 'list', value: 'NAME', describe: 'An application as "app list" names it; can be repeated', complete: completeApps },
  {
    name: 'selector',
    short: 'l',
    type: 'list',
    value: 'LABELS',
    describe: 'Everything with these labels, e.g. app=web; repeated, what any of them selects',
  },
  { name: 'workload', type: 'list', value: 'KIND/NAME', describe: 'One object and what it needs, e.g. statefulset/db; can be repeated' },
  { name: 'helm-release', type: 'list', value: 'NAME', describe: 'A Helm release; can be repeated' },
  { name: 'all', type: 'boolean', describe: 'Everything in the namespace' },
  { name: 'include', type: 'list', value: 'KIND[/NAME]', describe: 'Of all that belongs, only such objects; * in names; can be repeated' },
  { name: 'include-selector', type: 'string', value: 'LABELS', describe: 'Of all that belongs, only objects with these labels' },
  { name: 'exclude', type: 'list', value: 'KIND[/NAME]', describe: 'Leave out such objects; * in names; can be repeated' },
  { name: 'exclude-selector', type: 'string', value: 'LABELS', describe: 'Leave out objects with these labels' },
];

/** The selection that a command line describes. `app list`'s names are looked up in the cluster. */
export async function appSelector(session: Session, args: Args, positional?: string): Promise<AppSelector> {
  const namespace = await session.namespace();
  const names = [...(positional === undefined ? [] : [positional]), ...args.list('app')];
  const seeds: Seed[] = [
    ...args.each('selector').map((labelSelector) => ({ labelSelector })),
    ...args.list('workload').map((text) => ({ workload: parseWorkload(text) })),
    ...args.list('helm-release').map((helmRelease) => ({ helmRelease })),
    ...(args.bool('all') ? [{ wholeNamespace: true } as const] : []),
  ];
  if (names.length + seeds.length === 0) {
    throw new DmaasError('USAGE', 'no application is named', {
      hint: 'give --app NAME, -l LABELS, --workload KIND/NAME, --helm-release NAME or --all; "kubectl dmaas app list" shows names',
    });
  }
  const include = filterOf(args.list('include'), args.string('include-selector'));
  const exclude = filterOf(args.list('exclude'), args.string('exclude-selector'));
  const base = { namespace, ...(include === undefined ? {} : { include }), ...(exclude === undefined ? {} : { exclude }) };
  const named = names.length === 0 ? [] : await seedsNamed(session, namespace, names);
  const [only, ...more] = [...named, ...seeds];
  return only === undefined || more.length > 0 ? { ...base, anyOf: [...named, ...seeds] } : { ...base, ...only };
}

function filterOf(objects: readonly string[], labelSelector: string | undefined): ObjectFilter | undefined {
  if (objects.length === 0 && labelSelector === undefined) return undefined;
  return { ...(objects.length === 0 ? {} : { objects }), ...(labelSelector === undefined ? {} : { labelSelector }) };
}

function parseWorkload(text: string): { kind: string; name: string } {
  const [kind, name, ...more] = text.split('/');
  if (kind === undefined || kind === '' || name === undefined || name === '' || more.length > 0) {
    throw new DmaasError('USAGE', `--workload ${text} is not of the form KIND/NAME`, { hint: 'for example --workload statefulset/db' });
  }
  return { kind, name };
}

async function seedsNamed(session: Session, namespace: string, names: readonly string[]): Promise<readonly Seed[]> {
  const { applications } = await listApplications(
    await session.cluster(),
    { namespace },
    { emit: () => undefined, signal: session.signal },
  );
  return names.flatMap((name) => {
    const found = applications.filter((a) => a.name === name);
    if (found.length === 1 && found[0] !== undefined) return seedsOf(found[0].selector);
    const known = applications.map((a) => a.name).join(', ');
    throw new DmaasError(
      'APP_NOT_FOUND',
      `there is ${found.length === 0 ? 'no application' : 'more than one application'} "${name}" in namespace ${namespace}`,
      {
        hint: known === '' ? 'kubectl dmaas app list -A' : `applications there: ${known}; or select by -l LABELS`,
      },
    );
  });
}
