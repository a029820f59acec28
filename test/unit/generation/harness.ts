/** Tiny decoders of every architecture, as generation and as the engine without a cache see them. */
import { readFileSync } from 'node:fs';
import { expectedWeights, parseModelConfig } from '../../../src/models/config';
import type { DecoderConfig, RawTensor } from '../../../src/models/modelConfig';
import type { Engine } from '../../../src/trainer/engine';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { FrozenWeights, weightsFromMap } from '../../../src/trainer/engine/frozenWeights';
import { CachedDecoder } from '../../../src/trainer/generation/cachedDecoder';
import { openDevice } from '../../../src/trainer/ort/device';

interface DecoderFixture {
  name: string;
  config: object;
  weights: Record<string, { shape: number[]; data: number[] }>;
}

export const decoderFixtures = (
  JSON.parse(readFileSync('test/fixtures/engine/decoders.json', 'utf8')) as {
    cases: DecoderFixture[];
  }
).cases;

export interface TinyDecoder {
  config: DecoderConfig;
  tensors: Map<string, RawTensor>;
  weights: FrozenWeights;
  decoder: CachedDecoder;
  naive(): Promise<Engine>;
}

/** @param sharpen factor of the final norm: how peaked the distributions are */
export async function openTiny(
  fixture: DecoderFixture,
  { sharpen = 1, widen = true } = {},
): Promise<TinyDecoder> {
  const config = parseModelConfig(JSON.stringify(fixture.config), fixture.name);
  const tensors = new Map(
    Object.entries(fixture.weights).map(([name, { shape, data }]): [string, RawTensor] => {
      const factor = (name === 'model.norm.weight' ? sharpen : 1) / 4096;
      return [
        name,
        { dtype: 'F32', shape, data: Float32Array.from(data, (value) => value * factor) },
      ];
    }),
  );
  const reader = weightsFromMap(tensors);
  const wanted = [...expectedWeights(config)].map(([name, shape]) => ({ name, shape }));
  const weights = await FrozenWeights.load(reader, wanted, widen);
  const device = openDevice({ kind: 'cpu', threads: 1 });
  return {
    config,
    tensors,
    weights,
    decoder: new CachedDecoder({ config, device }),
    naive: () =>
      createEngine({
        config,
        weights: reader,
        adapters: { trainsBaseWeights: false, modules: new Map() },
        device: 'cpu',
        threads: 1,
      }),
  };
}
