import { describe, expect, it } from 'vitest';
import { fullPlan } from '../../../src/adapters/adapter';
import { planAdapters } from '../../../src/adapters/plan';
import { runConfigSchema } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { BatchPlan, collate } from '../../../src/data/batches';
import { TokenizedSet } from '../../../src/data/tokenizedSet';
import { Rng } from '../../../src/core/rng';
import type { BuiltGraph } from '../../../src/graph/graph';
import { createEngine, type EngineOptions } from '../../../src/trainer/engine/createEngine';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import { SessionCache } from '../../../src/trainer/engine/sessionCache';
import { FrozenWeights } from '../../../src/trainer/engine/frozenWeights';
import { logLikelihoods } from '../../../src/trainer/evaluation/likelihood';
import { CachedDecoder } from '../../../src/trainer/generation/cachedDecoder';
import { openDevice, type Device, type Session } from '../../../src/trainer/ort/device';
import type { Engine } from '../../../src/trainer/engine';
import { expectedWeights } from '../../../src/models/config';
import { type Compiles, countCompiles } from '../../../bench/lengths/countCompiles';
import { relativeError } from '../graph/harness';
import { tinyConfig } from './tiny';

const config = { ...tinyConfig, numLayers: 1, maxPositionEmbeddings: 512 };
const weights = randomWeights(config, 3);

async function open(
  overrides: Partial<EngineOptions> = {},
): Promise<{ engine: Engine; compiles: Compiles }> {
  const { device, compiles } = countCompiles(openDevice({ kind: 'cpu', threads: 1 }));
  const engine = await createEngine({
    config,
    weights,
    adapters: fullPlan,
    device,
    threads: 1,
    ...overrides,
  });
  return { engine, compiles };
}

/** Sequences of these lengths, whose last half carries labels. */
function setOf(lengths: readonly number[]): TokenizedSet {
  const rng = new Rng(1, 'test lengths');
  const set = new TokenizedSet();
  for (const length of lengths) {
    const ids = Array.from({ length }, () => rng.integer(config.vocabSize));
    set.add(
      ids,
      ids.map((_, i) => (2 * i >= length ? 1 : 0)),
    );
  }
  return set;
}

function planOf(set: TokenizedSet, batchSize: number, groupByLength = false): BatchPlan {
  const order = { seed: 1, shuffle: true, groupByLength };
  return new BatchPlan(set, { batchSize, ...order, maxLength: 450, padTokenId: 0 });
}

async function trainEpoch(engine: Engine, plan: BatchPlan, epoch: number): Promise<void> {
  for (let i = 0; i < plan.batchesPerEpoch; i++) {
    const batch = plan.batch(epoch, i);
    await engine.forwardBackward(batch, 1 / batch.lossTokens);
  }
}

/** Evenly from 5 to 450 in a mixed order: every length that multiples of 8 or steps of an eighth give. */
const mixed = Array.from({ length: 90 }, (_, i) => 5 + ((i * 37) % 90) * 5);

describe('compiled graphs', () => {
  it('are all there after one pass over data of mixed lengths', async () => {
    const { engine, compiles } = await open();
    const plan = planOf(setOf(mixed), 1);
    await trainEpoch(engine, plan, 0);
    // At one sequence a batch a pass has every shape that there is: 31 lengths up to 450, each with
    // context, forward, two backwards at most, and the head's.
    expect(plan.paddedLengths.size).toBe(31);
    const first = compiles.graphs;
    expect(first).toBeGreaterThan(3 * 31);
    expect(first).toBeLessThanOrEqual(6 * 31);
    await trainEpoch(engine, plan, 1);
    await trainEpoch(engine, plan, 2);
    expect(compiles.graphs).toBe(first);
    await engine.dispose();
    expect(compiles.held).toBe(0);
  });

  it('are compiled once each, evaluation’s beside training’s', async () => {
    const { engine, compiles } = await open();
    const set = setOf(mixed);
    const plan = planOf(set, 4);
    const validation = planOf(set, 8, true);
    for (const epoch of [0, 1, 2]) {
      await trainEpoch(engine, plan, epoch);
      for (let i = 0; i < validation.batchesPerEpoch; i++) {
        await engine.evaluate(validation.batch(0, i));
      }
    }
    // Nothing that was let go: whatever comes again is there.
    expect(compiles.held).toBe(compiles.graphs);
    await engine.dispose();
  });

  it('of the pass at hand stay, however little memory they may take', async () => {
    const limited = await open({ compiledLimit: 1 });
    const free = await open();
    const batches = [planOf(setOf([20]), 1), planOf(setOf([100]), 1)].map((p) => p.batch(0, 0));
    const [short, long] = batches as [(typeof batches)[0], (typeof batches)[0]];
    for (const { engine } of [limited, free]) await engine.forwardBackward(short, 1);
    const once = limited.compiles.graphs;
    expect(limited.compiles.held).toBe(once);
    for (const { engine } of [limited, free]) await engine.forwardBackward(short, 1);
    expect(limited.compiles.graphs).toBe(once);
    for (const { engine } of [limited, free]) await engine.forwardBackward(long, 1);
    // The other shape's have gone, but for what both need, and nothing else is different.
    expect(limited.compiles.held).toBeLessThan(free.compiles.held);
    expect(await limited.engine.readGradient()).toEqual(await free.engine.readGradient());
    for (const { engine } of [limited, free]) await engine.dispose();
    expect(limited.compiles.held).toBe(0);
  });

  it('are those of the first step at one length, even where every block has other ranks', async () => {
    const layers = 24;
    const deep = { ...config, numLayers: layers };
    const { adapter } = runConfigSchema.parse({
      data: { train: 'none' },
      adapter: {
        r: 2,
        rank_pattern: Object.fromEntries(
          Array.from({ length: layers }, (_, i) => [`model.layers.${i}.self_attn.q_proj`, i + 1]),
        ),
      },
    });
    const unused = (): never => {
      throw new Error('LoRA looks at no weight');
    };
    const adapters = await planAdapters({
      method: 'lora',
      config: deep,
      options: adapter,
      seed: 0,
      gemm: plainGemm,
      weight: unused,
      initialCores: unused,
    });
    const { engine, compiles } = await open({
      config: deep,
      weights: randomWeights(deep, 3),
      adapters,
    });
    const batch = planOf(setOf([12]), 1).batch(0, 0);
    await engine.forwardBackward(batch, 1);
    const first = compiles.graphs;
    expect(first).toBeGreaterThanOrEqual(2 * layers);
    await engine.forwardBackward(batch, 1);
    expect(compiles.graphs).toBe(first);
    await engine.dispose();
  });

  it('go by the order of their last use, when those of earlier passes take too much', async () => {
    const released: string[] = [];
    let made = '';
    const device = {
      compile: () => {
        const name = made;
        const session: Partial<Session> = {
          release: () => Promise.resolve(void released.push(name)),
        };
        return Promise.resolve(session as Session);
      },
    } as Partial<Device> as Device;
    const graph: BuiltGraph = { model: new Uint8Array(), inputs: [], outputs: [], nodes: [] };
    // Graphs without nodes take 100 KB each: two of them fit.
    const cache = new SessionCache(device, 250 * 2 ** 10);
    const get = async (key: string): Promise<void> => {
      made = key;
      cache.beginPass();
      await cache.get(key, () => graph);
    };
    for (const key of ['a', 'b', 'a', 'c', 'd']) await get(key);
    expect(released).toEqual(['b', 'a']);
    await cache.dispose();
    expect(released).toEqual(['b', 'a', 'c', 'd']);
  });

  it('of generation and scoring are all there after the first texts of each length', async () => {
    const { device, compiles } = countCompiles(openDevice({ kind: 'cpu', threads: 1 }));
    const names = [...expectedWeights(config)].map(([name, shape]) => ({ name, shape }));
    const view = await FrozenWeights.load(weights, names, true);
    const decoder = new CachedDecoder({ config, device });
    const set = setOf(mixed);
    const texts = mixed.map((_, i) => {
      const { inputIds, lossMask } = set.at(i);
      return { ids: [...inputIds], mask: [...lossMask].map((m) => (m === 1 ? 1 : 0)) as (0 | 1)[] };
    });
    const score = async (): Promise<number[]> => {
      const scores: number[] = [];
      for (const text of texts) {
        scores.push((await logLikelihoods(decoder, view, [text]))[0]!.logProbability);
      }
      return scores;
    };
    const scores = await score();
    const once = compiles.graphs;
    // 23 lengths in steps of 16 and more, and powers of two up to 64 rows of logits.
    expect(once).toBeLessThanOrEqual(23 + 7);
    expect(await score()).toEqual(scores);
    expect(compiles.graphs).toBe(once);
    await decoder.dispose();
    expect(compiles.held).toBe(0);
  });
});

describe('gradients', () => {
  it('do not depend on the length that a batch is padded to', async () => {
    const { engine } = await open();
    const set = setOf([130, 70]);
    const gradientOf = async (longest: number): Promise<Float32Array> => {
      await engine.zeroGradient();
      const batch = collate(set, [[0], [1]], 0, longest);
      expect(batch.sequenceLength).toBe(longest);
      await engine.forwardBackward(batch, 1 / batch.lossTokens);
      return engine.readGradient();
    };
    const short = await gradientOf(136);
    // Equal sums with more zeros among them: some roundings of 6e-8.
    expect(relativeError(await gradientOf(144), short)).toBeLessThan(1e-6);
    await engine.dispose();
  });
});
