import { commands, Disposable, StatusBarAlignment, window, type TreeView } from 'vscode';
import type { Catalog } from '../catalog.ts';
import type { Operations } from '../operations.ts';
import type { ViewName } from '../services.ts';
import type { TreeNode } from './node.ts';
import type { NodeTree } from './tree.ts';

export type Trees = Readonly<Record<ViewName, NodeTree>>;
export type Views = Readonly<Record<ViewName, TreeView<TreeNode>>>;

/** Views follow what is known of locations and backups, and count what cannot be read. */
export function followCatalog(catalog: Catalog, trees: Trees, views: Views): Disposable {
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

export function followTime(trees: Trees, views: Views): Disposable {
  const timer = setInterval(() => {
    for (const name of ['applications', 'backups', 'activity'] as const) if (views[name].visible) trees[name].refresh();
  }, AGE_MS);
  return new Disposable(() => {
    clearInterval(timer);
  });
}

/** Of many events in a second the view is drawn for one. */
const DRAW_MS = 300;

/** The view and the status bar follow what runs. */
export function followOperations(operations: Operations, tree: NodeTree, view: TreeView<TreeNode>): Disposable {
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
  return new Disposable(() => {
    clearTimeout(timer);
    listening.dispose();
    status.dispose();
  });
}

function setBadge(view: TreeView<TreeNode>, value: number, tooltip: string): void {
  view.badge = value === 0 ? undefined : { value, tooltip };
}
