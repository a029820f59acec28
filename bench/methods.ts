/**
 * Memory and time of the methods on generated models (Linux).
 *
 *   npm run bench -- methods memory   peak of a step on a 350M-parameter model, bf16 weights
 *   npm run bench -- methods large    a QDoTA step on a 7B-shaped model in 4 bits, 1 x 128 tokens
 *   npm run bench -- methods time     a step's time at hidden 1024, equal trainable parameters
 *
 * Options: --rounds, --only <names separated by commas>, --threads. One JSON object a line.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { countTrainable } from '../src/adapters/plan';
import { runConfigSchema } from '../src/config/runConfig';
import { computeEnvironment, withComputeArguments } from '../src/trainer/child/childEnvironment';
import { decoderOf, runWorker, type WorkerOptions } from './methods/worker';

type Reply = Record<string, number>;

class Worker {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(options: WorkerOptions) {
    const script = process.argv[1] as string;
    this.#child = spawn(
      process.execPath,
      ['--expose-gc', ...withComputeArguments([]), script, '--worker', JSON.stringify(options)],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
        env: computeEnvironment(process.env),
      },
    );
    if (!this.#child.stdout) throw new Error('no output');
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async next(): Promise<Reply> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the worker has ended');
    return JSON.parse(value) as Reply;
  }

  step(): Promise<Reply> {
    this.#child.stdin?.write('step\n');
    return this.next();
  }

  async end(): Promise<void> {
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin?.end('end\n');
    await closed;
  }
}

type Variant = Pick<WorkerOptions, 'method' | 'quantized' | 'rank' | 'optim'>;
const fp32 = 'adamw_torch';
const variants: Readonly<Record<string, Variant>> = {
  full: { method: 'full', quantized: false, rank: 8, optim: fp32 },
  full_8bit: { method: 'full', quantized: false, rank: 8, optim: 'adamw_8bit' },
  lora: { method: 'lora', quantized: false, rank: 8, optim: fp32 },
  qlora: { method: 'lora', quantized: true, rank: 8, optim: fp32 },
  dota: { method: 'dota', quantized: false, rank: 16, optim: fp32 },
  qdota: { method: 'dota', quantized: true, rank: 16, optim: fp32 },
};

const base = { cores: 3, readyMade: false, vocabulary: 32000, batch: 1, sequence: 128 };
/** 341M parameters. */
const medium = { ...base, hidden: 1024, intermediate: 2816, layers: 24 };
const large = { ...base, hidden: 4096, intermediate: 11008, layers: 32, readyMade: true };
/** A few layers suffice for a step's time; little vocabulary, as the head is every method's. */
const timed = {
  ...base,
  hidden: 1024,
  intermediate: 2816,
  layers: 4,
  vocabulary: 2048,
  sequence: 512,
};

const round = (value: number, digits = 0): number => Number(value.toFixed(digits));

async function memory(name: string, model: Shape, threads: number, steps: number): Promise<number> {
  const worker = new Worker({ ...model, ...(variants[name] as Variant), threads });
  const ready = await worker.next();
  let last: Reply = {};
  for (let i = 0; i < steps; i++) last = await worker.step();
  await worker.end();
  const own = Number(last['peakMb']) - Number(ready['emptyMb']) - Number(ready['savedMb']);
  console.log(
    JSON.stringify({
      name,
      trainable: ready['trainable'],
      step_peak_mb: round(Number(last['peakMb'])),
      empty_engine_mb: round(Number(ready['emptyMb'])),
      saved_activations_mb: round(Number(ready['savedMb'])),
      own_mb: round(own),
      load_peak_mb: round(Number(ready['loadPeakMb'])),
      after_load_mb: round(Number(ready['afterLoadMb'])),
      load_seconds: round(Number(ready['loadSeconds']), 1),
      step_seconds: round(Number(last['seconds']), 1),
    }),
  );
  return own;
}

async function time(names: readonly string[], threads: number, rounds: number): Promise<void> {
  const parameters = trainableOf(timed, 'lora', 16);
  const rank = equalRank(timed, 'dota', parameters);
  const ranks: Readonly<Record<string, number>> = { lora: 16, qlora: 16, dota: rank, qdota: rank };
  const workers = names.map((name) => {
    const variant = variants[name] as Variant;
    return new Worker({ ...timed, ...variant, rank: ranks[name] ?? variant.rank, threads });
  });
  const trainable = [];
  for (const worker of workers) trainable.push((await worker.next())['trainable']);
  const seconds = names.map((): number[] => []);
  const cpu = names.map((): number[] => []);
  // In turns, so that what else runs on the machine slows all; the first round compiles.
  for (let r = 0; r <= rounds; r++) {
    for (const [i, worker] of workers.entries()) {
      const reply = await worker.step();
      if (r === 0) continue;
      seconds[i]?.push(Number(reply['seconds']));
      cpu[i]?.push(Number(reply['cpu']));
    }
  }
  for (const worker of workers) await worker.end();
  for (const [i, name] of names.entries()) {
    console.log(
      JSON.stringify({
        name,
        trainable: trainable[i],
        seconds: round(median(seconds[i] ?? []), 3),
        cpu_seconds: round(median(cpu[i] ?? []), 3),
      }),
    );
  }
  const ratio = (a: string, b: string): number | undefined => {
    const [x, y] = [seconds[names.indexOf(a)], seconds[names.indexOf(b)]];
    return x && y && round(median(x.map((value, r) => value / (y[r] as number))), 3);
  };
  console.log(
    JSON.stringify({
      dota_over_lora: ratio('dota', 'lora'),
      qdota_over_dota: ratio('qdota', 'dota'),
    }),
  );
}

type Shape = Omit<WorkerOptions, keyof Variant | 'threads'>;

function trainableOf(model: Shape, method: 'lora' | 'dota', rank: number): number {
  const { adapter } = runConfigSchema.parse({
    data: { train: 'none' },
    adapter: { r: rank, mpo_cores: model.cores },
  });
  return countTrainable(method, decoderOf(model), adapter);
}

/** The rank whose number of trainable parameters is nearest to a given one. */
function equalRank(model: Shape, method: 'dota', parameters: number): number {
  const distance = (r: number): number => Math.abs(trainableOf(model, method, r) - parameters);
  let best = 1;
  for (let r = 2; r <= 64; r++) if (distance(r) < distance(best)) best = r;
  return best;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    worker: { type: 'string' },
    json: { type: 'boolean' },
    rounds: { type: 'string' },
    only: { type: 'string' },
    threads: { type: 'string', default: '2' },
  },
});
const threads = Number(values.threads);
if (values.worker !== undefined) {
  await runWorker(JSON.parse(values.worker) as WorkerOptions);
} else {
  const chosen = (standard: readonly string[]): readonly string[] =>
    values.only?.split(',') ?? standard;
  const [what = 'memory'] = positionals;
  switch (what) {
    case 'memory': {
      const own = new Map<string, number>();
      for (const name of chosen(['full', 'full_8bit', 'lora', 'dota', 'qdota'])) {
        own.set(name, await memory(name, medium, threads, Number(values.rounds ?? 1)));
      }
      const [dota, qdota] = [own.get('dota'), own.get('qdota')];
      if (dota && qdota) console.log(JSON.stringify({ qdota_over_dota: round(qdota / dota, 3) }));
      break;
    }
    case 'large':
      await memory('qdota', large, threads, Number(values.rounds ?? 1));
      break;
    case 'time':
      await time(chosen(['lora', 'dota', 'qdota']), threads, Number(values.rounds ?? 7));
      break;
    default:
      console.error('Usage: npm run bench -- methods memory | large | time');
      process.exitCode = 64;
  }
}
