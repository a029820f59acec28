/** The head by parts of the vocabulary equals the head at once. */
import { describe, expect, it } from 'vitest';
import { Rng } from '../../../src/core/rng';
import { expectedWeights } from '../../../src/models/config';
import type { DecoderConfig } from '../../../src/models/modelConfig';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { FrozenWeights } from '../../../src/trainer/engine/frozenWeights';
import { Head } from '../../../src/trainer/engine/head';
import { planParameters } from '../../../src/trainer/engine/parameterLayout';
import { ParameterStore } from '../../../src/trainer/engine/parameterStore';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import { SessionCache } from '../../../src/trainer/engine/sessionCache';
import { StreamedHead } from '../../../src/trainer/engine/streamedHead';
import { openDevice } from '../../../src/trainer/ort/device';
import { hostArray, hostNumber, type Value } from '../../../src/trainer/ort/values';
import { relativeError } from '../graph/harness';
import { randomBatch, tinyConfig } from './tiny';

const device = openDevice({ kind: 'cpu', threads: 1 });
const floats = (value: Value | undefined): Float32Array => hostArray(value) as Float32Array;
const nothing = { trainsBaseWeights: false, modules: new Map() };

async function heads(config: DecoderConfig, columns: number) {
  const weights = randomWeights(config, 5);
  const wanted = [...expectedWeights(config)].map(([name, shape]) => ({ name, shape }));
  const store = await ParameterStore.create(planParameters(config, nothing), device);
  const sessions = new SessionCache(device, 16);
  const widened = await FrozenWeights.load(weights, wanted, true);
  const raw = await FrozenWeights.load(weights, wanted, false);
  return {
    whole: new Head({ config, frozen: widened, store, sessions, device }),
    streamed: new StreamedHead({ config, frozen: raw, sessions, device, columns }),
  };
}

describe.each([
  ['with parts that divide the vocabulary', 50, 10, 0.2],
  ['with a last part that is shorter', 50, 16, 0.2],
  ['in one part', 50, 50, 0.2],
  // Logits of some hundreds: softmax without the running maximum would overflow.
  ['with logits far apart', 64, 8, 30],
])('the streamed head %s', (_name, vocabSize, columns, initializerRange) => {
  for (const tieWordEmbeddings of [false, true]) {
    it(`gives the whole head's losses, gradients and logits${tieWordEmbeddings ? ', tied' : ''}`, async () => {
      const config = { ...tinyConfig, vocabSize, initializerRange, tieWordEmbeddings };
      const { whole, streamed } = await heads(config, columns);
      const tokens = 40;
      const rng = new Rng(2, 'head');
      const hidden = rng.normals(tokens * config.hiddenSize, 1);
      const labels = Int32Array.from({ length: tokens }, (_, i) =>
        i % 3 === 0 ? -100 : rng.integer(vocabSize),
      );
      const rows = Int32Array.from(labels.keys()).filter((row) => labels[row]! >= 0);
      const expected = await whole.loss(hidden, labels, 0.25);
      const got = await streamed.loss(hidden, rows, labels, 0.25);
      // The same sums in another order, in fp32: some roundings of 6e-8.
      expect(Math.abs(got.lossSum[0]! / hostNumber(expected.lossSum) - 1)).toBeLessThan(2e-6);
      expect(relativeError(got.inputGradient!, floats(expected.inputGradient))).toBeLessThan(5e-6);
      const forward = await streamed.loss(hidden, rows, labels);
      expect(forward).toEqual({ lossSum: got.lossSum, inputGradient: undefined });
      const few = Int32Array.of(5, 0, 31);
      const all = await whole.logits(hidden, tokens, few);
      expect(relativeError(await streamed.logits(hidden, few), all)).toBeLessThan(1e-6);
    });
  }
});

it('is what an engine uses whose weights stay in the file’s type', async () => {
  const batch = randomBatch(tinyConfig, [9, 12, 7]);
  const open = (residentLimit: number) =>
    createEngine({
      config: tinyConfig,
      weights: randomWeights(tinyConfig, 5),
      adapters: nothing,
      device: 'cpu',
      threads: 1,
      residentLimit,
    });
  const [resident, raw] = [await open(Infinity), await open(0)];
  const [a, b] = [await resident.evaluate(batch), await raw.evaluate(batch)];
  expect(Math.abs(a.lossSum / b.lossSum - 1)).toBeLessThan(2e-6);
});
