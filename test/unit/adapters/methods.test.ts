import { afterAll, describe, expect, it } from 'vitest';
import type { LinearModule } from '../../../src/adapters/adapter';
import type { AttachContext } from '../../../src/adapters/method';
import { adapterMethods, methodHelp } from '../../../src/adapters/plan';
import { methods, runConfigSchema, type RunConfigInput } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { decompose } from '../../../src/core/mpo/decompose';
import { Rng } from '../../../src/core/rng';
import { DenseDeltas } from '../../../src/trainer/engine/denseDeltas';
import { relativeError } from '../graph/harness';

const module: LinearModule = {
  path: 'model.layers.0.mlp.up_proj',
  layer: 0,
  pathInBlock: 'mlp.up_proj',
  outFeatures: 24,
  inFeatures: 16,
};
const weight = new Rng(1, 'weight').normals(24 * 16, 0.3);

const deltas = new DenseDeltas(1);
afterAll(() => deltas.dispose());

function context(adapter: RunConfigInput['adapter'], seed = 3): AttachContext {
  const { adapter: options } = runConfigSchema.parse({ data: { train: 'x' }, adapter });
  return { options, seed, gemm: plainGemm, weight: () => Promise.resolve(weight) };
}

describe('dota', () => {
  it.each(['out', 'in'] as const)('starts from the MPO of the weight (%s)', async (orientation) => {
    const adapter = await adapterMethods.dota.attach(
      module,
      context({ r: 3, orientation, residual: 'explicit' }),
    );
    const dense = await deltas.delta(adapter, weight);
    const shape = {
      rows: adapter.tensors.map((tensor) => tensor.shape[1]!),
      cols: adapter.tensors.map((tensor) => tensor.shape[2]!),
    };
    const { relativeError: predicted } = await decompose(
      weight,
      24,
      16,
      { shape, rank: { r: 3 }, orientation, gauge: 'sqrt_rms', seed: 3 },
      plainGemm,
    );
    expect(predicted).toBeGreaterThan(0.1);
    // The predicted truncation error is exact up to fp32 rounding of the cores.
    expect(Math.abs(relativeError(dense, weight) / predicted - 1)).toBeLessThan(1e-4);
    // Random cores in its place would explain nothing of the weight.
    const other = await adapterMethods.dota.attach(module, {
      ...context({ r: 3, orientation, residual: 'explicit' }),
      weight: () => Promise.resolve(new Rng(2, 'other').normals(24 * 16, 0.3)),
    });
    expect(relativeError(await deltas.delta(other, weight), weight)).toBeGreaterThan(1);
  });

  it('represents the weight at the full bond', async () => {
    const adapter = await adapterMethods.dota.attach(
      module,
      context({ r: 1000, residual: 'explicit' }),
    );
    expect(relativeError(await deltas.delta(adapter, weight), weight)).toBeLessThan(1e-6);
  });

  it('adds exactly nothing at step 0 with an implicit residual', async () => {
    const adapter = await adapterMethods.dota.attach(module, context({ r: 3 }));
    expect(await deltas.delta(adapter, weight)).toEqual(new Float32Array(24 * 16));
    expect(adapter.tensors.filter(({ trainable }) => trainable)).toHaveLength(3);
  });

  it('takes shapes, ranks and known cores from the configuration', async () => {
    const shaped = context({
      r: 3,
      mpo_shapes: { up_proj: { rows: [4, 7], cols: [4, 4] } },
      rank_pattern: { up_proj: 5 },
    });
    const adapter = await adapterMethods.dota.attach(module, shaped);
    // 4 * 7 = 28 rows: padded by 4.
    expect(adapter.tensors.slice(0, 2).map(({ shape }) => shape)).toEqual([
      [1, 4, 4, 5],
      [5, 7, 4, 1],
    ]);
    const known = [
      { shape: [1, 4, 4, 1] as const, data: new Float32Array(16).fill(0.5) },
      { shape: [1, 6, 4, 1] as const, data: new Float32Array(24).fill(0.25) },
    ];
    const resumed = await adapterMethods.dota.attach(module, {
      ...context({ residual: 'explicit' }),
      initialCores: () => known,
    });
    expect(await deltas.delta(resumed, weight)).toEqual(new Float32Array(24 * 16).fill(0.125));
  });

  it('refuses a rank asked for by name that exceeds the full bond, and clamps r', async () => {
    await expect(
      adapterMethods.dota.attach(module, context({ rank_pattern: { up_proj: 500 } })),
    ).rejects.toMatchObject({ code: 'adapter.rank', where: 'adapter.rank_pattern["up_proj"]' });
    await expect(adapterMethods.dota.attach(module, context({ r: 500 }))).resolves.toBeDefined();
  });

  it.each(['dota', 'random_mpo'] as const)('%s refuses an r beyond every bond', (method) => {
    const other = { ...module, path: 'model.layers.0.mlp.other', outFeatures: 8, inFeatures: 8 };
    const validate = (r: number) =>
      adapterMethods[method].validate!([other, module], context({ r, mpo_cores: 2 }).options);
    // 24 x 16 in two cores: the bond is at most the smaller pair of factors' product.
    expect(() => validate(16)).not.toThrow();
    expect(() => validate(500)).toThrowError(
      expect.objectContaining({ code: 'adapter.rank', where: 'adapter.r' }) as Error,
    );
    expect(() => validate(500)).toThrowError(module.path);
  });
});

describe('random_mpo', () => {
  it('has DoTA’s shapes and scale, a zero last core, and another start for another seed', async () => {
    const rms = (values: Float32Array) =>
      Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length);
    const random = await adapterMethods.random_mpo.attach(module, context({ r: 4 }));
    const dota = await adapterMethods.dota.attach(module, context({ r: 4 }));
    const cores = dota.tensors.filter(({ trainable }) => trainable);
    expect(random.tensors.map(({ shape }) => shape)).toEqual(cores.map(({ shape }) => shape));
    expect(random.tensors.at(-1)!.initial.every((value) => value === 0)).toBe(true);
    // The sample deviation of n numbers is within 4 / sqrt(2n) of the true one.
    const first = random.tensors[0]!.initial;
    expect(Math.abs(rms(first) / rms(cores[0]!.initial) - 1)).toBeLessThan(
      4 / Math.sqrt(2 * first.length),
    );
    const again = await adapterMethods.random_mpo.attach(module, context({ r: 4 }));
    expect(again.tensors[0]!.initial).toEqual(first);
    const other = await adapterMethods.random_mpo.attach(module, context({ r: 4 }, 4));
    expect(other.tensors[0]!.initial).not.toEqual(first);
  });
});

describe('lora', () => {
  it('starts like PEFT: A uniform within 1 / sqrt(in), B zero', async () => {
    const { tensors } = await adapterMethods.lora.attach(module, context({ r: 4 }));
    expect(tensors.map(({ name, shape }) => [name, shape])).toEqual([
      ['lora_A.weight', [4, 16]],
      ['lora_B.weight', [24, 4]],
    ]);
    const largest = Math.max(...tensors[0]!.initial.map(Math.abs));
    expect(largest).toBeLessThanOrEqual(0.25);
    expect(largest).toBeGreaterThan(0.2);
    expect(tensors[1]!.initial.every((value) => value === 0)).toBe(true);
    await expect(adapterMethods.lora.attach(module, context({ r: 17 }))).rejects.toMatchObject({
      code: 'adapter.rank',
    });
  });
});

describe('help texts', () => {
  it('exist for every method', () => {
    expect(Object.keys(methodHelp).sort()).toEqual([...methods].sort());
  });
});

describe('trainableCount', () => {
  it.each([
    ['dota', { r: 3 }],
    ['dota', { r: 5, orientation: 'in', mpo_cores: 2, trainable_cores: 'central' }],
    ['dota', { rank_pattern: { up_proj: [4, 3] } }],
    ['random_mpo', { r: 3, init_random: 'frozen_copy' }],
    ['random_mpo', { r: 3, trainable_cores: [1] }],
    ['mpop', { r: 3 }],
    ['lora', { r: 4 }],
    ['lora', { r: 4, use_dora: true }],
    ['loretta', { r: 4, tensor_rank: 3 }],
  ] as const)('%s %j: what attach trains', async (method, adapter) => {
    const given = context(adapter as RunConfigInput['adapter']);
    const { tensors } = await adapterMethods[method].attach(module, given);
    const trained = tensors
      .filter(({ trainable }) => trainable)
      .reduce((sum, { initial }) => sum + initial.length, 0);
    expect(trained).toBeGreaterThan(0);
    expect(adapterMethods[method].trainableCount(module, given.options)).toBe(trained);
  });
});

describe('ranks and cores by number', () => {
  it('gives every bond its own dimension, and names the module that a list does not fit', async () => {
    const attach = (ranks: number[]) =>
      adapterMethods.dota.attach(module, context({ rank_pattern: { up_proj: ranks } }));
    const { tensors } = await attach([4, 3]);
    expect(tensors.slice(0, 2).map(({ shape }) => shape[3])).toEqual([4, 3]);
    await expect(attach([4])).rejects.toMatchObject({ code: 'adapter.rank' });
    await expect(attach([4, 10_000])).rejects.toMatchObject({ code: 'adapter.rank' });
    await expect(
      adapterMethods.lora.attach(module, context({ rank_pattern: { up_proj: [4, 3] } })),
    ).rejects.toMatchObject({ code: 'adapter.rank' });
  });

  it('hands learning-rate factors to the cores, the last to the rest', async () => {
    const { tensors } = await adapterMethods.dota.attach(
      module,
      context({ r: 3, core_learning_rate_factors: [0.5, 2] }),
    );
    expect(tensors.slice(0, 3).map((t) => t.learningRateFactor)).toEqual([0.5, 2, 2]);
    await expect(
      adapterMethods.dota.attach(module, context({ r: 3, trainable_cores: [7] })),
    ).rejects.toMatchObject({ code: 'config.invalid', where: 'adapter.trainable_cores' });
  });
});
