/** The Runs view. Only changed runs are redrawn, at most four times a second. */
import {
  EventEmitter,
  MarkdownString,
  ThemeColor,
  ThemeIcon,
  TreeItem,
  window,
  type Disposable,
  type TreeDataProvider,
  type TreeView,
} from 'vscode';
import { commandIds, viewIds } from '../commands/ids';
import type { RunMonitor } from '../host/runMonitor';
import { createdMs, type RunView } from '../host/runView';
import { throttle } from '../host/throttle';
import { detailsOfRun, textOfRun } from './runsTree';

/** Only the key: the run is looked up when drawn, so that a node is never out of date. */
export interface RunNode {
  key: string;
}

export class RunsView implements TreeDataProvider<RunNode>, Disposable {
  private readonly changed = new EventEmitter<RunNode | undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly nodes = new Map<string, RunNode>();
  private readonly view: TreeView<RunNode>;
  private readonly pending = new Set<string>();
  private readonly flush = throttle(250, () => {
    this.redraw();
  });
  private readonly subscription: Disposable;

  constructor(private readonly monitor: RunMonitor) {
    this.view = window.createTreeView(viewIds.runs, { treeDataProvider: this });
    this.subscription = monitor.onDidChange((keys) => {
      for (const key of keys) this.pending.add(key);
      this.flush();
    });
    this.flush();
  }

  getChildren(node?: RunNode): RunNode[] {
    if (node !== undefined) return [];
    return [...this.monitor.list()]
      .sort((a, b) => createdMs(b) - createdMs(a))
      .map((run) => this.nodeOf(run.key));
  }

  getTreeItem(node: RunNode): TreeItem {
    const run = this.monitor.get(node.key);
    if (run === undefined) return new TreeItem('');
    const text = textOfRun(run);
    const item = new TreeItem(text.label);
    item.id = text.id;
    item.description = text.description;
    item.contextValue = text.context;
    item.accessibilityInformation = { label: text.spoken };
    item.iconPath =
      text.icon.color === undefined
        ? new ThemeIcon(text.icon.id)
        : new ThemeIcon(text.icon.id, new ThemeColor(text.icon.color));
    // Without arguments: those of an item end with its next refresh, which a live run has every moment,
    // and a click on what was just drawn would find none. The command takes the selected run.
    item.command = { command: commandIds.runOpenPanel, title: 'Open Metrics of Run' };
    return item;
  }

  resolveTreeItem(item: TreeItem, node: RunNode): TreeItem {
    const run = this.monitor.get(node.key);
    if (run !== undefined) item.tooltip = tooltip(run);
    return item;
  }

  async reveal(key: string): Promise<void> {
    const node = this.nodes.get(key);
    if (node !== undefined) await this.view.reveal(node, { select: true, focus: true });
  }

  getParent(): undefined {
    return undefined;
  }

  /** The run that is selected: what a click on a row is about. */
  get selection(): RunNode | undefined {
    return this.view.selection[0];
  }

  private nodeOf(key: string): RunNode {
    let node = this.nodes.get(key);
    if (node === undefined) {
      node = { key };
      this.nodes.set(key, node);
    }
    return node;
  }

  private redraw(): void {
    const runs = this.monitor.list();
    const running = runs.filter((run) => run.live).length;
    this.view.badge =
      running === 0
        ? undefined
        : { value: running, tooltip: running === 1 ? '1 run at work' : `${running} runs at work` };
    const listed = new Set(runs.map((run) => run.key));
    const known = [...this.pending].every((key) => this.nodes.has(key) && listed.has(key));
    if (known && this.pending.size <= 20) {
      for (const key of this.pending) this.changed.fire(this.nodes.get(key));
    } else {
      for (const key of this.nodes.keys()) if (!listed.has(key)) this.nodes.delete(key);
      this.changed.fire(undefined);
    }
    this.pending.clear();
  }

  dispose(): void {
    this.flush.cancel();
    this.subscription.dispose();
    this.view.dispose();
    this.changed.dispose();
  }
}

/** Untrusted text goes in as text, never as Markdown. */
function tooltip(run: RunView): MarkdownString {
  const markdown = new MarkdownString();
  markdown.supportHtml = false;
  markdown.isTrusted = false;
  for (const [name, value] of [['Run', run.manifest.name] as const, ...detailsOfRun(run)]) {
    markdown.appendText(`${name}: ${value}`);
    markdown.appendMarkdown('  \n');
  }
  return markdown;
}
