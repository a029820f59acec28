/**
 * What data of mixed lengths cost beside data of one length: graphs compiled a step, the share of the time
 * that compiling takes, and tokens a second, in the first pass over the data and in the second.
 *
 *   npm run bench -- lengths [--rows 400] [--shortest 5] [--longest 450] [--batch 2] [--rank 8]
 *                            [--threads 2] [--method dota] [--json]
 *
 * The sample's model with random weights; lengths are drawn evenly between the two, and the last half of a
 * sequence carries labels. The other side has as many sequences, all of the mean length. Each side is a
 * process of its own, for its peak of memory; they run one after the other. Tokens are those of the data:
 * padding costs time and counts nothing.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type AdapterPlan, fullPlan } from '../src/adapters/adapter';
import { mpoSpec } from '../src/adapters/mpoShape';
import { planAdapters } from '../src/adapters/plan';
import { runConfigSchema } from '../src/config/runConfig';
import { plainGemm } from '../src/core/linalg/plainGemm';
import type { Core } from '../src/core/mpo/types';
import { Rng } from '../src/core/rng';
import { BatchPlan } from '../src/data/batches';
import { TokenizedSet } from '../src/data/tokenizedSet';
import { parseModelConfig } from '../src/models/config';
import type { DecoderConfig } from '../src/models/modelConfig';
import { computeEnvironment } from '../src/trainer/child/childEnvironment';
import { createEngine } from '../src/trainer/engine/createEngine';
import { randomWeights } from '../src/trainer/engine/randomWeights';
import { enableGarbageCollection } from '../src/trainer/garbageCollection';
import { openDevice } from '../src/trainer/ort/device';
import { countCompiles } from './lengths/countCompiles';
import { takeStep } from '../src/trainer/profile/takeStep';

interface Options {
  rows: number;
  shortest: number;
  longest: number;
  batch: number;
  rank: number;
  threads: number;
  method: 'dota' | 'lora' | 'full';
}

const defaults: Options = {
  rows: 400,
  shortest: 5,
  longest: 450,
  batch: 2,
  rank: 8,
  threads: 2,
  method: 'dota',
};

interface Pass {
  seconds: number;
  tokens_per_second: number;
  /** CPU time suffers far less than wall time from what else runs on the machine. */
  tokens_per_cpu_second: number;
  compiles_a_step: number;
  compiling_share: number;
}

interface Side {
  passes: [first: Pass, second: Pass];
  padding: number;
  graphs_held: number;
  peak_rss_mb: number;
}

function adaptersOf({ method, rank }: Options, config: DecoderConfig): Promise<AdapterPlan> {
  if (method === 'full') return Promise.resolve(fullPlan);
  const { adapter } = runConfigSchema.parse({ data: { train: 'none' }, adapter: { r: rank } });
  return planAdapters({
    method,
    config,
    options: adapter,
    seed: 0,
    gemm: plainGemm,
    weight: () => Promise.reject(new Error('the bench gives the cores')),
    // Random cores stand in for the decomposition, which a step's time doesn't depend on.
    initialCores: (module) => {
      const { shape, bonds } = mpoSpec(module, adapter);
      return shape.rows.map((rows, k): Core => {
        const dims = [bonds[k - 1] ?? 1, rows, shape.cols[k]!, bonds[k] ?? 1] as const;
        const size = dims.reduce((product, d) => product * d, 1);
        return { shape: dims, data: new Rng(0, module.path, k).normals(size, 0.05) };
      });
    },
  });
}

function dataOf({ rows, shortest, longest }: Options, vocabulary: number): TokenizedSet {
  const rng = new Rng(1, 'bench lengths');
  const set = new TokenizedSet();
  for (let row = 0; row < rows; row++) {
    const length = shortest + rng.integer(longest - shortest + 1);
    const ids = Int32Array.from({ length }, () => rng.integer(vocabulary));
    set.add(
      ids,
      Uint8Array.from(ids, (_, i) => (2 * i >= length ? 1 : 0)),
    );
  }
  return set;
}

async function runSide(options: Options): Promise<Side> {
  enableGarbageCollection();
  const file = 'media/sample/model/config.json';
  const config = {
    ...parseModelConfig(readFileSync(file, 'utf8'), file),
    maxPositionEmbeddings: options.longest,
  };
  const { device, compiles } = countCompiles(openDevice({ kind: 'cpu', threads: options.threads }));
  const engine = await createEngine({
    config,
    weights: randomWeights(config, 0),
    adapters: await adaptersOf(options, config),
    device,
    threads: options.threads,
  });
  const plan = new BatchPlan(dataOf(options, config.vocabSize), {
    batchSize: options.batch,
    seed: 1,
    shuffle: true,
    maxLength: options.longest,
    padTokenId: 0,
  });
  let positions = 0;
  let step = 0;
  const pass = async (epoch: number): Promise<Pass> => {
    const before = { ...compiles };
    const started = performance.now();
    const cpu = process.cpuUsage();
    let tokens = 0;
    for (let i = 0; i < plan.batchesPerEpoch; i++) {
      const batch = plan.batch(epoch, i);
      await takeStep(engine, [batch], ++step, { learningRate: 1e-4 });
      tokens += batch.tokens;
      positions += batch.inputIds.length;
    }
    const seconds = (performance.now() - started) / 1000;
    const used = process.cpuUsage(cpu);
    return {
      seconds: rounded(seconds, 2),
      tokens_per_second: rounded(tokens / seconds, 0),
      tokens_per_cpu_second: rounded((1e6 * tokens) / (used.user + used.system), 0),
      compiles_a_step: rounded((compiles.graphs - before.graphs) / plan.batchesPerEpoch, 3),
      compiling_share: rounded((compiles.seconds - before.seconds) / seconds, 3),
    };
  };
  const passes: Side['passes'] = [await pass(0), await pass(1)];
  const real = passes.reduce((sum, p) => sum + p.tokens_per_second * p.seconds, 0);
  const side = {
    passes,
    padding: rounded(1 - real / positions, 3),
    graphs_held: compiles.held,
    peak_rss_mb: rounded(peakRssMb(), 0),
  };
  await engine.dispose();
  return side;
}

/** High-water mark of resident memory, MB. */
function peakRssMb(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS / 1024;
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

function inChild(options: Options): Side {
  const self = process.argv[1]!;
  const child = spawnSync(process.execPath, [self, '--side', JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    env: computeEnvironment(process.env),
  });
  if (child.status !== 0) throw new Error(`a side ended with ${child.status ?? child.signal}`);
  return JSON.parse(child.stdout) as Side;
}

const { values } = parseArgs({
  options: {
    side: { type: 'string' },
    json: { type: 'boolean', default: false },
    ...Object.fromEntries(Object.keys(defaults).map((name) => [name, { type: 'string' as const }])),
  },
});
if (values.side !== undefined) {
  console.log(JSON.stringify(await runSide(JSON.parse(values.side) as Options)));
} else {
  const given = values as unknown as Record<string, string | undefined>;
  const options = Object.fromEntries(
    Object.entries(defaults).map(([name, value]) => [
      name,
      typeof value === 'number' ? Number(given[name] ?? value) : (given[name] ?? value),
    ]),
  ) as unknown as Options;
  const mean = Math.round((options.shortest + options.longest) / 2);
  const mixed = inChild(options);
  const constant = inChild({ ...options, shortest: mean, longest: mean });
  const ratios = (key: 'tokens_per_second' | 'tokens_per_cpu_second'): number[] =>
    mixed.passes.map((pass, i) => rounded(pass[key] / (constant.passes[i]?.[key] ?? NaN), 3));
  if (!values.json) console.log(`${JSON.stringify(options)}, mixed over constant by pass:`);
  const speed_ratio = ratios('tokens_per_second');
  const cpu_time_ratio = ratios('tokens_per_cpu_second');
  console.log(JSON.stringify({ speed_ratio, cpu_time_ratio, mixed, constant }));
}
