import type { LocatedBackup } from '@dmaas/core';
import type { Catalog } from '../catalog.ts';
import { loadCore } from '../core.ts';
import { nameOf } from '../locations.ts';
import type { OpenBackups } from '../open-backups.ts';
import { describeBackup, describeFile, describeResource, describeVolume } from './describe.ts';
import type { BackupSubject, Folder, TreeNode } from './node.ts';
import { problemNode } from './tree.ts';

/** So many entries of a directory are listed at first. */
const FIRST_ENTRIES = 500;
const MORE = 4;

/** Application → backup → its resources by kind, and its volumes with folders and files. What is opened is read; nothing before. */
export class Backups {
  readonly #catalog: Catalog;
  readonly #open: OpenBackups;
  /** Directories of which more was asked for, by node. */
  readonly #folders = new Map<string, Folder>();

  constructor(catalog: Catalog, open: OpenBackups) {
    this.#catalog = catalog;
    this.#open = open;
  }

  async roots(): Promise<readonly TreeNode[]> {
    const core = await loadCore();
    await this.#catalog.ready();
    const backups = this.#catalog.backups;
    const groups = [...core.groupByApplication(backups.map(({ located }) => located))];
    const byBackup = new Map(backups.map((found): [LocatedBackup, BackupSubject] => [found.located, { kind: 'backup', ...found }]));
    const applications = groups.map(([key, members]): TreeNode => {
      const newest = members[0]?.backup;
      const name = newest?.app.name ?? key;
      const where = `${newest?.app.namespace ?? ''} · ${members[0]?.source.context ?? newest?.cluster.context ?? ''}`;
      return {
        id: key,
        shown: {
          label: name,
          description: `${where} · ${core.plural(members.length, 'backup')}`,
          icon: 'package',
          context: 'group',
          spoken: `${name}, ${core.plural(members.length, 'backup')}`,
          opens: groups.length > 3 ? 'collapsed' : 'expanded',
        },
        subject: { kind: 'group', name },
        children: () =>
          Promise.resolve(members.flatMap((located) => byBackup.get(located) ?? []).map((subject) => this.#backupNode(core, subject))),
      };
    });
    return [...applications, ...this.#problems()];
  }

  #problems(): TreeNode[] {
    const failed = this.#catalog.failedContexts.map(([context, error]) =>
      problemNode(`cluster ${context}`, error, () => this.#catalog.refresh()),
    );
    const locations = this.#catalog.locations.flatMap(({ location, error, findings }): TreeNode[] => [
      ...(error === undefined ? [] : [problemNode(location.id, error, () => this.#catalog.refreshLocation(location))]),
      ...findings.map(({ message, hint }, i): TreeNode => ({
        id: `${location.id}/finding/${String(i)}`,
        shown: {
          label: message,
          icon: 'warning',
          color: 'list.warningForeground',
          context: 'problem',
          command: 'dmaas.retry',
          tooltip: `Location ${nameOf(location)}\n\n${hint ?? ''}`,
        },
        subject: { kind: 'problem', retry: () => this.#catalog.refreshLocation(location) },
      })),
    ]);
    return [...failed, ...locations];
  }

  #backupNode(core: Awaited<ReturnType<typeof loadCore>>, subject: BackupSubject): TreeNode {
    const { backup } = subject.located;
    const id = backupNodeId(subject);
    return {
      id,
      shown: describeBackup(core, backup, new Date()),
      subject,
      children: () =>
        Promise.resolve([
          {
            id: `${id}/resources`,
            shown: {
              label: 'Resources',
              description: core.plural(backup.members, 'object'),
              icon: 'list-tree',
              context: 'resources',
              opens: 'collapsed',
            },
            subject: { kind: 'resources', backup: subject },
            children: () => this.#kinds(`${id}/resources`, subject),
          },
          {
            id: `${id}/volumes`,
            shown: {
              label: 'Volumes',
              description: core.plural(backup.volumes.length, 'volume'),
              icon: 'database',
              context: 'volumes',
              opens: backup.volumes.length === 0 ? undefined : 'collapsed',
            },
            subject: { kind: 'volumes', backup: subject },
            children: () => Promise.resolve(this.#volumes(core, `${id}/volumes`, subject)),
          },
        ] as TreeNode[]),
    };
  }

  async #kinds(parent: string, backup: BackupSubject): Promise<readonly TreeNode[]> {
    const { refOf } = await loadCore();
    const open = await this.#open.get(backup);
    const byKind = [...Map.groupBy(await open.manifests(), ({ kind }) => kind)].sort(([a], [b]) => a.localeCompare(b));
    return byKind.map(([kind, objects]) => ({
      id: `${parent}/${kind}`,
      shown: { label: kind, description: String(objects.length), icon: 'folder', context: 'kind', opens: 'collapsed' },
      subject: { kind: 'group', name: kind },
      children: () =>
        Promise.resolve(
          objects.map(refOf).map((ref): TreeNode => ({
            id: `${parent}/${ref.apiVersion}/${ref.kind}/${ref.namespace ?? ''}/${ref.name}`,
            shown: describeResource(ref),
            subject: { kind: 'resource', backup, ref },
          })),
        ),
    }));
  }

  #volumes(core: Awaited<ReturnType<typeof loadCore>>, parent: string, backup: BackupSubject): readonly TreeNode[] {
    return backup.located.backup.volumes.map((volume) => {
      const id = `${parent}/${volume.claim}`;
      const shown = describeVolume(core, volume);
      const subject = { kind: 'volume', backup, claim: volume.claim, mode: volume.mode, bytes: volume.bytes } as const;
      return volume.mode === 'block'
        ? { id, shown, subject }
        : { id, shown, subject, children: () => this.#entries(id, backup, volume.claim, '.') };
    });
  }

  async #entries(parent: string, backup: BackupSubject, claim: string, path: string): Promise<readonly TreeNode[]> {
    const core = await loadCore();
    const open = await this.#open.get(backup);
    const folder = this.#folders.get(parent) ?? { limit: FIRST_ENTRIES };
    const nodes: TreeNode[] = [];
    for await (const file of open.list(claim, path)) {
      if (nodes.length === folder.limit) {
        nodes.push(this.#moreNode(parent, folder));
        break;
      }
      const id = `${parent}/${file.name}`;
      const node = { id, shown: describeFile(core, file), subject: { kind: 'file', backup, claim, file } } as const;
      nodes.push(file.type === 'directory' ? { ...node, children: () => this.#entries(id, backup, claim, file.path) } : node);
    }
    return nodes;
  }

  #moreNode(parent: string, folder: Folder): TreeNode {
    this.#folders.set(parent, folder);
    return {
      id: `${parent}/…`,
      shown: { label: `Show more than ${String(folder.limit)} entries`, icon: 'ellipsis', context: 'more', command: 'dmaas.showMore' },
      subject: { kind: 'more', folder },
    };
  }
}

/** Lists more of a directory the next time. */
export function widen(folder: Folder): void {
  folder.limit *= MORE;
}

export function backupNodeId({ located }: BackupSubject): string {
  return `${located.source.clusterId}/${located.source.namespace}/${located.backup.id}`;
}
