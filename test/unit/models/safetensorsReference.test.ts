/** A file that the reference implementation wrote (`test/fixtures/models/safetensors_judge.py`). */
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { fromFloat32 } from '../../../src/models/dtype';
import { SafetensorsFile } from '../../../src/models/safetensors/reader';

const file = path.join(import.meta.dirname, '../../fixtures/models/reference.safetensors');
const values = [1, -2.5, 3.14159, 65504, 1e-7, -0];

describe('the reference’s file', () => {
  it('is read with its types, shapes and values', async () => {
    const source = await SafetensorsFile.open(file);
    expect([...source.names].sort()).toEqual(['bf16', 'f16', 'f32', 'f64', 'i64', 'scalar', 'u8']);
    expect(source.metadata.get('format')).toBe('pt');
    const read = async (name: string) => source.read(name);
    expect(await read('f32')).toEqual({
      dtype: 'F32',
      shape: [2, 3],
      data: Float32Array.from(values),
    });
    expect((await read('f64')).data).toEqual(Float64Array.from(values.map(Math.fround)));
    expect(await read('i64')).toMatchObject({ data: BigInt64Array.of(-(2n ** 40n), 7n) });
    expect((await read('u8')).data).toEqual(Uint8Array.of(0, 255));
    expect(await read('scalar')).toMatchObject({ shape: [], data: Float32Array.of(2) });
    expect((await read('bf16')).shape).toEqual([3, 1, 2]);
    // PyTorch rounded these; rounding here gives the same words.
    expect((await read('bf16')).data).toEqual(fromFloat32('BF16', Float32Array.from(values)));
    expect((await read('f16')).data).toEqual(fromFloat32('F16', Float32Array.from(values)));
    await source.close();
  });
});
