/** Entry of the extension: builds the objects, registers them, and nothing else. */
import { randomUUID } from 'node:crypto';
import { homedir } from 'node:os';
import path from 'node:path';
import { commands, languages, window, workspace, type ExtensionContext } from 'vscode';
import { ConfigCodeLens } from './commands/codeLens';
import type { CommandContext } from './commands/context';
import { registerCompareMethods } from './commands/compareMethods';
import { registerDoctor } from './commands/doctor';
import { registerProfile } from './commands/profile';
import { registerFineTune } from './commands/fineTune';
import { commandIds, contextKeys, panelTypes } from './commands/ids';
import { registerModelActions } from './commands/modelActions';
import { registerExportRun } from './commands/exportRun';
import { registerPreviewDataset } from './commands/previewDataset';
import { registerRunActions } from './commands/runActions';
import { registerUse } from './commands/useModel';
import { ControlClaims } from './host/controlClaims';
import { Decomposer } from './host/decomposer';
import { DecompositionStore } from './host/decompositionStore';
import { announceEnds } from './host/endNotification';
import { hubCacheFolder } from './host/hubCache';
import { ModelList } from './host/modelList';
import { RunMonitor, type RunAccess } from './host/runMonitor';
import { RunRoots } from './host/runRoots';
import { settings } from './host/settings';
import { Trainer } from './host/trainer';
import { createUi } from './host/ui';
import { ComparePanel } from './panels/comparePanel';
import { readComparison } from './panels/comparisonSource';
import { ExplorerPanel } from './panels/explorerPanel';
import { MetricsPanel } from './panels/metricsPanel';
import { PromptPanel } from './panels/promptPanel';
import { PromptServer } from './host/promptServer';
import { choosePromptRun } from './commands/useModel';
import { PreviewPanel } from './panels/previewPanel';
import { ModelView } from './views/modelView';
import { RunsView } from './views/runsView';
import { createStatusBar } from './views/statusBar';

let onDeactivate: (() => Promise<void>) | undefined;

export function activate(extension: ExtensionContext): void {
  const log = window.createOutputChannel('DoTA', { log: true });
  const ui = createUi(log);
  const setContext = (key: string, value: unknown): void => {
    void commands.executeCommand('setContext', key, value);
  };

  const models = new ModelList(() => ({
    sample: path.join(extension.extensionPath, 'media', 'sample', 'model'),
    workspaceFolders: workspaceFolders(),
    listed: settings.modelFolders(),
    hubCache: hubCacheFolder(process.env, homedir()),
  }));
  const trainer = new Trainer({
    entry: path.join(extension.extensionPath, 'dist', 'trainer', 'cli.cjs'),
    environment: process.env,
    nodePath: settings.nodePath,
    trusted: () => workspace.isTrusted,
    log: (message) => {
      log.info(message);
    },
    onNode: (found) => {
      setContext(contextKeys.nodeMissing, !found);
    },
  });
  const roots = new RunRoots(extension.workspaceState, workspaceFolders, () =>
    path.join(extension.globalStorageUri.fsPath, '.dota', 'runs'),
  );
  const claims = new ControlClaims(
    path.join(extension.globalStorageUri.fsPath, 'claims'),
    randomUUID(),
  );
  let access: Promise<RunAccess> | undefined;
  const monitor = new RunMonitor({
    roots: () => roots.list(),
    access: () => (access ??= import('./host/runAccess').then((m) => m.runAccess)),
    controlledElsewhere: (folder) =>
      workspace.isTrusted ? claims.claim(folder) : Promise.resolve('The workspace is not trusted.'),
    mayAttach: () => workspace.isTrusted,
    log: (message) => {
      log.debug(message);
    },
  });
  const modelView = new ModelView(models);
  const runsView = new RunsView(monitor);
  const metricsPanel = new MetricsPanel(extension.extensionUri, monitor, ui);
  const decompositions = new DecompositionStore(() => {
    const [first] = workspaceFolders();
    const base = first ?? extension.globalStorageUri.fsPath;
    return path.join(base, '.dota', 'cache', 'decompositions');
  });
  const decomposer = new Decomposer(trainer, models, decompositions);
  extension.subscriptions.push(
    models.onDidRead((entries) => {
      for (const entry of entries) if (entry.problem === undefined) void decomposer.restore(entry);
    }),
  );
  const explorerPanel = new ExplorerPanel(
    extension.extensionUri,
    models,
    decomposer,
    ui,
    extension.workspaceState,
  );

  const comparePanel = new ComparePanel(
    extension.extensionUri,
    ui,
    extension.workspaceState,
    (source) => readComparison(source, monitor, trainer),
    () => {
      void commands.executeCommand(commandIds.compareMethods);
    },
  );
  const promptPanel = new PromptPanel(
    extension.extensionUri,
    new PromptServer((handlers) => trainer.serve(['serve-prompts'], handlers)),
    extension.workspaceState,
    ui,
    () => choosePromptRun(monitor),
  );
  const previewPanel = new PreviewPanel(extension.extensionUri, trainer, ui);

  const context: CommandContext = {
    extension,
    ui,
    trainer,
    monitor,
    claims,
    models,
    modelView,
    runsView,
    metricsPanel,
    explorerPanel,
    promptPanel,
    previewPanel,
    rememberRoot: (runFolder) => {
      roots.remember(path.dirname(runFolder));
    },
    register: (id, run) => {
      extension.subscriptions.push(
        commands.registerCommand(id, async (...args: unknown[]) => {
          try {
            await run(...args);
          } catch (error) {
            ui.showError(error);
          }
        }),
      );
    },
  };
  registerFineTune(context);
  registerRunActions(context);
  registerExportRun(context);
  registerModelActions(context, decomposer);
  registerUse(context);
  registerPreviewDataset(context);
  registerDoctor(context);
  registerProfile(context);
  registerCompareMethods(context, comparePanel);

  const publish = (): void => {
    const runs = monitor.list();
    setContext(contextKeys.hasRuns, runs.length > 0);
    setContext(contextKeys.runningCount, runs.filter((run) => run.live).length);
  };
  const lens = new ConfigCodeLens(commandIds.fineTune, commandIds.previewDataset);
  extension.subscriptions.push(
    log,
    modelView,
    runsView,
    metricsPanel,
    explorerPanel,
    comparePanel,
    promptPanel,
    previewPanel,
    createStatusBar(monitor),
    announceEnds(monitor, ui),
    monitor.onDidChange(publish),
    languages.registerCodeLensProvider({ pattern: '**/*.dota.json' }, lens),
    window.registerWebviewPanelSerializer(panelTypes.metrics, {
      deserializeWebviewPanel: (panel) => {
        metricsPanel.restore(panel);
        return Promise.resolve();
      },
    }),
    window.registerWebviewPanelSerializer(panelTypes.explorer, {
      deserializeWebviewPanel: (panel) => {
        explorerPanel.restore(panel);
        return Promise.resolve();
      },
    }),
    window.registerWebviewPanelSerializer(panelTypes.compare, {
      deserializeWebviewPanel: (panel) => {
        comparePanel.restore(panel);
        return Promise.resolve();
      },
    }),
    window.registerWebviewPanelSerializer(panelTypes.prompt, {
      deserializeWebviewPanel: (panel) => {
        promptPanel.restore(panel);
        return Promise.resolve();
      },
    }),
    window.registerWebviewPanelSerializer(panelTypes.preview, {
      deserializeWebviewPanel: (panel, state: unknown) => {
        previewPanel.restore(panel, state);
        return Promise.resolve();
      },
    }),
    models.onDidRead((entries) => {
      setContext(contextKeys.modelsRead, true);
      setContext(contextKeys.hasModels, entries.length > 0);
    }),
    workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration('dota.models')) models.refresh();
      if (event.affectsConfiguration('dota.nodePath')) setContext(contextKeys.nodeMissing, false);
    }),
    workspace.onDidChangeWorkspaceFolders(() => {
      models.refresh();
      void monitor.refresh();
    }),
    workspace.onDidGrantWorkspaceTrust(() => {
      void monitor.refresh();
    }),
  );
  monitor.start();
  onDeactivate = async () => {
    try {
      if (settings.onWindowClose() === 'checkpointAndStop') {
        const ours = monitor
          .list()
          .filter((run) => run.live && run.controlDisabledReason === undefined);
        await Promise.allSettled(ours.map((run) => monitor.command(run.key, 'stop')));
      }
      await claims.release();
    } finally {
      // Not among the subscriptions: the editor disposes of those while this still runs.
      monitor.dispose();
    }
  };
}

/** The editor waits a few seconds for this: enough to hand in a request to stop. */
export async function deactivate(): Promise<void> {
  await onDeactivate?.();
}

function workspaceFolders(): string[] {
  return (workspace.workspaceFolders ?? [])
    .filter((folder) => folder.uri.scheme === 'file')
    .map((folder) => folder.uri.fsPath);
}
