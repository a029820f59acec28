/**
 * Speed and memory of the decomposition, in turns with numpy and PyTorch where they are installed,
 * so that a busy machine slows both.
 *
 *   npm run bench -- mpo [--json] [--rounds 5] [--threads 2] [--slow] [--sweep | --sweep-only]
 *     [--layers 32] [--only mpo_4096_n4_r64]
 *
 * --slow adds the comparisons with full SVDs at 4096 (seconds to minutes a call) and the whole spectrum
 * of a middle of side 4096; --sweep decomposes the 7 x `layers` matrices of a 7B-shaped model at rank 32. DOTA_PYTHON names the Python
 * to look for numpy and PyTorch in; python3 when unset.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { eigenvalues, eigh } from '../src/core/linalg/eigh';
import { gaussian } from '../src/core/linalg/probes';
import { decompose } from '../src/core/mpo/decompose';
import type { MpoShape } from '../src/core/mpo/types';
import { enableGarbageCollection } from '../src/trainer/garbageCollection';
import { OrtGemm } from '../src/trainer/ort/ortGemm';
import { measureMemory } from './mpo/memory';
import { sweep } from './mpo/sweep';

const { values: args } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    slow: { type: 'boolean', default: false },
    sweep: { type: 'boolean', default: false },
    'sweep-only': { type: 'boolean', default: false },
    layers: { type: 'string', default: '32' },
    only: { type: 'string' },
    memory: { type: 'boolean', default: false },
  },
});

interface Request {
  kind: 'eigh' | 'numpy_tt_svd' | 'torch_lowrank' | 'torch_full';
  [key: string]: unknown;
}

/** The Python side; every answer is undefined when there is none. */
class Peer {
  readonly versions: Promise<{ numpy?: string; torch?: string | null }>;
  private readonly child;
  private readonly lines;
  private alive = true;

  constructor(threads: string) {
    const python = process.env['DOTA_PYTHON'] ?? 'python3';
    this.child = spawn(python, ['bench/mpo/peer.py'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, DOTA_BENCH_THREADS: threads },
    });
    this.child.on('error', () => (this.alive = false));
    this.child.stdin.on('error', () => (this.alive = false));
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    this.versions = this.next().then((reply) => (reply ?? {}) as { numpy?: string });
  }

  private async next(): Promise<object | undefined> {
    const { value, done } = await this.lines.next();
    if (done) this.alive = false;
    return done ? undefined : (JSON.parse(value) as object);
  }

  async ms(request: Request): Promise<number | undefined> {
    if (!this.alive) return undefined;
    this.child.stdin.write(`${JSON.stringify(request)}\n`);
    return ((await this.next()) as { ms: number } | undefined)?.ms;
  }

  end(): void {
    this.child.stdin.end();
  }
}

function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

const digits = (x: number | undefined): number | undefined =>
  x === undefined ? undefined : Number(x.toPrecision(4));

/** Runs both sides in turns; the ratio is the median of the rounds' own ratios. */
async function compare(
  rounds: number,
  own: () => Promise<void> | void,
  others: Readonly<Record<string, () => Promise<number | undefined>>>,
): Promise<Record<string, number | undefined>> {
  await own();
  // A single round is for calls of minutes, which no warm-up changes.
  if (rounds > 1) for (const other of Object.values(others)) await other();
  const ms: number[] = [];
  const times = new Map<string, number[]>();
  const ratios = new Map<string, number[]>();
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    await own();
    const mine = performance.now() - start;
    ms.push(mine);
    for (const [name, other] of Object.entries(others)) {
      const theirs = await other();
      if (theirs === undefined) continue;
      times.set(name, [...(times.get(name) ?? []), theirs]);
      ratios.set(name, [...(ratios.get(name) ?? []), mine / theirs]);
    }
  }
  const result: Record<string, number | undefined> = {
    ms: digits(median(ms)),
    best_ms: digits(Math.min(...ms)),
  };
  for (const name of Object.keys(others)) {
    result[`${name}_ms`] = digits(median(times.get(name) ?? []));
    result[`ratio_${name}`] = digits(median(ratios.get(name) ?? []));
  }
  return result;
}

function symmetric(n: number): Float64Array {
  const b = gaussian(n * n, 1);
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) a[i * n + j] = b[i * n + j]! + b[j * n + i]!;
  return a;
}

interface Case {
  name: string;
  rows: number;
  cols: number;
  shape: MpoShape;
  r: number;
  others: Request['kind'][];
  rounds: number;
}

function cases(rounds: number, slow: boolean): Case[] {
  const eights = { rows: [8, 8, 8, 8], cols: [8, 8, 8, 8] };
  const sixteens = { rows: [16, 16, 16], cols: [16, 16, 16] };
  const list: Case[] = [
    {
      name: 'mpo_1024_n4_r64',
      rows: 1024,
      cols: 1024,
      shape: { rows: [4, 8, 8, 4], cols: [4, 8, 8, 4] },
      r: 64,
      others: ['numpy_tt_svd'],
      rounds,
    },
    {
      name: 'mpo_4096_n4_r64',
      rows: 4096,
      cols: 4096,
      shape: eights,
      r: 64,
      others: ['torch_lowrank'],
      rounds,
    },
    {
      name: 'mpo_4096_n3_r64',
      rows: 4096,
      cols: 4096,
      shape: sixteens,
      r: 64,
      others: ['torch_lowrank'],
      rounds,
    },
  ];
  if (slow)
    list.push({
      name: 'mpo_4096_n4_r64_full_svd',
      rows: 4096,
      cols: 4096,
      shape: eights,
      r: 64,
      others: ['torch_full'],
      rounds: 1,
    });
  return list;
}

async function main(): Promise<void> {
  if (args.memory) {
    console.log(JSON.stringify(await measureMemory(Number(args.threads))));
    return;
  }
  const rounds = Number(args.rounds);
  enableGarbageCollection();
  const gemm = new OrtGemm(Number(args.threads));
  if (args['sweep-only']) {
    console.log(JSON.stringify({ sweep: await sweep(Number(args.layers), gemm) }));
    await gemm.dispose();
    return;
  }
  const peer = new Peer(args.threads);
  const { numpy, torch } = await peer.versions;
  const report: Record<string, unknown> = { numpy_version: numpy, torch_version: torch };
  const show = (name: string, value: unknown): void => {
    report[name] = value;
    if (!args.json) console.log(name, value);
  };

  const asked = (name: string): boolean => args.only === undefined || args.only === name;
  for (const n of [256, 512]) {
    if (!asked(`eigh_${n}`)) continue;
    const a = symmetric(n);
    const kernel = await compare(n === 256 ? 4 * rounds : rounds, () => void eigh(a, n), {
      numpy: () => peer.ms({ kind: 'eigh', n }),
    });
    const start = performance.now();
    eigenvalues(a, n);
    show(`eigh_${n}`, { ...kernel, values_only_ms: digits(performance.now() - start) });
  }
  for (const c of cases(rounds, args.slow)) {
    if (!asked(c.name)) continue;
    const weight = gaussian(c.rows * c.cols, 1);
    const { shape } = c;
    const request = { rows: c.rows, cols: c.cols, i: shape.rows, j: shape.cols, r: c.r };
    const others = c.others
      .filter((kind) => kind === 'numpy_tt_svd' || torch)
      .map((kind) => [kind, () => peer.ms({ kind, ...request })] as const);
    const own = async (): Promise<void> =>
      void (await decompose(weight, c.rows, c.cols, { shape, rank: { r: c.r } }, gemm));
    show(c.name, await compare(c.rounds, own, Object.fromEntries(others)));
  }
  peer.end();
  if (args.slow && asked('exact_middle_4096')) {
    const weight = gaussian(4096 * 4096, 1);
    const shape = { rows: [8, 8, 8, 8], cols: [8, 8, 8, 8] };
    const options = { shape, rank: { r: 64 }, exactMiddle: true };
    const { seconds, bonds } = await decompose(weight, 4096, 4096, options, gemm);
    const whole = bonds.every((bond) => bond.exactSpectrum);
    show('exact_middle_4096', { seconds: digits(seconds), whole });
  }
  if (asked('memory')) show('memory', await memoryInChild());
  if (args.sweep) show('sweep', await sweep(Number(args.layers), gemm));
  await gemm.dispose();
  if (args.json) console.log(JSON.stringify(report));
}

/** Peak memory of one decomposition, in a process that does nothing else. */
async function memoryInChild(): Promise<object> {
  const child = spawn(process.execPath, [process.argv[1]!, '--memory', '--threads', args.threads], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // As the trainer child is started: freed pages go back to the system.
    env: { ...process.env, MALLOC_ARENA_MAX: '2' },
  });
  let text = '';
  for await (const chunk of child.stdout) text += String(chunk);
  return JSON.parse(text) as object;
}

await main();
