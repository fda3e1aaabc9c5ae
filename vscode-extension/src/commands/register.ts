import { Uri, window } from 'vscode';
import type { Catalog } from '../catalog.ts';
import type { Operations } from '../operations.ts';
import type { Reporter } from '../reporter.ts';
import type { Services } from '../services.ts';
import type { Session } from '../session.ts';
import type { Timelines } from '../timeline/panel.ts';
import type { Applications } from '../views/applications.ts';
import { backupNodeId, widen } from '../views/backups.ts';
import type { Trees, Views } from '../views/follow.ts';
import { isNode } from '../views/node.ts';
import { backUp } from './back-up.ts';
import { copyCommand, copyName, deleteBackup, showFindings } from './items.ts';
import { checkLocation, chooseKubeconfig, enterKeys, openLocationFile, removeLocationFile } from './locations.ts';
import { compareWithLive, openFile, openManifest } from './open.ts';
import { restore } from './restore.ts';
import { saveFile } from './save.ts';

/** Registers a command by its name without `dmaas.`; what it throws is reported. */
export type Register = (name: string, run: (node: unknown) => unknown) => void;

/** What is done with a node of a view. */
export function registerItems(register: Register, services: Services): void {
  register('refresh', () => services.refresh());
  register('backUp', (node) => backUp(services, node));
  register('restore', (node) => restore(services, node));
  register('openManifest', (node) => openManifest(services, node));
  register('compareWithLive', (node) => compareWithLive(services, node));
  register('openFile', (node) => openFile(services, node));
  register('saveFile', (node) => saveFile(services, node));
  register('copyName', copyName);
  register('copyCommand', (node) => copyCommand(services, node));
  register('showFindings', showFindings);
  register('deleteBackup', (node) => deleteBackup(services, node));
  register('openLocationFile', (node) => openLocationFile(services, node instanceof Uri ? node : undefined));
  register('enterKeys', (node) => enterKeys(services, node));
  register('removeLocationFile', (node) => removeLocationFile(services, node));
  register('checkLocation', (node) => checkLocation(services, node));
  register('chooseKubeconfig', () => chooseKubeconfig(services));
}

/** What is done with an operation, from its line or its timeline. */
export function registerOperations(register: Register, operations: Operations, timelines: Timelines, reporter: Reporter): void {
  /** From a node, or by its id from a timeline. */
  const idOf = (given: unknown): string | undefined =>
    typeof given === 'string' ? given : isNode(given, 'operation') ? given.subject.id : undefined;
  const withOperation = (run: (id: string) => unknown) => (given: unknown) => {
    const id = idOf(given);
    return id === undefined ? undefined : run(id);
  };
  register(
    'showTimeline',
    withOperation((id) => {
      const operation = operations.get(id);
      if (operation !== undefined) timelines.show(operation);
    }),
  );
  register(
    'stop',
    withOperation((id) => {
      operations.stop(id);
    }),
  );
  register(
    'resume',
    withOperation((id) => operations.resume(id)),
  );
  register(
    'undoRestore',
    withOperation(async (id) => {
      const operation = operations.get(id);
      if (operation === undefined) return;
      const detail = 'The objects and volumes that it created are deleted, and nothing else.';
      if ((await window.showWarningMessage(`Take back: ${operation.state.title}?`, { modal: true, detail }, 'Take Back')) !== 'Take Back')
        return;
      await window.withProgress({ location: { viewId: 'dmaas.activity' } }, () => operations.undo(id));
      void window.showInformationMessage(`${operation.state.title}: taken back.`);
    }),
  );
  register('clearFinished', () => {
    operations.clearFinished();
  });
  register('showLog', () => {
    reporter.log.show();
  });
}

interface Navigation {
  readonly applications: Applications;
  readonly trees: Trees;
  readonly views: Views;
  readonly catalog: Catalog;
  readonly session: Session;
}

/** Finding one's way, and asking again. */
export function registerNavigation(register: Register, { applications, trees, views, catalog, session }: Navigation): void {
  register('retry', async (node) => {
    if (isNode(node, 'cluster')) {
      await refreshCluster(node.subject.context);
    } else if (isNode(node, 'problem')) {
      applications.forget();
      await session.reset();
      await node.subject.retry();
    }
  });
  const refreshCluster = async (name: string): Promise<void> => {
    applications.forget(name);
    await session.reset();
    trees.applications.refresh(trees.applications.node(name));
    await catalog.refresh();
  };
  register('revealLatest', async (node) => {
    const subject = isNode(node, 'app') ? node.subject.latest : isNode(node, 'backup') ? node.subject : undefined;
    if (subject === undefined) return;
    const id = backupNodeId(subject);
    for (const root of await trees.backups.getChildren()) {
      const found = (await trees.backups.getChildren(root)).find((child) => child.id === id);
      if (found !== undefined) await views.backups.reveal(found, { focus: true, expand: true });
    }
  });
  register('showMore', (node) => {
    if (!isNode(node, 'more')) return;
    widen(node.subject.folder);
    trees.backups.refresh(node.parent);
  });
}
