import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { contractToWeight } from '../../../src/core/mpo/contract';
import type { Core } from '../../../src/core/mpo/types';
import { parameterCount } from '../../../src/core/mpo/shapes';
import { allocateRanks, estimateKeptEnergy } from '../../../src/decompose/budget';
import type { BudgetModule } from '../../../src/decompose/budget';
import { decomposeModel } from '../../../src/decompose/decomposeModel';
import { listMatrices } from '../../../src/decompose/modules';
import { openWeightSource } from '../../../src/decompose/openSource';
import { defaultModelDecomposeOptions } from '../../../src/decompose/options';
import { parsePlan } from '../../../src/decompose/plan';
import { rankByStructure } from '../../../src/decompose/structure';
import { f32ToBf16, f32ToF16, toFloat32 } from '../../../src/models/dtype';
import type { WeightSource } from '../../../src/models/modelConfig';
import { SafetensorsFile } from '../../../src/models/safetensors/reader';
import { writeSafetensors } from '../../../src/models/safetensors/writer';
import { decodeDecomposition } from '../../../src/protocol/decomposition';
import type { DecomposeEvent, DecomposeReport } from '../../../src/protocol/decomposition';
import type { DotaError } from '../../../src/protocol/errors';
import { runDecompose } from '../../../src/trainer/commands/decompose';
import type { DecomposeArgs } from '../../../src/trainer/commands/decompose';
import { fixtureMatrix, randomMatrix, relativeDifference } from './helpers';

let folder: string;
let file: string;
let source: WeightSource;
const structured = fixtureMatrix('decay', 48, 36, 3);
const noise = randomMatrix(36, 48, 4);

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'dota-decompose-'));
  file = path.join(folder, 'model.safetensors');
  await writeSafetensors(file, [
    { name: 'model.layers.0.a.weight', dtype: 'F32', shape: [48, 36], data: structured },
    { name: 'model.layers.0.b.weight', dtype: 'BF16', shape: [36, 48], data: f32ToBf16(noise) },
    { name: 'model.layers.1.a.weight', dtype: 'F16', shape: [48, 36], data: f32ToF16(structured) },
    { name: 'model.embed.weight', dtype: 'F32', shape: [36, 48], data: noise },
    { name: 'model.norm.weight', dtype: 'F32', shape: [48], data: new Float32Array(48) },
    { name: 'model.ids', dtype: 'I32', shape: [4, 4], data: new Int32Array(16) },
  ]);
  source = await openWeightSource(file);
});

afterAll(async () => {
  await source.close();
  await rm(folder, { recursive: true });
});

const options = { ...defaultModelDecomposeOptions, rank: { r: 5 } };
const all = ['model.layers.0.a', 'model.layers.0.b', 'model.layers.1.a'];

describe('decomposeModel', () => {
  it('lists what can be decomposed', () => {
    expect(listMatrices(source).map((m) => m.module)).toEqual([
      'model.embed',
      'model.layers.0.a',
      'model.layers.0.b',
      'model.layers.1.a',
    ]);
  });

  it('reads every type, reports as results come, and ranks structure above noise', async () => {
    const seen: string[] = [];
    const results = await decomposeModel(source, all, options, plainGemm, {
      onModule: (result, { done, total, cached }) => {
        seen.push(`${result.module} ${done}/${total} ${cached}`);
      },
    });
    expect(seen).toEqual(all.map((m, k) => `${m} ${k + 1}/3 false`));
    const [a, b, half] = results;
    // f16 keeps 11 bits: the spectra agree to about 2^-11.
    expect(relativeDifference(a!.bonds[0]!.spectrum, half!.bonds[0]!.spectrum)).toBeLessThan(1e-3);
    expect(a!.bonds.every((bond) => bond.exactSpectrum)).toBe(true);
    expect(b!.references[0]!.keptEnergy / b!.keptEnergy).toBeCloseTo(1, 1);
    expect(b!.references[0]!.spectra.map((s) => s.length)).toEqual(
      b!.bonds.map((bond) => bond.spectrum.length),
    );
    expect(rankByStructure(results).at(-1)?.module).toBe('model.layers.0.b');
    expect(rankByStructure(results)[0]!.score).toBeGreaterThan(0.05);
  });

  it('caches by content and options; a damaged entry is computed again', async () => {
    const cacheFolder = path.join(folder, 'cache');
    const cachedFlags = async (rank: { r: number }): Promise<boolean[]> => {
      const flags: boolean[] = [];
      await decomposeModel(source, all, { ...options, rank }, plainGemm, {
        cacheFolder,
        onModule: (_, { cached }) => flags.push(cached),
      });
      return flags;
    };
    expect(await cachedFlags({ r: 5 })).toEqual([false, false, false]);
    expect(await cachedFlags({ r: 5 })).toEqual([true, true, true]);
    expect(await cachedFlags({ r: 6 })).toEqual([false, false, false]);
    const entries = await readdir(cacheFolder);
    expect(entries).toHaveLength(6);
    for (const entry of entries) await writeFile(path.join(cacheFolder, entry), '{"bonds": 3');
    expect(await cachedFlags({ r: 5 })).toEqual([false, false, false]);

    const fresh = await decomposeModel(source, all, options, plainGemm);
    const cached = await decomposeModel(source, all, options, plainGemm, { cacheFolder });
    cached.forEach((result, k) => {
      expect(result.module).toBe(fresh[k]!.module);
      expect(result.keptEnergy).toBe(fresh[k]!.keptEnergy);
      expect(
        relativeDifference(fresh[k]!.bonds[0]!.spectrum, result.bonds[0]!.spectrum),
      ).toBeLessThan(1e-6);
    });
  });

  it('stops between modules and resumes from the cache', async () => {
    const cacheFolder = path.join(folder, 'resume');
    const controller = new AbortController();
    const flags: boolean[] = [];
    await expect(
      decomposeModel(source, all, options, plainGemm, {
        cacheFolder,
        signal: controller.signal,
        onModule: () => {
          controller.abort();
        },
      }),
    ).rejects.toMatchObject({ code: 'run.stopped' });
    await decomposeModel(source, all, options, plainGemm, {
      cacheFolder,
      onModule: (_, { cached }) => flags.push(cached),
    });
    expect(flags).toEqual([true, false, false]);
  });

  it('names candidates for an unknown module, and goes on where one module fails', async () => {
    await expect(decomposeModel(source, ['layers.9.a'], options, plainGemm)).rejects.toMatchObject({
      code: 'adapter.noTarget',
      next: expect.stringMatching(/layers\.0\.a/),
    });
    const failed: string[] = [];
    const results = await decomposeModel(
      source,
      all,
      { ...options, shapes: { 'model.layers.0.b': { rows: [2, 2], cols: [2, 2] } } },
      plainGemm,
      { onFailure: (module, error) => failed.push(`${module} ${error.code}`) },
    );
    expect(failed).toEqual(['model.layers.0.b adapter.shape']);
    expect(results).toHaveLength(2);
  });

  it('compares with a random matrix of the same singular values', async () => {
    const [result] = await decomposeModel(
      source,
      all.slice(0, 1),
      { ...options, references: ['gaussian', 'own_spectrum'], explicitError: true },
      plainGemm,
    );
    const [gaussian, own] = result!.references;
    // The matrix has a decaying spectrum, which any basis shows: the Gaussian overstates structure.
    expect(own!.keptEnergy).toBeGreaterThan(gaussian!.keptEnergy);
    expect(own!.spectra).toHaveLength(2);
    expect(Math.abs(result!.explicitError! / result!.relativeError - 1)).toBeLessThan(1e-4);
  });
});

describe('a parameter budget', () => {
  it('is kept, is used, and favours structure over noise', async () => {
    const modules = ['model.layers.0.a', 'model.layers.0.b'];
    const of = async (budget: number): Promise<{ used: number; ranks: number[]; kept: number }> => {
      const results = await decomposeModel(
        source,
        modules,
        { ...options, rank: { budget } },
        plainGemm,
      );
      return {
        used: results.reduce((sum, r) => sum + r.parameters, 0),
        ranks: results.map((r) => Math.max(...r.bonds.map((b) => b.dimension))),
        kept: results.reduce((sum, r) => sum + r.keptEnergy * r.energy, 0),
      };
    };
    const small = await of(600);
    expect(small.used).toBeLessThanOrEqual(600);
    const large = await of(2400);
    expect(large.used).toBeLessThanOrEqual(2400);
    expect(large.used).toBeGreaterThan(1200);
    expect(large.kept).toBeGreaterThan(small.kept);
    await expect(of(20)).rejects.toMatchObject({ code: 'adapter.rank' });
  });

  it('spends first where a parameter keeps most', () => {
    const shape = { rows: [4, 4], cols: [4, 4] };
    const spectrum = (values: number[]): Float64Array => Float64Array.from(values);
    const module = (
      name: string,
      values: number[],
    ): Parameters<typeof allocateRanks>[0][number] => ({
      module: name,
      shape,
      energy: values.reduce((sum, s) => sum + s * s, 0),
      bonds: [{ spectrum: spectrum(values), fullDimension: 16 }],
    });
    const steep = module('steep', [10, 5, 1, ...new Array<number>(13).fill(0)]);
    const flat = module('flat', new Array<number>(16).fill(2));
    expect(estimateKeptEnergy(steep, [2])).toBeCloseTo(125, 10);
    // A rank costs 32 parameters. Gains: steep 25, then 1; flat 4 each.
    const ranks = allocateRanks([steep, flat], 32 * 6);
    expect(ranks.get('steep')).toEqual([2]);
    expect(ranks.get('flat')).toEqual([4]);
  });

  it('spends more on the bond that needs it, and never less well than one rank for all', () => {
    // Three cores of 16: bond 1 holds its energy in two values, bond 2 in twelve of equal size.
    const shape = { rows: [4, 4, 4], cols: [4, 4, 4] };
    const energy = 144;
    const bond = (values: number[]) => ({
      spectrum: Float64Array.from({ length: 16 }, (_, k) => values[k] ?? 0),
      fullDimension: 16,
    });
    const module: BudgetModule = {
      module: 'm',
      shape,
      energy,
      bonds: [
        bond([Math.sqrt(energy - 1), 1]),
        bond(new Array<number>(12).fill(Math.sqrt(energy / 12))),
      ],
    };
    for (const budget of [100, 300, 520, 900]) {
      const ranks = allocateRanks([module], budget).get('m')!;
      expect(ranks[0]).toBeLessThanOrEqual(2);
      expect(ranks[1]).toBeGreaterThan(ranks[0]!);
      expect(parameterCount(shape, ranks)).toBeLessThanOrEqual(budget);
      let uniform = 0;
      for (let r = 1; parameterCount(shape, [r, r]) <= budget; r++)
        uniform = estimateKeptEnergy(module, [r, r]);
      expect(estimateKeptEnergy(module, ranks)).toBeGreaterThan(1.5 * uniform);
    }
  });
});

describe('dota decompose', () => {
  const run = async (
    args: Partial<DecomposeArgs>,
  ): Promise<{ report: DecomposeReport; out: string[]; notes: string[] }> => {
    const out: string[] = [];
    const notes: string[] = [];
    const report = await runDecompose(
      { path: file, tensors: [], ...args },
      { gemm: plainGemm, print: (line) => out.push(line), note: (line) => notes.push(line) },
    );
    return { report, out, notes };
  };

  it('takes the matrices of the layers and ends with one JSON object', async () => {
    const { out, notes } = await run({ json: true, rank: 4 });
    expect(out).toHaveLength(1);
    expect(notes).toHaveLength(3);
    const parsed = JSON.parse(out[0]!) as DecomposeReport;
    expect(parsed.modules.map((m) => m.module)).toEqual(all);
    const [first] = parsed.modules;
    expect(first!.explicitError! / first!.relativeError).toBeCloseTo(1, 4);
    expect(first!.bonds[0]!.dimension).toBe(4);
    expect(decodeDecomposition(first!).bonds[0]!.spectrum).toBeInstanceOf(Float64Array);
    expect(parsed.peak_rss_mb).toBeGreaterThan(10);
  });

  it('streams results as they come', async () => {
    const { out } = await run({ json: true, stream: true, rank: 4 });
    const events = out.slice(0, -1).map((line) => JSON.parse(line) as DecomposeEvent);
    expect(events.map((e) => (e.type === 'module' ? e.done : e.type))).toEqual([1, 2, 3]);
  });

  it('takes shapes and ranks of a plan, also beside a budget', async () => {
    const plan = parsePlan(
      JSON.stringify({
        'model.layers.0.a': { rows: [6, 8], cols: [6, 6], ranks: [7] },
        'model.layers.1.a': { ranks: [3, 5] },
      }),
      'plan.json',
    );
    const { report } = await run({ json: true, plan });
    expect(report.modules.map((m) => [m.module, m.bonds.map((b) => b.dimension)])).toEqual([
      ['model.layers.0.a', [7]],
      ['model.layers.1.a', [3, 5]],
    ]);
    expect(report.modules[0]!.rowFactors).toEqual([6, 8]);
    const budget = 3000;
    const spread = (await run({ json: true, plan, tensors: all, budget })).report;
    const [first, second, third] = spread.modules;
    expect(first!.bonds.map((b) => b.dimension)).toEqual([7]);
    expect(third!.bonds.map((b) => b.dimension)).toEqual([3, 5]);
    expect(second!.parameters).toBeGreaterThan(0);
    expect(spread.parameters).toBeLessThanOrEqual(budget);
  });

  it.each([
    ['{', /JSON/],
    ['[]', /object/],
    ['{"a": {"rows": [8, 8]}}', /belong together/],
    ['{"a": {"ranks": [0]}}', /ranks/],
    ['{"a": 3}', /object/],
  ])('refuses the plan %s with its place', (text, message) => {
    const error = (() => {
      try {
        parsePlan(text, 'plan.json');
      } catch (e) {
        return e as DotaError;
      }
      return undefined;
    })();
    expect(error).toMatchObject({ code: 'config.invalid' });
    expect(error!.message).toMatch(message);
    expect(error!.where).toContain('plan.json');
    expect(error!.next).toBeDefined();
  });

  it('writes cores that contract to what it reports', async () => {
    const out = path.join(folder, 'cores.safetensors');
    const { report } = await run({
      tensors: ['model.layers.0.a.weight'],
      rowFactors: [4, 3, 4],
      colFactors: [3, 4, 3],
      rank: 5,
      orientation: 'out',
      out,
    });
    const cores = await SafetensorsFile.open(out);
    const [result] = report.modules;
    const loaded: Core[] = [];
    for (let k = 0; k < 3; k++) {
      const raw = await cores.read(`model.layers.0.a.mpo_cores.${k}`);
      loaded.push({ data: toFloat32(raw), shape: raw.shape as unknown as Core['shape'] });
    }
    await cores.close();
    const mpo = { shape: { rows: [4, 3, 4], cols: [3, 4, 3] }, cores: loaded };
    const back = await contractToWeight(mpo, 48, 36, 'out', plainGemm);
    expect(Math.abs(relativeDifference(structured, back) / result!.relativeError - 1)).toBeLessThan(
      1e-4,
    );
  });

  it('says in words what a single matrix is', async () => {
    const { out } = await run({ tensors: ['model.layers.0.b'], cores: 2, rank: 3 });
    expect(out.join('\n')).toMatch(/Bond 1: 3 of \d+, singular values/);
    expect(out.join('\n')).toMatch(/by reconstruction/);
    expect(out.join('\n')).toMatch(/Gaussian matrix of this shape keeps/);
  });

  it.each([
    [{ rank: 3, energy: 0.5 }, 'usage'],
    [{ rowFactors: [4, 12] }, 'usage'],
    [{ rowFactors: [4, 12], colFactors: [6, 6], cores: 2 }, 'usage'],
    [{ tensors: ['nothing'] }, 'adapter.noTarget'],
    [{ tensors: ['model.embed'], rowFactors: [4, 4], colFactors: [6, 6] }, 'adapter.shape'],
    [{ tensors: ['model.embed'], energy: 2 }, 'adapter.rank'],
    [{ path: '/nowhere/at/all' }, 'file.missing'],
  ] as [Partial<DecomposeArgs>, string][])('refuses %j as %s', async (args, code) => {
    await expect(run(args)).rejects.toMatchObject({ code });
  });
});
