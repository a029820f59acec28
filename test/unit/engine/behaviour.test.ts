import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fullPlan } from '../../../src/adapters/adapter';
import type { DecoderConfig, RawTensor } from '../../../src/models/modelConfig';
import { fromFloat32 } from '../../../src/models/dtype';
import type { Batch, Engine } from '../../../src/trainer/engine';
import { createEngine, type EngineOptions } from '../../../src/trainer/engine/createEngine';
import { weightsFromMap } from '../../../src/trainer/engine/frozenWeights';
import { ParameterStore } from '../../../src/trainer/engine/parameterStore';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import { openDevice } from '../../../src/trainer/ort/device';
import { hostArray } from '../../../src/trainer/ort/values';
import { relativeError } from '../graph/harness';
import { randomBatch, tinyConfig } from './tiny';

const weights = randomWeights(tinyConfig, 3);

function open(overrides: Partial<EngineOptions> = {}): Promise<Engine> {
  return createEngine({
    config: tinyConfig,
    weights,
    adapters: fullPlan,
    device: 'cpu',
    threads: 1,
    ...overrides,
  });
}

async function gradientOf(engine: Engine, batches: readonly Batch[]): Promise<Float32Array> {
  await engine.zeroGradient();
  const tokens = batches.reduce((sum, batch) => sum + batch.lossTokens, 0);
  for (const batch of batches) await engine.forwardBackward(batch, 1 / tokens);
  return engine.readGradient();
}

/** One row of a batch as a batch, without the padding of the others. */
function row(batch: Batch, index: number): Batch {
  const from = index * batch.sequenceLength;
  const length = batch.segmentIds
    .subarray(from, from + batch.sequenceLength)
    .filter((segment) => segment > 0).length;
  const cut = (values: Int32Array) => values.slice(from, from + length);
  const labels = cut(batch.labels);
  return {
    batchSize: 1,
    sequenceLength: length,
    inputIds: cut(batch.inputIds),
    labels,
    positionIds: cut(batch.positionIds),
    segmentIds: cut(batch.segmentIds),
    lossTokens: labels.filter((label) => label >= 0).length,
    tokens: length,
  };
}

/** All rows one after the other in one row, told apart by segment ids. */
function pack(rows: readonly Batch[]): Batch {
  const join = (pick: (batch: Batch, index: number) => Int32Array) =>
    Int32Array.from(rows.flatMap((batch, index) => [...pick(batch, index)]));
  const tokens = rows.reduce((sum, batch) => sum + batch.tokens, 0);
  return {
    batchSize: 1,
    sequenceLength: tokens,
    inputIds: join((batch) => batch.inputIds),
    labels: join((batch) => batch.labels),
    positionIds: join((batch) => batch.positionIds),
    segmentIds: join((batch, index) => batch.segmentIds.map(() => index + 1)),
    lossTokens: rows.reduce((sum, batch) => sum + batch.lossTokens, 0),
    tokens,
  };
}

describe('gradients', () => {
  const batch = randomBatch(tinyConfig, [9, 12, 7, 12, 5, 11, 8, 10]);
  const rows = Array.from({ length: batch.batchSize }, (_, index) => row(batch, index));

  // Equal sums in another order of fp32 additions: some roundings of 6e-8.
  it('of one batch of 8 equal those of 8 accumulated batches of 1', async () => {
    const engine = await open();
    const whole = await gradientOf(engine, [batch]);
    const accumulated = await gradientOf(engine, rows);
    expect(relativeError(accumulated, whole)).toBeLessThan(1e-6);
    await engine.dispose();
  });

  it('of packed sequences equal those of separate rows', async () => {
    const engine = await open();
    const separate = await gradientOf(engine, rows);
    expect(relativeError(await gradientOf(engine, [pack(rows)]), separate)).toBeLessThan(1e-6);
    await engine.dispose();
  });

  it('are the same bits with saved and with recomputed activations', async () => {
    const saving = await open();
    const recomputing = await open({ recompute: true });
    const saved = await gradientOf(saving, [batch]);
    expect(await gradientOf(recomputing, [batch])).toEqual(saved);
    // 256 queries are two pieces, whose result is kept.
    const long = randomBatch(tinyConfig, [256, 200]);
    expect(await gradientOf(recomputing, [long])).toEqual(await gradientOf(saving, [long]));
    await saving.dispose();
    await recomputing.dispose();
  });

  it('do not depend on what the padding holds', async () => {
    const engine = await open();
    const expected = await gradientOf(engine, [batch]);
    const inputIds = batch.inputIds.map((id, i) => (batch.segmentIds[i] === 0 ? 17 : id));
    expect(await gradientOf(engine, [{ ...batch, inputIds }])).toEqual(expected);
    await engine.dispose();
  });

  it('repeat bit by bit', async () => {
    const engine = await open();
    const first = await gradientOf(engine, [batch]);
    expect(await gradientOf(engine, [batch])).toEqual(first);
    await engine.dispose();
  });
});

describe('losses', () => {
  it('add up over batches until they are taken or the gradient is cleared', async () => {
    const engine = await open();
    const batches = [randomBatch(tinyConfig, [6, 6]), randomBatch(tinyConfig, [9, 4], 2)];
    const each: number[] = [];
    for (const batch of batches) each.push((await engine.evaluate(batch)).lossSum);
    const pass = async () => {
      for (const batch of batches) await engine.forwardBackward(batch, 1);
    };
    await pass();
    // Forward passes that keep something for the backward pass and that do not are the same arithmetic.
    expect(await engine.takeLossSum()).toBe(each[0]! + each[1]!);
    expect(await engine.takeLossSum()).toBe(0);
    await pass();
    await engine.zeroGradient();
    expect(await engine.takeLossSum()).toBe(0);
    await engine.dispose();
  });
});

describe('state', () => {
  const batch = randomBatch(tinyConfig, [6, 6]);
  const step = async (engine: Engine, number: number) => {
    await engine.forwardBackward(batch, 1 / batch.lossTokens);
    const norm = await engine.gradientNorm();
    const options = {
      step: number,
      learningRate: 1e-2,
      weightDecay: 0.1,
      adamBeta1: 0.9,
      adamBeta2: 0.95,
      adamEpsilon: 1e-8,
      maxGradNorm: 1,
    };
    await engine.optimizerStep(options, norm);
  };

  it('continues exactly where it was read', async () => {
    const engine = await open();
    for (const number of [1, 2]) await step(engine, number);
    const middle = await engine.readState();
    for (const number of [3, 4]) await step(engine, number);
    const end = await engine.readState();
    await engine.dispose();

    const resumed = await open();
    await resumed.writeState(middle);
    for (const number of [3, 4]) await step(resumed, number);
    expect(await resumed.readState()).toEqual(end);
    await expect(
      resumed.writeState({ ...end, parameters: end.parameters.slice(1) }),
    ).rejects.toMatchObject({ code: 'run.corrupt' });
    await resumed.dispose();
  });

  it('names the tensor whose gradient is not finite', async () => {
    const engine = await open();
    await engine.forwardBackward(batch, 1);
    expect(await engine.findNonFinite()).toBeUndefined();
    const state = await engine.readState();
    const head = engine.trainable.find(({ name }) => name === 'lm_head.weight')!;
    state.parameters[head.offset] = Infinity;
    await engine.writeState(state);
    await engine.zeroGradient();
    await engine.forwardBackward(batch, 1);
    expect(await engine.gradientNorm()).toBeNaN();
    expect(await engine.findNonFinite()).toBe('model.embed_tokens.weight');
    await engine.dispose();
  });

  it('excludes norms and biases from weight decay', async () => {
    const config: DecoderConfig = { ...tinyConfig, attentionBias: { qkv: true, o: false } };
    const engine = await open({ config, weights: randomWeights(config, 1) });
    const free = engine.trainable.filter(({ weightDecay }) => !weightDecay);
    expect(free.map(({ name }) => name.replace(/layers\.\d+/, 'layers.N')).sort()).toEqual(
      [
        ...Array.from({ length: config.numLayers }, () => [
          'model.layers.N.input_layernorm.weight',
          'model.layers.N.post_attention_layernorm.weight',
          'model.layers.N.self_attn.k_proj.bias',
          'model.layers.N.self_attn.q_proj.bias',
          'model.layers.N.self_attn.v_proj.bias',
        ]).flat(),
        'model.norm.weight',
      ].sort(),
    );
    await engine.dispose();
  });
});

describe('stopping', () => {
  it('takes effect at the next block, in either direction', async () => {
    const visited: string[] = [];
    let stopAfter = Infinity;
    const engine = await open({
      shouldStop: () => visited.length >= stopAfter,
      onBlock: ({ phase, layer }) => visited.push(`${phase} ${layer}`),
    });
    const batch = randomBatch(tinyConfig, [5]);
    await engine.forwardBackward(batch, 1);
    expect(visited).toEqual(['forward 0', 'forward 1', 'backward 1', 'backward 0']);
    for (stopAfter of [1, 3]) {
      visited.length = 0;
      await expect(engine.forwardBackward(batch, 1)).rejects.toMatchObject({ code: 'run.stopped' });
      expect(visited).toHaveLength(stopAfter);
    }
    visited.length = 0;
    stopAfter = 1;
    await expect(engine.evaluate(batch)).rejects.toMatchObject({ code: 'run.stopped' });
    await engine.dispose();
  });
});

describe('bad input', () => {
  it('names a missing tensor, a wrong shape and a foreign token id', async () => {
    const tensors = new Map<string, RawTensor>();
    for (const name of weights.names) tensors.set(name, await weights.read(name));
    const name = 'model.layers.1.mlp.up_proj.weight';
    const right = tensors.get(name)!;
    tensors.set(name, { ...right, shape: [...right.shape].reverse() });
    await expect(open({ weights: weightsFromMap(tensors) })).rejects.toMatchObject({
      code: 'model.shape',
      message: expect.stringContaining('[24, 40]') as string,
    });
    tensors.delete(name);
    await expect(open({ weights: weightsFromMap(tensors) })).rejects.toThrow(name);

    const engine = await open();
    const batch = randomBatch(tinyConfig, [4]);
    batch.inputIds[1] = tinyConfig.vocabSize;
    await expect(engine.evaluate(batch)).rejects.toMatchObject({ code: 'tokenizer.invalid' });
    await engine.dispose();
  });
});

describe('frozen weights', () => {
  it('are the same function in the file’s type and widened once', async () => {
    const narrow = new Map<string, RawTensor>();
    for (const name of weights.names) {
      const { shape, data } = await weights.read(name);
      narrow.set(name, { dtype: 'BF16', shape, data: fromFloat32('BF16', data as Float32Array) });
    }
    const frozen = { trainsBaseWeights: false, modules: new Map() };
    const options = { weights: weightsFromMap(narrow), adapters: frozen };
    const resident = await open(options);
    const streamed = await open({ ...options, residentLimit: 0 });
    const batch = randomBatch(tinyConfig, [9, 5]);
    const last = Int32Array.of(8, 4);
    expect(await streamed.logits(batch, last)).toEqual(await resident.logits(batch, last));
    // The head adds up part by part where weights stay in the file's type: roundings of 6e-8.
    const [parts, whole] = [await streamed.evaluate(batch), await resident.evaluate(batch)];
    expect(Math.abs(parts.lossSum / whole.lossSum - 1)).toBeLessThan(1e-6);
    await resident.dispose();
    await streamed.dispose();
  });
});

interface AdamWFixture {
  learning_rate: number;
  betas: [number, number];
  epsilon: number;
  max_norm: number;
  runs: {
    weight_decay: number;
    initial: number[];
    steps: ({ norm: number } & Record<
      'gradient' | 'parameters' | 'first_moment' | 'second_moment',
      number[]
    >)[];
  }[];
}

describe('AdamW against PyTorch', () => {
  const fixture = JSON.parse(
    readFileSync('test/fixtures/engine/adamw.json', 'utf8'),
  ) as AdamWFixture;

  // Same fp32 operations in the same order; 1e-6 leaves room for fused multiply-add.
  it.each(fixture.runs.map((run) => [run.weight_decay, run] as const))(
    'weight decay %d',
    async (weightDecay, run) => {
      const size = run.initial.length;
      const tensor = {
        name: 'w',
        shape: [size],
        offset: 0,
        size,
        weightDecay: true,
        learningRateFactor: 1,
      };
      const group = { offset: 0, size, tensors: [tensor] };
      const store = await ParameterStore.create(
        { size, tensors: [tensor], embedding: undefined, blocks: [group], head: undefined },
        openDevice({ kind: 'cpu', threads: 1 }),
      );
      const zeros = new Float32Array(size);
      await store.writeState({
        parameters: Float32Array.from(run.initial),
        firstMoment: zeros,
        secondMoment: zeros,
      });
      for (const [index, expected] of run.steps.entries()) {
        hostArray(store.group(group).gradient.value).set(expected.gradient);
        const norm = await store.gradientNorm();
        expect(Math.abs(norm / expected.norm - 1)).toBeLessThan(1e-6);
        await store.adamWStep(
          {
            step: index + 1,
            learningRate: fixture.learning_rate,
            weightDecay,
            adamBeta1: fixture.betas[0],
            adamBeta2: fixture.betas[1],
            adamEpsilon: fixture.epsilon,
            maxGradNorm: fixture.max_norm,
          },
          norm,
        );
        const state = await store.readState();
        expect(relativeError(state.parameters, expected.parameters)).toBeLessThan(1e-6);
        expect(
          relativeError(state.firstMoment as Float32Array, expected.first_moment),
        ).toBeLessThan(1e-6);
        expect(
          relativeError(state.secondMoment as Float32Array, expected.second_moment),
        ).toBeLessThan(1e-6);
        expect(await store.readGradient()).toEqual(zeros);
      }
      await store.dispose();
    },
  );
});
