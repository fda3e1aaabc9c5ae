import { DmaasError, listApplications, refName, type AppSelector } from '@dmaas/core';
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

/** Flags that say what an application is; exactly one of the first five. */
export const APP_FLAGS: readonly Flag[] = [
  { name: 'app', type: 'string', value: 'NAME', describe: 'An application as "app list" names it', complete: completeApps },
  { name: 'selector', short: 'l', type: 'string', value: 'LABELS', describe: 'Everything with these labels, e.g. app=web' },
  { name: 'workload', type: 'string', value: 'KIND/NAME', describe: 'One workload and what it needs, e.g. statefulset/db' },
  { name: 'helm-release', type: 'string', value: 'NAME', describe: 'A Helm release' },
  { name: 'all', type: 'boolean', describe: 'Everything in the namespace' },
  { name: 'exclude-kind', type: 'list', value: 'KIND', describe: 'Leave out objects of this kind; can be repeated' },
  { name: 'exclude-selector', type: 'string', value: 'LABELS', describe: 'Leave out objects with these labels' },
];

/** The selection that a command line describes. `app list`'s names are looked up in the cluster. */
export async function appSelector(session: Session, args: Args, positional?: string): Promise<AppSelector> {
  const namespace = await session.namespace();
  const name = positional ?? args.string('app');
  const ways = [name, args.string('selector'), args.string('workload'), args.string('helm-release'), args.bool('all') ? 'all' : undefined];
  const given = ways.filter((w) => w !== undefined);
  if (given.length !== 1) {
    throw new DmaasError('USAGE', given.length === 0 ? 'no application is named' : 'more than one way of naming the application is given', {
      hint: 'give one of --app NAME, -l LABELS, --workload KIND/NAME, --helm-release NAME or --all; "kubectl dmaas app list" shows names',
    });
  }
  const exclude = exclusion(args);
  const base = { namespace, ...(exclude === undefined ? {} : { exclude }) };
  if (args.string('selector') !== undefined) return { ...base, labelSelector: args.need('selector') };
  if (args.string('helm-release') !== undefined) return { ...base, helmRelease: args.need('helm-release') };
  if (args.bool('all')) return { ...base, wholeNamespace: true };
  if (args.string('workload') !== undefined) return { ...base, workload: parseWorkload(args.need('workload')) };
  return { ...(await selectorNamed(session, namespace, name ?? '')), ...(exclude === undefined ? {} : { exclude }) };
}

function exclusion(args: Args): AppSelector['exclude'] {
  const kinds = args.list('exclude-kind');
  const labelSelector = args.string('exclude-selector');
  if (kinds.length === 0 && labelSelector === undefined) return undefined;
  return { ...(kinds.length === 0 ? {} : { kinds }), ...(labelSelector === undefined ? {} : { labelSelector }) };
}

function parseWorkload(text: string): { kind: string; name: string } {
  const [kind, name, ...more] = text.split('/');
  if (kind === undefined || kind === '' || name === undefined || name === '' || more.length > 0) {
    throw new DmaasError('USAGE', `--workload ${text} is not of the form KIND/NAME`, { hint: 'for example --workload statefulset/db' });
  }
  return { kind, name };
}

async function selectorNamed(session: Session, namespace: string, name: string): Promise<AppSelector> {
  const { applications } = await listApplications(
    await session.cluster(),
    { namespace },
    { emit: () => undefined, signal: session.signal },
  );
  const found = applications.filter((a) => a.name === name);
  if (found.length === 1 && found[0] !== undefined) return found[0].selector;
  const names = applications.map((a) => a.name).join(', ');
  throw new DmaasError(
    'APP_NOT_FOUND',
    `there is ${found.length === 0 ? 'no application' : 'more than one application'} "${name}" in namespace ${namespace}`,
    {
      hint: names === '' ? 'kubectl dmaas app list -A' : `applications there: ${names}; or select by -l LABELS`,
    },
  );
}
