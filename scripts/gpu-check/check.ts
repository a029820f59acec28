/**
 * Runs on the machine that is checked: the tests of a device (operators, training of every kind, a loop that
 * must leak nothing, small buffers) against the CPU there, tokens per second, the share of the device's own
 * matmul rate, memory, and PyTorch's tokens per second where DOTA_PYTHON or python3 has it (on CUDA where it
 * can). `usage` below has the options and exit codes.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { type BenchOptions, coreShapes, defaults } from '../../bench/step/setup';
import type { DeviceKind } from '../../src/trainer/ort/sessionOptions';
import { vulkanParts } from '../../src/trainer/training/vulkan';
import {
  type LoopMethod,
  loopMethods,
  stepsOfShape,
} from '../../test/unit/engine/webgpu/residencySample';
import * as judge from './judge';
import type { Check, Trained } from './judge';
import { matmulRate, train } from './parts';

const usage = `Usage: gpu-check.run [options]
Checks the GPU that Vulkan offers against this machine's CPU, and prints a table.

  --json                one JSON object instead of the table
  --small               a small model and small products, for a slow device
  --size <n>            rows of the product that the GPU's rate is measured with (4096)
  --allow-software-gpu  check a software adapter, too
  --help                this text

Exit codes: 0 all is equal, 1 the numbers differ or memory leaks, 64 wrong options, 69 no GPU was checked,
70 a part ended before it had an answer.`;

/** fp32 on both sides with sums in another order, as in the tests; of each step's loss and norm. */
const stepTolerance = 1e-4;
/** AdamW's division by the root of tiny second moments amplifies that. */
const parameterTolerance = 1e-3;
/** Of one operator: some roundings of fp32, and a driver's approximate exp, log and sqrt. */
const operatorTolerance = 1e-4;
/** In 40 steps; drivers keep pools of their own, a buffer or pipeline lost a step is more. */
const grownMbLimit = 50;
const loopSteps = 80;
const benchSteps = 10;
const paritySteps = 20;

const here = path.dirname(process.argv[1] as string);
const methods: Record<string, Pick<BenchOptions, 'method' | 'fourBit'>> = {
  dota: { method: 'dota' },
  qdota: { method: 'dota', fourBit: true },
  lora: { method: 'lora' },
  full: { method: 'full' },
};
const small = {
  hidden: 128,
  layers: 1,
  batch: 2,
  sequence: 16,
  vocabulary: 256,
  rank: 4,
  cores: 3,
};
/** What training is compared on; two layers, so that gradients cross from one to the other. */
const parityModel: BenchOptions = { ...defaults, ...small, layers: 2, sequence: 32 };

/** A process of its own for each part: a driver that crashes ends only that one. */
function child<T>(args: readonly string[], script = process.argv[1] as string): T | undefined {
  const { status, stdout } = spawnSync(process.execPath, [script, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 27,
  });
  return status === 0 ? (JSON.parse(stdout) as T) : undefined;
}

/** A child of the tests on both devices; undefined where one ended early. */
function onBoth<T>(run: (kind: DeviceKind) => T | undefined): {
  gpu: T | undefined;
  cpu: T | undefined;
} {
  return { gpu: run('webgpu'), cpu: run('cpu') };
}

const ofTests =
  <T>(name: string, ...args: string[]) =>
  (kind: DeviceKind): T | undefined =>
    child<T>([kind, ...args], path.join(here, name));

const trained =
  (options: BenchOptions, steps: number) =>
  (kind: DeviceKind): Trained | undefined =>
    child<Trained>([
      '--part',
      kind,
      '--options',
      JSON.stringify(options),
      '--steps',
      String(steps),
    ]);

function operators(): Check {
  const { gpu, cpu } = onBoth(ofTests<judge.Operators>('operators.mjs'));
  const worst = gpu && cpu && judge.worstOperator(cpu, gpu);
  return judge.held('operators against the CPU', worst?.error, operatorTolerance, worst?.name);
}

function training(): Check[] {
  return Object.entries(methods).flatMap(([name, method]) => {
    const { gpu, cpu } = onBoth(trained({ ...parityModel, ...method }, paritySteps));
    const errors = gpu && cpu && judge.trainingErrors(cpu, gpu);
    return [
      judge.held(`${name}: losses and norms of ${paritySteps} steps`, errors?.steps, stepTolerance),
      judge.held(`${name}: parameters after them`, errors?.parameters, parameterTolerance),
    ];
  });
}

function buffers(): Check {
  const { gpu, cpu } = onBoth(ofTests<judge.BufferReport>('bufferLimit.mjs'));
  const error = gpu && cpu && judge.bufferError(cpu, gpu);
  return judge.held('small buffers against the CPU', error, stepTolerance);
}

function loop(method: LoopMethod): Check[] {
  const run = ofTests<judge.Loop>('residency.mjs', String(loopSteps), method)('webgpu');
  const found = run && judge.leaks(run, 2 * stepsOfShape);
  return [
    judge.held(`${method}: tensors, bytes, sessions left by ${loopSteps} steps`, found?.left, 1),
    judge.held(`${method}: MB that the process grew by in them`, found?.grownMb, grownMbLimit),
  ];
}

function speed(options: BenchOptions, size: number): Check[] {
  const { gpu, cpu } = onBoth(trained(options, benchSteps));
  const rate = child<number>(['--part', 'matmul', '--size', String(size)]);
  const torch = torchSide(options);
  const tokens = options.batch * options.sequence;
  const errors = gpu && cpu && judge.trainingErrors(cpu, gpu);
  const share = gpu && rate !== undefined ? gpu.gflop / gpu.seconds / rate : undefined;
  const known = (check: string, figure: number | undefined): Check =>
    figure === undefined
      ? { check, figure: null, verdict: 'ended' }
      : judge.measured(check, figure);
  const { hidden, layers, batch, sequence } = options;
  return [
    known('tokens/s', gpu && tokens / gpu.seconds),
    known('tokens/s of the CPU', cpu && tokens / cpu.seconds),
    judge.measured(
      'tokens/s of PyTorch',
      torch === undefined ? null : tokens / torch.seconds,
      torch?.device ?? 'not here',
    ),
    known(`GFLOP/s of a product of ${size} cubed in fp32`, rate),
    known('share of that rate', share),
    known('MB on the device', gpu?.deviceMb),
    judge.held(
      `hidden ${hidden}, ${layers} layers, ${batch} x ${sequence}: losses and norms`,
      errors?.steps,
      stepTolerance,
    ),
  ];
}

/** PyTorch's own step on the same model; undefined where it is not installed. */
function torchSide(options: BenchOptions): { device: string; seconds: number } | undefined {
  const given = { ...options, threads: 0, device: 'auto', shapes: coreShapes(options) };
  const { status, stdout } = spawnSync(
    process.env['DOTA_PYTHON'] ?? 'python3',
    [path.join(here, 'torch_step.py'), JSON.stringify(given)],
    { encoding: 'utf8', input: 'step\n'.repeat(benchSteps), stdio: ['pipe', 'pipe', 'ignore'] },
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
  try {
    return JSON.parse(run.stdout.trimEnd().split('\n').at(-1) ?? '') as Doctor;
  } catch {
    process.stderr.write(run.stderr);
    return {};
  }
}

/** Whose loader this process and its children find first. */
function loaderIs(): 'own' | 'brought' | 'missing' {
  const { loader } = vulkanParts();
  if (loader === undefined) return 'missing';
  return loader.startsWith(path.join(here, 'lib')) ? 'brought' : 'own';
}

interface Flags {
  software: boolean;
  size: number;
  json: boolean;
}

function main(options: BenchOptions, flags: Flags): number {
  const loader = loaderIs();
  if (loader === 'brought')
    console.error(
      'gpu-check: this machine has no Vulkan loader, so the one that came along is used.',
    );
  const { devices = [], gpus = [] } = doctor();
  const gpu = devices.find(({ kind }) => kind === 'webgpu');
  if (!gpu?.ok || (gpu.software === true && !flags.software)) {
    const reason = gpu?.ok
      ? 'Vulkan offers only a software adapter here.'
      : (gpu?.error?.message ?? 'The device did not answer.');
    const next = gpu?.ok ? 'Say --allow-software-gpu to check it.' : (gpu?.error?.next ?? null);
    console.error(`gpu-check: no GPU was checked. ${reason} ${next ?? ''}`);
    if (flags.json)
      console.log(JSON.stringify({ checked: false, vulkan_loader: loader, reason, next }));
    return judge.exitCodes.unavailable;
  }
  const name = gpu.software === true ? 'software adapter' : (gpus[0]?.name ?? 'GPU');
  const checks = [
    ...speed(options, flags.size),
    operators(),
    ...training(),
    buffers(),
    ...loopMethods.flatMap(loop),
  ];
  const code = judge.exitCodeOf(checks);
  if (flags.json)
    console.log(JSON.stringify({ checked: true, gpu: name, vulkan_loader: loader, checks }));
  else console.log(judge.table(name, checks));
  if (code === judge.exitCodes.ended)
    console.error('gpu-check: a part ended early; what it said stands above.');
  return code;
}

function parsed() {
  return parseArgs({
    options: {
      // What a child does.
      part: { type: 'string' },
      options: { type: 'string' },
      steps: { type: 'string' },
      size: { type: 'string', default: '4096' },
      small: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      'allow-software-gpu': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  }).values;
}

/** @returns undefined where the options were wrong, which was said */
function givenOptions(): ReturnType<typeof parsed> | undefined {
  try {
    const values = parsed();
    if (Number.isInteger(Number(values.size)) && Number(values.size) > 0) return values;
    console.error(`gpu-check: --size ${values.size} is no number of rows.\n${usage}`);
  } catch (error) {
    console.error(`gpu-check: ${(error as Error).message}\n${usage}`);
  }
  return undefined;
}

async function run(): Promise<number> {
  const values = givenOptions();
  if (values === undefined) return judge.exitCodes.usage;
  if (values.help) {
    console.log(usage);
    return 0;
  }
  switch (values.part) {
    case undefined:
      return main(
        { ...defaults, ...(values.small && small) },
        {
          software: values['allow-software-gpu'],
          size: values.small ? 256 : Number(values.size),
          json: values.json,
        },
      );
    case 'matmul':
      console.log(JSON.stringify(await matmulRate(Number(values.size))));
      return 0;
    default: {
      const options = JSON.parse(values.options ?? '') as BenchOptions;
      const result = await train(values.part as DeviceKind, options, Number(values.steps));
      console.log(JSON.stringify(result));
      return 0;
    }
  }
}

void run()
  .catch((error: unknown) => {
    console.error(error);
    return judge.exitCodes.ended;
  })
  .then((code) => {
    // Long answers are still on their way to the parent.
    process.stdout.write('', () => process.exit(code));
  });
