import { describe, expect, it } from 'vitest';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { contractToWeight } from '../../../src/core/mpo/contract';
import { decompose } from '../../../src/core/mpo/decompose';
import { chooseShape } from '../../../src/core/mpo/shapes';
import type { Gauge, Orientation } from '../../../src/core/mpo/types';
import {
  lowRankMatrix,
  matrixByDefinition,
  norm,
  randomMatrix,
  relativeDifference,
} from './helpers';

const gauges: Gauge[] = ['left', 'sqrt', 'sqrt_rms'];
const orientations: Orientation[] = ['out', 'in'];

describe('decompose', () => {
  it('reconstructs to fp32 rounding at full rank, in every gauge and orientation', async () => {
    const weight = randomMatrix(24, 36, 3);
    for (const orientation of orientations) {
      for (const gauge of gauges) {
        const shape = orientation === 'out' ? chooseShape(24, 36, 3) : chooseShape(36, 24, 3);
        const result = await decompose(
          weight,
          24,
          36,
          {
            shape,
            rank: { r: 1000 },
            orientation,
            gauge,
          },
          plainGemm,
        );
        const back = await contractToWeight(result.mpo, 24, 36, orientation, plainGemm);
        expect(relativeDifference(weight, back)).toBeLessThan(1e-6);
        expect(result.relativeError).toBeLessThan(1e-6);
        expect(result.bonds.map((b) => b.dimension)).toEqual(
          result.bonds.map((b) => b.fullDimension),
        );
      }
    }
  });

  it('means by its cores what the definition says', async () => {
    const weight = randomMatrix(12, 8, 5);
    const shape = { rows: [3, 2, 2], cols: [2, 2, 2] };
    const { mpo } = await decompose(weight, 12, 8, { shape, rank: { r: 3 } }, plainGemm);
    const back = await contractToWeight(mpo, 12, 8, 'out', plainGemm);
    // fp32 products of cores of order one: some 1e-7.
    expect(relativeDifference(matrixByDefinition(mpo), back)).toBeLessThan(1e-6);
  });

  it('predicts the error that the reconstruction has', async () => {
    for (const r of [2, 5, 9]) {
      const weight = lowRankMatrix(48, 40, 6, r);
      const shape = chooseShape(48, 40, 3);
      const result = await decompose(weight, 48, 40, { shape, rank: { r } }, plainGemm);
      const back = await contractToWeight(result.mpo, 48, 40, 'out', plainGemm);
      const explicit = relativeDifference(weight, back);
      expect(explicit).toBeGreaterThan(1e-3);
      expect(Math.abs(explicit / result.relativeError - 1)).toBeLessThan(1e-4);
      expect(norm(weight) ** 2 / result.energy).toBeCloseTo(1, 10);
    }
  });
});
