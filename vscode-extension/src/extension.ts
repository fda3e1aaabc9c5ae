import { commands, Disposable, window, workspace, type ExtensionContext } from 'vscode';
import { Catalog } from './catalog.ts';
import { planDocuments, PLAN_SCHEME } from './commands/open.ts';
import { registerItems, registerNavigation, registerOperations, type Register } from './commands/register.ts';
import { recordedRestore } from './commands/restore.ts';
import { BackupFileSystem, SCHEME } from './files/file-system.ts';
import { LocationFiles } from './locations.ts';
import { OpenBackups } from './open-backups.ts';
import { Operations } from './operations.ts';
import { isDmaasError, Reporter } from './reporter.ts';
import type { Services } from './services.ts';
import { Session } from './session.ts';
import { Timelines } from './timeline/panel.ts';
import { Activity } from './views/activity.ts';
import { Applications } from './views/applications.ts';
import { Backups } from './views/backups.ts';
import { followCatalog, followOperations, followTime, type Trees, type Views } from './views/follow.ts';
import { Locations } from './views/locations.ts';
import { NodeTree } from './views/tree.ts';

/** Puts the parts together. Reads nothing and connects to nothing: that is for when a view is opened. */
export function activate(context: ExtensionContext): void {
  const reporter = new Reporter(window.createOutputChannel('DMaaS', { log: true }));
  const session = new Session();
  const files = new LocationFiles(context, session);
  const catalog = new Catalog(session, files, reporter);
  const open = new OpenBackups(session, files);
  const operations = new Operations(reporter, context.workspaceState);
  const timelines = new Timelines(operations, context.extensionUri);
  const applications = new Applications(session, catalog, reporter);
  const backups = new Backups(catalog, open);
  const trees: Trees = {
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
  ) as unknown as Views;

  const refresh = async (): Promise<void> => {
    applications.forget();
    open.reset();
    await session.reset();
    trees.applications.refresh();
    await catalog.refresh();
  };
  const failed = (e: unknown): void => {
    void reporter.error(e, isDmaasError(e) && e.code === 'BACKUP_NOT_FOUND' ? { title: 'Refresh', run: refresh } : undefined);
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

  operations.revive((memo) => recordedRestore(services, memo));
  context.subscriptions.push(
    operations,
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
    new Disposable(() => void session.reset()),
  );

  const register: Register = (name, run) => {
    context.subscriptions.push(
      commands.registerCommand(`dmaas.${name}`, async (node: unknown) => {
        try {
          await run(node);
        } catch (e) {
          failed(e);
        }
      }),
    );
  };
  registerItems(register, services);
  registerOperations(register, operations, timelines, reporter);
  registerNavigation(register, { applications, trees, views, catalog, session });
}
