/** What the commands need, put together once in extension.ts. */
import type { ExtensionContext } from 'vscode';
import type { ControlClaims } from '../host/controlClaims';
import type { ModelList } from '../host/modelList';
import type { RunMonitor } from '../host/runMonitor';
import type { Trainer } from '../host/trainer';
import type { Ui } from '../host/ui';
import type { ExplorerPanel } from '../panels/explorerPanel';
import type { MetricsPanel } from '../panels/metricsPanel';
import type { PromptPanel } from '../panels/promptPanel';
import type { PreviewPanel } from '../panels/previewPanel';
import type { ModelView } from '../views/modelView';
import type { RunsView } from '../views/runsView';
import type { CommandId } from './ids';

export interface CommandContext {
  extension: ExtensionContext;
  ui: Ui;
  trainer: Trainer;
  monitor: RunMonitor;
  claims: ControlClaims;
  models: ModelList;
  modelView: ModelView;
  runsView: RunsView;
  metricsPanel: MetricsPanel;
  explorerPanel: ExplorerPanel;
  promptPanel: PromptPanel;
  previewPanel: PreviewPanel;
  /** Also watches the folder that holds this run. */
  rememberRoot: (runFolder: string) => void;
  /** Registers a command whose errors are shown, not lost. */
  register: (id: CommandId, run: (...args: unknown[]) => unknown) => void;
}
