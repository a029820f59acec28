/** Files of ours, read by the reference implementation. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { fromFloat32 } from '../../../src/models/dtype';
import { writeSafetensors } from '../../../src/models/safetensors/writer';
import { runJudge } from '../support/judges';

describe.runIf(process.env['DOTA_FULL'])('the safetensors library', () => {
  it('reads what the writer wrote, 16-bit floats within half a unit', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'dota-reference-'));
    const file = path.join(folder, 'ours.safetensors');
    const values = Float32Array.from({ length: 64 }, (_, i) => Math.fround(Math.tan(i * 1.7) * 10));
    await writeSafetensors(
      file,
      (['F64', 'F32', 'F16', 'BF16'] as const).map((dtype) => ({
        name: dtype,
        dtype,
        shape: [8, 8],
        data: fromFloat32(dtype, values),
      })),
      { format: 'pt' },
    );
    const script = path.join(import.meta.dirname, '../../fixtures/models/safetensors_judge.py');
    const read = JSON.parse(runJudge(script, ['read', file])) as {
      metadata: object;
      tensors: Record<string, { dtype: string; shape: number[]; values: number[] }>;
    };
    expect(read.metadata).toEqual({ format: 'pt' });
    const types = { F64: 'float64', F32: 'float32', F16: 'float16', BF16: 'bfloat16' };
    for (const [name, type] of Object.entries(types)) {
      const tensor = read.tensors[name]!;
      expect(tensor).toMatchObject({ dtype: `torch.${type}`, shape: [8, 8] });
      // Half a unit in the last place: 11 and 8 significant bits.
      const bound = { F64: 0, F32: 0, F16: 2 ** -11, BF16: 2 ** -8 }[name]!;
      for (const [i, value] of tensor.values.entries()) {
        expect(Math.abs(value - values[i]!)).toBeLessThanOrEqual(Math.abs(values[i]!) * bound);
      }
    }
    await rm(folder, { recursive: true, force: true });
  });
});
