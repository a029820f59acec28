/**
 * Greedy answers of a run or of its base model. On the processor through the cache of keys and values,
 * with the adapter merged into the weights: a token costs one token's arithmetic, where the training
 * engine computes the whole sequence anew. On a GPU by the engine, whose weights lie there.
 */
import { openReplacements } from '../../export/checkpointAdapter';
import type { WeightChanges } from '../../export/weightChanges';
import { DEFAULT_RESIDENT_LIMIT } from '../../estimate/residentLimit';
import { countParameters, expectedWeights } from '../../models/config';
import { FrozenWeights } from '../engine/frozenWeights';
import { CachedDecoder } from '../generation/cachedDecoder';
import { generateAll } from '../generation/generate';
import { applyChanges, type WeightView } from '../generation/weightView';
import { generateGreedy } from '../generate';
import { openDevice } from '../ort/device';
import { chooseDevice } from '../training/chooseDevice';
import { loadCheckpoint, restoreEngine } from '../training/checkpointFiles';
import { physicalCores } from '../training/physicalCores';
import { buildEngine, type ModelParts } from '../training/prepareModel';
import type { GreedyAnswers } from '../training/scoreFile';
import type { Target } from '../training/target';
import { TrainedAdapters } from '../training/trainedAdapters';

export interface OpenAnswers {
  answer: GreedyAnswers;
  dispose(): Promise<void>;
}

/** @throws DotaError of the checkpoint and the device */
export async function openGreedyAnswers(target: Target, model: ModelParts): Promise<OpenAnswers> {
  const { kind } = await chooseDevice(target.config);
  switch (kind) {
    case 'cpu':
      return cachedAnswers(target, model);
    case 'webgpu':
      return engineAnswers(target, model);
  }
}

async function cachedAnswers(target: Target, model: ModelParts): Promise<OpenAnswers> {
  const { threads } = target.config;
  const weights = await answeringWeights(target, model);
  const device = openDevice({ kind: 'cpu', threads: threads > 0 ? threads : physicalCores() });
  const decoder = new CachedDecoder({ config: model.config, device });
  return {
    answer: async (prompts, eosTokenIds, maxNewTokens, shouldStop) => {
      const strategy = { kind: 'greedy' } as const;
      const options = { strategy, maxNewTokens, eosTokenIds, shouldStop };
      const answers = await generateAll(decoder, weights, prompts, options);
      return answers.map(({ tokens }) => tokens);
    },
    dispose: async () => {
      await decoder.dispose();
      await device.dispose();
    },
  };
}

/** The base's weights, with what the checkpoint trained in place. */
async function answeringWeights(
  { config, checkpoint }: Target,
  model: ModelParts,
): Promise<WeightView> {
  const shapes = expectedWeights(model.config);
  const wanted = [...shapes].map(([name, shape]) => ({ name, shape }));
  const widen = 4 * countParameters(model.config) <= DEFAULT_RESIDENT_LIMIT;
  const base = await FrozenWeights.load(model.weights, wanted, widen);
  if (checkpoint === undefined) return base;
  const place = (changes: WeightChanges): Promise<WeightView> =>
    applyChanges(base, shapes.keys(), changes);
  if (config.method === 'full') {
    const replacements = await openReplacements(checkpoint, model.config);
    return place(replacements).finally(() => replacements.close());
  }
  const adapters = await TrainedAdapters.open(config, model, checkpoint);
  return place(adapters.changes()).finally(() => adapters.dispose());
}

async function engineAnswers(
  { config, checkpoint }: Target,
  model: ModelParts,
): Promise<OpenAnswers> {
  const initial = checkpoint === undefined ? undefined : await loadCheckpoint(checkpoint);
  const { engine } = await buildEngine(config, model, {
    shouldStop: () => false,
    baseOnly: initial === undefined,
    ...(initial === undefined ? {} : { initialCores: initial.initialCores }),
  });
  if (checkpoint !== undefined) await restoreEngine(checkpoint, engine, { optimizer: false });
  return {
    answer: (...question) => generateGreedy(engine, ...question),
    dispose: () => engine.dispose(),
  };
}
