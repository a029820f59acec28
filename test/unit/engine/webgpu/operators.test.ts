import { beforeAll, describe, expect, it } from 'vitest';
import { softwareGpuSupported } from '../../../../scripts/software-gpu.mjs';
import { bf16ToF32, f16ToF32 } from '../../../../src/models/dtype';
import { readSources } from '../../architecture/sourceFiles';
import { runOn } from './child';
import { operatorsOfEngines } from './emittedOperators';

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
      const scale = Math.max(1, ...values.map((value) => Math.abs(Number(value))));
      values.forEach((value, i) => {
        const difference = Math.abs(Number(gpu[name]!.values[i]) - Number(value));
        // fp32: a unit in the last place of the largest value is 1.2e-7, of which sums of some tens
        // of terms and approximate transcendental functions lose a few.
        expect(difference / scale, `${name}[${i}]`).toBeLessThan(5e-6);
      });
    }
  });

  it.each([
    ['bf16', bf16ToF32, 0x7f80, 2 ** -125],
    ['f16', f16ToF32, 0x7c00, 0],
  ] as const)('widens every %s number exactly', (form, widen, infinity, smallest) => {
    const words = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i).filter((i) => i % 37 === 0);
    const exact = widen(words);
    let checked = 0;
    for (const report of [cpu, gpu]) {
      exact.forEach((value, i) => {
        // Weights are finite; what is below the smallest normal number may vanish.
        if ((words[i]! & 0x7fff) >= infinity || Math.abs(value) < smallest) return;
        expect(Number(report[form]!.values[i]), `${form} ${words[i]}`).toBe(value);
        checked++;
      });
    }
    expect(checked).toBeGreaterThan(3000);
  });
});
