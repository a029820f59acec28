/** Attention in pieces: the same numbers as at once, the same gradients, and no larger tensor than asked. */
import { describe, expect, it } from 'vitest';
import { BLOCKED } from '../../../src/graph/decoder/contextGraph';
import type { FloatType } from '../../../src/graph/dtype';
import { gradients } from '../../../src/graph/gradients';
import { Graph } from '../../../src/graph/graph';
import { attention, type AttentionShape, maskSlices } from '../../../src/graph/layers/attention';
import {
  attentionCut,
  type AttentionCut,
  attentionGroups,
  isCut,
  maskPieces,
  wholeAttention,
} from '../../../src/graph/layers/attentionCut';
import { sizeOf } from '../../../src/graph/shape';
import { Rng } from '../../../src/core/rng';
import { checkGradient, relativeError, runGraph } from './harness';

const shape: AttentionShape = { batch: 3, sequence: 7, heads: 4, keyValueHeads: 2, headDim: 2 };
const tokens = shape.batch * shape.sequence;
const sizes = {
  q: [tokens, shape.heads, shape.headDim],
  k: [tokens, shape.keyValueHeads, shape.headDim],
  v: [tokens, shape.keyValueHeads, shape.headDim],
};

/** Causal within the window; the second sequence is two packed ones, the third ends with padding. */
function maskValues(window = Infinity): number[] {
  const segments = [
    [1, 1, 1, 1, 1, 1, 1],
    [1, 1, 1, 2, 2, 2, 2],
    [1, 1, 1, 1, 1, 0, 0],
  ];
  return segments.flatMap((row) =>
    row.flatMap((own, query) =>
      row.map((other, key) =>
        own === other && key <= query && key > query - window ? 0 : BLOCKED,
      ),
    ),
  );
}

const cuts: [string, AttentionCut][] = [
  ['one piece', wholeAttention(shape)],
  ['queries', { sequences: 3, keyHeads: 2, queries: 3 }],
  ['single queries', { sequences: 3, keyHeads: 2, queries: 1 }],
  ['sequences, the last piece smaller', { sequences: 2, keyHeads: 2, queries: 7 }],
  ['sequences, heads and queries', { sequences: 1, keyHeads: 1, queries: 2 }],
];
const cases = cuts.flatMap(([name, cut]) => [
  { name, cut, window: undefined },
  { name: `${name}, with a window`, cut, window: 3 },
]);

function build(
  dtype: FloatType,
  { cut, window }: { cut: AttentionCut; window?: number | undefined },
) {
  const graph = new Graph();
  const [q, k, v] = Object.entries(sizes).map(([name, size]) => graph.input(name, dtype, size));
  const mask = graph.floats(dtype, maskValues(window), [3, 1, 1, 7, 7]);
  return {
    graph,
    q: q!,
    k: k!,
    v: v!,
    output: attention(q!, k!, v!, maskSlices(mask), shape, { cut, window }),
  };
}

describe('attention in pieces', () => {
  it.each(cases)('has the gradients of central differences: $name', async ({ cut, window }) => {
    const inputs = Object.fromEntries(
      Object.entries(sizes).map(([name, size]) => [name, { shape: size }]),
    );
    await checkGradient(inputs, ({ q, k, v }, graph) => {
      const mask = graph.floats('float64', maskValues(window), [3, 1, 1, 7, 7]);
      return attention(q!, k!, v!, maskSlices(mask), shape, { cut, window });
    });
  });

  it.each(cases.slice(2))('gives what attention at once gives: $name', async ({ cut, window }) => {
    const rng = new Rng(11, 'attention');
    const feeds = Object.fromEntries(
      Object.entries(sizes).map(([name, size]) => [name, rng.normals(sizeOf(size), 1)]),
    );
    const seed = rng.normals(tokens * shape.heads * shape.headDim, 1);
    const compute = async (of: AttentionCut) => {
      const { graph, q, k, v, output } = build('float32', { cut: of, window });
      const seeds = [{ output, gradient: graph.input('seed', 'float32', output.shape) }];
      graph.output('output', output);
      gradients(seeds, [q, k, v]).forEach((gradient, i) => graph.output(`d${'qkv'[i]!}`, gradient));
      return runGraph(graph, { ...feeds, seed });
    };
    const [pieces, whole] = [await compute(cut), await compute(wholeAttention(shape))];
    for (const [name, values] of Object.entries(whole)) {
      expect(values.length).toBeGreaterThan(0);
      // fp32: sums of a few terms in another order.
      expect(relativeError(pieces[name]!, values), name).toBeLessThan(1e-6);
    }
  });

  it.each(cases.slice(2))('makes no scores beyond those of a piece: $name', ({ cut, window }) => {
    const { graph, q, k, v, output } = build('float32', { cut, window });
    const seeds = [{ output, gradient: graph.input('seed', 'float32', output.shape) }];
    gradients(seeds, [q, k, v]).forEach((gradient, i) => graph.output(`d${'qkv'[i]!}`, gradient));
    const { nodes } = graph.build();
    const scores = nodes
      .filter(({ op }) => op === 'Softmax')
      .map(({ inputShapes }) => inputShapes[0]!);
    // Without a backward pass of its own: once forward for the sums over rows, and once backward.
    const pieces = attentionGroups(shape, cut, { window }).flatMap((group) => group.pieces);
    expect(scores).toHaveLength(2 * pieces.length);
    const limit = cut.sequences * cut.keyHeads * 2 * cut.queries * 7;
    for (const size of scores) expect(sizeOf(size)).toBeLessThanOrEqual(limit);
    // Causality alone leaves out nearly half of single queries' keys.
    const looked = scores.reduce((sum, size) => sum + sizeOf(size), 0) / 2;
    if (cut.queries === 1 && !window) expect(looked).toBe((3 * 4 * 7 * 8) / 2);
    if (cut.queries === 1 && window) expect(looked).toBe(3 * 4 * (1 + 2 + 5 * 3));
  });
});

describe('the cut', () => {
  const llama = { batch: 4, sequence: 2048, heads: 32, keyValueHeads: 8 };

  it.each([
    [llama, 2 ** 26],
    [llama, 2 ** 20],
    [llama, 2 ** 16],
    [{ ...llama, sequence: 1000 }, 2 ** 24],
    [{ batch: 64, sequence: 128, heads: 8, keyValueHeads: 8 }, 2 ** 24],
    [{ batch: 1, sequence: 513, heads: 7, keyValueHeads: 1 }, 2 ** 18],
  ])('keeps scores and masks of %j within %d bytes and covers every query once', (size, limit) => {
    const cut = attentionCut(size, limit);
    const groups = attentionGroups(size, cut);
    const length = ([first, last]: readonly [number, number]): number => last - first;
    const seen = new Map<string, number>();
    for (const { sequences, keyHeads, pieces } of groups) {
      for (const { queries, keys } of pieces) {
        const rows = length(sequences) * length(queries) * length(keys);
        const group = size.heads / size.keyValueHeads;
        expect(4 * rows * length(keyHeads) * group).toBeLessThanOrEqual(limit);
        expect(keys).toEqual([0, queries[1]]);
        const key = `${sequences.join()} ${keyHeads.join()}`;
        seen.set(
          key,
          (seen.get(key) ?? 0) + length(queries) * length(sequences) * length(keyHeads),
        );
      }
    }
    const total = [...seen.values()].reduce((sum, count) => sum + count, 0);
    expect(total).toBe(size.batch * size.sequence * size.keyValueHeads);
    for (const { sequences, queries, keys } of maskPieces(size, cut)) {
      expect(4 * length(sequences) * length(queries) * length(keys)).toBeLessThanOrEqual(limit);
    }
  });

  it('leaves short sequences whole, and cuts heads and queries before nothing fits', () => {
    const short = { batch: 8, sequence: 128, heads: 8, keyValueHeads: 2 };
    expect(isCut(short, attentionCut(short, 2 ** 24))).toBe(false);
    expect(attentionCut(llama, 2 ** 26)).toEqual({ sequences: 2, keyHeads: 8, queries: 128 });
    expect(attentionCut(llama, 2 ** 23)).toEqual({ sequences: 1, keyHeads: 2, queries: 128 });
    expect(attentionCut(llama, 2 ** 20)).toEqual({ sequences: 1, keyHeads: 1, queries: 32 });
    expect(attentionCut(llama, 1)).toEqual({ sequences: 1, keyHeads: 1, queries: 1 });
  });
});
