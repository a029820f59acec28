/**
 * Runs on the device named on the command line and prints JSON. On the GPU no tensor may pass `bufferBytes`
 * or what a case says, of which the vocabulary's tables or a sequence's scores take more.
 */
import { type AdapterPlan, fullPlan } from '../../../../src/adapters/adapter';
import { planAdapters } from '../../../../src/adapters/plan';
import { runConfigSchema } from '../../../../src/config/runConfig';
import { plainGemm } from '../../../../src/core/linalg/plainGemm';
import { attentionSize } from '../../../../src/graph/decoder/block';
import { tableRows } from '../../../../src/graph/decoder/headChunks';
import { attentionCut } from '../../../../src/graph/layers/attentionCut';
import { f32ToBf16 } from '../../../../src/models/dtype';
import type { RawTensor } from '../../../../src/models/modelConfig';
import { serializeError } from '../../../../src/protocol/errors';
import { scoresBytes } from '../../../../src/trainer/engine/batchContext';
import { createEngine } from '../../../../src/trainer/engine/createEngine';
import { weightsFromMap } from '../../../../src/trainer/engine/frozenWeights';
import { randomWeights } from '../../../../src/trainer/engine/randomWeights';
import { openDevice } from '../../../../src/trainer/ort/device';
import type { DeviceKind } from '../../../../src/trainer/ort/sessionOptions';
import { planFourBit } from '../fourBit';
import { randomBatch, tinyConfig } from '../tiny';

const kind = process.argv[2] as DeviceKind;
const bufferBytes = 16 * 1024;
const { adapter } = runConfigSchema.parse({
  data: { train: 'none' },
  adapter: { r: 2, target_modules: ['q_proj'] },
});

type Method = 'random_mpo' | 'qdota';

async function measure(
  method: Method,
  tieWordEmbeddings: boolean,
  dtype: 'F32' | 'BF16',
  lengths: number[],
) {
  const config = { ...tinyConfig, numLayers: 1, vocabSize: 450, tieWordEmbeddings };
  const batch = randomBatch(config, lengths);
  const source = randomWeights(config, 3);
  const tensors = new Map<string, RawTensor>();
  for (const name of source.names) {
    const tensor = await source.read(name);
    const values = tensor.data as Float32Array;
    tensors.set(name, dtype === 'F32' ? tensor : { ...tensor, dtype, data: f32ToBf16(values) });
  }
  const weights = weightsFromMap(tensors);
  const device = openDevice({ kind, threads: 1, ...(kind === 'webgpu' && { bufferBytes }) });
  const engine = await createEngine({
    config,
    weights,
    adapters: await plan(),
    device,
    threads: 1,
    quantization: method === 'qdota' ? { doubleQuantization: true } : undefined,
  });
  const computed = await compute().catch((error: unknown) => ({ error: serializeError(error) }));
  await engine.dispose();
  if (device.memory().tensors > 0) throw new Error('tensors are left on the device');
  return computed;

  function plan(): Promise<AdapterPlan> {
    switch (method) {
      case 'qdota':
        return planFourBit('dota', config, weights, { target_modules: ['q_proj'] });
      case 'random_mpo':
        return planAdapters({
          method,
          config,
          options: adapter,
          seed: 5,
          gemm: plainGemm,
          weight: () => Promise.resolve(new Float32Array(config.hiddenSize ** 2).fill(0.1)),
        });
    }
  }

  async function compute() {
    await engine.forwardBackward(batch, 1 / batch.lossTokens);
    const lossSum = await engine.takeLossSum();
    const positions = Int32Array.from(lengths, (length) => length - 1);
    return {
      lossSum,
      gradient: [...(await engine.readGradient())],
      evaluated: (await engine.evaluate(batch)).lossSum,
      logits: [...(await engine.logits(batch, positions))],
      partRows: tableRows(config, device.bufferBytes),
      cut: attentionCut(
        attentionSize(config, { batch: batch.batchSize, sequence: batch.sequenceLength }),
        scoresBytes(device),
      ),
    };
  }
}

const optimizer = {
  learningRate: 1e-3,
  weightDecay: 0.1,
  adamBeta1: 0.9,
  adamBeta2: 0.999,
  adamEpsilon: 1e-8,
  maxGradNorm: 1,
};

/** Two steps of full fine-tuning in which attention is cut on the GPU. */
async function trainAll(limit: number) {
  const config = { ...tinyConfig, numLayers: 1 };
  // Scores of 4 heads over 40 x 40 in fp32 are 25.6 kB a sequence.
  const batch = randomBatch(config, [40, 31]);
  const device = openDevice({
    kind,
    threads: 1,
    ...(kind === 'webgpu' && { bufferBytes: limit }),
  });
  const engine = await createEngine({
    config,
    weights: randomWeights(config, 3),
    adapters: fullPlan,
    device,
    threads: 1,
  });
  const losses: number[] = [];
  const norms: number[] = [];
  let gradient: number[] = [];
  for (let step = 1; step <= 2; step++) {
    await engine.forwardBackward(batch, 1 / batch.lossTokens);
    const lossSum = await engine.takeLossSum();
    const norm = await engine.gradientNorm();
    if (step === 1) gradient = [...(await engine.readGradient())];
    losses.push(lossSum);
    norms.push(norm);
    await engine.optimizerStep({ ...optimizer, step }, norm);
  }
  await engine.dispose();
  if (device.memory().tensors > 0) throw new Error('tensors are left on the device');
  const size = attentionSize(config, { batch: batch.batchSize, sequence: batch.sequenceLength });
  return { losses, norms, gradient, cut: attentionCut(size, scoresBytes(device)) };
}

const report: Record<string, unknown> = {
  'F32 tied': await measure('random_mpo', true, 'F32', [9, 12]),
  'BF16 apart': await measure('random_mpo', false, 'BF16', [9, 12]),
  // Scores of 4 heads over 40 x 40 in fp32 are 25.6 kB, of 2 sequences twice as much.
  'QDoTA, long sequences': await measure('qdota', true, 'F32', [40, 31]),
  // All of a block trains in one vector of 18.6 kB.
  'full, long sequences': await trainAll(20 * 1024),
  // Gate and up are 110 x 40 in fp32, 17.6 kB.
  'too many tokens': await measure('random_mpo', true, 'F32', [110]),
};
console.log(JSON.stringify(report));
