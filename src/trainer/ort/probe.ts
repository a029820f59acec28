/** What a device can do: one product whose numbers are checked, and its rate. */
import { Graph } from '../../graph/graph';
import { gemm } from '../../graph/ops/matmul';
import { DotaError } from '../../protocol/errors';
import { openDevice, type Session } from './device';
import type { DeviceKind } from './sessionOptions';

export interface ProbeResult {
  kind: DeviceKind;
  /** fp32 rate of a 512 x 512 x 512 product, in GFLOP/s. */
  gflops: number;
  /** Largest deviation from the product in fp64, relative to the largest entry. */
  error: number;
}

const size = 512;
const runs = 5;
/** fp32 sums of 512 terms in any order stay far below this; fp16 arithmetic does not. */
const tolerance = 1e-4;

/**
 * Multiplies on a device. A missing or broken driver can end the process, so call this in a child.
 * @throws DotaError `device.unavailable` where the device does not open or its numbers are wrong
 */
export async function probeDevice(kind: DeviceKind): Promise<ProbeResult> {
  const graph = new Graph();
  const left = graph.input('a', 'float32', [size, size]);
  const right = graph.input('b', 'float32', [size, size]);
  graph.output('product', gemm(left, right, {}));
  const session = await open(kind, graph);
  const feeds = { a: filled(1), b: filled(2) };
  const { product } = await session.run(feeds);
  const error = deviation(feeds.a, feeds.b, product as Float32Array);
  if (!(error < tolerance)) {
    throw new DotaError('device.unavailable', `The device "${kind}" computes wrong numbers.`, {
      next: 'Update the driver, or set "device": "cpu".',
    });
  }
  let best = Infinity;
  for (let run = 0; run < runs; run += 1) {
    const start = performance.now();
    await session.run(feeds);
    best = Math.min(best, performance.now() - start);
  }
  await session.release();
  return { kind, gflops: (2 * size ** 3) / (best * 1e6), error };
}

async function open(kind: DeviceKind, graph: Graph): Promise<Session> {
  try {
    return await openDevice({ kind, threads: 0 }).compile(graph.build(), { host: ['product'] });
  } catch (cause) {
    // The runtime reports its source line; what matters to people is the last part.
    if (!(cause instanceof Error) || !cause.message.includes('WebGPU adapter')) throw cause;
    throw new DotaError('device.unavailable', 'This machine has no GPU that WebGPU can use.', {
      next: 'Install the GPU’s driver, or set "device": "cpu".',
      cause,
    });
  }
}

/** Reproducible values in [-0.5, 0.5). */
function filled(seed: number): Float32Array {
  return Float32Array.from(
    { length: size * size },
    (_, i) => (((i + seed) * 7919) % 1009) / 1009 - 0.5,
  );
}

/** Checks every 37th row: enough to see a wrong layout or type. */
function deviation(a: Float32Array, b: Float32Array, product: Float32Array): number {
  let worst = 0;
  let largest = 0;
  for (let row = 0; row < size; row += 37) {
    for (let col = 0; col < size; col += 1) {
      let sum = 0;
      for (let k = 0; k < size; k += 1) {
        sum += (a[row * size + k] as number) * (b[k * size + col] as number);
      }
      worst = Math.max(worst, Math.abs(sum - (product[row * size + col] as number)));
      largest = Math.max(largest, Math.abs(sum));
    }
  }
  return worst / largest;
}
