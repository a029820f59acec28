import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import type { LinearModule } from '../../../src/adapters/adapter';
import { loretta, trainModes } from '../../../src/adapters/loretta';
import { mpop } from '../../../src/adapters/mpop';
import { randomMpo } from '../../../src/adapters/randomMpo';
import { runConfigSchema, type RunConfigInput } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import type { Core } from '../../../src/core/mpo/types';
import { DenseDeltas } from '../../../src/trainer/engine/denseDeltas';
import { relativeError } from '../graph/harness';
import { runLayer } from './layer';

interface Case {
  shapes: Record<string, number[]>;
  values: Record<string, number[]>;
  gradients: Record<string, number[]>;
  y: number[];
  merged: number[];
  initial?: number[][];
  core_shapes?: [number, number, number, number][];
}
// Made by test/fixtures/adapters/make_tensor.py with PyTorch, from the methods' definitions.
const fixture = JSON.parse(readFileSync('test/fixtures/adapters/tensor.json', 'utf8')) as {
  out: number;
  in: number;
  tokens: number;
  r: number;
  weight: number[];
  x: number[];
  g: number[];
  cases: Record<string, Case>;
};
const weight = Float32Array.from(fixture.weight);
const module: LinearModule = {
  path: 'model.layers.0.mlp.up_proj',
  layer: 0,
  pathInBlock: 'mlp.up_proj',
  outFeatures: fixture.out,
  inFeatures: fixture.in,
};
const deltas = new DenseDeltas(1);
afterAll(() => deltas.dispose());

const methods = {
  random_mpo: { method: randomMpo, adapter: { init_random: 'frozen_copy' } },
  mpop: { method: mpop, adapter: {} },
  loretta: { method: loretta, adapter: { r: fixture.r, lora_alpha: 6, init_random: 'plain' } },
} satisfies Record<string, { method: typeof mpop; adapter: RunConfigInput['adapter'] }>;

function attach(name: keyof typeof methods, options: RunConfigInput['adapter'] = {}) {
  const { method, adapter } = methods[name];
  const { initial, core_shapes: shapes } = fixture.cases[name]!;
  const known = initial?.map((data, k): Core => ({
    data: Float32Array.from(data),
    shape: shapes![k]!,
  }));
  return method.attach(module, {
    options: runConfigSchema.parse({
      data: { train: 'x' },
      adapter: { ...adapter, ...options },
    }).adapter,
    seed: 1,
    gemm: plainGemm,
    weight: () => Promise.resolve(weight),
    initialCores: () => known,
  });
}

// fp32 on both sides, sums of at most 24 products: a few float32 units of the largest term.
const tolerance = 1e-5;

describe.each(Object.keys(methods) as (keyof typeof methods)[])('%s against PyTorch', (name) => {
  const expected = fixture.cases[name]!;
  const values = new Map(
    Object.entries(expected.values).map(([tensor, list]) => [tensor, Float32Array.from(list)]),
  );

  it.each(name === 'random_mpo' ? (['implicit', 'explicit'] as const) : (['implicit'] as const))(
    'forward, gradient and merge (%s residual)',
    async (residual) => {
      const adapter = await attach(name, { residual });
      const named = adapter.tensors.filter((t) => values.has(t.name));
      expect(Object.fromEntries(named.map((t) => [t.name, t.shape]))).toEqual(expected.shapes);
      const results = await runLayer(adapter, {
        x: Float32Array.from(fixture.x),
        g: Float32Array.from(fixture.g),
        weight: adapter.subtractsInitialDelta ? await deltas.residual(adapter, weight) : weight,
        tokens: fixture.tokens,
        values,
      });
      const gradients = Object.entries(expected.gradients).map(
        ([tensor, list]) => [`grad_${tensor}`, list] as const,
      );
      // Exactly the tensors that PyTorch trains.
      expect(Object.keys(results).sort()).toEqual(['y', ...gradients.map(([key]) => key)].sort());
      for (const [output, list] of [['y', expected.y] as const, ...gradients]) {
        expect(relativeError(results[output]!, Float32Array.from(list)), output).toBeLessThan(
          tolerance,
        );
      }
      const merged = await deltas.merge(adapter, weight, values);
      expect(relativeError(merged.values, Float32Array.from(expected.merged))).toBeLessThan(
        tolerance,
      );
    },
  );
});

describe('loretta', () => {
  it('splits into about log_8 modes whose product is the size', () => {
    expect(trainModes(4096 * 8)).toEqual([8, 8, 8, 8, 8]);
    for (const size of [64, 96, 11008 * 8, 1000 * 7, 13 * 17]) {
      expect(trainModes(size).reduce((a, b) => a * b, 1)).toBe(size);
    }
  });

  it('has the published deviations, and a zero change at step 0 unless it is plain', async () => {
    const wide: LinearModule = { ...module, outFeatures: 4096, inFeatures: 4096 };
    const options = runConfigSchema.parse({ data: { train: 'x' }, adapter: { r: 8 } }).adapter;
    const { tensors } = await loretta.attach(wide, {
      options: { ...options, init_random: 'plain' },
      seed: 1,
      gemm: plainGemm,
      weight: () => Promise.resolve(weight),
    });
    // sqrt(1 / (4096 + 8)) ^ (1 / 5) / sqrt(5) for the inner cores; 200 samples: within 4 / sqrt(400).
    const inner = tensors[1]!.initial;
    expect(inner).toHaveLength(5 * 8 * 5);
    const rms = Math.sqrt(inner.reduce((sum, v) => sum + v * v, 0) / inner.length);
    const published = (1 / 4104) ** 0.1 / Math.sqrt(5);
    expect(Math.abs(rms / published - 1)).toBeLessThan(0.2);
    for (const init_random of ['zero_core', 'frozen_copy'] as const) {
      const adapter = await attach('loretta', { init_random });
      expect(Math.max(...(await deltas.delta(adapter, weight)).map(Math.abs))).toBe(0);
    }
    const plain = await attach('loretta', { init_random: 'plain' });
    expect(Math.max(...(await deltas.delta(plain, weight)).map(Math.abs))).toBeGreaterThan(0);
  });
});
