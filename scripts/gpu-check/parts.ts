/** What is computed and measured on a device, each in a process of its own. */
import { type BenchOptions, openEngine, randomBatch } from '../../bench/step/setup';
import { Graph } from '../../src/graph/graph';
import { expand } from '../../src/graph/ops/broadcast';
import { slice } from '../../src/graph/ops/layout';
import { matmul } from '../../src/graph/ops/matmul';
import { openDevice } from '../../src/trainer/ort/device';
import type { DeviceKind } from '../../src/trainer/ort/sessionOptions';
import { CountingDevice } from '../../src/trainer/profile/countingDevice';
import { productFlops } from '../../src/trainer/profile/productGraph';
import type { Trained } from './judge';
import { takeStep } from '../../src/trainer/profile/takeStep';

export async function train(
  kind: DeviceKind,
  options: BenchOptions,
  steps: number,
): Promise<Trained> {
  const device = new CountingDevice(openDevice({ kind, threads: 0 }));
  const engine = await openEngine(options, device);
  const batch = randomBatch(options);
  const [losses, norms]: [number[], number[]] = [[], []];
  let [seconds, gflop] = [Infinity, 0];
  for (let step = 1; step <= steps; step++) {
    device.take();
    const started = performance.now();
    const { loss, gradNorm } = await takeStep(engine, [batch], step, { learningRate: 1e-3 });
    losses.push(loss);
    norms.push(gradNorm);
    if (step > 1) seconds = Math.min(seconds, (performance.now() - started) / 1000);
    gflop = device.take().reduce((sum, graph) => sum + productFlops(graph), 0) / 1e9;
  }
  const deviceMb = device.memory().peakBytes / 2 ** 20;
  const parameters = [...(await engine.readState()).parameters];
  await engine.dispose();
  return { losses, norms, parameters, seconds, gflop, deviceMb };
}

/** GFLOP/s of an fp32 product of two square matrices that lie on the device. */
export async function matmulRate(size: number): Promise<number> {
  const device = openDevice({ kind: 'webgpu', threads: 0 });
  const graph = new Graph();
  const seed = graph.input('seed', 'float32', [1, 1]);
  const square = expand(seed, [size, size]);
  graph.output('corner', slice(matmul(square, square), [0, 0], [1, 1]));
  const session = await device.compile(graph.build(), { host: ['corner'] });
  let best = Infinity;
  for (let run = 0; run < 4; run++) {
    const started = performance.now();
    await session.run({ seed: Float32Array.of(0.01) });
    best = Math.min(best, performance.now() - started);
  }
  await session.release();
  return (2 * size ** 3) / (best * 1e6);
}
