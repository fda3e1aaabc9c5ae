import {
  applicationTree,
  discover,
  DmaasError,
  EDGE_VERBS,
  explain,
  listApplications,
  objectMatcher,
  refName,
  type Application,
  type AppSummary,
  type Edge,
  type Explanation,
  type TreeNode,
  formatBytes,
} from '@dmaas/core';
import { APP_FLAGS, appSelector, completeApps } from '../app-flags.ts';
import type { Args } from '../args.ts';
import type { Command } from '../command.ts';
import { findingLines, noteFindings } from '../findings.ts';
import { details, table, type Column } from '../output.ts';
import type { Session } from '../session.ts';

const NAME = {
  name: 'NAME',
  describe: 'An application as "app list" names it; or select by a flag',
  required: false,
  complete: completeApps,
} as const;

const COLUMNS: readonly Column<AppSummary>[] = [
  { title: 'NAME', cell: (a) => a.name },
  { title: 'WORKLOADS', cell: (a) => (a.workloads.length === 0 ? '<none>' : a.workloads.map((w) => refName(w)).join(',')) },
  { title: 'VOLUMES', cell: (a) => String(a.volumes) },
  { title: 'SIZE', cell: (a) => formatBytes(a.sizeBytes) },
  { title: 'SELECTED-BY', cell: (a) => a.selectedBy },
  { title: 'ISSUES', cell: (a) => String(a.findings.length) },
];

export const appList: Command = {
  path: ['app', 'list'],
  aliases: ['get'],
  summary: 'List applications and their volumes',
  flags: [{ name: 'all-namespaces', short: 'A', type: 'boolean', describe: 'Of all namespaces' }],
  output: true,
  examples: [['Of the whole cluster', 'app list -A']],
  run: async (session, args) => {
    const all = args.bool('all-namespaces');
    const namespace = await session.namespace();
    const { applications, findings } = await listApplications(await session.cluster(), all ? {} : { namespace }, session.quiet);
    const columns = all ? [{ title: 'NAMESPACE', cell: (a: AppSummary) => a.namespace }, ...COLUMNS] : COLUMNS;
    return {
      data: { items: applications, findings },
      names: applications.map((a) => `app/${a.name}`),
      text: applications.length === 0 ? () => '' : table(applications, columns),
      notes: [
        ...(applications.length === 0 ? [`no applications in ${all ? 'the cluster' : `namespace ${namespace}`}`] : []),
        ...noteFindings(findings),
      ],
    };
  },
};

async function find(session: Session, args: Args): Promise<Application> {
  return discover(await session.cluster(), await appSelector(session, args, args.string('NAME')), session.quiet);
}

export const appDescribe: Command = {
  path: ['app', 'describe'],
  summary: 'Show what belongs to an application, why, and what stands in the way of a backup',
  positionals: [NAME],
  flags: APP_FLAGS,
  output: true,
  examples: [
    ['By its name', 'app describe web -n shop'],
    ['Everything with a label', 'app describe -l app=web -n shop'],
  ],
  run: async (session, args) => {
    const app = await find(session, args);
    return {
      data: app,
      names: app.members.map((m) => refName({ ...m.object, name: m.object.metadata.name })),
      text: (how) =>
        [
          details([
            ['Name', app.name],
            ['Namespace', app.namespace],
            ['Cluster', app.cluster.context],
          ]),
          '',
          'Volumes:',
          app.volumes.length === 0
            ? '  <none>'
            : indent(
                table(app.volumes, [
                  { title: 'CLAIM', cell: (v) => v.claim.name },
                  { title: 'SIZE', cell: (v) => formatBytes(v.capacityBytes) },
                  { title: 'CLASS', cell: (v) => (v.storageClass === '' ? '<none>' : v.storageClass) },
                  { title: 'MODE', cell: (v) => v.mode },
                  { title: 'STATUS', cell: (v) => v.phase },
                  { title: 'DRIVER', cell: (v) => v.driver ?? '<unknown>', wide: true },
                  { title: 'USED-BY', cell: (v) => v.consumers.map((c) => refName(c)).join(',') },
                ])(how),
              ),
          '',
          'Resources:',
          indent(
            table(app.members, [
              { title: 'RESOURCE', cell: (m) => refName({ ...m.object, name: m.object.metadata.name }) },
              { title: 'BECAUSE', cell: (m) => because(m.because) },
            ])(how),
          ),
          ...(app.findings.length === 0
            ? []
            : ['', 'Findings:', ...app.findings.flatMap(findingLines).map((l) => `  ${session.pasteable(l)}`)]),
        ].join('\n'),
    };
  },
};

/** The last hop says most: `deployment/web mounts it`. */
function because(path: readonly Edge[]): string {
  const last = path.at(-1);
  if (last === undefined) return 'selected';
  return `${refName(last.from)} ${EDGE_VERBS[last.name]} ${refName(last.to)}${path.length > 1 ? ` (${path.length} steps)` : ''}`;
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((l) => (l === '' ? l : `  ${l}`))
    .join('\n');
}

export const appExplain: Command = {
  path: ['app', 'explain'],
  summary: 'Show why an object belongs to an application, step by step',
  positionals: [
    { name: 'OBJECT', describe: 'KIND or KIND/NAME; * in names', required: true },
    { ...NAME, name: 'NAME' },
  ],
  flags: APP_FLAGS,
  output: true,
  examples: [
    ['Why a Secret is backed up', 'app explain secret/db-password web -n shop'],
    ['Why a pod is not', 'app explain pod --workload statefulset/db -n shop'],
  ],
  run: async (session, args) => {
    const pattern = args.need('OBJECT');
    const app = await find(session, args);
    const matches = objectMatcher(pattern, await (await session.cluster()).kinds());
    const found = explain(app, ({ apiVersion, kind, name }) => matches({ apiVersion, kind, metadata: { name } }));
    if (found.length === 0) {
      throw new DmaasError('APP_NOT_FOUND', `${pattern} has nothing to do with application ${app.name} in namespace ${app.namespace}`, {
        hint: pattern.includes('/')
          ? `"kubectl dmaas app describe" lists what belongs to it; nothing there refers to ${pattern}, and it to nothing there`
          : 'name the object as KIND or KIND/NAME, as in secret/db; "kubectl dmaas app describe" lists what belongs to it',
      });
    }
    return {
      data: { name: app.name, namespace: app.namespace, items: found },
      names: found.map((e) => refName(e.ref)),
      text: () => found.map(explained).join('\n\n'),
    };
  },
};

function explained({ ref, role, reason, path, edges }: Explanation): string {
  const verdict = {
    member: 'belongs to the application',
    'left-out': `is left out: ${reason ?? ''}`,
    dependency: 'is not copied, and must exist where the application is restored',
    missing: 'is referred to, and does not exist',
  }[role];
  const onPath = new Set(path.map(sentence));
  const others = [...new Set(edges.map(sentence))].filter((line) => !onPath.has(line));
  return [
    `${refName(ref)} ${verdict}`,
    ...(path.length === 0 ? ['  it was selected'] : path.map((edge) => `  ${sentence(edge)}`)),
    ...(others.length === 0 ? [] : ['  also:', ...others.map((line) => `    ${line}`)]),
  ].join('\n');
}

function sentence({ from, name, to }: Edge): string {
  return `${refName(from)} ${EDGE_VERBS[name]} ${refName(to)}`;
}

export const appTree: Command = {
  path: ['app', 'tree'],
  summary: 'Show how the parts of an application hang together',
  positionals: [NAME],
  flags: APP_FLAGS,
  output: true,
  run: async (session, args) => {
    const app = await find(session, args);
    const roots = applicationTree(app);
    return {
      data: { name: app.name, namespace: app.namespace, roots },
      text: ({ wide }) => roots.map((r) => draw(wide ? r : withoutLeftOut(r), '', '')).join('\n'),
      notes: app.leftOut.length === 0 || args.string('output') !== undefined ? [] : ['what controllers make anew is not shown: -o wide'],
    };
  },
};

/** The tree without what controllers make again; what hangs below such an object goes with it. */
function withoutLeftOut(node: TreeNode): TreeNode {
  return { ...node, children: node.children.filter((child) => child.role !== 'left-out').map(withoutLeftOut) };
}

function draw(node: TreeNode, first: string, rest: string): string {
  const verb = node.edge === undefined ? '' : `${node.direction === 'up' ? `${EDGE_VERBS[node.edge]} the above` : EDGE_VERBS[node.edge]}: `;
  const note = {
    member: '',
    'left-out': ` (left out: ${node.reason ?? ''})`,
    dependency: node.ref.kind === 'PersistentVolume' ? '' : ' (must exist where it is restored)',
    missing: ' (MISSING)',
  }[node.role];
  const lines = [`${first}${verb}${refName(node.ref)}${note}`];
  node.children.forEach((child, i) => {
    const last = i === node.children.length - 1;
    lines.push(draw(child, `${rest}${last ? '└─ ' : '├─ '}`, `${rest}${last ? '   ' : '│  '}`));
  });
  return lines.join('\n');
}
