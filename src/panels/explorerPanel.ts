/** The MPO explorer's host side. */
import { ProgressLocation, window, type Disposable, type Uri, type WebviewPanel } from 'vscode';
import { panelTypes } from '../commands/ids';
import { requestOf, type Decomposer } from '../host/decomposer';
import type { ModelList } from '../host/modelList';
import { settings } from '../host/settings';
import type { Ui } from '../host/ui';
import { DotaError, serializeError } from '../protocol/errors';
import {
  parseExplorerViewMessage,
  type DecomposeOptions,
  type ExplorerHostMessage,
  type ExplorerModule,
  type ExplorerViewMessage,
} from '../protocol/explorerPanel';
import type { ModelEntry } from '../views/modelTree';
import { canDecompose, countParameters, inModelOrder, layerOf, moduleOf } from '../views/modelTree';
import { createPanel, fill, type PanelKind } from './panelHost';
import { saveFile } from './saveFile';
import { useRanks } from './useRanks';

/** Key of the workspace's memory under which the model last looked at is kept. */
const memoryKey = 'explorer.model';

/** What the editor keeps for a workspace. */
export interface Memory {
  get(key: string): unknown;
  update(key: string, value: unknown): Thenable<void>;
}

const kind: PanelKind = {
  viewType: panelTypes.explorer,
  title: 'MPO Explorer',
  bundle: 'explorer',
};

export class ExplorerPanel implements Disposable {
  private panel: WebviewPanel | undefined;
  private model: ModelEntry | undefined;
  private focus: string | undefined;
  private abort: AbortController | undefined;
  private readonly listening: { dispose(): void };

  constructor(
    private readonly extensionUri: Uri,
    private readonly models: ModelList,
    private readonly decomposer: Decomposer,
    private readonly ui: Ui,
    private readonly memory: Memory,
  ) {
    // Also what the Model view's commands ask for.
    this.listening = models.onDidDecompose(({ folder, result, made }) => {
      if (folder === this.model?.folder) {
        void this.post({ type: 'results', options: made, results: [result] });
      }
    });
  }

  open(model: ModelEntry, focus?: string): void {
    const same = this.model === model;
    this.model = model;
    this.focus = focus;
    void this.memory.update(memoryKey, model.folder);
    if (this.panel === undefined) {
      this.adopt(createPanel(this.extensionUri, kind));
      return;
    }
    this.panel.reveal();
    if (!same)
      this.sendInit().catch((error: unknown) => {
        this.ui.showError(error);
      });
    else if (focus !== undefined) void this.post({ type: 'focus', module: focus });
  }

  restore(panel: WebviewPanel): void {
    this.adopt(fill(panel, this.extensionUri, kind));
  }

  private adopt(panel: WebviewPanel): void {
    this.panel = panel;
    const listening = panel.webview.onDidReceiveMessage((raw: unknown) => {
      const message = parseExplorerViewMessage(raw);
      if (message !== undefined) void this.receive(message);
    });
    panel.onDidDispose(() => {
      listening.dispose();
      this.abort?.abort();
      if (this.panel === panel) this.panel = undefined;
    });
  }

  private async receive(message: ExplorerViewMessage): Promise<void> {
    try {
      switch (message.type) {
        case 'ready':
          this.model ??= await this.modelToShow();
          await this.sendInit();
          return;
        case 'decompose':
          await this.decompose(message.modules, message.options);
          return;
        case 'cancel':
          this.abort?.abort();
          return;
        case 'exportText':
          await saveFile(message.fileName, Buffer.from(message.text, 'utf8'));
          return;
        case 'exportPng':
          await saveFile(message.fileName, message.bytes);
          return;
        case 'useRanks':
          await useRanks(message);
          return;
        case 'exportCores':
          await this.exportCores(message.modules, message.options);
          return;
      }
    } catch (error) {
      this.ui.showError(error);
    }
  }

  /** After a reload the panel is back before anybody named a model: the last one, or the first. */
  private async modelToShow(): Promise<ModelEntry | undefined> {
    const usable = (await this.models.read()).filter((m) => m.problem === undefined);
    const last = this.memory.get(memoryKey);
    return usable.find((m) => m.folder === last) ?? usable[0];
  }

  private async sendInit(): Promise<void> {
    const { model } = this;
    if (model?.tensors === undefined) {
      const none =
        model === undefined
          ? new DotaError('file.missing', 'No model is listed.', {
              next: 'Add a model folder in the Model view, then open the explorer again.',
            })
          : new DotaError('model.unsupported', `${model.name} cannot be used.`, {
              where: model.folder,
              ...(model.problem === undefined ? {} : { next: model.problem }),
            });
      void this.post({ type: 'error', error: serializeError(none) });
      return;
    }
    const modules = inModelOrder(model.tensors)
      .filter(canDecompose)
      .map((tensor): ExplorerModule => {
        const name = moduleOf(tensor.name);
        const layer = layerOf(tensor.name);
        return {
          name,
          kind: name.split('.').at(-1) ?? name,
          ...(layer === undefined ? {} : { layer }),
          rows: tensor.shape[0] ?? 0,
          cols: tensor.shape[1] ?? 0,
          dtype: tensor.dtype,
        };
      });
    await this.decomposer.restore(model);
    void this.post({
      type: 'init',
      model: {
        name: model.name,
        architecture: model.architecture ?? '',
        parameters: countParameters(model.tensors),
        numLayers: model.numLayers ?? 0,
        weightBytes: model.weightBytes ?? 0,
        hiddenSize: model.hiddenSize ?? 0,
        intermediateSize: model.intermediateSize ?? 0,
        vocabSize: model.vocabSize ?? 0,
      },
      modules,
      options: settings.decomposeOptions(),
      ...(this.focus === undefined ? {} : { focus: this.focus }),
    });
    void this.sendTraining(model);
    for (const { result, made } of this.models.known(model.folder)) {
      void this.post({ type: 'results', options: made, results: [result] });
    }
  }

  /** Follows: it takes a start of the trainer. In Restricted Mode, or for a model that cannot be trained, there is none. */
  private async sendTraining(model: ModelEntry): Promise<void> {
    const training = await this.decomposer.trainingMemory(model).catch(() => undefined);
    if (training !== undefined && this.model === model)
      await this.post({ type: 'training', training });
  }

  private async decompose(modules: readonly string[], options: DecomposeOptions): Promise<void> {
    const { model } = this;
    if (model === undefined) return;
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    let done = 0;
    const total = modules.length;
    await this.post({ type: 'progress', running: true, done, total });
    try {
      const started = Date.now();
      const request = requestOf(modules, options);
      await this.decomposer.run(
        model,
        request,
        abort.signal,
        (result) => {
          done += 1;
          const secondsLeft = ((Date.now() - started) / 1000 / done) * (total - done);
          void this.post({
            type: 'progress',
            running: true,
            done,
            total,
            module: result.module,
            secondsLeft,
          });
        },
        (module, spectrumShare) => {
          void this.post({ type: 'progress', running: true, done, total, module, spectrumShare });
        },
      );
    } catch (error) {
      if (!abort.signal.aborted) await this.post({ type: 'error', error: serializeError(error) });
    } finally {
      await this.post({
        type: 'progress',
        running: false,
        done,
        total,
        ...(abort.signal.aborted ? { cancelled: true } : {}),
      });
    }
  }

  private async exportCores(modules: readonly string[], options: DecomposeOptions): Promise<void> {
    const { model } = this;
    if (model === undefined || modules.length === 0) return;
    const request = requestOf(modules, options);
    const target = await window.showSaveDialog({ filters: { safetensors: ['safetensors'] } });
    if (target === undefined) return;
    const out = { ...request, options: [...request.options, '--out', target.fsPath] };
    await window.withProgress(
      { location: ProgressLocation.Notification, title: 'DoTA: Writing cores', cancellable: true },
      (_progress, token) => {
        const abort = new AbortController();
        token.onCancellationRequested(() => {
          abort.abort();
        });
        return this.decomposer.run(model, out, abort.signal, () => undefined);
      },
    );
  }

  private async post(message: ExplorerHostMessage): Promise<void> {
    await this.panel?.webview.postMessage(message);
  }

  dispose(): void {
    this.listening.dispose();
    this.abort?.abort();
  }
}
