/** The Model view: turns the nodes of modelTree.ts into tree items. */
import {
  EventEmitter,
  MarkdownString,
  ThemeIcon,
  TreeItem,
  TreeItemCollapsibleState,
  window,
  type Disposable,
  type TreeDataProvider,
  type TreeView,
} from 'vscode';
import { viewIds } from '../commands/ids';
import type { ModelList } from '../host/modelList';
import { throttle } from '../host/throttle';
import { childrenOf, detailsOf, textOf, type ModelNode } from './modelTree';

/**
 * The editor waits with a tree until its changes pause for 200 ms: results that come faster would not
 * be seen before the last.
 */
const REDRAW_MS = 400;

export class ModelView implements TreeDataProvider<ModelNode>, Disposable {
  private readonly changed = new EventEmitter<ModelNode | undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly view: TreeView<ModelNode>;
  private readonly subscription: Disposable;
  private readonly redraw = throttle(REDRAW_MS, () => {
    this.changed.fire(undefined);
  });
  /** The same object for the same id, so that a refresh of one node reaches it. */
  private readonly known = new Map<string, ModelNode>();
  private readonly parents = new Map<string, ModelNode>();

  constructor(private readonly models: ModelList) {
    this.view = window.createTreeView(viewIds.models, {
      treeDataProvider: this,
      showCollapseAll: true,
    });
    this.subscription = models.onDidChange((change) => {
      const node = change === undefined ? undefined : this.known.get(change);
      // A layer's own text counts its decomposed modules, so it is drawn again with its children.
      if (node === undefined) this.redraw();
      else this.changed.fire(node);
    });
  }

  async getChildren(node?: ModelNode): Promise<ModelNode[]> {
    if (node !== undefined) return childrenOf(node).map((child) => this.remember(child, node));
    const models = await this.models.read();
    return models.map((model) => this.remember({ kind: 'model', model }, undefined));
  }

  getParent(node: ModelNode): ModelNode | undefined {
    return this.parents.get(textOf(node).id);
  }

  getTreeItem(node: ModelNode): TreeItem {
    const text = textOf(node);
    const single = node.kind === 'model' && this.models.current.length === 1;
    const item = new TreeItem(
      text.label,
      !text.collapsible
        ? TreeItemCollapsibleState.None
        : single || node.kind === 'mpo'
          ? TreeItemCollapsibleState.Expanded
          : TreeItemCollapsibleState.Collapsed,
    );
    // A tree item keeps the collapsible state it had when its id was first seen.
    item.id = text.collapsible ? `${text.id}|open` : text.id;
    item.description = text.description;
    item.contextValue = text.context;
    item.iconPath = new ThemeIcon(text.icon);
    item.accessibilityInformation = { label: text.spoken };
    return item;
  }

  resolveTreeItem(item: TreeItem, node: ModelNode): TreeItem {
    const tooltip = new MarkdownString();
    for (const [name, value] of detailsOf(node)) {
      tooltip.appendText(`${name}: ${value}`);
      tooltip.appendMarkdown('  \n');
    }
    if (tooltip.value !== '') item.tooltip = tooltip;
    return item;
  }

  get selection(): ModelNode | undefined {
    return this.view.selection[0];
  }

  set message(text: string | undefined) {
    this.view.message = text;
  }

  private remember(node: ModelNode, parent: ModelNode | undefined): ModelNode {
    const { id } = textOf(node);
    const before = this.known.get(id);
    const kept = before === undefined ? node : Object.assign(before, node);
    this.known.set(id, kept);
    if (parent !== undefined) this.parents.set(id, parent);
    return kept;
  }

  dispose(): void {
    this.subscription.dispose();
    this.redraw.cancel();
    this.view.dispose();
    this.changed.dispose();
  }
}
