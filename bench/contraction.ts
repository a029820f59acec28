/**
 * One linear layer with an MPO adapter, forward and backward: the change formed as a dense matrix,
 * against the activations taken through its two halves; and the rule that chooses between them.
 *
 *   npm run bench -- contraction [--threads 2] [--rounds 5] [--case 4096x4096r4n4t512 ...]
 */
import { parseArgs } from 'node:util';
import { chooseShape, fullBonds } from '../src/core/mpo/shapes';
import { Rng } from '../src/core/rng';
import { gradients } from '../src/graph/gradients';
import { type BuiltGraph, Graph, type Tensor } from '../src/graph/graph';
import { applyMpo, mergeMpo, productWithMpo, sequentialWins } from '../src/graph/layers/mpo';
import { add } from '../src/graph/ops/elementwise';
import { flatten } from '../src/graph/ops/layout';
import { gemm } from '../src/graph/ops/matmul';
import { sizeOf } from '../src/graph/shape';
import { type Device, openDevice } from '../src/trainer/ort/device';

const defaults = [
  '1024x1024r4n4t128',
  '1024x1024r4n4t1024',
  '1024x1024r8n4t512',
  '2048x2048r8n4t512',
  '3072x1024r4n4t256',
  '3072x1024r16n4t1024',
  '4096x4096r4n4t128',
  '4096x4096r4n4t512',
  '4096x4096r8n4t512',
  '4096x4096r16n4t64',
  '11264x4096r4n4t512',
];

type Way = 'frozen' | 'dense' | 'sequential';
const ways: readonly Way[] = ['frozen', 'dense', 'sequential'];

interface Layer {
  out: number;
  into: number;
  tokens: number;
  cores: readonly (readonly number[])[];
}

function parseCase(text: string): Layer {
  const found = /^(\d+)x(\d+)r(\d+)n(\d+)t(\d+)$/.exec(text);
  if (!found) throw new Error(`"${text}" is not like ${defaults[0]!}`);
  const [out, into, rank, n, tokens] = found.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const shape = chooseShape(out, into, n);
  const bonds = fullBonds(shape).map((full) => Math.min(full, rank));
  const cores = shape.rows.map((rows, k) => [
    bonds[k - 1] ?? 1,
    rows,
    shape.cols[k]!,
    bonds[k] ?? 1,
  ]);
  return { out, into, tokens, cores };
}

const layoutOf = ({ out, into }: Layer) =>
  ({ orientation: 'out', outFeatures: out, inFeatures: into }) as const;

function build(way: Way, layer: Layer, backward: boolean): BuiltGraph {
  const { out, into, tokens } = layer;
  const graph = new Graph();
  const x = graph.input('x', 'float32', [tokens, into]);
  const weight = graph.input('weight', 'float32', [out, into]);
  const cores = layer.cores.map((shape, k) => graph.input(`core${k}`, 'float32', shape));
  const product = (matrix: Tensor): Tensor => gemm(x, matrix, { transposeB: true });
  const outputOf = (): Tensor => {
    switch (way) {
      case 'frozen':
        return product(weight);
      case 'dense':
        return productWithMpo(
          x,
          add(weight, mergeMpo(cores, layoutOf(layer))),
          cores,
          layoutOf(layer),
        );
      case 'sequential':
        return add(product(weight), applyMpo(x, cores, layoutOf(layer)));
    }
  };
  const output = outputOf();
  if (!backward) {
    graph.output('output', output);
    return graph.build();
  }
  const gradient = graph.input('gradient', 'float32', [tokens, out]);
  const targets = way === 'frozen' ? [x] : [x, ...cores];
  const [towardsX, ...parts] = gradients([{ output, gradient }], targets) as [Tensor, ...Tensor[]];
  graph.output('input_gradient', towardsX);
  if (parts.length > 0) graph.output('core_gradient', flatten(parts));
  return graph.build();
}

async function prepare(device: Device, way: Way, layer: Layer) {
  const sessions = [
    await device.compile(build(way, layer, false)),
    await device.compile(build(way, layer, true)),
  ];
  const feeds = Object.fromEntries(
    [
      ['x', [layer.tokens, layer.into]],
      ['weight', [layer.out, layer.into]],
      ['gradient', [layer.tokens, layer.out]],
      ...layer.cores.map((shape, k) => [`core${k}`, shape]),
    ].map(([name, shape]) => [
      name,
      new Rng(1, String(name)).normals(sizeOf(shape as number[]), 0.1),
    ]),
  ) as Record<string, Float32Array>;
  return {
    async ms(): Promise<number> {
      const started = performance.now();
      for (const session of sessions) await session.run(feeds);
      return performance.now() - started;
    },
    async release(): Promise<void> {
      for (const session of sessions) await session.release();
    },
  };
}

const { values } = parseArgs({
  options: {
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '5' },
    case: { type: 'string', multiple: true, default: defaults },
    json: { type: 'boolean', default: false },
  },
});
const device = openDevice({ kind: 'cpu', threads: Number(values.threads) });
if (!values.json) {
  console.log('| layer | frozen ms | dense ms | sequential ms | sequential / dense | rule |');
  console.log('| --- | ---: | ---: | ---: | ---: | --- |');
}
for (const text of values.case) {
  const layer = parseCase(text);
  const sides = await Promise.all(ways.map((way) => prepare(device, way, layer)));
  const best = ways.map(() => Infinity);
  // In turns, so that a busy machine slows all; the first round warms up.
  for (let round = 0; round <= Number(values.rounds); round++) {
    for (const [i, side] of sides.entries()) {
      const ms = await side.ms();
      if (round > 0) best[i] = Math.min(best[i]!, ms);
    }
  }
  for (const side of sides) await side.release();
  const [frozen, dense, sequential] = best as [number, number, number];
  const chosen = sequentialWins(layer.tokens, layer.cores, layoutOf(layer))
    ? 'sequential'
    : 'dense';
  if (values.json) console.log(JSON.stringify({ layer: text, frozen, dense, sequential, chosen }));
  else {
    const cells = [frozen, dense, sequential].map((ms) => ms.toFixed(1));
    console.log(`| ${[text, ...cells, (sequential / dense).toFixed(2), chosen].join(' | ')} |`);
  }
}
