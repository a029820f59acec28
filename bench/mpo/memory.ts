/** Peak memory of decomposing a 4096 x 4096 bf16 weight, above the idle process. */
import { Scratch } from '../../src/core/mpo/interleave';
import { decomposeModule } from '../../src/decompose/decomposeModule';
import type { ModuleRequest } from '../../src/decompose/decomposeModule';
import { rawRows } from '../../src/decompose/modules';
import { defaultModelDecomposeOptions } from '../../src/decompose/options';
import type { RawTensor } from '../../src/models/modelConfig';
import { enableGarbageCollection } from '../../src/trainer/garbageCollection';
import { OrtGemm } from '../../src/trainer/ort/ortGemm';

const SIZE = 4096;

/**
 * bf16 values in [-2, -1) and [1, 2), from a linear congruential generator straight into the words:
 * no temporary arrays that would count as the decomposition's.
 */
function weight(size: number): RawTensor {
  const data = new Uint16Array(size * size);
  let state = 1;
  for (let k = 0; k < data.length; k++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    data[k] = 0x3f80 | ((state >>> 25) & 0x7f) | ((state >>> 9) & 0x8000);
  }
  return { dtype: 'BF16', shape: [size, size], data };
}

export async function measureMemory(threads: number): Promise<object> {
  enableGarbageCollection();
  const gemm = new OrtGemm(threads);
  const request = (factor: number, r: number): ModuleRequest => ({
    module: 'm',
    shape: { rows: new Array<number>(4).fill(factor), cols: new Array<number>(4).fill(factor) },
    rank: { r },
    options: { ...defaultModelDecomposeOptions, explicitError: true },
    scratch: new Scratch(),
  });
  // A tiny matrix first: what the runtime itself takes is part of the idle process.
  await decomposeModule(rawRows(weight(16), 'm'), request(2, 4), gemm);
  const idle = process.memoryUsage.rss();
  const raw = weight(SIZE);
  const fp32 = SIZE * SIZE * 4;
  const large = request(8, 64);
  for (let k = 0; k < 3; k++) {
    globalThis.gc?.();
    await decomposeModule(rawRows(raw, 'm'), large, gemm);
  }
  const peak = process.resourceUsage().maxRSS * 1024;
  await gemm.dispose();
  return {
    idle_mb: Math.round(idle / 2 ** 20),
    peak_mb: Math.round(peak / 2 ** 20),
    /** Above the idle process, the file's own bytes included; the aim is 3. */
    ratio_to_fp32_matrix: Number(((peak - idle) / fp32).toFixed(2)),
  };
}
