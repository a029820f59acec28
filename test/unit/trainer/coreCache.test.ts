/** What a run keeps for the next: the second run takes it from the cache and ends with the same bits. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { linearModules } from '../../../src/adapters/targets';
import { nf4Bytes, quantizeNf4 } from '../../../src/core/nf4';
import { loadModelFolder } from '../../../src/models/modelFolder';
import { journalRows, runCli } from './cliHarness';
import { writeTinyWorkspace } from './tinyModel';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-core-cache-'));
  await writeTinyWorkspace(folder);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const cache = (): string => path.join(folder, '.dota', 'cache');
const steps = ['--set', 'training.max_steps=3'];

async function train(...more: string[]): Promise<{ losses: number[]; weights: Buffer }> {
  const result = await runCli(['train', 'tiny.dota.json', ...steps, ...more, '--json'], folder);
  expect(result.code, result.stderr).toBe(0);
  const run = String(result.json?.run);
  const losses = journalRows(run).flatMap((row) =>
    row.kind === 'step' ? [Number(row['loss'])] : [],
  );
  const checkpoints = path.join(run, 'checkpoints');
  const last = readdirSync(checkpoints).sort().at(-1)!;
  const weights = readFileSync(path.join(checkpoints, last, 'adapter_model.safetensors'));
  return { losses, weights };
}

describe('the cache of a run', () => {
  it('changes no bit of the next run, and is built again when damaged', async () => {
    const first = await train();
    expect(first.losses).toHaveLength(3);
    // Tokens and cores.
    expect(readdirSync(cache())).toHaveLength(2);
    expect(await train()).toEqual(first);
    for (const name of readdirSync(cache())) {
      const bytes = readFileSync(path.join(cache(), name));
      writeFileSync(path.join(cache(), name), bytes.fill(7, bytes.length - 64));
    }
    expect(await train()).toEqual(first);
    // Other ranks are other cores.
    await train('--set', 'adapter.r=2');
    expect(readdirSync(cache())).toHaveLength(3);
  });
});

describe('dota train --estimate', () => {
  it('estimates without making a run, and a run keeps its estimate beside the measured figures', async () => {
    const args = ['train', 'tiny.dota.json', ...steps];
    const runs = path.join(folder, '.dota', 'runs');
    const before = readdirSync(runs).length;
    const { code, json, stderr } = await runCli([...args, '--estimate', '--json'], folder);
    expect(code, stderr).toBe(0);
    expect(readdirSync(runs)).toHaveLength(before);
    const trained = await runCli([...args, '--json'], folder);
    expect(json).toMatchObject({
      total_steps: 3,
      trainable_parameters: trained.json?.trainable_parameters,
    });
    const estimate = trained.json?.estimate as { peakRssMb: number; secondsPerStep: number };
    expect(estimate.peakRssMb).toBe(json?.peak_rss_mb);
    expect(estimate.secondsPerStep).toBeGreaterThan(0);
    // Of so small a model nearly all is the trainer itself.
    const peak = Math.max(
      ...journalRows(String(trained.json?.run)).map((row) =>
        Number(Reflect.get(row, 'rssMb') ?? 0),
      ),
    );
    expect(estimate.peakRssMb / peak).toBeGreaterThan(0.75);
    expect(estimate.peakRssMb / peak).toBeLessThan(1.25);
    const plain = await runCli([...args, '--estimate'], folder);
    expect(plain.stdout).toContain('peak memory about');
  });

  it.each([true, false])('counts 4-bit weights as they are held (double: %s)', async (double) => {
    const bytesOf = async (...sets: string[]): Promise<Record<string, number>> => {
      const args = [...steps, ...sets.flatMap((set) => ['--set', set])];
      const result = await runCli(
        ['train', 'tiny.dota.json', ...args, '--estimate', '--json'],
        folder,
      );
      expect(result.code, result.stderr).toBe(0);
      return result.json!['bytes'] as Record<string, number>;
    };
    const dense = await bytesOf();
    const packed = await bytesOf(
      'quantization.load_in_4bit=true',
      `quantization.bnb_4bit_use_double_quant=${double}`,
    );
    const model = await loadModelFolder(path.join(folder, 'model'));
    await model.weights.close();
    const numbers = linearModules(model.config).map((m) => m.outFeatures * m.inFeatures);
    const saved = numbers.reduce((sum, length) => {
      const stored = nf4Bytes(quantizeNf4(new Float32Array(length), undefined, double));
      return sum + 4 * length - stored;
    }, 0);
    // Exact for large matrices: groups of scales are not full in such small ones.
    expect((dense['weights']! - packed['weights']!) / saved).toBeCloseTo(1, 2);
    expect(packed['adapter']).toBe(dense['adapter']);
  });
});
