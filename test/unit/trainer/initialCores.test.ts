/** Cores at step 0: in memory only where a step needs them, in every checkpoint as they were. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AdapterPlan } from '../../../src/adapters/adapter';
import { planAdapters } from '../../../src/adapters/plan';
import { runConfigSchema, type RunConfigInput } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { SafetensorsFile } from '../../../src/models/safetensors/reader';
import { writeSafetensors } from '../../../src/models/safetensors/writer';
import { readFloat32 } from '../../../src/trainer/engine/frozenWeights';
import { randomWeights } from '../../../src/trainer/engine/randomWeights';
import {
  initialBytes,
  InitialCores,
  initialCoresFile,
} from '../../../src/trainer/training/initialCores';
import { tinyConfig } from '../engine/tiny';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-initial-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function plan(adapter: RunConfigInput['adapter']): Promise<AdapterPlan> {
  const weights = randomWeights(tinyConfig, 3);
  return planAdapters({
    method: 'dota',
    config: tinyConfig,
    options: runConfigSchema.parse({ data: { train: 'x' }, adapter }).adapter,
    seed: 5,
    gemm: plainGemm,
    weight: ({ path: name, outFeatures, inFeatures }) =>
      readFloat32(weights, { name: `${name}.weight`, shape: [outFeatures, inFeatures] }),
  });
}

/** Every tensor that a checkpoint is given, through the file it is written to. */
async function written(cores: InitialCores): Promise<Record<string, number[]>> {
  const file = path.join(folder, 'adapter_model.safetensors');
  await cores.use((tensors) => writeSafetensors(file, tensors));
  const open = await SafetensorsFile.open(file);
  const result: Record<string, number[]> = {};
  for (const name of open.names) result[name] = [...((await open.read(name)).data as Float32Array)];
  await open.close();
  return result;
}

/** What should be written, from the plan before it is let go of. */
function expected({ modules }: AdapterPlan): Record<string, number[]> {
  const all = [...modules].flatMap(([module, { tensors }]) =>
    tensors
      .filter(({ name }) => name.startsWith('mpo_cores.'))
      .flatMap(({ name, initial, trainable }) => {
        const initialName = name.replace('mpo_cores', 'mpo_initial_cores');
        const names = trainable ? [initialName] : [initialName, name];
        return names.map((own): [string, number[]] => [`${module}.${own}`, [...initial]]);
      }),
  );
  return Object.fromEntries(all);
}

const trainable = ({ modules }: AdapterPlan): Float32Array[] =>
  [...modules.values()].flatMap(({ tensors }) =>
    tensors.filter((tensor) => tensor.trainable).map(({ initial }) => initial),
  );

describe('cores at step 0', () => {
  it('leave the memory for the run’s folder with an explicit residual, and come back', async () => {
    const explicit = await plan({ r: 4, residual: 'explicit' });
    const [before, bytes] = [expected(explicit), initialBytes(explicit)];
    const cores = await InitialCores.keep(folder, explicit);
    expect(existsSync(path.join(folder, initialCoresFile))).toBe(true);
    expect(trainable(explicit).every(({ length }) => length === 0)).toBe(true);
    expect(initialBytes(explicit)).toBe(bytes);
    // Twice, as checkpoints are.
    expect(await written(cores)).toEqual(before);
    expect(await written(cores)).toEqual(before);
  });

  it('keep those that don’t train, from which every step reads', async () => {
    const explicit = await plan({
      r: 4,
      residual: 'explicit',
      trainable_cores: 'auxiliary',
      mpo_cores: 3,
    });
    const before = expected(explicit);
    const frozen = (): number[] =>
      [...explicit.modules.values()].flatMap(({ tensors }) =>
        tensors.filter((tensor) => !tensor.trainable).map(({ initial }) => initial.length),
      );
    const lengths = frozen();
    const cores = await InitialCores.keep(folder, explicit);
    expect(lengths.length).toBeGreaterThan(0);
    expect(frozen()).toEqual(lengths);
    expect(await written(cores)).toEqual(before);
  });

  it('stay in memory with an implicit residual, which subtracts them every step', async () => {
    const implicit = await plan({ r: 4, residual: 'implicit' });
    const before = expected(implicit);
    const cores = await InitialCores.keep(folder, implicit);
    expect(existsSync(path.join(folder, initialCoresFile))).toBe(false);
    expect(trainable(implicit).every(({ length }) => length > 0)).toBe(true);
    expect(await written(cores)).toEqual(before);
  });
});
