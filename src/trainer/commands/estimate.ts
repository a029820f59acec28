/** `dota train --estimate`: what a run would need, without starting it. */
import { prepareDataset } from '../../data/prepare';
import { TokenCache } from '../../data/tokenCache';
import { memoryKinds, type MemoryKind } from '../../estimate/estimateTraining';
import { TensorCache } from '../../models/tensorCache';
import { estimateRun } from '../training/estimateRun';
import { cacheFolder } from '../training/cacheFolder';
import { openModel } from '../training/prepareModel';
import { totalSteps, trainingBatches } from '../training/stepBatches';
import { duration, printJson, printLine } from './output';
import { loadRunConfig } from './runConfigFile';

const labels: Readonly<Record<MemoryKind, string>> = {
  weights: 'frozen weights',
  residual: 'explicit residual',
  adapter: 'trained parameters',
  gradients: 'gradients',
  optimizer: 'optimizer state',
  activations: 'kept activations',
  logits: 'logits of a chunk',
  workspace: 'the block at work',
  runtime: 'runtime',
};

/** @throws DotaError of the configuration, the model and the data */
export async function runEstimate(
  file: string,
  overrides: readonly string[],
  json: boolean,
): Promise<void> {
  const { config, directory } = await loadRunConfig(file, overrides);
  const model = await openModel(config, directory);
  try {
    const data = await prepareDataset(config.data, model.tokenizer, {
      directory,
      seed: config.training.seed,
      cache: new TokenCache({
        cache: new TensorCache(cacheFolder(directory)),
        tokenizerHash: model.tokenizerHash,
      }),
    });
    const batches = trainingBatches(data.train, config, model.tokenizer);
    const steps = totalSteps(config.training, batches.stepsPerEpoch);
    const { memory, manifest, fit, availableBytes } = await estimateRun(config, model, batches, {
      device: config.device === 'webgpu' ? 'webgpu' : 'cpu',
    });
    if (json) {
      printJson({
        peak_rss_mb: manifest.peakRssMb,
        seconds_per_step: manifest.secondsPerStep ?? null,
        total_steps: steps,
        flops_per_step: memory.flopsPerStep,
        parameters: memory.baseParameters,
        trainable_parameters: memory.trainableParameters,
        bytes: memory.bytes,
        available_mb: availableBytes === undefined ? null : Math.round(availableBytes / 2 ** 20),
        fits: fit.fits,
        micro_batch: fit.batch,
        recompute: fit.recompute,
      });
      return;
    }
    const { secondsPerStep } = manifest;
    printLine(`peak memory about ${manifest.peakRssMb} MB${besideAvailable(availableBytes)}`);
    if (fit.batch < config.training.per_device_train_batch_size) {
      printLine(`  micro-batch ${fit.batch}, so that it fits (the step's batch is the same)`);
    }
    if (fit.recompute) printLine('  activations recomputed in the backward pass');
    if (!fit.fits) printLine('  that may be more than there is');
    for (const kind of memoryKinds) {
      const mb = memory.bytes[kind] / 2 ** 20;
      if (mb >= 0.05) printLine(`  ${labels[kind].padEnd(20)} ${mb.toFixed(1).padStart(9)} MB`);
    }
    if (secondsPerStep !== undefined) {
      printLine(
        `about ${secondsPerStep.toPrecision(2)} s a step on the CPU, ` +
          `${duration(secondsPerStep * steps)} for ${steps} steps`,
      );
    }
    printLine(`trainable parameters ${memory.trainableParameters}`);
  } finally {
    await model.close();
  }
}

function besideAvailable(bytes: number | undefined): string {
  return bytes === undefined ? '' : ` of ${Math.round(bytes / 2 ** 20)} MB available`;
}
