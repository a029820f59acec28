/** What holds for every shape, rank, orientation and gauge. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { contractToWeight } from '../../../src/core/mpo/contract';
import { decompose } from '../../../src/core/mpo/decompose';
import { explicitError } from '../../../src/core/mpo/explicitError';
import { deinterleave, interleave, rowsOf } from '../../../src/core/mpo/interleave';
import { fullBonds, pairSizes, product } from '../../../src/core/mpo/shapes';
import type { Gauge, MpoShape, Orientation } from '../../../src/core/mpo/types';
import {
  lowRankMatrix,
  matrixByDefinition,
  norm,
  orthogonalityDefect,
  randomMatrix,
  relativeDifference,
} from './helpers';

const gauges: readonly Gauge[] = ['left', 'sqrt', 'sqrt_rms'];

interface Case {
  shape: MpoShape;
  /** Up to so many rows and columns are padding. */
  padRows: number;
  padCols: number;
  r: number;
  rank: number;
  orientation: Orientation;
  gauge: Gauge;
  seed: number;
}

const cases: fc.Arbitrary<Case> = fc.integer({ min: 2, max: 4 }).chain((n) =>
  fc.record({
    shape: fc.record({
      rows: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: n, maxLength: n }),
      cols: fc.array(fc.integer({ min: 2, max: 4 }), { minLength: n, maxLength: n }),
    }),
    padRows: fc.integer({ min: 0, max: 2 }),
    padCols: fc.integer({ min: 0, max: 2 }),
    r: fc.integer({ min: 1, max: 20 }),
    rank: fc.integer({ min: 1, max: 30 }),
    orientation: fc.constantFrom<Orientation>('out', 'in'),
    gauge: fc.constantFrom(...gauges),
    seed: fc.integer({ min: 0, max: 1000 }),
  }),
);

/** Sizes of the weight [out, in] for a case; less than half of a side is padding. */
function sizes(c: Case): { out: number; in: number } {
  const i =
    product(c.shape.rows) - Math.min(c.padRows, Math.floor((product(c.shape.rows) - 1) / 2));
  const j =
    product(c.shape.cols) - Math.min(c.padCols, Math.floor((product(c.shape.cols) - 1) / 2));
  return c.orientation === 'out' ? { out: i, in: j } : { out: j, in: i };
}

describe('decompose, for all shapes, ranks, orientations, paddings and gauges', () => {
  it('interleaving is a permutation that keeps everything', () => {
    fc.assert(
      fc.property(cases, (c) => {
        const size = sizes(c);
        const weight = randomMatrix(size.out, size.in, c.seed);
        const { tensor, energy } = interleave(
          rowsOf(weight, size.out, size.in),
          c.shape,
          c.orientation,
        );
        expect(energy).toBeCloseTo(norm(weight) ** 2, 6);
        expect(norm(tensor)).toBeCloseTo(norm(weight), 9);
        expect(deinterleave(tensor, size.out, size.in, c.shape, c.orientation)).toEqual(weight);
      }),
      { seed: 2, numRuns: 60 },
    );
  });

  it('predicts its error, stays within the bound of the tails, and full rank is exact', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (c) => {
        const size = sizes(c);
        const weight = lowRankMatrix(size.out, size.in, c.rank, c.seed);
        const options = { shape: c.shape, orientation: c.orientation, gauge: c.gauge };
        const result = await decompose(
          weight,
          size.out,
          size.in,
          { ...options, rank: { r: c.r }, spectra: 'all' },
          plainGemm,
        );
        const rows = rowsOf(weight, size.out, size.in);
        const explicit = await explicitError(rows, result.mpo, c.orientation, plainGemm);
        if (explicit > 1e-3)
          expect(Math.abs(explicit / result.relativeError - 1)).toBeLessThan(1e-4);
        else expect(Math.abs(explicit - result.relativeError)).toBeLessThan(1e-6);
        const tails = result.bonds.map((b) => {
          expect(b.exactSpectrum).toBe(true);
          return b.spectrum.slice(b.dimension).reduce((sum, s) => sum + s * s, 0);
        });
        const bound = Math.sqrt(tails.reduce((a, b) => a + b, 0) / result.energy);
        expect(explicit).toBeLessThanOrEqual(bound * 1.0001 + 1e-6);
        expect(result.keptEnergy).toBeCloseTo(1 - result.relativeError ** 2, 12);
        expect(result.parameters).toBe(
          result.mpo.cores.reduce((sum, core) => sum + core.data.length, 0),
        );
        result.mpo.cores.forEach((core, k) => {
          expect(core.shape[1] * core.shape[2]).toBe(pairSizes(c.shape)[k]);
          expect(core.data).toHaveLength(product(core.shape));
          expect(core.shape[3]).toBe(result.bonds[k]?.dimension ?? 1);
        });

        const full = await decompose(
          weight,
          size.out,
          size.in,
          { ...options, rank: { r: fullBonds(c.shape) } },
          plainGemm,
        );
        expect(await explicitError(rows, full.mpo, c.orientation, plainGemm)).toBeLessThan(1e-6);
      }),
      { seed: 3, numRuns: 80 },
    );
  });

  it('every gauge gives the same matrix, and what its name says', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (c) => {
        const size = sizes(c);
        const weight = randomMatrix(size.out, size.in, c.seed);
        const matrices = [];
        for (const gauge of gauges) {
          const { mpo } = await decompose(
            weight,
            size.out,
            size.in,
            { shape: c.shape, orientation: c.orientation, rank: { r: c.r }, gauge },
            plainGemm,
          );
          matrices.push(await contractToWeight(mpo, size.out, size.in, c.orientation, plainGemm));
          const rms = mpo.cores.map((core) => norm(core.data) / Math.sqrt(core.data.length));
          if (gauge === 'left')
            for (const { data, shape } of mpo.cores.slice(0, -1))
              expect(
                orthogonalityDefect(data, shape[0] * shape[1] * shape[2], shape[3]),
              ).toBeLessThan(1e-6);
          if (gauge === 'sqrt_rms')
            expect(Math.max(...rms) / Math.min(...rms)).toBeLessThan(1.00001);
          if (gauge === 'sqrt') {
            // Both neighbours of a bond carry its Schmidt values as square roots: the Gram matrix
            // of the left part over the bond is diagonal and equals that of the right part.
            const first = mpo.cores[0]!;
            const second = mpo.cores[1]!;
            if (mpo.cores.length === 2) {
              const d = first.shape[3];
              const width = second.data.length / d;
              for (let b = 0; b < d; b++) {
                let left = 0;
                let right = 0;
                for (let x = b; x < first.data.length; x += d) left += first.data[x]! ** 2;
                for (let x = 0; x < width; x++) right += second.data[b * width + x]! ** 2;
                expect(Math.abs(left / right - 1)).toBeLessThan(1e-5);
              }
            }
          }
        }
        expect(relativeDifference(matrices[0]!, matrices[1]!)).toBeLessThan(1e-6);
        expect(relativeDifference(matrices[0]!, matrices[2]!)).toBeLessThan(1e-6);
      }),
      { seed: 4, numRuns: 60 },
    );
  });

  it('contracts to what the definition says', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (c) => {
        const i = product(c.shape.rows);
        const j = product(c.shape.cols);
        if (i * j > 1500) return;
        const weight = randomMatrix(i, j, c.seed);
        const { mpo } = await decompose(
          weight,
          i,
          j,
          { shape: c.shape, rank: { r: c.r }, gauge: c.gauge },
          plainGemm,
        );
        const back = await contractToWeight(mpo, i, j, 'out', plainGemm);
        expect(relativeDifference(matrixByDefinition(mpo), back)).toBeLessThan(1e-6);
      }),
      { seed: 5, numRuns: 40 },
    );
  });
});

describe('degenerate weights', () => {
  const shape = { rows: [4, 3, 4], cols: [4, 4, 3] };

  it.each([
    ['zero', new Float32Array(48 * 48), 1],
    ['constant', new Float32Array(48 * 48).fill(0.25), 1],
    ['a single entry', Float32Array.from({ length: 48 * 48 }, (_, k) => (k === 777 ? 2 : 0)), 1],
    ['tiny', new Float32Array(48 * 48).fill(1e-30), 1],
    // A matrix of rank one is no product state of the pairs: it needs whole bonds.
    ['matrix rank one', lowRankMatrix(48, 48, 1, 4), undefined],
  ])('%s: no NaN, bonds as small as the matrix needs', async (_, weight, bond) => {
    for (const gauge of gauges) {
      const result = await decompose(weight, 48, 48, { shape, rank: { r: 99 }, gauge }, plainGemm);
      const back = await contractToWeight(result.mpo, 48, 48, 'out', plainGemm);
      expect(relativeDifference(weight, back)).toBeLessThan(norm(weight) === 0 ? 1e-30 : 1e-6);
      expect(result.relativeError).toBeLessThan(1e-6);
      if (bond !== undefined) expect(result.bonds.map((b) => b.dimension)).toEqual([bond, bond]);
    }
  });

  it('a wide middle of low rank, and of zeros', async () => {
    const wide = { rows: [32, 24], cols: [32, 24] };
    const weight = lowRankMatrix(768, 768, 1, 4);
    const result = await decompose(weight, 768, 768, { shape: wide, rank: { r: 8 } }, plainGemm);
    const back = await contractToWeight(result.mpo, 768, 768, 'out', plainGemm);
    expect(relativeDifference(weight, back)).toBeGreaterThan(0.1);
    expect(result.bonds[0]?.exactSpectrum).toBe(false);
    const zero = await decompose(
      new Float32Array(768 * 768),
      768,
      768,
      { shape: wide, rank: { r: 8 } },
      plainGemm,
    );
    expect(zero.bonds[0]?.dimension).toBe(1);
    expect(zero.keptEnergy).toBe(1);
  });

  it('refuses a weight that is not finite', async () => {
    const weight = new Float32Array(48 * 48).fill(1);
    weight[5] = NaN;
    await expect(
      decompose(weight, 48, 48, { shape, rank: { r: 2 } }, plainGemm),
    ).rejects.toMatchObject({ code: 'train.nonFinite' });
  });
});

describe('ranks by tolerance', () => {
  it('keeps the energy asked for, with few parameters', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.double({ min: 0.3, max: 0.9999, noNaN: true }),
        fc.integer({ min: 1, max: 100 }),
        async (energy, seed) => {
          const weight = lowRankMatrix(36, 48, 9, seed);
          const shape = { rows: [4, 3, 3], cols: [4, 4, 3] };
          const kept = await decompose(weight, 36, 48, { shape, rank: { energy } }, plainGemm);
          expect(kept.keptEnergy).toBeGreaterThanOrEqual(energy - 1e-9);
          const error = Math.sqrt(1 - energy);
          const same = await decompose(
            weight,
            36,
            48,
            { shape, rank: { relativeError: error } },
            plainGemm,
          );
          expect(same.relativeError).toBeLessThanOrEqual(error + 1e-9);
          // No more than a rank above the smallest that would do for all bonds alike.
          const less = Math.max(...kept.bonds.map((b) => b.dimension)) - 2;
          if (less >= 1) {
            const smaller = await decompose(
              weight,
              36,
              48,
              { shape, rank: { r: Math.max(1, Math.floor(less / 2)) } },
              plainGemm,
            );
            expect(smaller.keptEnergy).toBeLessThan(energy);
          }
        },
      ),
      { seed: 6, numRuns: 25 },
    );
  });

  it('meets a tolerance in a wide middle', async () => {
    const wide = { rows: [20, 16], cols: [20, 16] };
    const weight = lowRankMatrix(320, 320, 2, 4);
    for (const energy of [0.3, 0.9]) {
      const result = await decompose(
        weight,
        320,
        320,
        { shape: wide, rank: { energy }, exactSide: 64 },
        plainGemm,
      );
      expect(result.keptEnergy).toBeGreaterThanOrEqual(energy);
      // Not simply by keeping everything.
      expect(result.keptEnergy).toBeLessThan(energy + 0.05);
    }
  });

  it('refuses shares outside 0 to 1', async () => {
    const shape = { rows: [4, 4], cols: [4, 4] };
    for (const rank of [{ energy: 1.5 }, { relativeError: -0.1 }, { energy: NaN }])
      await expect(
        decompose(randomMatrix(16, 16, 1), 16, 16, { shape, rank }, plainGemm),
      ).rejects.toMatchObject({ code: 'adapter.rank' });
  });
});

describe('determinism and control', () => {
  const shape = { rows: [20, 16], cols: [20, 16] };
  const weight = randomMatrix(320, 320, 12);

  it('gives the same bits twice, in a randomised middle too; the seed matters only there', async () => {
    // A low limit makes the bond of side 256 a randomised one.
    const options = { shape, rank: { r: 6 }, exactSide: 64 };
    const a = await decompose(weight, 320, 320, options, plainGemm);
    const b = await decompose(weight, 320, 320, options, plainGemm);
    expect(b.mpo).toEqual(a.mpo);
    expect(b.bonds).toEqual(a.bonds);
    const c = await decompose(weight, 320, 320, { ...options, seed: 5 }, plainGemm);
    expect(c.mpo).not.toEqual(a.mpo);
    expect(c.relativeError / a.relativeError).toBeCloseTo(1, 2);
  });

  it('stops between two bonds', async () => {
    const controller = new AbortController();
    controller.abort();
    const options = { shape, rank: { r: 2 }, signal: controller.signal };
    await expect(decompose(weight, 320, 320, options, plainGemm)).rejects.toMatchObject({
      code: 'run.stopped',
    });
  });

  it('shows how far a wide spectrum is, lets others run meanwhile and stops within it', async () => {
    // Long enough for several slices of 50 ms: the reduction alone takes 0.3 s or more. (At side 768 a fast
    // machine was through before the first slice of it had passed.)
    const wide = randomMatrix(1280, 1280, 5);
    const seen: number[] = [];
    const controller = new AbortController();
    // A task from outside, as a signal of the operating system is: it must get its turn.
    const timer = setInterval(() => {
      if ((seen.at(-1) ?? 0) > 0.1) controller.abort();
    }, 1);
    const run = decompose(
      wide,
      1280,
      1280,
      {
        shape: { rows: [32, 40], cols: [40, 32] },
        rank: { r: 2 },
        exactSide: 64,
        exactMiddle: true,
        signal: controller.signal,
        onProgress: (share) => seen.push(share),
      },
      plainGemm,
    );
    await expect(run).rejects.toMatchObject({ code: 'run.stopped' });
    clearInterval(timer);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    expect(seen.at(-1)).toBeLessThan(1);
  });
});
