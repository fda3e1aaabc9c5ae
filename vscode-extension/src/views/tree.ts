import {
  commands,
  EventEmitter,
  MarkdownString,
  ThemeColor,
  ThemeIcon,
  TreeItem,
  TreeItemCollapsibleState,
  Uri,
  type TreeDataProvider,
} from 'vscode';
import { isDmaasError, messageOf, sentence } from '../reporter.ts';
import { describeProblem } from './describe.ts';
import type { TreeNode } from './node.ts';

/** Shows nodes, and in place of those that cannot be had what is wrong, with a way to try again. */
export class NodeTree implements TreeDataProvider<TreeNode> {
  readonly #name: string;
  readonly #onError: (e: unknown) => void;
  readonly #roots: () => Promise<readonly TreeNode[]>;
  readonly #changed = new EventEmitter<TreeNode | undefined>();
  readonly onDidChangeTreeData = this.#changed.event;
  readonly #known = new Map<string, TreeNode>();
  /** Lines whose children are being fetched. */
  #opening = 0;
  /** Something changed meanwhile. */
  #isStale = false;

  /** `name`: of the view, whose welcome waits until it is known that there is nothing to show. `onError`: says what a line says too, as a message. */
  constructor(name: string, roots: () => Promise<readonly TreeNode[]>, onError: (e: unknown) => void = () => undefined) {
    this.#name = name;
    this.#roots = roots;
    this.#onError = onError;
  }

  /** Without a node: everything. The editor folds a line again that is opening while all lines are drawn anew, so that waits. */
  refresh(node?: TreeNode): void {
    if (node === undefined && this.#opening > 0) this.#isStale = true;
    else this.#changed.fire(node);
  }

  getTreeItem(node: TreeNode): TreeItem {
    return itemOf(node);
  }

  getParent(node: TreeNode): TreeNode | undefined {
    return node.parent;
  }

  /** A node that has been shown. */
  node(id: string): TreeNode | undefined {
    return this.#known.get(id);
  }

  async getChildren(parent?: TreeNode): Promise<TreeNode[]> {
    const children = parent === undefined ? await this.#childrenOf(parent) : await this.#open(parent);
    for (const child of children) {
      if (parent !== undefined) child.parent = parent;
      this.#known.set(child.id, child);
    }
    if (parent === undefined) void commands.executeCommand('setContext', `dmaas.${this.#name}.loaded`, true);
    return [...children];
  }

  async #open(parent: TreeNode): Promise<readonly TreeNode[]> {
    this.#opening += 1;
    const children = await this.#childrenOf(parent);
    this.#opening -= 1;
    if (this.#opening === 0 && this.#isStale) {
      this.#isStale = false;
      setTimeout(() => {
        this.refresh();
      });
    }
    return children;
  }

  async #childrenOf(parent: TreeNode | undefined): Promise<readonly TreeNode[]> {
    try {
      return await (parent === undefined ? this.#roots() : (parent.children?.() ?? Promise.resolve([])));
    } catch (e) {
      this.#onError(e);
      return [
        problemNode(parent?.id ?? 'root', e, () => {
          this.refresh(parent);
        }),
      ];
    }
  }
}

export function problemNode(scope: string, e: unknown, retry: () => unknown): TreeNode {
  const hint = isDmaasError(e) ? e.hint : undefined;
  return { id: `${scope}/problem`, shown: describeProblem(sentence(messageOf(e)), hint), subject: { kind: 'problem', retry } };
}

function itemOf({ id, shown, ...rest }: TreeNode): TreeItem {
  const state = shown.opens === undefined ? 'None' : shown.opens === 'expanded' ? 'Expanded' : 'Collapsed';
  const item = new TreeItem(shown.label, TreeItemCollapsibleState[state]);
  item.id = id;
  item.contextValue = shown.context;
  if (shown.description !== undefined) item.description = shown.description;
  if (shown.tooltip !== undefined) item.tooltip = new MarkdownString(shown.tooltip);
  if (shown.spoken !== undefined) item.accessibilityInformation = { label: shown.spoken };
  const color = shown.color === undefined ? undefined : new ThemeColor(shown.color);
  // With a file's name and these icons the user's icon theme decides.
  if (shown.fileName !== undefined) {
    item.resourceUri = Uri.from({ scheme: 'dmaas-icon', path: `/${shown.fileName}` });
    item.iconPath = shown.opens === undefined ? ThemeIcon.File : ThemeIcon.Folder;
  } else if (shown.icon !== undefined) item.iconPath = new ThemeIcon(shown.icon, color);
  if (shown.command !== undefined) item.command = { command: shown.command, title: shown.label, arguments: [{ id, shown, ...rest }] };
  return item;
}
