import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { LinearModule } from '../../../src/adapters/adapter';
import { lora } from '../../../src/adapters/lora';
import { runConfigSchema, type RunConfigInput } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { DenseDeltas } from '../../../src/trainer/engine/denseDeltas';
import { relativeError } from '../graph/harness';
import { runLayer } from './layer';

// Made by test/fixtures/adapters/make.py with the real PEFT.
const peft = JSON.parse(readFileSync('test/fixtures/adapters/peft.json', 'utf8')) as {
  out: number;
  in: number;
  r: number;
  tokens: number;
  cases: Record<string, Record<string, number[]>>;
} & Record<string, number[]>;
const { out, in: inFeatures, r, tokens } = peft;
const array = (name: string): Float32Array => Float32Array.from(peft[name]!);
const weight = array('weight');

const module: LinearModule = {
  path: 'model.layers.0.mlp.up_proj',
  layer: 0,
  pathInBlock: 'mlp.up_proj',
  outFeatures: out,
  inFeatures,
};

function attach(adapter: RunConfigInput['adapter']) {
  const { adapter: options } = runConfigSchema.parse({
    data: { train: 'x' },
    adapter: { r, lora_alpha: 6, ...adapter },
  });
  return lora.attach(module, {
    options,
    seed: 1,
    gemm: plainGemm,
    weight: () => Promise.resolve(weight),
  });
}

const variants: Record<string, RunConfigInput['adapter']> = {
  lora: {},
  rslora: { use_rslora: true },
  dora: { use_dora: true },
  pissa: { init_lora_weights: 'pissa' },
};

// fp32 on both sides, sums of at most 12 products: a few float32 units of the largest term.
const tolerance = 1e-5;

describe.each(Object.entries(variants))('%s against PEFT', (name, options) => {
  const expected = peft.cases[name]!;

  it('forward, gradient and merge', async () => {
    const adapter = await attach(options);
    const deltas = new DenseDeltas(1);
    // PEFT's own residual where the start was taken out: B A is unique, its factors only up to sign.
    const frozen = adapter.subtractsInitialDelta ? await deltas.residual(adapter, weight) : weight;
    const names = adapter.tensors.map((tensor) => tensor.name);
    const values = new Map(names.map((tensor) => [tensor, array(tensor)]));
    const results = await runLayer(adapter, {
      x: array('x'),
      g: array('g'),
      weight: frozen,
      tokens,
      values,
    });
    for (const output of ['y', ...names.map((tensor) => `grad_${tensor}`)]) {
      const ours = results[output]!;
      expect(relativeError(ours, Float32Array.from(expected[output]!)), output).toBeLessThan(
        tolerance,
      );
    }
    const merged = await deltas.merge(adapter, weight, values);
    expect(relativeError(merged.values, Float32Array.from(expected['merged']!))).toBeLessThan(
      tolerance,
    );
    await deltas.dispose();
  });

  it('starts at the pretrained weight', async () => {
    const adapter = await attach(options);
    const deltas = new DenseDeltas(1);
    const { values } = await deltas.merge(adapter, weight, new Map());
    expect(relativeError(values, weight)).toBeLessThan(1e-6);
    if (adapter.subtractsInitialDelta) {
      const delta = await deltas.delta(adapter, weight);
      const reference = Float32Array.from(expected['initial_delta']!);
      expect(relativeError(delta, reference)).toBeLessThan(tolerance);
    }
    await deltas.dispose();
  });
});

it('refuses PiSSA with DoRA', async () => {
  await expect(attach({ use_dora: true, init_lora_weights: 'pissa' })).rejects.toMatchObject({
    code: 'config.invalid',
  });
});
