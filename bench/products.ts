/**
 * What the matrix products of a training step are for, and the share of each in the time of all operators
 * by the runtime's own profiler, beside the share in the operations of the products: above all the gradient
 * of the merged change, which LoRA does not have.
 *
 *   npm run bench -- products [--steps 6] [--threads 2] [--only lora,dota]
 *
 * The model is that of `methods time` (hidden 1024, feed-forward 2816, 4 layers, 1 x 512 tokens), the ranks
 * are those of equal trainable parameters there. One JSON object a method.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { coreShapes, mpoSpec } from '../src/adapters/mpoShape';
import { planAdapters } from '../src/adapters/plan';
import { runConfigSchema } from '../src/config/runConfig';
import { plainGemm } from '../src/core/linalg/plainGemm';
import type { Core } from '../src/core/mpo/types';
import { Rng } from '../src/core/rng';
import { linearPaths, linearShape } from '../src/graph/decoder/block';
import { sizeOf } from '../src/graph/shape';
import type { DecoderConfig } from '../src/models/modelConfig';
import { createEngine } from '../src/trainer/engine/createEngine';
import { randomWeights } from '../src/trainer/engine/randomWeights';
import { openDevice } from '../src/trainer/ort/device';
import { decoderOf } from './methods/worker';
import { randomBatch } from './step/setup';
import { takeStep } from '../src/trainer/profile/takeStep';

const shape = { hidden: 1024, intermediate: 2816, layers: 4, vocabulary: 2048 };
const tokens = 512;
/** Of about 1.26 million trainable parameters. */
const ranks = { lora: 16, dota: 21 } as const;
type Method = keyof typeof ranks;

const roles = ['output', 'gradient of the input', 'gradient of the change', 'other'] as const;
type Role = (typeof roles)[number];

/** Sizes of a product of two matrices: `[m, k] x [k, n]`. */
interface Size {
  m: number;
  k: number;
  n: number;
}

/**
 * What a product of these sizes is for; activations have a row for each token. The gradient of an MPO's
 * change is formed by up to eight parts of its rows.
 */
function roleOf(config: DecoderConfig, phase: string, { m, k, n }: Size): Role {
  const isLinear = (test: (out: number, inputs: number) => boolean): boolean =>
    linearPaths.some((linear) => test(...linearShape(config, linear)));
  // Of the dense layer's shape, or transposed.
  const isChange = (rows: number, columns: number): boolean =>
    isLinear((out, inputs) => columns === inputs && rows <= out && rows >= out / 9);
  if (k === tokens && (isChange(m, n) || isChange(n, m))) {
    return 'gradient of the change';
  }
  if (
    m === tokens &&
    isLinear((out, inputs) => (n === out && k === inputs) || (n === inputs && k === out))
  ) {
    return phase === 'forward' ? 'output' : 'gradient of the input';
  }
  return 'other';
}

interface Event {
  cat: string;
  name: string;
  ts: number;
  dur: number;
  args?: {
    op_name?: string;
    input_type_shape?: Record<string, number[]>[];
    output_type_shape?: Record<string, number[]>[];
  };
}

/** With how many such products; undefined for what is no product of matrices. */
function sizeOfProduct(event: Event): (Size & { batch: number }) | undefined {
  const [a, b] = (event.args?.input_type_shape ?? []).map((input) => Object.values(input)[0] ?? []);
  const [out] = Object.values(event.args?.output_type_shape?.[0] ?? {});
  if (!a || !b || !out || out.length < 2) return undefined;
  const [m = 0, n = 0] = out.slice(-2);
  const batch = sizeOf(out) / (m * n);
  // Batched products transpose nothing, and batches may be broadcast; else, whichever side is transposed,
  // |A| |B| = m n k^2.
  const k = batch > 1 ? (a.at(-1) ?? NaN) : Math.sqrt((sizeOf(a) * sizeOf(b)) / (m * n));
  return Number.isInteger(k) ? { m, n, k, batch } : undefined;
}

interface Spent {
  /** Milliseconds of all operators. */
  total: number;
  products: number;
  byRole: Record<Role, number>;
  /** Multiply-adds by role. */
  counted: Record<Role, number>;
}

const zeros = (): Record<Role, number> =>
  Object.fromEntries(roles.map((role) => [role, 0])) as Record<Role, number>;

/**
 * Sums over the profile files of a folder, the first run of each session, which warms up, left out. Each
 * operator counts with the fastest of its runs, so that what else the machine does weighs little.
 */
function readProfiles(folder: string, config: DecoderConfig): Spent {
  const spent: Spent = { total: 0, products: 0, byRole: zeros(), counted: zeros() };
  for (const name of readdirSync(folder)) {
    const [phase = ''] = name.split('.');
    for (const { event, runs } of operatorsOf(path.join(folder, name))) {
      const ms = (runs * event.dur) / 1000;
      spent.total += ms;
      if (!/Gemm|MatMul/.test(event.args?.op_name ?? '')) continue;
      spent.products += ms;
      const size = sizeOfProduct(event);
      const role = size?.batch === 1 ? roleOf(config, phase, size) : 'other';
      spent.byRole[role] += ms;
      if (size) spent.counted[role] += runs * size.batch * size.m * size.n * size.k;
    }
  }
  return spent;
}

/** The fastest run of every operator of a session, and how many runs there were. */
function operatorsOf(file: string): { event: Event; runs: number }[] {
  let events: Event[];
  try {
    events = JSON.parse(readFileSync(file, 'utf8')) as Event[];
  } catch {
    // A session that never ran leaves an unfinished list.
    return [];
  }
  const [first] = events.filter(({ name }) => name === 'model_run').sort((a, b) => a.ts - b.ts);
  const warm = first ? first.ts + first.dur : Infinity;
  const operators = new Map<string, { event: Event; runs: number }>();
  for (const event of events) {
    if (event.ts < warm || event.cat !== 'Node' || !event.name.endsWith('_kernel_time')) continue;
    const known = operators.get(event.name);
    const fastest = known && known.event.dur < event.dur ? known.event : event;
    operators.set(event.name, { event: fastest, runs: (known?.runs ?? 0) + 1 });
  }
  return [...operators.values()];
}

async function measure(method: Method, steps: number, threads: number): Promise<object> {
  const config = decoderOf(shape);
  const { adapter } = runConfigSchema.parse({
    data: { train: 'none' },
    adapter: { r: ranks[method] },
  });
  const adapters = await planAdapters({
    method,
    config,
    options: adapter,
    seed: 0,
    gemm: plainGemm,
    weight: () => Promise.reject(new Error('the bench gives the cores')),
    // Random cores stand in for the decomposition, on which a step's cost does not depend.
    initialCores: (module) =>
      method === 'lora'
        ? undefined
        : coreShapes(mpoSpec(module, adapter)).map((dims, k): Core => {
            return { shape: dims, data: new Rng(0, module.path, k).normals(sizeOf(dims), 0.05) };
          }),
  });
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dota-products-'));
  try {
    const engine = await createEngine({
      config,
      weights: randomWeights(config, 0),
      adapters,
      device: openDevice({ kind: 'cpu', threads, profileFolder: folder }),
      threads,
    });
    const batch = randomBatch({ batch: 1, sequence: tokens, vocabulary: shape.vocabulary });
    for (let step = 1; step <= steps + 1; step++) {
      await takeStep(engine, [batch], step, { learningRate: 1e-4 });
    }
    const trainable = engine.trainable.reduce((sum, { size }) => sum + size, 0);
    await engine.dispose();
    const { total, products, byRole, counted } = readProfiles(folder, config);
    const share = (part: number, whole = total): number => Number((part / whole).toFixed(3));
    const operations = roles.reduce((sum, role) => sum + counted[role], 0);
    return {
      method,
      trainable,
      time: {
        products: share(products),
        ...Object.fromEntries(roles.map((role) => [role, share(byRole[role])])),
      },
      counted: Object.fromEntries(roles.map((role) => [role, share(counted[role], operations)])),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    steps: { type: 'string', default: '6' },
    threads: { type: 'string', default: '2' },
    only: { type: 'string', default: 'lora,dota' },
  },
});
for (const method of values.only.split(',') as Method[]) {
  console.log(JSON.stringify(await measure(method, Number(values.steps), Number(values.threads))));
}
