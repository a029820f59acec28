/**
 * Trap 8 of the silent ones: an adapter that a checkpoint does not hold (whole, under its own name)
 * must never start over as if it had been resumed. That the first losses after a resume are those of
 * the uninterrupted run is in resume.test.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeSafetensors } from '../../../src/models/safetensors/writer';
import type { Engine, EngineStatePart } from '../../../src/trainer/engine';
import { restoreEngine } from '../../../src/trainer/training/checkpointFiles';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-restore-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const trained = { 'a.lora_A.weight': [1, 2, 3], 'a.lora_B.weight': [4, 5] };

/** An engine with two tensors, and what was written to it. */
function engine(): { engine: Engine; written: EngineStatePart[] } {
  const written: EngineStatePart[] = [];
  const trainable = [
    { name: 'a.lora_A.weight', size: 3, offset: 0 },
    { name: 'a.lora_B.weight', size: 2, offset: 3 },
  ];
  const writeState = (state: EngineStatePart): Promise<void> => {
    written.push(state);
    return Promise.resolve();
  };
  return { engine: { trainable, writeState } as unknown as Engine, written };
}

async function write(file: string, tensors: Record<string, number[]>): Promise<void> {
  await writeSafetensors(
    path.join(folder, file),
    Object.entries(tensors).map(([name, values]) => {
      const data = Float32Array.from(values);
      return { name, dtype: 'F32' as const, shape: [data.length], data };
    }),
  );
}

describe('a checkpoint that is resumed', () => {
  it('gives every trained tensor and both moments back', async () => {
    await write('adapter_model.safetensors', trained);
    await write('optimizer.safetensors', {
      exp_avg: [6, 7, 8, 9, 10],
      exp_avg_sq: [11, 12, 13, 14, 15],
    });
    const { engine: target, written } = engine();
    await restoreEngine(folder, target, { optimizer: true });
    expect(written).toEqual([
      {
        parameters: Float32Array.of(1, 2, 3, 4, 5),
        firstMoment: Float32Array.of(6, 7, 8, 9, 10),
        secondMoment: Float32Array.of(11, 12, 13, 14, 15),
      },
    ]);
  });

  it.each([
    ['is missing', { 'a.lora_A.weight': [1, 2, 3] }],
    ['has another name', { ...trained, 'a.lora_B.weight': [], 'a.default.lora_B.weight': [4, 5] }],
    ['has another size', { ...trained, 'a.lora_B.weight': [4] }],
  ])('is refused where a tensor %s, and the engine stays as it was', async (_what, tensors) => {
    await write('adapter_model.safetensors', tensors);
    const { engine: target, written } = engine();
    await expect(restoreEngine(folder, target, { optimizer: false })).rejects.toMatchObject({
      code: 'run.state',
      message: expect.stringContaining('a.lora_B.weight') as unknown,
    });
    expect(written).toEqual([]);
  });
});
