import { beforeAll, describe, expect, it } from 'vitest';
import { softwareGpuSupported } from '../../../../scripts/software-gpu.mjs';
import type { AttentionCut } from '../../../../src/graph/layers/attentionCut';
import { Graph } from '../../../../src/graph/graph';
import { gemm } from '../../../../src/graph/ops/matmul';
import { storedWeight } from '../../../../src/graph/layers/storedWeight';
import { checkBuffers } from '../../../../src/trainer/ort/bufferLimit';
import { relativeError } from '../../graph/harness';
import { runOn } from './child';

interface Computed {
  lossSum: number;
  gradient: number[];
  evaluated: number;
  logits: number[];
  partRows?: number;
  cut?: AttentionCut;
  error?: { code: string };
}
interface Trained {
  losses: number[];
  norms: number[];
  gradient: number[];
  cut: AttentionCut;
}
type Report = Record<
  'F32 tied' | 'BF16 apart' | 'QDoTA, long sequences' | 'too many tokens',
  Computed
> &
  Record<'full, long sequences', Trained>;

describe.runIf(softwareGpuSupported)('a GPU of small buffers', () => {
  let cpu: Report;
  let gpu: Report;
  beforeAll(async () => {
    const script = 'test/unit/engine/webgpu/bufferLimitChild.ts';
    cpu = await runOn<Report>('cpu', script);
    gpu = await runOn<Report>('webgpu', script);
  }, 300_000);

  it.each(['F32 tied', 'BF16 apart', 'QDoTA, long sequences'] as const)(
    'computes what the CPU computes, with tables and attention in parts: %s',
    (name) => {
      const [ours, theirs] = [gpu[name], cpu[name]];
      expect(ours.error).toBeUndefined();
      // 450 rows of 24 in fp32, in buffers of 16 KiB.
      expect(ours.partRows).toBe(170);
      // Sums of fp32 in another order.
      expect(Math.abs(ours.lossSum / theirs.lossSum - 1)).toBeLessThan(1e-5);
      expect(Math.abs(ours.evaluated / theirs.evaluated - 1)).toBeLessThan(1e-5);
      expect(relativeError(ours.logits, theirs.logits)).toBeLessThan(1e-5);
      expect(Math.hypot(...theirs.gradient)).toBeGreaterThan(0);
      expect(relativeError(ours.gradient, theirs.gradient)).toBeLessThan(1e-5);
    },
  );

  it('cuts attention where its scores pass the limit', () => {
    expect(cpu['QDoTA, long sequences'].cut).toEqual({ sequences: 2, keyHeads: 2, queries: 40 });
    // 2 of the 4 heads of one sequence take 12.8 kB of 16.
    expect(gpu['QDoTA, long sequences'].cut).toEqual({ sequences: 1, keyHeads: 1, queries: 40 });
  });

  it('trains all weights like the CPU with attention in pieces', () => {
    const [ours, theirs] = [gpu['full, long sequences'], cpu['full, long sequences']];
    expect(theirs.cut).toEqual({ sequences: 2, keyHeads: 2, queries: 40 });
    expect(ours.cut).toEqual({ sequences: 1, keyHeads: 1, queries: 40 });
    expect(Math.hypot(...theirs.gradient)).toBeGreaterThan(0);
    // Sums of fp32 in another order.
    expect(relativeError(ours.gradient, theirs.gradient)).toBeLessThan(1e-5);
    expect(theirs.losses[1]).toBeLessThan(theirs.losses[0]!);
    theirs.losses.forEach((loss, step) => {
      // AdamW's first step is the gradient's sign: rounding moves what is near zero by up to the rate.
      const tolerance = step === 0 ? 1e-5 : 1e-4;
      expect(Math.abs(ours.losses[step]! / loss - 1)).toBeLessThan(tolerance);
      expect(Math.abs(ours.norms[step]! / theirs.norms[step]! - 1)).toBeLessThan(tolerance);
    });
  });

  it('refuses a tensor of the batch that passes the limit, before it computes nonsense', () => {
    expect(cpu['too many tokens'].error).toBeUndefined();
    expect(gpu['too many tokens'].error).toMatchObject({ code: 'device.outOfMemory' });
  });
});

describe('the check of buffers', () => {
  const productOf = (rows: number, columns: number) => {
    const graph = new Graph();
    const x = graph.input('hidden', 'float32', [rows, 8]);
    const weight = graph.input('frozen.weight', 'float32', [columns, 8]);
    graph.output('y', gemm(x, weight, { transposeB: true }));
    return graph.build();
  };

  it('lets everything up to the limit pass', () => {
    expect(() => {
      checkBuffers(productOf(16, 16), 1024);
    }).not.toThrow();
  });

  it('tells the batch’s tensors, for which fewer sequences help, from the model’s', () => {
    expect(() => {
      checkBuffers(productOf(64, 16), 1024);
    }).toThrow(expect.objectContaining({ code: 'device.outOfMemory' }));
    expect(() => {
      checkBuffers(productOf(1, 64), 1024);
    }).toThrow(expect.objectContaining({ code: 'device.unavailable' }));
  });

  it('names a weight that cannot be cut, in the form it is computed with, and what to do', () => {
    const graph = new Graph();
    const shape = [512, 1024];
    const weight = storedWeight(graph, 'frozen.mlp.up_proj.weight', shape, { form: 'bf16' });
    graph.output(
      'y',
      gemm(graph.input('hidden', 'float32', [4, 1024]), weight, { transposeB: true }),
    );
    const built = graph.build();
    // Each half of its bytes is 0.5 MiB at rest; widened it is 2.
    expect(() => {
      checkBuffers(built, 2 ** 20);
    }).toThrow(
      'The weight "mlp.up_proj.weight" [512, 1024] takes 2.0 MiB as it is computed with; ' +
        'the largest buffer of this GPU has 1.0 MiB.',
    );
    expect(() => {
      checkBuffers(built, 2 ** 20);
    }).toThrow(
      expect.objectContaining({ next: expect.stringContaining('"device": "cpu"') as string }),
    );
    expect(() => {
      checkBuffers(built, 2 ** 21);
    }).not.toThrow();
  });

  it('takes a weight in 4 bits for the model’s as well', () => {
    const graph = new Graph();
    const nf4 = { form: 'nf4', blockSize: 64, doubleQuantized: false } as const;
    const weight = storedWeight(graph, 'frozen.mlp.up_proj.weight', [512, 1024], nf4);
    graph.output(
      'y',
      gemm(graph.input('hidden', 'float32', [4, 1024]), weight, { transposeB: true }),
    );
    expect(() => {
      checkBuffers(graph.build(), 2 ** 20);
    }).toThrow(
      expect.objectContaining({
        code: 'device.unavailable',
        message: expect.stringContaining('The weight "mlp.up_proj.weight"') as string,
      }),
    );
  });
});
