/** Generation with a cache against generation without one, and against transformers. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { generateGreedy } from '../../../src/trainer/generate';
import { generateAll, type Strategy } from '../../../src/trainer/generation/generate';
import { applyChanges } from '../../../src/trainer/generation/weightView';
import { decoderFixtures, openTiny } from './harness';

const fixture = JSON.parse(readFileSync('test/fixtures/generation/generate.json', 'utf8')) as {
  sharpen: number;
  cases: {
    name: string;
    runs: {
      prompt: number[];
      num_beams: number;
      length_penalty: number;
      eos_token_ids: number[];
      tokens: number[];
    }[];
  }[];
};
const byName = decoderFixtures.map((tiny) => [tiny.name, tiny] as const);
const ragged = [
  [1, 6, 11, 16, 21],
  [4, 9],
  [7, 7, 3, 12, 5, 19, 2, 8, 10, 1, 13, 14, 3, 6, 2, 9, 9, 4],
];

describe('the cache', () => {
  it.each(byName)('changes nothing about greedy answers: %s', async (_, tiny) => {
    const { decoder, weights, naive } = await openTiny(tiny, { sharpen: fixture.sharpen });
    const engine = await naive();
    // Beyond 64 tokens, so that the cache grows; over the windows of the sliding ones many times.
    const expected = await generateGreedy(engine, ragged, [], 60);
    const answers = await generateAll(decoder, weights, ragged, {
      strategy: { kind: 'greedy' },
      maxNewTokens: 60,
      eosTokenIds: [],
    });
    expect(answers.map(({ tokens }) => tokens)).toEqual(expected);
    await engine.dispose();
    await decoder.dispose();
  });

  it('gives the logits of one pass when a prompt comes in pieces', async () => {
    const { decoder, weights } = await openTiny(decoderFixtures[0]!);
    const prompt = ragged[2]!;
    const whole = await decoder.nextLogits(weights, decoder.newCache(1), [prompt]);
    const cache = decoder.newCache(1);
    await decoder.nextLogits(weights, cache, [prompt.slice(0, 7)]);
    await decoder.nextLogits(weights, cache, [prompt.slice(7, 8)]);
    const pieces = await decoder.nextLogits(weights, cache, [prompt.slice(8)]);
    // The order of sums differs: some roundings of 6e-8 on logits around 1.
    pieces.forEach((value, i) => expect(Math.abs(value - whole[i]!)).toBeLessThan(2e-6));
    await decoder.dispose();
  });
});

describe('against transformers', () => {
  it.each(byName)('%s', async (name, tiny) => {
    const { decoder, weights } = await openTiny(tiny, { sharpen: fixture.sharpen });
    const { runs } = fixture.cases.find((one) => one.name === name)!;
    expect(runs.length).toBeGreaterThan(0);
    for (const run of runs) {
      const strategy: Strategy =
        run.num_beams === 1
          ? { kind: 'greedy' }
          : { kind: 'beams', numBeams: run.num_beams, lengthPenalty: run.length_penalty };
      const [answer] = await generateAll(decoder, weights, [run.prompt], {
        strategy,
        maxNewTokens: 24,
        eosTokenIds: run.eos_token_ids,
      });
      const ended = run.eos_token_ids.includes(run.tokens.at(-1)!);
      expect(answer!.tokens, JSON.stringify(run)).toEqual(
        ended ? run.tokens.slice(0, -1) : run.tokens,
      );
      expect(answer!.finish).toBe(ended ? 'eos' : 'length');
    }
    await decoder.dispose();
  });

  it('searches several prompts at once as one by one', async () => {
    const tiny = decoderFixtures[0]!;
    const { decoder, weights } = await openTiny(tiny, { sharpen: fixture.sharpen });
    const runs = fixture.cases[0]!.runs.filter(
      (run) => run.num_beams === 4 && run.length_penalty === 1,
    );
    expect(runs.length).toBeGreaterThan(1);
    const answers = await generateAll(
      decoder,
      weights,
      runs.map((run) => run.prompt),
      {
        strategy: { kind: 'beams', numBeams: 4, lengthPenalty: 1 },
        maxNewTokens: 24,
        eosTokenIds: runs[0]!.eos_token_ids,
      },
    );
    answers.forEach(({ tokens }, i) => {
      const expected = runs[i]!.tokens.filter((id) => !runs[i]!.eos_token_ids.includes(id));
      expect(tokens).toEqual(expected);
    });
    await decoder.dispose();
  });
});

describe('sampling', () => {
  it('repeats with the seed, and differs with another one', async () => {
    const { decoder, weights } = await openTiny(decoderFixtures[0]!);
    const answer = async (seed: number, prompts = ragged): Promise<number[][]> => {
      const answers = await generateAll(decoder, weights, prompts, {
        strategy: { kind: 'sample', temperature: 1, topK: 0, topP: 1, seed },
        maxNewTokens: 20,
        eosTokenIds: [],
      });
      return answers.map(({ tokens }) => tokens);
    };
    const first = await answer(1);
    expect(await answer(1)).toEqual(first);
    expect(await answer(2)).not.toEqual(first);
    // What else is in the batch does not matter.
    expect((await answer(1, [ragged[0]!]))[0]).toEqual(first[0]);
    await decoder.dispose();
  });
});

describe('ending', () => {
  it('stops at a complete answer, and when asked to', async () => {
    const { decoder, weights } = await openTiny(decoderFixtures[0]!);
    const options = { strategy: { kind: 'greedy' }, maxNewTokens: 20, eosTokenIds: [] } as const;
    const [complete] = await generateAll(decoder, weights, [[1, 2, 3]], {
      ...options,
      isComplete: (tokens) => tokens.length === 3,
    });
    expect(complete).toMatchObject({ finish: 'stop' });
    expect(complete!.tokens).toHaveLength(3);
    let polls = 0;
    const [stopped] = await generateAll(decoder, weights, [[1, 2, 3]], {
      ...options,
      shouldStop: () => ++polls > 5,
    });
    expect(stopped).toMatchObject({ finish: 'stopped' });
    expect(stopped!.tokens).toHaveLength(5);
    await decoder.dispose();
  });
});

describe('an adapter', () => {
  it('is a change of some weights over a shared base', async () => {
    const { decoder, weights, config } = await openTiny(decoderFixtures[0]!, {
      sharpen: fixture.sharpen,
    });
    const name = 'model.layers.0.mlp.down_proj.weight';
    const size = config.hiddenSize * config.intermediateSize;
    const adapted = await applyChanges(weights, [name, 'model.norm.weight'], {
      delta: (tensor) =>
        tensor === name ? Promise.resolve(new Float32Array(size).fill(0.25)) : undefined,
    });
    const [base] = weights.read([name]);
    const [changed, norm] = adapted.read([name, 'model.norm.weight']);
    changed!.forEach((value, i) => expect(value).toBeCloseTo(base![i]! + 0.25, 6));
    expect(norm).toBe(weights.read(['model.norm.weight'])[0]);
    const run = (view: typeof weights | typeof adapted) =>
      generateAll(decoder, view, ragged, {
        strategy: { kind: 'greedy' },
        maxNewTokens: 10,
        eosTokenIds: [],
      });
    const before = await run(weights);
    expect(await run(adapted)).not.toEqual(before);
    expect(await run(weights)).toEqual(before);
    await decoder.dispose();
  });
});
