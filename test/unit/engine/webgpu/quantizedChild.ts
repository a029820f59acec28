/**
 * Runs on the device named on the command line and prints JSON: loss and gradient of 4-bit and of
 * dense engines, forward and backward, and what of the weights lies on the device. A process of its
 * own, because the software GPU is found through environment variables.
 */
import { createEngine } from '../../../../src/trainer/engine/createEngine';
import type { WeightReader } from '../../../../src/trainer/engine/frozenWeights';
import { randomWeights } from '../../../../src/trainer/engine/randomWeights';
import { openDevice } from '../../../../src/trainer/ort/device';
import type { DeviceKind } from '../../../../src/trainer/ort/sessionOptions';
import { expandedWeights, planFourBit } from '../fourBit';
import { randomBatch } from '../tiny';
import { watchedDevice, watchedReader } from '../watchedWeights';
import { fourBitConfig as config, type FourBitRun } from './quantizedRuns';

const kind = process.argv[2] as DeviceKind;
const batch = randomBatch(config, [9, 12, 7]);
const report: Record<string, Record<'packed' | 'dense', FourBitRun>> = {};

for (const method of ['dota', 'lora'] as const) {
  const weights = randomWeights(config, 3);
  // Few kernels: a software GPU is slow to compile them. The other matrices are 4-bit as well.
  const target_modules = ['q_proj', 'down_proj'];
  const adapters = await planFourBit(method, config, weights, { target_modules });
  const run = async (source: WeightReader, quantized: boolean): Promise<FourBitRun> => {
    const watched = watchedDevice(config, openDevice({ kind, threads: 1 }));
    const { device } = watched;
    const reader = watchedReader(config, source);
    const engine = await createEngine({
      config,
      weights: reader,
      adapters,
      device,
      threads: 1,
      ...(quantized && { quantization: { doubleQuantization: true } }),
    });
    const bytesAtRest = device.memory().bytes;
    await engine.forwardBackward(batch, 1 / batch.lossTokens);
    const lossSum = await engine.takeLossSum();
    const gradient = [...(await engine.readGradient())];
    const result: FourBitRun = {
      lossSum,
      gradient,
      bytesAtRest,
      bytesOfStep: device.memory().peakBytes - bytesAtRest,
      densePeak: watched.buffers.peak,
      denseOnDevice: watched.onDevice(),
      widenedByOneGraph: watched.widenedByOneGraph(),
      loadingPeak: reader.buffers.peak,
    };
    await engine.dispose();
    return result;
  };
  report[method] = {
    packed: await run(weights, true),
    dense: await run(await expandedWeights(config, weights, adapters), false),
  };
}
console.log(JSON.stringify(report));
