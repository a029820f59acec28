/** What a device can do: products whose numbers are checked, its rate, and its largest buffer. */
import { Graph, type Tensor } from '../../graph/graph';
import { expand } from '../../graph/ops/broadcast';
import { cast, scale } from '../../graph/ops/elementwise';
import { slice } from '../../graph/ops/layout';
import { matmul } from '../../graph/ops/matmul';
import { softmax } from '../../graph/ops/reduce';
import { DotaError } from '../../protocol/errors';
import type { DeviceProbe } from '../training/deviceProbe';
import { type Device, openDevice } from './device';
import type { DeviceKind } from './sessionOptions';
import { hostArray, hostNumber } from './values';

const size = 512;
const runs = 5;
/** Enough to time; a device on which one product takes as long is known to be slow. */
const timedMs = 1000;
/** fp32 sums of 512 terms in any order stay far below this; fp16 arithmetic does not. */
const tolerance = 1e-4;
/**
 * Half precision has 2^-11 of relative rounding, and kernels that sum in it lose some more; a wrong
 * layout or type is off by the values' own size.
 */
const halfTolerance = 0.05;
/** The smallest is what every adapter of WebGPU has to offer. */
const bufferSizesMb = [1024, 512, 256, 128];

/**
 * A missing or broken driver can end the process, so call this in a child.
 * @throws DotaError `device.unavailable` where the device does not open or its numbers are wrong
 */
export async function probeDevice(kind: DeviceKind): Promise<DeviceProbe> {
  const device = openDevice({ kind, threads: 0 });
  const { error, gflops } = await probeSingle(device);
  const halfError = kind === 'webgpu' ? await probeHalf(device) : undefined;
  const bufferMb = kind === 'webgpu' ? await largestBuffer(device) : 0;
  return { gflops, error, bufferMb, ...(halfError !== undefined && { halfError }) };
}

async function probeSingle(device: Device): Promise<{ error: number; gflops: number }> {
  const graph = new Graph();
  const left = graph.input('a', 'float32', [size, size]);
  const right = graph.input('b', 'float32', [size, size]);
  const product = matmul(left, right);
  graph.output('product', product);
  graph.output('weights', softmax(product));
  const session = await open(device, graph);
  const feeds = { a: filled(1), b: filled(2) };
  const { product: computed, weights } = await session.run(feeds);
  const values = hostArray(computed);
  const error = Math.max(
    deviation(values, reference(feeds.a, feeds.b)),
    deviation(hostArray(weights), softmaxRows(reference(feeds.a, feeds.b))),
  );
  if (!(error < tolerance)) throw wrongNumbers(device.kind, 'fp32', error);
  let best = Infinity;
  for (let run = 0, spent = 0; run < runs && spent < timedMs; run += 1) {
    const start = performance.now();
    await session.run(feeds);
    const took = performance.now() - start;
    best = Math.min(best, took);
    spent += took;
  }
  await session.release();
  return { error, gflops: (2 * size ** 3) / (best * 1e6) };
}

/** undefined where the device has no half precision, or computes wrongly in it: nothing needs it. */
async function probeHalf(device: Device): Promise<number | undefined> {
  const graph = new Graph();
  const half = (name: string): Tensor =>
    cast(graph.input(name, 'float32', [size, size]), 'float16');
  graph.output('product', cast(matmul(half('a'), half('b')), 'float32'));
  const feeds = { a: filled(1), b: filled(2) };
  try {
    const session = await open(device, graph);
    const { product } = await session.run(feeds);
    await session.release();
    const error = deviation(hostArray(product), reference(feeds.a, feeds.b));
    return error < halfTolerance ? error : undefined;
  } catch {
    return undefined;
  }
}

/** MiB of the largest tensor of those tried whose last element comes back right. */
async function largestBuffer(device: Device): Promise<number> {
  for (const sizeMb of bufferSizesMb) {
    const length = sizeMb * 2 ** 18;
    const graph = new Graph();
    const one = graph.input('value', 'float32', [1]);
    const large = scale(expand(one, [length]), 2);
    graph.output('product', slice(large, [length - 1], [length]));
    try {
      const session = await open(device, graph);
      const { product } = await session.run({ value: Float32Array.of(3) });
      await session.release();
      if (hostNumber(product) === 6) return sizeMb;
    } catch {
      // Too large for the adapter; the next size is half of it.
    }
  }
  return 0;
}

function open(device: Device, graph: Graph): ReturnType<Device['compile']> {
  return device.compile(graph.build(), { host: ['product', 'weights'] }).catch((cause: unknown) => {
    // The runtime reports its source line; what matters to people is the last part.
    if (!(cause instanceof Error) || !cause.message.includes('WebGPU adapter')) throw cause;
    throw new DotaError('device.unavailable', 'This machine has no GPU that WebGPU can use.', {
      next: 'Install the GPU’s driver, or set "device": "cpu".',
      cause,
    });
  });
}

function wrongNumbers(kind: DeviceKind, type: string, error: number): DotaError {
  return new DotaError(
    'device.unavailable',
    `The device "${kind}" computes wrong numbers in ${type} (relative error ${error.toExponential(1)}).`,
    { next: 'Update the driver, or set "device": "cpu".' },
  );
}

/** Reproducible values in [-0.5, 0.5). */
function filled(seed: number): Float32Array {
  return Float32Array.from(
    { length: size * size },
    (_, i) => (((i + seed) * 7919) % 1009) / 1009 - 0.5,
  );
}

/** Every 37th row of the product in fp64: enough to see a wrong layout or type. */
function reference(a: Float32Array, b: Float32Array): Map<number, Float64Array> {
  const rows = new Map<number, Float64Array>();
  for (let row = 0; row < size; row += 37) {
    const values = new Float64Array(size);
    for (let col = 0; col < size; col += 1) {
      let sum = 0;
      for (let k = 0; k < size; k += 1) {
        sum += (a[row * size + k] as number) * (b[k * size + col] as number);
      }
      values[col] = sum;
    }
    rows.set(row, values);
  }
  return rows;
}

function softmaxRows(rows: Map<number, Float64Array>): Map<number, Float64Array> {
  return new Map(
    [...rows].map(([row, values]) => {
      const largest = Math.max(...values);
      const powers = values.map((value) => Math.exp(value - largest));
      const total = powers.reduce((sum, power) => sum + power, 0);
      return [row, powers.map((power) => power / total)];
    }),
  );
}

/** Largest difference to the rows known, relative to their largest entry. */
function deviation(computed: ArrayLike<number>, rows: Map<number, Float64Array>): number {
  let worst = 0;
  let largest = 0;
  for (const [row, values] of rows) {
    values.forEach((value, col) => {
      const difference = Math.abs(value - (computed[row * size + col] as number));
      // NaN would lose every comparison.
      worst = Number.isNaN(difference) ? Infinity : Math.max(worst, difference);
      largest = Math.max(largest, Math.abs(value));
    });
  }
  return worst / largest;
}
