/**
 * Runs on the device named on the command line and prints JSON. On the GPU no tensor may pass
 * `bufferBytes`, of which the vocabulary's tables take more than two.
 */
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
import { randomBatch, tinyConfig } from '../tiny';

const kind = process.argv[2] as DeviceKind;
const bufferBytes = 16 * 1024;
const { adapter } = runConfigSchema.parse({
  data: { train: 'none' },
  adapter: { r: 2, target_modules: ['q_proj'] },
});

async function measure(tieWordEmbeddings: boolean, dtype: 'F32' | 'BF16', lengths: number[]) {
  const config = { ...tinyConfig, numLayers: 1, vocabSize: 450, tieWordEmbeddings };
  const batch = randomBatch(config, lengths);
  const source = randomWeights(config, 3);
  const tensors = new Map<string, RawTensor>();
  for (const name of source.names) {
    const tensor = await source.read(name);
    const values = tensor.data as Float32Array;
    tensors.set(name, dtype === 'F32' ? tensor : { ...tensor, dtype, data: f32ToBf16(values) });
  }
  const adapters = await planAdapters({
    method: 'random_mpo',
    config,
    options: adapter,
    seed: 5,
    gemm: plainGemm,
    weight: () => Promise.resolve(new Float32Array(config.hiddenSize ** 2).fill(0.1)),
  });
  const device = openDevice({ kind, threads: 1, ...(kind === 'webgpu' && { bufferBytes }) });
  const weights = weightsFromMap(tensors);
  const engine = await createEngine({ config, weights, adapters, device, threads: 1 });
  const computed = await compute().catch((error: unknown) => ({ error: serializeError(error) }));
  await engine.dispose();
  if (device.memory().tensors > 0) throw new Error('tensors are left on the device');
  return computed;

  async function compute() {
    const { lossSum } = await engine.forwardBackward(batch, 1 / batch.lossTokens);
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

const report: Record<string, unknown> = {
  'F32 tied': await measure(true, 'F32', [9, 12]),
  'BF16 apart': await measure(false, 'BF16', [9, 12]),
  // Scores of 4 heads over 40 x 40 in fp32 are 25.6 kB, of 2 sequences twice as much.
  'long sequences': await measure(true, 'F32', [40, 31]),
  // Gate and up are 110 x 40 in fp32, 17.6 kB.
  'too many tokens': await measure(true, 'F32', [110]),
};
console.log(JSON.stringify(report));
