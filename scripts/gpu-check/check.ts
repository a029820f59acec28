/**
 * Runs on the machine that is checked: every operator and training against the CPU, tokens per second,
 * the share of the device's own matmul rate, memory, and PyTorch's tokens per second where DOTA_PYTHON
 * or python3 has it (on CUDA where it can). Prints a table; `--json` one JSON object.
 * Exit codes: 0 checked, 1 the numbers differ, 69 no GPU that Vulkan offers.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { parseArgs } from 'node:util';
import {
  type BenchOptions,
  coreShapes,
  defaults,
  openEngine,
  randomBatch,
} from '../../bench/step/setup';
import { Graph } from '../../src/graph/graph';
import { expand } from '../../src/graph/ops/broadcast';
import { slice } from '../../src/graph/ops/layout';
import { matmul } from '../../src/graph/ops/matmul';
import { openDevice } from '../../src/trainer/ort/device';
import type { DeviceKind } from '../../src/trainer/ort/sessionOptions';
import { CountingDevice, flops } from '../../src/trainer/profile/gemmRate';

const unavailable = 69;
/** fp32 on both sides with sums in another order, as in the tests. */
const tolerance = 1e-4;
/** Of one operator: some roundings of fp32, and a driver's approximate exp, log and sqrt. */
const operatorTolerance = 1e-4;
const here = path.dirname(process.argv[1] as string);

interface Trained {
  losses: number[];
  norms: number[];
  seconds: number;
  gflop: number;
  deviceMb: number;
}

async function train(kind: DeviceKind, options: BenchOptions, steps: number): Promise<Trained> {
  const device = new CountingDevice(openDevice({ kind, threads: 0 }));
  const engine = await openEngine(options, device);
  const batch = randomBatch(options);
  const result: Trained = { losses: [], norms: [], seconds: Infinity, gflop: 0, deviceMb: 0 };
  for (let step = 1; step <= steps; step++) {
    device.take();
    const started = performance.now();
    const { lossSum } = await engine.forwardBackward(batch, 1 / batch.lossTokens);
    const norm = await engine.gradientNorm();
    await engine.optimizerStep(
      {
        step,
        learningRate: 1e-3,
        weightDecay: 0,
        adamBeta1: 0.9,
        adamBeta2: 0.999,
        adamEpsilon: 1e-8,
        maxGradNorm: 1,
      },
      norm,
    );
    result.losses.push(lossSum / batch.lossTokens);
    result.norms.push(norm);
    if (step > 1) result.seconds = Math.min(result.seconds, (performance.now() - started) / 1000);
    result.gflop = device.take().reduce((sum, product) => sum + flops(product), 0) / 1e9;
  }
  result.deviceMb = device.memory().peakBytes / 2 ** 20;
  await engine.dispose();
  return result;
}

/** GFLOP/s of an fp32 product of two square matrices that lie on the device. */
async function matmulRate(size: number): Promise<number> {
  const device = openDevice({ kind: 'webgpu', threads: 0 });
  const graph = new Graph();
  const seed = graph.input('seed', 'float32', [1, 1]);
  const square = expand(seed, [size, size]);
  graph.output('corner', slice(matmul(square, square), [0, 0], [1, 1]));
  const session = await device.compile(graph.build(), { host: ['corner'] });
  let best = Infinity;
  for (let run = 0; run < 4; run++) {
    const started = performance.now();
    await session.run({ seed: Float32Array.of(0.01) });
    best = Math.min(best, performance.now() - started);
  }
  await session.release();
  return (2 * size ** 3) / (best * 1e6);
}

/** A process of its own for each part: a driver that crashes ends only that one. */
function child<T>(args: readonly string[]): T | undefined {
  const run = spawnSync(process.execPath, [process.argv[1] as string, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  });
  if (run.status !== 0) return undefined;
  return JSON.parse(run.stdout) as T;
}

type Operators = Record<string, { values: (number | 'NaN' | null)[] }>;

/** The operator that differs most from the CPU, relative to its largest value. */
function worstOperator(): { name: string; error: number } | undefined {
  const script = path.join(here, 'operators.mjs');
  const run = (kind: DeviceKind): Operators | undefined => {
    const { status, stdout } = spawnSync(process.execPath, [script, kind], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
      maxBuffer: 1 << 26,
    });
    return status === 0 ? (JSON.parse(stdout) as Operators) : undefined;
  };
  const [gpu, cpu] = [run('webgpu'), run('cpu')];
  if (!gpu || !cpu) return undefined;
  let worst = { name: '', error: 0 };
  for (const [name, { values }] of Object.entries(cpu)) {
    // Infinities and NaN of the widened 16-bit patterns: no weight holds them.
    const finite = values.map((value, i) => ({ value, other: gpu[name]?.values[i] }));
    const known = finite.filter(({ value }) => typeof value === 'number' && Math.abs(value) < 1e30);
    const scale = Math.max(1, ...known.map(({ value }) => Math.abs(Number(value))));
    for (const { value, other } of known) {
      const error = typeof other === 'number' ? Math.abs(other - Number(value)) / scale : Infinity;
      if (error > worst.error) worst = { name, error };
    }
  }
  return worst;
}

/** PyTorch's own step on the same model; undefined where it is not installed. */
function torchSide(options: BenchOptions): { device: string; seconds: number } | undefined {
  const given = { ...options, threads: 0, device: 'auto', shapes: coreShapes(options) };
  const { status, stdout } = spawnSync(
    process.env['DOTA_PYTHON'] ?? 'python3',
    [path.join(here, 'torch_step.py'), JSON.stringify(given)],
    { encoding: 'utf8', input: 'step\n'.repeat(steps), stdio: ['pipe', 'pipe', 'ignore'] },
  );
  if (status !== 0) return undefined;
  const [ready, , ...timed] = stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { device?: string; seconds: number });
  const seconds = Math.min(...timed.map((reply) => reply.seconds));
  return { device: ready?.device ?? 'CPU', seconds };
}

interface Doctor {
  devices?: {
    kind: string;
    ok: boolean;
    software?: boolean;
    error?: { message: string; next?: string };
  }[];
  gpus?: { name: string; usedMb: number; totalMb: number }[];
}

function doctor(): Doctor {
  const cli = process.env['DOTA_CLI'] ?? path.join(here, 'cli.cjs');
  const run = spawnSync(process.execPath, [cli, 'doctor', '--json'], { encoding: 'utf8' });
  return JSON.parse(run.stdout.trimEnd().split('\n').at(-1) ?? '{}') as Doctor;
}

function main(
  options: BenchOptions,
  flags: { software: boolean; size: number; json: boolean },
): number {
  const { devices = [], gpus = [] } = doctor();
  const gpu = devices.find(({ kind }) => kind === 'webgpu');
  if (!gpu?.ok || (gpu.software === true && !flags.software)) {
    const why = gpu?.ok
      ? 'Vulkan offers only a software adapter here.'
      : `${gpu?.error?.message ?? 'The device did not answer.'} ${gpu?.error?.next ?? ''}`;
    console.error(`gpu-check: no GPU was checked. ${why}`);
    return unavailable;
  }
  const name = gpu.software === true ? 'software adapter' : (gpus[0]?.name ?? 'GPU');
  const text = JSON.stringify(options);
  const operator = worstOperator();
  const onGpu = child<Trained>(['--part', 'webgpu', '--options', text]);
  const onCpu = child<Trained>(['--part', 'cpu', '--options', text]);
  const rate = child<number>(['--part', 'matmul', '--size', String(flags.size)]);
  if (!operator || !onGpu || !onCpu || rate === undefined) {
    console.error('gpu-check: a part ended early; what it said stands above.');
    return 1;
  }
  const worst = (a: number[], b: number[]): number =>
    Math.max(...a.map((value, i) => Math.abs(value / (b[i] as number) - 1)));
  const parity = Math.max(worst(onGpu.losses, onCpu.losses), worst(onGpu.norms, onCpu.norms));
  const tokens = options.batch * options.sequence;
  const torch = torchSide(options);
  const row = {
    gpu: name,
    tokens_per_second: tokens / onGpu.seconds,
    cpu_tokens_per_second: tokens / onCpu.seconds,
    matmul_gflops: rate,
    share_of_matmul_rate: onGpu.gflop / onGpu.seconds / rate,
    device_memory_mb: onGpu.deviceMb,
    torch: torch && { device: torch.device, tokens_per_second: tokens / torch.seconds },
    parity,
    worst_operator: operator.name,
    operator_error: operator.error,
    equal: parity < tolerance && operator.error < operatorTolerance,
  };
  if (flags.json) console.log(JSON.stringify(row));
  else {
    const cells: [string, string][] = [
      ['GPU', name],
      ['tokens/s', row.tokens_per_second.toFixed(0)],
      ['CPU tokens/s', row.cpu_tokens_per_second.toFixed(0)],
      ['PyTorch', torch ? `${(tokens / torch.seconds).toFixed(0)} (${torch.device})` : 'not here'],
      ['matmul GFLOP/s', rate.toPrecision(3)],
      ['share', row.share_of_matmul_rate.toFixed(3)],
      ['memory MB', onGpu.deviceMb.toFixed(0)],
      ['training against CPU', parity.toExponential(1)],
      ['operators against CPU', `${operator.error.toExponential(1)} (${operator.name})`],
    ];
    console.log(`| ${cells.map(([title]) => title).join(' | ')} |`);
    console.log(`| --- |${' ---: |'.repeat(cells.length - 1)}`);
    console.log(`| ${cells.map(([, value]) => value).join(' | ')} |`);
  }
  return row.equal ? 0 : 1;
}

const { values } = parseArgs({
  options: {
    part: { type: 'string' },
    options: { type: 'string' },
    size: { type: 'string', default: '4096' },
    small: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    'allow-software-gpu': { type: 'boolean', default: false },
  },
});
const small = {
  hidden: 128,
  layers: 1,
  batch: 2,
  sequence: 16,
  vocabulary: 256,
  rank: 4,
  cores: 3,
};
const given: BenchOptions =
  values.options === undefined
    ? { ...defaults, ...(values.small && small) }
    : (JSON.parse(values.options) as BenchOptions);
const steps = 10;
switch (values.part) {
  case undefined:
    process.exit(
      main(given, {
        software: values['allow-software-gpu'],
        size: values.small ? 256 : Number(values.size),
        json: values.json,
      }),
    );
    break;
  case 'matmul':
    void matmulRate(Number(values.size)).then((rate) => {
      console.log(JSON.stringify(rate));
      process.exit(0);
    });
    break;
  default:
    void train(values.part as DeviceKind, given, steps).then((result) => {
      console.log(JSON.stringify(result));
      process.exit(0);
    });
}
