import { expect, it } from 'vitest';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { Rng } from '../../../src/core/rng';
import { OrtGemm } from '../../../src/trainer/ort/ortGemm';
import { relativeError } from '../graph/harness';

it('the runtime’s products equal the plain ones, in both types and all transpositions', async () => {
  const gemm = new OrtGemm(1);
  const rng = new Rng(1, 'gemm');
  const random = (rows: number, cols: number) => ({
    rows,
    cols,
    data: Float64Array.from({ length: rows * cols }, () => rng.normal()),
  });
  const narrow = (m: ReturnType<typeof random>) => ({ ...m, data: Float32Array.from(m.data) });
  // More shapes than sessions are kept, so that old ones are released and compiled again.
  for (let k = 1; k <= 12; k++) {
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const a = transposeA ? random(k, 3) : random(3, k);
        const b = transposeB ? random(5, k) : random(k, 5);
        const options = { transposeA, transposeB };
        const wide = await gemm.f64(a, b, options);
        expect([wide.rows, wide.cols]).toEqual([3, 5]);
        const expected = await plainGemm.f64(a, b, options);
        // Twelve terms at most, in fp64 and in fp32.
        expect(relativeError(wide.data, expected.data)).toBeLessThan(1e-14);
        const single = await gemm.f32(narrow(a), narrow(b), options);
        expect(relativeError(single.data, expected.data)).toBeLessThan(1e-6);
      }
    }
  }
  await gemm.dispose();
});
