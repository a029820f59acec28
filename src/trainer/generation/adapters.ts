/** What an adapter changes in the weights of its base: of a run's checkpoint, or an adapter folder. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import {
  adapterConfigName,
  adapterModelName,
  readAdapterFolder,
  readAdapterType,
} from '../../export/adapterFolder';
import { denseUpdate, type AdaptedModule } from '../../export/adapterState';
import { openReplacements } from '../../export/checkpointAdapter';
import { readPeftLora } from '../../export/readPeftLora';
import type { WeightChanges } from '../../export/weightChanges';
import type { Gemm } from '../../core/gemm';
import { expectedWeights } from '../../models/config';
import { toFloat32 } from '../../models/dtype';
import { fingerprintWeights, type ModelFolder } from '../../models/modelFolder';
import { DotaError } from '../../protocol/errors';
import { readManifest } from '../../runs/manifest';
import { findTarget } from '../training/target';
import { TrainedAdapters } from '../training/trainedAdapters';

export interface OpenAdapter {
  changes: WeightChanges;
  close(): Promise<void>;
}

/**
 * @param what a run by id or folder, a folder that `dota export --to adapter` wrote, or PEFT's LoRA
 * @throws DotaError `run.state`, `adapter.shape` where it belongs to another base, `usage` for a run
 *   without a checkpoint, and of the files
 */
export async function openAdapter(
  what: string,
  model: ModelFolder,
  gemm: Gemm,
  options: { root: string; checkpoint: string },
): Promise<OpenAdapter> {
  const folder = path.resolve(what);
  const native = await stat(path.join(folder, adapterConfigName)).catch(() => undefined);
  if (native?.isFile() === true) {
    if ((await readAdapterType(folder)) === 'LORA') {
      return dense(await readPeftLora(folder), model, gemm, what);
    }
    const { state, info } = await readAdapterFolder(folder);
    await requireSameBase(info.baseWeights, model, what);
    return dense(state.modules, model, gemm, what);
  }
  const { config, run, checkpoint } = await findTarget(what, { ...options, set: [] });
  if (run === undefined || checkpoint === undefined) {
    throw new DotaError('usage', 'There is nothing trained to use.', {
      where: what,
      next: 'Name a run that has a checkpoint (dota runs list), or an adapter folder.',
    });
  }
  if (config.model_init === 'pretrained') {
    await requireSameBase((await readManifest(run)).fingerprint?.baseWeights, model, what);
  }
  if (config.method === 'full') {
    const replacements = await openReplacements(checkpoint, model.config);
    return { changes: replacements, close: () => replacements.close() };
  }
  const adapters = await TrainedAdapters.open(config, model, checkpoint);
  return { changes: adapters.changes(), close: () => adapters.dispose() };
}

/**
 * What changes when an adapter of this name becomes another one: a run that trains on, a folder that
 * is written again.
 * @throws DotaError as `openAdapter`
 */
export async function adapterIdentity(
  what: string,
  options: { root: string; checkpoint: string },
): Promise<string> {
  const folder = path.resolve(what);
  const files = await Promise.all(
    [adapterConfigName, adapterModelName].map((name) =>
      stat(path.join(folder, name)).catch(() => undefined),
    ),
  );
  if (files[0]?.isFile() === true) {
    return JSON.stringify([folder, ...files.map((info) => [info?.mtimeMs, info?.size, info?.ino])]);
  }
  return (await findTarget(what, { ...options, set: [] })).checkpoint ?? folder;
}

function dense(
  adapted: readonly AdaptedModule[],
  model: ModelFolder,
  gemm: Gemm,
  what: string,
): OpenAdapter {
  const shapes = expectedWeights(model.config);
  const modules = new Map(adapted.map((module) => [`${module.path}.weight`, module]));
  for (const [name, { outFeatures, inFeatures }] of modules) {
    const shape = shapes.get(name) ?? [];
    if (shape[0] === outFeatures && shape[1] === inFeatures) continue;
    throw new DotaError(
      'adapter.shape',
      `The adapter changes ${name} as [${outFeatures}, ${inFeatures}]; the model has ` +
        `${shape.length === 0 ? 'no such weight' : `[${shape.join(', ')}]`}.`,
      { where: what, next: 'Choose the base model that the adapter was trained on.' },
    );
  }
  const weight = async (path: string): Promise<Float32Array> => {
    const name = `${path}.weight`;
    return toFloat32(await model.weights.read(name), name);
  };
  const delta: WeightChanges['delta'] = (name) => {
    const module = modules.get(name);
    return module === undefined ? undefined : denseUpdate(module, gemm, weight);
  };
  return { changes: { delta }, close: () => Promise.resolve() };
}

/** An adapter on another base than it was trained on is silently wrong. */
async function requireSameBase(
  expected: string | undefined,
  model: ModelFolder,
  what: string,
): Promise<void> {
  if (expected === undefined || expected === (await fingerprintWeights(model))) return;
  throw new DotaError('run.state', 'The adapter was trained on other weights than these.', {
    where: `${what} on ${model.folder}`,
    next: 'Choose the base model that it was trained on.',
  });
}
