/**
 * Speed and memory of a training step: tokens per second, the share of the time that the matrix
 * products alone would take, and the same step in eager PyTorch where it is installed. Both sides
 * run in turns, so that a busy machine slows both.
 *
 *   npm run bench -- step [--json] [--hidden 512] [--layers 8] [--method dota] [--rounds 7] ...
 *   npm run bench -- step --table [--part 1/3]   the table of docs/performance.md, or a part of it
 *   npm run bench -- step --busy 2               with two processes beside that compute without end
 *
 * DOTA_PYTHON names the Python to look for PyTorch in; python3 when unset.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { computeEnvironment, withComputeArguments } from '../src/trainer/child/childEnvironment';
import { type BenchOptions, coreShapes, defaults } from './step/setup';
import { runWorker } from './step/worker';

type Reply = Record<string, number | string>;

/** One side of the comparison. */
class Side {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.#child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...env },
    });
    this.#child.on('error', () => undefined);
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  /** undefined when the process has ended. */
  async next(): Promise<Reply | undefined> {
    const { value, done } = await this.#lines.next();
    return done ? undefined : (JSON.parse(value) as Reply);
  }

  ask(command: string): Promise<Reply | undefined> {
    this.#child.stdin!.write(`${command}\n`);
    return this.next();
  }

  end(): void {
    this.#child.stdin?.end('end\n');
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

/** A machine has two speeds a tenth apart, which change within seconds: a share takes more turns than a ratio. */
const shareRounds = 11;

type Result = Record<string, number | string | undefined>;

async function measure(options: BenchOptions, rounds: number): Promise<Result> {
  const self = process.argv[1]!;
  const ours = new Side(
    process.execPath,
    [...withComputeArguments([]), self, '--worker', JSON.stringify(options)],
    computeEnvironment({}),
  );
  const torch = new Side(
    process.env['DOTA_PYTHON'] ?? 'python3',
    [
      path.resolve('bench/step/torch_step.py'),
      JSON.stringify({ ...options, shapes: coreShapes(options) }),
    ],
    { ...computeEnvironment({}), OMP_WAIT_POLICY: 'PASSIVE', GOMP_SPINCOUNT: '0' },
  );
  const [ready, torchReady] = await Promise.all([ours.next(), torch.next()]);
  if (!ready) throw new Error('the engine did not start');
  const steps: Reply[] = [];
  const torchSteps: Reply[] = [];
  let rss = 0;
  let torchRss = 0;
  for (let round = 0; round <= rounds; round++) {
    const step = await ours.ask('step');
    const other = torchReady && (await torch.ask('step'));
    rss = Number(step?.['rss']);
    torchRss = Number(other?.['rss']);
    // The first round compiles and warms up.
    if (round === 0) continue;
    if (step) steps.push(step);
    if (other) torchSteps.push(other);
  }
  torch.end();
  // Memory was read before: the products' own buffers aren't the step's.
  const list = await ours.ask('gemm');
  const shares: { wall: number; cpu: number }[] = [];
  for (let round = 0; round < Math.max(rounds, shareRounds); round++) {
    const step = await ours.ask('step');
    const products = await ours.ask('gemm');
    const ratio = (key: string) => Number(products?.[key]) / Number(step?.[key]);
    shares.push({ wall: ratio('seconds'), cpu: ratio('cpu') });
  }
  ours.end();

  const tokens = options.batch * options.sequence;
  const round = (value: number, digits: number) => Number(value.toFixed(digits));
  const of = (replies: readonly Reply[], key: string) => replies.map((reply) => Number(reply[key]));
  const rate = (replies: readonly Reply[]) => round(tokens / median(of(replies, 'seconds')), 1);
  /** Median over the rounds of torch's cost by ours: above 1, ours is cheaper. */
  const advantage = (key: string) =>
    round(median(of(torchSteps, key).map((other, i) => other / Number(steps[i]?.[key]))), 3);
  return {
    tokens_per_second: rate(steps),
    gemm_share: round(median(shares.map(({ wall }) => wall)), 3),
    // CPU time suffers far less than wall time from what else runs on the machine.
    gemm_share_of_cpu_time: round(median(shares.map(({ cpu }) => cpu)), 3),
    peak_rss_mb: round(rss, 0),
    gflop_per_step: round(Number(list?.['flops']) / 1e9, 1),
    ...(torchReady && {
      torch_version: torchReady['torch_version'],
      torch_tokens_per_second: rate(torchSteps),
      torch_peak_rss_mb: round(torchRss, 0),
      speed_ratio: advantage('seconds'),
      cpu_time_ratio: advantage('cpu'),
      memory_ratio: round(rss / torchRss, 3),
    }),
  };
}

/** What the committed table varies, one thing at a time. */
const tableRows: readonly Partial<BenchOptions>[] = [
  { hidden: 256, layers: 4 },
  { hidden: 512, layers: 2 },
  { hidden: 512, layers: 8 },
  { hidden: 512, layers: 8, batch: 1 },
  { hidden: 512, layers: 8, batch: 4, sequence: 256 },
  { hidden: 512, layers: 8, rank: 4 },
  { hidden: 512, layers: 8, rank: 64 },
  { hidden: 512, layers: 8, method: 'lora' },
  { hidden: 512, layers: 8, method: 'full' },
  { hidden: 1024, layers: 4 },
  { hidden: 1024, layers: 4, batch: 4, sequence: 256 },
  { hidden: 1024, layers: 4, method: 'lora' },
];

async function printTable(options: BenchOptions, rounds: number, part: string): Promise<void> {
  const [index, parts] = part.split('/').map(Number) as [number, number];
  const size = Math.ceil(tableRows.length / parts);
  if (index === 1) {
    console.log(
      '| method | hidden | layers | batch | rank | tokens/s | PyTorch | ratio | by CPU time | ' +
        'GEMM share | by CPU time | peak MB | PyTorch | ratio |',
    );
    console.log(`| --- |${' ---: |'.repeat(13)}`);
  }
  for (const row of tableRows.slice((index - 1) * size, index * size)) {
    const own = { ...options, ...row };
    const found = await measure(own, rounds);
    const keys = [
      ...['tokens_per_second', 'torch_tokens_per_second', 'speed_ratio', 'cpu_time_ratio'],
      ...['gemm_share', 'gemm_share_of_cpu_time'],
      ...['peak_rss_mb', 'torch_peak_rss_mb', 'memory_ratio'],
    ];
    const { method, hidden, layers, batch, sequence } = own;
    const rank = method === 'full' ? '-' : own.rank;
    const cells = [method, hidden, layers, `${batch} x ${sequence}`, rank];
    console.log(`| ${[...cells, ...keys.map((key) => found[key] ?? '-')].join(' | ')} |`);
  }
}

/** Processes that compute without end, as a compiler or a browser beside the editor does. */
function keepBusy(count: number): () => void {
  const children = Array.from({ length: count }, () =>
    spawn(process.execPath, ['-e', 'for (let x = 1; ; ) x = Math.sin(x) + 1;'], {
      stdio: 'ignore',
    }),
  );
  return () => {
    for (const child of children) child.kill('SIGKILL');
  };
}

const { values } = parseArgs({
  options: {
    worker: { type: 'string' },
    json: { type: 'boolean', default: false },
    table: { type: 'boolean', default: false },
    part: { type: 'string', default: '1/1' },
    busy: { type: 'string', default: '0' },
    rounds: { type: 'string', default: '7' },
    ...Object.fromEntries(Object.keys(defaults).map((name) => [name, { type: 'string' as const }])),
  },
});
if (values.worker !== undefined) {
  await runWorker(JSON.parse(values.worker) as BenchOptions);
} else {
  const given = values as unknown as Record<string, string | undefined>;
  const options = Object.fromEntries(
    Object.entries(defaults).map(([name, value]) => [
      name,
      typeof value === 'number' ? Number(given[name] ?? value) : (given[name] ?? value),
    ]),
  ) as unknown as BenchOptions;
  const rounds = Number(values.rounds);
  const idle = keepBusy(Number(values.busy));
  try {
    if (values.table) await printTable(options, rounds, values.part);
    else {
      const result = await measure(options, rounds);
      const beside = values.busy === '0' ? '' : `, ${values.busy} busy processes beside`;
      if (!values.json)
        console.log(`${JSON.stringify(options)}, ${rounds} rounds in turns, medians${beside}:`);
      console.log(JSON.stringify(result));
    }
  } finally {
    idle();
  }
}
