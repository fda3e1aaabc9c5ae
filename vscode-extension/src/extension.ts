import { commands, StatusBarAlignment, Uri, window, workspace, type ExtensionContext, type TreeView } from 'vscode';
import { Catalog } from './catalog.ts';
import { backUp } from './commands/back-up.ts';
import { copyCommand, copyName, deleteBackup, showFindings } from './commands/items.ts';
import { checkLocation, chooseKubeconfig, enterKeys, openLocationFile, removeLocationFile } from './commands/locations.ts';
import { compareWithLive, openFile, openManifest, planDocuments, PLAN_SCHEME } from './commands/open.ts';
import { restore } from './commands/restore.ts';
import { saveFile } from './commands/save.ts';
import { BackupFileSystem, SCHEME } from './files/file-system.ts';
import { LocationFiles } from './locations.ts';
import { OpenBackups } from './open-backups.ts';
import { Operations } from './operations.ts';
import { isDmaasError, Reporter, type Action } from './reporter.ts';
import type { Services } from './services.ts';
import { Session } from './session.ts';
import { Timelines } from './timeline/panel.ts';
import { Activity } from './views/activity.ts';
import { Applications } from './views/applications.ts';
import { backupNodeId, Backups, widen } from './views/backups.ts';
import { Locations } from './views/locations.ts';
import { isNode, type TreeNode } from './views/node.ts';
import { NodeTree } from './views/tree.ts';

type ViewName = 'applications' | 'backups' | 'locations' | 'activity';

/** Puts the parts together. Reads nothing and connects to nothing: that is for when a view is opened. */
export function activate(context: ExtensionContext): void {
  const reporter = new Reporter(window.createOutputChannel('DMaaS', { log: true }));
  const session = new Session();
  const files = new LocationFiles(context, session);
  const catalog = new Catalog(session, files, reporter);
  const open = new OpenBackups(session, files);
  const operations = new Operations(reporter);
  const timelines = new Timelines(operations, context.extensionUri);
  const applications = new Applications(session, catalog, reporter);
  const backups = new Backups(catalog, open);
  const trees: Readonly<Record<ViewName, NodeTree>> = {
    applications: new NodeTree('applications', () => applications.roots()),
    backups: new NodeTree(
      'backups',
      () => backups.roots(),
      (e) => {
        failed(e);
      },
    ),
    locations: new NodeTree('locations', () => new Locations(catalog).roots()),
    activity: new NodeTree('activity', () => new Activity(operations).roots()),
  };
  const views = Object.fromEntries(
    Object.entries(trees).map(([name, treeDataProvider]) => [
      name,
      window.createTreeView(`dmaas.${name}`, { treeDataProvider, showCollapseAll: name === 'backups' }),
    ]),
  ) as unknown as Readonly<Record<ViewName, TreeView<TreeNode>>>;

  const refresh = async (): Promise<void> => {
    applications.forget();
    open.reset();
    await session.reset();
    trees.applications.refresh();
    await catalog.refresh();
  };
  const failed = (e: unknown): void => {
    void reporter.error(e, isDmaasError(e) && e.code === 'BACKUP_NOT_FOUND' ? refreshAction(refresh) : undefined);
  };
  const services: Services = {
    session,
    files,
    catalog,
    open,
    operations,
    reporter,
    refresh,
    inView: async (view, work) =>
      window.withProgress({ location: { viewId: `dmaas.${view}` } }, async () => {
        try {
          return await work();
        } catch (e) {
          failed(e);
          return undefined;
        }
      }),
  };

  context.subscriptions.push(
    reporter.log,
    ...Object.values(views),
    workspace.registerFileSystemProvider(SCHEME, new BackupFileSystem(session, catalog, open), { isReadonly: true, isCaseSensitive: true }),
    workspace.registerTextDocumentContentProvider(PLAN_SCHEME, planDocuments),
    timelines.register(),
    followCatalog(catalog, trees, views),
    followOperations(operations, trees.activity, views.activity),
    followTime(trees, views),
    workspace.onDidChangeConfiguration((event) => {
      if (['dmaas.kubeconfig', 'dmaas.contexts', 'dmaas.homeNamespace'].some((name) => event.affectsConfiguration(name))) void refresh();
    }),
    { dispose: () => void session.reset() },
  );

  const register = (name: string, run: (node: unknown) => unknown): void => {
    const guarded = async (node: unknown): Promise<void> => {
      try {
        await run(node);
      } catch (e) {
        failed(e);
      }
    };
    context.subscriptions.push(commands.registerCommand(`dmaas.${name}`, guarded));
  };
  registerItems(register, services);
  registerOperations(register, operations, timelines, reporter);
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

function refreshAction(refresh: () => Promise<void>): Action {
  return { title: 'Refresh', run: refresh };
}

type Register = (name: string, run: (node: unknown) => unknown) => void;

function registerItems(register: Register, services: Services): void {
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

function registerOperations(register: Register, operations: Operations, timelines: Timelines, reporter: Reporter): void {
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

/** Views follow what is known of locations and backups, and count what cannot be read. */
function followCatalog(
  catalog: Catalog,
  trees: Readonly<Record<ViewName, NodeTree>>,
  views: Readonly<Record<ViewName, TreeView<TreeNode>>>,
) {
  return catalog.onDidChange(() => {
    for (const name of ['applications', 'backups', 'locations'] as const) trees[name].refresh();
    const failed = catalog.locations.filter(({ status }) => status === 'failed').length;
    setBadge(views.locations, failed, failed === 1 ? '1 location cannot be read' : `${String(failed)} locations cannot be read`);
    void commands.executeCommand(
      'setContext',
      'dmaas.hasLocation',
      catalog.locations.some(({ status }) => status === 'ready'),
    );
    void commands.executeCommand('setContext', 'dmaas.hasCluster', catalog.failedContexts.length === 0);
  });
}

/** Lines say how long ago something was. */
const AGE_MS = 60_000;

function followTime(trees: Readonly<Record<ViewName, NodeTree>>, views: Readonly<Record<ViewName, TreeView<TreeNode>>>) {
  const timer = setInterval(() => {
    for (const name of ['applications', 'backups', 'activity'] as const) if (views[name].visible) trees[name].refresh();
  }, AGE_MS);
  return {
    dispose: () => {
      clearInterval(timer);
    },
  };
}

/** Of many events in a second the view is drawn for one. */
const DRAW_MS = 300;

/** The view and the status bar follow what runs. */
function followOperations(operations: Operations, tree: NodeTree, view: TreeView<TreeNode>) {
  const status = window.createStatusBarItem('dmaas.running', StatusBarAlignment.Left);
  status.name = 'DMaaS';
  status.command = 'dmaas.activity.focus';
  let timer: NodeJS.Timeout | undefined;
  const draw = (): void => {
    timer = undefined;
    tree.refresh();
    const running = operations.running.length;
    status.text = `$(sync~spin) DMaaS ${String(running)}`;
    status.tooltip = operations.running.map(({ state }) => state.title).join('\n');
    if (running > 0) status.show();
    else status.hide();
    const failed = operations.list.filter(({ state }) => state.outcome === 'failed').length;
    setBadge(view, failed, failed === 1 ? '1 operation failed' : `${String(failed)} operations failed`);
  };
  const listening = operations.onDidChange(() => (timer ??= setTimeout(draw, DRAW_MS)));
  return {
    dispose: () => {
      clearTimeout(timer);
      listening.dispose();
      status.dispose();
    },
  };
}

function setBadge(view: TreeView<TreeNode>, value: number, tooltip: string): void {
  view.badge = value === 0 ? undefined : { value, tooltip };
}
