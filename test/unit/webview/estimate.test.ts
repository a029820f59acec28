/** The explorer's preview against real decompositions, which the panel itself never computes. */
import { describe, expect, it } from 'vitest';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { decompose } from '../../../src/core/mpo/decompose';
import { fullBonds } from '../../../src/core/mpo/shapes';
import type { MpoShape } from '../../../src/core/mpo/types';
import type { ModuleDecomposition } from '../../../src/protocol/decomposition';
import { estimate, prepare } from '../../../webview/explorer/cut';

const SIDE = 64;

/** Uniform noise plus a product of slow waves: flat bulk, a few strong directions. */
function weight(structure: number): Float32Array {
  let state = 12345;
  return Float32Array.from({ length: SIDE * SIDE }, (_, index) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const [i, j] = [Math.floor(index / SIDE), index % SIDE];
    const wave = Math.sin(i / 9) * Math.cos(j / 7) + Math.cos(i / 3) * Math.sin(j / 11);
    return state / 2 ** 31 - 1 + structure * wave;
  });
}

async function decomposed(
  data: Float32Array,
  shape: MpoShape,
  r: number,
): Promise<ModuleDecomposition> {
  const d = await decompose(data, SIDE, SIDE, { shape, rank: { r }, spectra: 'all' }, plainGemm);
  return {
    ...d,
    module: 'm',
    rows: SIDE,
    cols: SIDE,
    rowFactors: shape.rows,
    colFactors: shape.cols,
    orientation: 'out',
    cores: d.mpo.cores.map((c) => c.shape),
    references: [],
  };
}

describe.each([
  ['noise', 0],
  ['noise with structure', 0.5],
])('on %s', (_name, structure) => {
  it.each([[{ rows: [4, 4, 4], cols: [4, 4, 4] }], [{ rows: [4, 2, 2, 4], cols: [4, 2, 2, 4] }]])(
    'bounds hold and the likely value is near, shape %j',
    async (shape) => {
      const data = weight(structure);
      const prepared = prepare(await decomposed(data, shape, 6));
      for (const r of [3, 4, 9, 12]) {
        const truth = await decomposed(data, shape, r);
        const e = estimate(
          prepared,
          fullBonds(shape).map((full) => Math.min(full, r)),
        );
        expect(e.parameters).toBe(truth.parameters);
        // Weights are fp32: energies agree to about 1e-6 of the norm.
        expect(truth.relativeError).toBeGreaterThanOrEqual(e.errorLow - 1e-5);
        expect(truth.relativeError).toBeLessThanOrEqual(e.errorHigh + 1e-5);
        // An estimate, not a bound: a fifth of the kept energy for up to twice the rank either way.
        const kept = 1 - e.error ** 2;
        expect(Math.abs(kept / truth.keptEnergy - 1)).toBeLessThan(0.2);
      }
    },
  );
});
