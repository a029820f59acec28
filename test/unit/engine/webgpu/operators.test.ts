import { beforeAll, describe, expect, it } from 'vitest';
import { softwareGpuSupported } from '../../../../scripts/software-gpu.mjs';
import { dequantizePlain } from '../../../../src/core/nf4';
import { bf16ToF32, f16ToF32 } from '../../../../src/models/dtype';
import { readSources } from '../../architecture/sourceFiles';
import { runOn } from './child';
import { operatorsOfEngines } from './emittedOperators';
import { fourBitPairs } from './fourBitPairs';

type Report = Record<
  string,
  { ops: string[]; signatures: string[]; values: (number | null | 'NaN')[] }
>;

/**
 * Operators are the only capitalised words that the graph layer has in quotes; whoever else emits one
 * calls `node`. (The exported model is no graph of the trainer's.)
 */
function emittedOperators(): string[] {
  const matches = (folders: string[], pattern: RegExp): string[] =>
    readSources(folders).flatMap(({ text }) =>
      [...text.matchAll(pattern)].map((match) => match[1]!),
    );
  const names = [
    ...matches(['src/graph'], /'([A-Z][A-Za-z]+)'/g),
    ...matches(['src/adapters', 'src/trainer'], /\.node\(\s*'(\w+)'/g),
  ];
  return [...new Set(names)].sort();
}

describe.runIf(softwareGpuSupported)('operators on WebGPU', () => {
  let cpu: Report;
  let gpu: Report;
  beforeAll(async () => {
    const script = 'test/unit/engine/webgpu/operatorsChild.ts';
    [cpu, gpu] = await Promise.all([runOn<Report>('cpu', script), runOn<Report>('webgpu', script)]);
  }, 300_000);

  it('covers every operator that the graph layer emits', () => {
    const covered = new Set(Object.values(gpu).flatMap(({ ops }) => ops));
    expect(emittedOperators().length).toBeGreaterThan(25);
    expect(emittedOperators().filter((op) => !covered.has(op))).toEqual([]);
  });

  it('covers every operator of the graphs that the methods really run', async () => {
    const covered = new Set(Object.values(gpu).flatMap(({ signatures }) => signatures));
    const operators = await operatorsOfEngines();
    expect(operators.size).toBeGreaterThan(25);
    const missing = [...operators].filter(([op]) => !covered.has(op));
    expect(missing).toEqual([]);
  });

  it('gives what the CPU gives', () => {
    for (const [name, { values }] of Object.entries(cpu)) {
      // Checked to the last bit below, where most of them are negligible beside the largest.
      if (name === 'bf16' || name === 'f16') continue;
      const scale = Math.max(1, ...values.map((value) => Math.abs(Number(value))));
      const errors = values.map(
        (value, i) => Math.abs(Number(gpu[name]!.values[i]) - Number(value)) / scale,
      );
      expect(errors.length, name).toBeGreaterThan(0);
      // fp32: a unit in the last place of the largest value is 1.2e-7, of which sums of some tens
      // of terms and approximate transcendental functions lose a few.
      const worst = errors.findIndex((error) => !(error < 5e-6));
      expect(worst, `${name}[${worst}] differs by ${errors[worst]}`).toBe(-1);
    }
  });

  it.each([
    ['bf16', bf16ToF32, 0x7f80, 2 ** -125],
    ['f16', f16ToF32, 0x7c00, 0],
  ] as const)('widens every %s number exactly', (form, widen, infinity, smallest) => {
    const words = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
    const exact = widen(words);
    // Weights are finite; what is below the smallest normal number may vanish.
    const checked = [...words.keys()].filter(
      (i) => (i & 0x7fff) < infinity && Math.abs(exact[i]!) >= smallest,
    );
    expect(checked.length).toBeGreaterThan(2 ** 15);
    for (const report of [cpu, gpu]) {
      const { values } = report[form]!;
      expect(checked.filter((i) => values[i] !== exact[i])).toEqual([]);
    }
  });

  it.each([
    // One product of two fp32 numbers.
    ['nf4', false, 2 ** -24],
    // A scale is a product and a sum, each rounded, where the host rounds once.
    ['nf4 double', true, 3 * 2 ** -24],
  ] as const)('widens every pair of codes: %s', (name, doubleQuantized, tolerance) => {
    const tensor = fourBitPairs(doubleQuantized);
    const exact = new Float32Array(tensor.length);
    dequantizePlain(tensor, exact);
    expect(new Set(tensor.codes).size).toBe(256);
    for (const report of [cpu, gpu]) {
      const { values } = report[name]!;
      expect(values).toHaveLength(exact.length);
      // The scales' terms have at most this size; where they cancel, their rounding stays.
      const size = doubleQuantized ? 1 : Math.max(...exact.map(Math.abs));
      const wrong = [...exact.keys()].filter(
        (i) => !(Math.abs(Number(values[i]) - exact[i]!) <= tolerance * size),
      );
      expect(wrong).toEqual([]);
    }
  });
});
