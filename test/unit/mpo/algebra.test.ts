import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { gaussian } from '../../../src/core/linalg/probes';
import { add, innerProduct, norm, round, scale, subtract } from '../../../src/core/mpo/algebra';
import { contractInterleaved, contractToWeight } from '../../../src/core/mpo/contract';
import { toLora } from '../../../src/core/mpo/lora';
import { decompose } from '../../../src/core/mpo/decompose';
import type { Core, Mpo, MpoShape } from '../../../src/core/mpo/types';
import { norm as frobenius, randomMatrix, relativeDifference } from './helpers';

const shape: MpoShape = { rows: [3, 4, 2], cols: [4, 2, 3] };

/** An operator with random cores, not in any gauge. */
function randomMpo(bonds: readonly number[], seed: number, of: MpoShape = shape): Mpo {
  const cores = of.rows.map((i, k): Core => {
    const left = bonds[k - 1] ?? 1;
    const right = bonds[k] ?? 1;
    const j = of.cols[k]!;
    return {
      data: gaussian(left * i * j * right, seed + k),
      shape: [left, i, j, right],
    };
  });
  return { shape: of, cores };
}

const dense = (mpo: Mpo): Promise<Float32Array> => contractInterleaved(mpo, plainGemm);
const bonds = fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 6 }));
const seeds = fc.integer({ min: 1, max: 10_000 });

describe('MPO algebra', () => {
  it('adds, subtracts and scales like matrices', async () => {
    await fc.assert(
      fc.asyncProperty(bonds, bonds, seeds, async (da, db, seed) => {
        const a = randomMpo(da, seed);
        const b = randomMpo(db, seed + 50);
        const [ma, mb] = [await dense(a), await dense(b)];
        const sum = add(a, b);
        expect(sum.cores.map((c) => c.shape[3])).toEqual([da[0] + db[0], da[1] + db[1], 1]);
        expect(
          relativeDifference(
            ma.map((x, k) => x + mb[k]!),
            await dense(sum),
          ),
        ).toBeLessThan(1e-5);
        expect(
          relativeDifference(
            ma.map((x, k) => x - mb[k]!),
            await dense(subtract(a, b)),
          ),
        ).toBeLessThan(1e-5);
        expect(
          relativeDifference(
            ma.map((x) => -2.5 * x),
            await dense(scale(a, -2.5)),
          ),
        ).toBeLessThan(1e-6);
      }),
      { seed: 7, numRuns: 30 },
    );
  });

  it('norm and inner product are those of the matrices', async () => {
    await fc.assert(
      fc.asyncProperty(bonds, bonds, seeds, async (da, db, seed) => {
        const a = randomMpo(da, seed);
        const b = randomMpo(db, seed + 50);
        const [ma, mb] = [await dense(a), await dense(b)];
        const expected = ma.reduce((sum, x, k) => sum + x * mb[k]!, 0);
        const scaleOf = frobenius(ma) * frobenius(mb);
        expect(Math.abs((await innerProduct(a, b, plainGemm)) - expected)).toBeLessThan(
          1e-6 * scaleOf,
        );
        expect((await norm(a, plainGemm)) / frobenius(ma)).toBeCloseTo(1, 6);
      }),
      { seed: 8, numRuns: 30 },
    );
  });

  it('rounding states its error, keeps gauges equal, and is lossless where nothing is to lose', async () => {
    await fc.assert(
      fc.asyncProperty(bonds, fc.integer({ min: 1, max: 5 }), seeds, async (d, r, seed) => {
        const a = randomMpo(d, seed);
        const m = await dense(a);
        const rounded = await round(a, { r }, plainGemm);
        const back = await dense(rounded.mpo);
        expect(Math.abs(relativeDifference(m, back) - rounded.relativeError)).toBeLessThan(2e-6);
        expect(Math.max(...rounded.bonds)).toBeLessThanOrEqual(r);
        const left = await round(a, { r }, plainGemm, 'left');
        expect(relativeDifference(back, await dense(left.mpo))).toBeLessThan(2e-6);
        // a + a has the bonds of a, and rounding finds them.
        const doubled = await round(add(a, a), { r: 50 }, plainGemm);
        expect(
          relativeDifference(
            m.map((x) => 2 * x),
            await dense(doubled.mpo),
          ),
        ).toBeLessThan(2e-6);
        doubled.bonds.forEach((bond, k) => {
          expect(bond).toBeLessThanOrEqual(d[k]!);
        });
      }),
      { seed: 9, numRuns: 30 },
    );
  });

  it('rounding is nearly as good as decomposing the matrix anew', async () => {
    const a = randomMpo([6, 6], 3);
    const weight = await contractToWeight(a, 24, 24, 'out', plainGemm);
    const anew = await decompose(weight, 24, 24, { shape, rank: { r: 3 } }, plainGemm);
    const rounded = await round(a, { r: 3 }, plainGemm);
    // Both orders of the cuts are within sqrt(2) of the best; in practice within a few per cent.
    expect(rounded.relativeError / anew.relativeError).toBeLessThan(1.05);
    expect(rounded.relativeError / anew.relativeError).toBeGreaterThan(0.95);
  });

  it('the difference to itself is zero, and rounds to bond one', async () => {
    const a = randomMpo([4, 3], 11);
    const zero = subtract(a, a);
    expect(await norm(zero, plainGemm)).toBeLessThan(1e-6 * (await norm(a, plainGemm)));
    const rounded = await round(zero, { r: 5 }, plainGemm);
    for (const x of await dense(rounded.mpo)) expect(Math.abs(x)).toBeLessThan(1e-5);
  });

  it('rounds to a tolerance', async () => {
    const a = randomMpo([6, 6], 21);
    const rounded = await round(a, { relativeError: 0.3 }, plainGemm);
    expect(rounded.relativeError).toBeLessThanOrEqual(0.3);
    expect(rounded.bonds.some((d) => d < 6)).toBe(true);
  });

  it('refuses operators of different factors', () => {
    const other = randomMpo([2, 2], 1, { rows: [4, 3, 2], cols: [4, 2, 3] });
    expect(() => add(randomMpo([2, 2], 1), other)).toThrow(/different shapes/);
  });
});

describe('toLora', () => {
  it('is the truncated SVD of the matrix, with its error', async () => {
    for (const orientation of ['out', 'in'] as const) {
      const a = randomMpo([4, 4], 5);
      const [out, into] = orientation === 'out' ? [24, 24] : [24, 24];
      const m = await contractToWeight(a, out, into, orientation, plainGemm);
      const errors = [];
      for (const r of [1, 4, 12, 24]) {
        const pair = await toLora(a, out, into, orientation, r, plainGemm);
        const back = new Float32Array(out * into);
        for (let o = 0; o < out; o++)
          for (let i = 0; i < into; i++)
            for (let k = 0; k < pair.rank; k++)
              back[o * into + i]! += pair.b[o * pair.rank + k]! * pair.a[k * into + i]!;
        expect(Math.abs(relativeDifference(m, back) - pair.relativeError)).toBeLessThan(2e-6);
        errors.push(pair.relativeError);
      }
      expect(errors).toEqual([...errors].sort((x, y) => y - x));
      expect(errors.at(-1)).toBeLessThan(1e-6);
    }
  });

  it('handles wide, tall and padded matrices alike', async () => {
    for (const [out, into] of [
      [22, 24],
      [24, 21],
    ] as const) {
      const a = randomMpo([3, 3], 8);
      const m = await contractToWeight(a, out, into, 'out', plainGemm);
      const pair = await toLora(a, out, into, 'out', 21, plainGemm);
      expect(pair.b).toHaveLength(out * pair.rank);
      expect(pair.a).toHaveLength(pair.rank * into);
      const back = m.map((_, at) => {
        let sum = 0;
        for (let k = 0; k < pair.rank; k++)
          sum += pair.b[Math.floor(at / into) * pair.rank + k]! * pair.a[k * into + (at % into)]!;
        return sum;
      });
      expect(Math.abs(relativeDifference(m, back) - pair.relativeError)).toBeLessThan(2e-6);
    }
    await expect(toLora(randomMpo([2, 2], 1), 24, 24, 'out', 25, plainGemm)).rejects.toThrow(
      /does not fit/,
    );
  });

  it('is the identity on a weight of low matrix rank', async () => {
    const weight = randomMatrix(24, 3, 2);
    const other = randomMatrix(3, 24, 3);
    const low = new Float32Array(24 * 24);
    for (let i = 0; i < 24; i++)
      for (let j = 0; j < 24; j++)
        for (let k = 0; k < 3; k++) low[i * 24 + j]! += weight[i * 3 + k]! * other[k * 24 + j]!;
    const { mpo } = await decompose(low, 24, 24, { shape, rank: { r: 99 } }, plainGemm);
    const pair = await toLora(mpo, 24, 24, 'out', 10, plainGemm);
    expect(pair.relativeError).toBeLessThan(1e-5);
  });
});
