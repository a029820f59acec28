/** The commands of the Model view. */
import path from 'node:path';
import { ProgressLocation, window } from 'vscode';
import { requestOf, type Decomposer } from '../host/decomposer';
import { settings } from '../host/settings';
import { DotaError } from '../protocol/errors';
import { isObject, isOneOf } from '../protocol/guards';
import {
  childrenOf,
  modulesToDecompose,
  textOf,
  type ModelEntry,
  type ModelNode,
} from '../views/modelTree';
import type { CommandContext } from './context';
import { commandIds } from './ids';

export function registerModelActions(context: CommandContext, decomposer: Decomposer): void {
  const { register, models } = context;

  register(commandIds.addModelFolder, async () => {
    const [folder] =
      (await window.showOpenDialog({
        canSelectFolders: true,
        canSelectFiles: false,
        openLabel: 'Add Model',
        title: 'Model Folder in Hugging Face Layout',
      })) ?? [];
    if (folder === undefined) return;
    await settings.setModelFolders([...new Set([...settings.modelFolders(), folder.fsPath])]);
    models.refresh();
  });
  register(commandIds.removeModelFolder, async (target) => {
    const node = nodeOf(target);
    if (node === undefined) return;
    const left = settings.modelFolders().filter((f) => path.resolve(f) !== node.model.folder);
    await settings.setModelFolders(left);
    models.refresh();
  });
  register(commandIds.refreshModels, () => {
    models.refresh();
  });
  register(commandIds.decomposeLayer, async (target) => {
    const node = nodeOf(target) ?? (await layerToDecompose(context));
    if (node !== undefined) await decompose(node, decomposer);
  });
  register(commandIds.decomposeModel, async (target) => {
    const model = nodeOf(target)?.model ?? (await pickModel(context));
    if (model !== undefined) await decompose({ kind: 'model', model }, decomposer);
  });
  register(commandIds.openExplorer, async (target) => {
    const node = nodeOf(target);
    const model = node?.model ?? (await pickModel(context));
    if (model !== undefined) context.explorerPanel.open(model, moduleOfNode(node));
  });
}

/** The module that a node is about, for the explorer to select first. */
function moduleOfNode(node: ModelNode | undefined): string | undefined {
  if (node === undefined) return undefined;
  return modulesToDecompose(node)[0];
}

async function decompose(node: ModelNode, decomposer: Decomposer): Promise<void> {
  const modules = modulesToDecompose(node);
  if (modules.length === 0) {
    throw new DotaError('adapter.noTarget', 'There is no matrix here that can be decomposed.');
  }
  const request = requestOf(modules, settings.decomposeOptions(), false);
  await window.withProgress(
    {
      location: ProgressLocation.Notification,
      title: `DoTA: Decomposing ${node.model.name}`,
      cancellable: true,
    },
    async (progress, token) => {
      const abort = new AbortController();
      token.onCancellationRequested(() => {
        abort.abort();
      });
      let done = 0;
      progress.report({ message: `0 of ${modules.length}` });
      try {
        await decomposer.run(node.model, request, abort.signal, (result) => {
          done += 1;
          progress.report({
            message: `${done} of ${modules.length}, ${result.module}`,
            increment: 100 / modules.length,
          });
        });
      } catch (error) {
        // What came before the cancellation stays in the tree.
        if (!abort.signal.aborted) throw error;
      }
    },
  );
}

const nodeKinds = ['model', 'layer', 'module', 'mpo', 'core', 'bond', 'problem'] as const;

/** The tree hands its own node to a command of its menus. */
function nodeOf(target: unknown): ModelNode | undefined {
  return isObject(target) && isOneOf(nodeKinds, target.kind)
    ? (target as unknown as ModelNode)
    : undefined;
}

/** A listed model, asked for where there are several. @throws DotaError `file.missing` */
export async function pickModel(context: CommandContext): Promise<ModelEntry | undefined> {
  const usable = (await context.models.read()).filter((m) => m.problem === undefined);
  const [only] = usable;
  if (only === undefined) {
    throw new DotaError('file.missing', 'No model is listed.', {
      next: 'Add a model folder first.',
    });
  }
  if (usable.length === 1) return only;
  const picked = await window.showQuickPick(
    usable.map((model) => ({ label: model.name, description: model.folder, model })),
    { title: 'DoTA: Choose a Model' },
  );
  return picked?.model;
}

/** The model that a node of the tree belongs to. */
export function modelOf(target: unknown): ModelEntry | undefined {
  return nodeOf(target)?.model;
}

/**
 * Without a node of the menu: what is selected in the view, unless that is a whole model; else a layer is
 * asked for.
 */
async function layerToDecompose(context: CommandContext): Promise<ModelNode | undefined> {
  const { selection } = context.modelView;
  if (selection !== undefined && selection.kind !== 'model') return selection;
  const model = selection?.model ?? (await pickModel(context));
  if (model === undefined) return undefined;
  const layers = childrenOf({ kind: 'model', model })
    .filter((node) => modulesToDecompose(node).length > 0)
    .map((node) => ({ label: textOf(node).label, node }));
  const picked = await window.showQuickPick(layers, {
    title: `DoTA: Decompose Layer of ${model.name}`,
  });
  return picked?.node;
}
