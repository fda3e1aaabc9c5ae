import type { Catalog, LocationState } from '../catalog.ts';
import { loadCore } from '../core.ts';
import { nameOf } from '../locations.ts';
import { isDmaasError, messageOf, sentence } from '../reporter.ts';
import type { Shown, TreeNode } from './node.ts';

/** The locations that are known, and whether they can be read. */
export class Locations {
  readonly #catalog: Catalog;

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
  }

  async roots(): Promise<readonly TreeNode[]> {
    const { plural } = await loadCore();
    await this.#catalog.ready();
    return this.#catalog.locations.map((state) => ({
      id: state.location.id,
      shown: describeLocation(state, plural(state.backups.length, 'backup')),
      subject: { kind: 'location', state },
    }));
  }
}

const ICONS = { loading: ['loading~spin'], ready: ['cloud'], failed: ['error', 'list.errorForeground'] } as const;

function describeLocation(state: LocationState, backups: string): Shown {
  const { location, status, summary, error } = state;
  const { origin } = location;
  const [icon, color] = ICONS[status];
  const where = origin.kind === 'file' ? 'file' : `${origin.context}/${origin.namespace}`;
  const name = summary?.name ?? nameOf(location);
  const facts =
    status === 'failed'
      ? sentence(messageOf(error))
      : [summary?.bucket, where, ...(status === 'ready' ? [backups] : [])].filter(Boolean).join(' · ');
  const hint = isDmaasError(error) ? error.hint : undefined;
  return {
    label: name,
    description: facts,
    icon,
    ...(color === undefined ? {} : { color }),
    tooltip: [
      `**${name}**`,
      ...(summary === undefined
        ? []
        : [
            `Bucket \`${summary.bucket}\`${summary.prefix === '' ? '' : `, prefix \`${summary.prefix}\``}, credential ${summary.credential}`,
          ]),
      origin.kind === 'file' ? `From the file ${origin.path}` : `From cluster ${origin.context}, namespace ${origin.namespace}`,
      ...(error === undefined ? [] : [`⚠ ${messageOf(error)}${hint === undefined ? '' : `: ${hint}`}`]),
    ].join('\n\n'),
    context: ['location', ...(origin.kind === 'file' ? ['locationfile'] : []), status].join(' '),
    spoken: `Location ${name}, ${facts}`,
  };
}
