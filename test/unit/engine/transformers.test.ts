/**
 * Logits, loss and gradients of tiny decoders against the real transformers on PyTorch; made by
 * test/fixtures/engine/make_decoder_fixtures.py.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { fullPlan } from '../../../src/adapters/adapter';
import { parseModelConfig } from '../../../src/models/config';
import type { DecoderConfig, RawTensor } from '../../../src/models/modelConfig';
import type { Batch, Engine } from '../../../src/trainer/engine';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { weightsFromMap } from '../../../src/trainer/engine/frozenWeights';
import { relativeError } from '../graph/harness';

interface Fixture {
  name: string;
  config: object;
  weights: Record<string, { shape: number[]; data: number[] }>;
  input_ids: number[][];
  attention_mask: number[][];
  labels: number[][];
  logits: number[];
  loss_sum: number;
  gradients: Record<string, number[]>;
}

const read = (file: string): Fixture[] =>
  (
    JSON.parse(readFileSync(path.join('test/fixtures/engine', file), 'utf8')) as {
      cases: Fixture[];
    }
  ).cases;

function open(fixture: Fixture): { config: DecoderConfig; engine: Promise<Engine> } {
  const config = parseModelConfig(JSON.stringify(fixture.config), fixture.name);
  const weights = new Map(
    Object.entries(fixture.weights).map(([name, { shape, data }]): [string, RawTensor] => [
      name,
      { dtype: 'F32', shape, data: Float32Array.from(data, (value) => value / 4096) },
    ]),
  );
  const engine = createEngine({
    config,
    weights: weightsFromMap(weights),
    adapters: fullPlan,
    device: 'cpu',
    threads: 1,
  });
  return { config, engine };
}

/** Logits of the tokens that are no padding, row by row. */
async function attendedLogits(
  engine: Engine,
  batch: Batch,
  vocabSize: number,
  masks: number[][],
): Promise<number[]> {
  const rows: number[] = [];
  for (let t = 0; t < batch.sequenceLength; t++) {
    const positions = Int32Array.from({ length: batch.batchSize }, () => t);
    const logits = await engine.logits(batch, positions);
    masks.forEach((mask, row) => {
      if (mask[t] === 0) return;
      const at = row * batch.sequenceLength + t;
      logits
        .subarray(row * vocabSize, (row + 1) * vocabSize)
        .forEach((value, i) => (rows[at * vocabSize + i] = value));
    });
  }
  return rows.filter((value) => value !== undefined);
}

function toBatch(fixture: Fixture): Batch {
  const { input_ids, attention_mask, labels } = fixture;
  const flat = labels.flat();
  return {
    batchSize: input_ids.length,
    sequenceLength: input_ids[0]!.length,
    inputIds: Int32Array.from(input_ids.flat()),
    labels: Int32Array.from(flat),
    positionIds: Int32Array.from(input_ids.flatMap((row) => row.map((_, t) => t))),
    segmentIds: Int32Array.from(attention_mask.flat()),
    lossTokens: flat.filter((label) => label !== -100).length,
    tokens: attention_mask.flat().filter(Boolean).length,
  };
}

describe('against transformers', () => {
  it.each(read('decoders.json').map((fixture) => [fixture.name, fixture] as const))(
    '%s',
    async (_, fixture) => {
      const { config, engine: opening } = open(fixture);
      const engine = await opening;
      const batch = toBatch(fixture);
      // The judge computes in fp64, the engine in fp32: 1e-5 is some hundred roundings of 6e-8.
      await engine.forwardBackward(batch, 1);
      const lossSum = await engine.takeLossSum();
      expect(Math.abs(lossSum / fixture.loss_sum - 1)).toBeLessThan(1e-5);
      const gradient = await engine.readGradient();
      expect(engine.trainable.map(({ name }) => name).sort()).toEqual(
        Object.keys(fixture.gradients).sort(),
      );
      for (const { name, offset, size } of engine.trainable) {
        const own = gradient.subarray(offset, offset + size);
        expect(relativeError(own, fixture.gradients[name]!), name).toBeLessThan(1e-5);
      }
      const { attention_mask: masks } = fixture;
      const logits = await attendedLogits(engine, batch, config.vocabSize, masks);
      expect(relativeError(logits, fixture.logits)).toBeLessThan(1e-5);
      await engine.dispose();
    },
  );

  it.each(read('decoders1.json').map((fixture) => [fixture.name, fixture] as const))(
    'with other weights and tokens: %s',
    async (_, fixture) => {
      const { config, engine: opening } = open(fixture);
      const engine = await opening;
      const batch = toBatch(fixture);
      const { lossSum } = await engine.evaluate(batch);
      expect(Math.abs(lossSum / fixture.loss_sum - 1)).toBeLessThan(1e-5);
      const { attention_mask: masks } = fixture;
      const logits = await attendedLogits(engine, batch, config.vocabSize, masks);
      expect(relativeError(logits, fixture.logits)).toBeLessThan(1e-5);
      await engine.dispose();
    },
  );
});
