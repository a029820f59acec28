/** `dota train --estimate`: what a run would need, without starting it. */
import { prepareDataset } from '../../data/prepare';
import { TokenCache } from '../../data/tokenCache';
import { mebibytes } from '../../estimate/bufferUse';
import { memoryKinds, type MemoryKind } from '../../estimate/estimateTraining';
import { TensorCache } from '../../models/tensorCache';
import { estimateDevice, type ExpectedDevice } from '../training/estimateDevice';
import { estimateRun, type RunEstimate } from '../training/estimateRun';
import { deviceThatFits } from '../training/runDevice';
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

/** @throws DotaError of the configuration, the model, the data and, as far as it is known, the device */
export async function runEstimate(
  file: string,
  overrides: readonly string[],
  json: boolean,
): Promise<void> {
  const { config, directory } = await loadRunConfig(file, overrides);
  const expected = await estimateDevice(config);
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
    const { device, estimate } = await deviceThatFits<ExpectedDevice>(
      config,
      expected,
      ({ kind, bufferBytes }) => estimateRun(config, model, batches, { device: kind, bufferBytes }),
      () => ({ kind: 'cpu', bufferBytes: undefined, asked: true }),
    );
    const { kind, bufferBytes } = device;
    const { memory, manifest, fit, availableBytes, cuts } = estimate;
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
        device: kind,
        device_asked: device.asked,
        buffer_mb: bufferBytes === undefined ? null : bufferBytes / 2 ** 20,
        table_rows: cuts?.tableRows ?? null,
        attention: cuts?.attention ?? null,
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
    for (const line of bufferLines(device, estimate)) printLine(line);
  } finally {
    await model.close();
  }
}

/** What is known of the GPU's largest buffer, and what follows from it. */
export function bufferLines(
  { kind, bufferBytes, asked }: ExpectedDevice,
  { memory, cuts }: Pick<RunEstimate, 'memory' | 'cuts'>,
): string[] {
  if (!asked) {
    const [whose, without] =
      kind === 'webgpu'
        ? ['The GPU', 'the limits of its buffers are not in this estimate']
        : ['A GPU', 'this estimate is for the CPU'];
    return [`${whose} has not been asked on this driver yet, so ${without}: run \`dota doctor\`.`];
  }
  if (bufferBytes === undefined || cuts === undefined) return [];
  const { tableRows, attention } = cuts;
  return [
    `the largest buffer of this GPU has ${mebibytes(bufferBytes)}`,
    ...(tableRows === undefined
      ? []
      : [`  tables of the vocabulary are cut into parts of ${tableRows} rows`]),
    ...(attention === undefined
      ? []
      : [
          `  attention at once: ${attention.sequences} sequences, ${attention.keyHeads} key heads, ` +
            `${attention.queries} queries`,
        ]),
    ...(memory.largestTensorBytes <= bufferBytes
      ? []
      : [
          `  a tensor of the batch takes ${mebibytes(memory.largestTensorBytes)}: compute fewer sequences ` +
            'at once (--micro-batch, auto_find_batch_size) or shorter ones',
        ]),
  ];
}

function besideAvailable(bytes: number | undefined): string {
  return bytes === undefined ? '' : ` of ${Math.round(bytes / 2 ** 20)} MB available`;
}
