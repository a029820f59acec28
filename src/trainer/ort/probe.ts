/** What a device can do: products whose numbers are checked, its rate, and its largest buffer. */
import { Graph, type Tensor } from '../../graph/graph';
import { expand } from '../../graph/ops/broadcast';
import { cast, scale } from '../../graph/ops/elementwise';
import { slice } from '../../graph/ops/layout';
import { matmul } from '../../graph/ops/matmul';
import { softmax } from '../../graph/ops/reduce';
import { DotaError } from '../../protocol/errors';
import { type DeviceProbe, singleTolerance, wrongNumbers } from '../training/deviceProbe';
import { type Device, openDevice } from './device';
import type { DeviceKind } from './sessionOptions';
import { hostArray, hostNumber } from './values';

const size = 512;
/**
 * What the rate is measured with: products in a row of square matrices that come into being on the device, of
 * which one number comes back, so that neither the way there nor a start counts for much. Each step is taken
 * where the rate before says that it takes no longer than `stepMs`.
 */
const rateSteps = [
  { side: 512, products: 1 },
  { side: 1024, products: 4 },
  { side: 2048, products: 4 },
  { side: 4096, products: 4 },
] as const;
const stepMs = 250;
const runs = 4;
/** Enough to time; a device on which one product takes as long is known to be slow. */
const timedMs = 1000;
/**
 * The smallest is what every adapter of WebGPU has to offer. WebGPU allows up to 4 GiB, but a trial has two
 * tensors of its size: more than that would take the memory of many a card, or of the machine where the GPU has
 * none of its own and the system ends whoever asks for too much, and only full fine-tuning of large vocabularies
 * has a tensor beyond 1 GiB.
 */
const bufferSizesMb = [1024, 512, 256, 128];

/**
 * A missing or broken driver can end the process, so call this in a child.
 * @throws DotaError `device.unavailable` where the device does not open or its numbers are wrong
 */
export async function probeDevice(kind: DeviceKind): Promise<DeviceProbe> {
  const device = openDevice({ kind, threads: 0 });
  const error = await singleError(device);
  if (!(error < singleTolerance)) throw wrongNumbers(kind, error);
  const gflops = await rate(device);
  const halfError = kind === 'webgpu' ? await probeHalf(device) : undefined;
  const bufferMb = kind === 'webgpu' ? await largestBuffer(device) : 0;
  return { gflops, error, bufferMb, ...(halfError !== undefined && { halfError }) };
}

async function singleError(device: Device): Promise<number> {
  const graph = new Graph();
  const left = graph.input('a', 'float32', [size, size]);
  const right = graph.input('b', 'float32', [size, size]);
  const product = matmul(left, right);
  graph.output('product', product);
  graph.output('weights', softmax(product));
  const session = await open(device, graph);
  const feeds = { a: filled(1), b: filled(2) };
  const { product: computed, weights } = await session.run(feeds);
  await session.release();
  return Math.max(
    deviation(hostArray(computed), reference(feeds.a, feeds.b)),
    deviation(hostArray(weights), softmaxRows(reference(feeds.a, feeds.b))),
  );
}

/** GFLOP/s of the largest products that the device does in moments. */
async function rate(device: Device): Promise<number> {
  let best = 0;
  for (const { side, products } of rateSteps) {
    const gflop = (products * 2 * side ** 3) / 1e9;
    if (best > 0 && gflop / best > stepMs / 1000) break;
    try {
      best = Math.max(best, gflop / (await secondsOf(device, side, products)));
    } catch (error) {
      // A card whose memory is short has shown at a smaller size what it can do.
      if (best === 0) throw error;
      break;
    }
  }
  return best;
}

/** Seconds of the best of a few runs. */
async function secondsOf(device: Device, side: number, products: number): Promise<number> {
  const graph = new Graph();
  const square = expand(graph.input('seed', 'float32', [1, 1]), [side, side]);
  let product = square;
  for (let i = 0; i < products; i += 1) product = matmul(product, square);
  graph.output('product', slice(product, [0, 0], [1, 1]));
  const session = await open(device, graph);
  // Of 1 / side each product is the matrix again.
  const feeds = { seed: Float32Array.of(1 / side) };
  // The first run compiles the shaders.
  await session.run(feeds);
  let best = Infinity;
  for (let run = 0, spent = 0; run < runs && spent < timedMs; run += 1) {
    const start = performance.now();
    await session.run(feeds);
    const took = performance.now() - start;
    best = Math.min(best, took);
    spent += took;
  }
  await session.release();
  return best / 1000;
}

/** The error of half precision, which nothing needs; undefined where the device has none. */
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
    // What is not a number is the worst error; JSON has no word for infinity.
    const error = deviation(hostArray(product), reference(feeds.a, feeds.b));
    return Math.min(error, Number.MAX_VALUE);
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
