/** Merging an adapter into its weight and taking it out again, for every method and form. */
import { afterAll, describe, expect, it } from 'vitest';
import type { LinearModule, ModuleAdapter } from '../../../src/adapters/adapter';
import { adapterMethods } from '../../../src/adapters/plan';
import { methods, runConfigSchema, type RunConfigInput } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { dequantizeNf4, quantizeNf4 } from '../../../src/core/nf4';
import { Rng } from '../../../src/core/rng';
import { DenseDeltas } from '../../../src/trainer/engine/denseDeltas';
import { relativeError } from '../graph/harness';
import { runLayer } from './layer';

const [out, inFeatures, tokens] = [24, 16, 7];
const module: LinearModule = {
  path: 'model.layers.0.mlp.up_proj',
  layer: 0,
  pathInBlock: 'mlp.up_proj',
  outFeatures: out,
  inFeatures,
};
const weight = new Rng(1, 'weight').normals(out * inFeatures, 0.3);
const deltas = new DenseDeltas(1);
afterAll(() => deltas.dispose());

type Method = keyof typeof adapterMethods;
const cases: readonly (readonly [Method, RunConfigInput['adapter']])[] = [
  ['dota', {}],
  ['dota', { residual: 'explicit' }],
  ['dota', { orientation: 'in', mpo_cores: 2, trainable_cores: [1] }],
  ['random_mpo', { init_random: 'zero_core' }],
  ['random_mpo', { init_random: 'frozen_copy' }],
  ['random_mpo', { init_random: 'frozen_copy', residual: 'explicit' }],
  ['random_mpo', { init_random: 'plain' }],
  ['loretta', { init_random: 'zero_core' }],
  ['loretta', { init_random: 'frozen_copy' }],
  ['loretta', { init_random: 'plain' }],
  ['mpop', {}],
  ['lora', {}],
  ['lora', { use_rslora: true }],
  ['lora', { init_lora_weights: 'pissa' }],
  ['lora', { use_dora: true }],
];

function attach(method: Method, adapter: RunConfigInput['adapter']): Promise<ModuleAdapter> {
  const { adapter: options } = runConfigSchema.parse({
    data: { train: 'x' },
    adapter: { r: 3, lora_alpha: 6, ...adapter },
  });
  const ofWeight = () => Promise.resolve(weight.slice());
  return adapterMethods[method].attach(module, {
    options,
    seed: 3,
    gemm: plainGemm,
    weight: ofWeight,
  });
}

/** As if trained: every trainable tensor moved by about as much as it began with. */
function trained(adapter: ModuleAdapter): Map<string, Float32Array> {
  return new Map(
    adapter.tensors
      .filter(({ trainable }) => trainable)
      .map(({ name, initial }) => {
        const moved = new Rng(7, name).normals(initial.length, 0.3);
        return [name, initial.map((value, i) => value + moved[i]!)];
      }),
  );
}

function throughNf4(values: Float32Array): Float32Array {
  const result = new Float32Array(values.length);
  dequantizeNf4(quantizeNf4(values), result);
  return result;
}

// fp32: the change is added and taken out again, each time with rounding of 6e-8 of what is there.
const tolerance = 1e-5;

describe('merge and unmerge', () => {
  it('are held for every method that has an adapter', () => {
    expect([...new Set(cases.map(([method]) => method))].sort()).toEqual(
      methods.filter((method) => method !== 'full').sort(),
    );
  });

  it.each(cases)('%s %j: the product, and the weight again', async (method, options) => {
    const adapter = await attach(method, options);
    const values = trained(adapter);
    const merged = await deltas.merge(adapter, weight, values);
    expect(relativeError(merged.values, weight)).toBeGreaterThan(0.1);

    const x = new Rng(4, 'x').normals(tokens * inFeatures, 1);
    const frozen = adapter.subtractsInitialDelta ? await deltas.residual(adapter, weight) : weight;
    const g = new Float32Array(tokens * out);
    const { y } = await runLayer(adapter, { x, g, weight: frozen, tokens, values });
    const product = new Float32Array(tokens * out);
    for (let t = 0; t < tokens; t++) {
      for (let row = 0; row < out; row++) {
        let sum = 0;
        for (let i = 0; i < inFeatures; i++) {
          sum += x[t * inFeatures + i]! * merged.values[row * inFeatures + i]!;
        }
        product[t * out + row] = sum;
      }
    }
    expect(relativeError(y!, product)).toBeLessThan(tolerance);

    const back = await deltas.unmerge(adapter, merged, values);
    expect(relativeError(back, weight)).toBeLessThan(tolerance);
    // Nothing more is kept than the adapter leaves open: DoRA's norms, MPOP's whole weight.
    const ofDora = options !== undefined && 'use_dora' in options;
    const kept = method === 'mpop' ? out * inFeatures : ofDora ? out : undefined;
    expect(merged.kept?.length).toBe(kept);
  });

  it.each(cases)('%s %j: the same in 4-bit weights', async (method, options) => {
    const adapter = await attach(method, options);
    const values = trained(adapter);
    const merged = await deltas.merge(adapter, weight, values, throughNf4);
    const back = await deltas.unmerge(adapter, merged, values);
    const taken = adapter.subtractsInitialDelta
      ? await deltas.delta(adapter, weight)
      : new Float32Array(weight.length);
    const stored = throughNf4(weight.map((value, i) => value - taken[i]!));
    const expected = stored.map((value, i) => value + taken[i]!);
    expect(relativeError(back, expected)).toBeLessThan(tolerance);
    // And that is not the full-precision weight.
    expect(relativeError(back, weight)).toBeGreaterThan(0.01);
  });
});
