/**
 * `dota train --device webgpu` on a software GPU against `--device cpu`, through the command line as
 * a user calls it. The session options forbid any fall-back to the CPU, so a run that ends has
 * computed every operation on the GPU.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { softwareGpuEnvironment, softwareGpuSupported } from '../../../../scripts/software-gpu.mjs';
import { SafetensorsFile } from '../../../../src/models/safetensors/reader';
import { journalRows, runCli } from '../../trainer/cliHarness';
import { writeTinyWorkspace } from '../../trainer/tinyModel';

/** As many steps as the comparison has; a checkpoint is kept half-way as well. */
const steps = 20;
const halfway = 10;

let place: string;
beforeAll(async () => {
  place = mkdtempSync(path.join(tmpdir(), 'dota-webgpu-'));
  await writeTinyWorkspace(place, {
    adapter: { target_modules: 'all-linear' },
    data: { validation_split: 0.1, max_length: 24 },
    training: {
      max_steps: steps,
      // One validation is enough to compare; the software GPU is slow.
      eval_steps: halfway,
      eval_on_start: false,
      save_steps: halfway,
      save_total_limit: 4,
      learning_rate: 3e-3,
      weight_decay: 0.1,
      per_device_train_batch_size: 2,
      gradient_accumulation_steps: 1,
    },
  });
  // Rows of one length: each batch shape is a set of shaders to compile.
  const rows = Array.from({ length: 30 }, (_, i) => ({
    prompt: `${i % 5}+${(i * 3 + 1) % 5}=`,
    completion: String((i % 5) + ((i * 3 + 1) % 5)),
  }));
  writeFileSync(path.join(place, 'train.json'), JSON.stringify(rows));
});
afterAll(() => {
  rmSync(place, { recursive: true, force: true });
});

interface Trained {
  rows: { loss: number; gradNorm: number }[];
  /** What each row says was in use on the GPU. */
  deviceMb: (number | undefined)[];
  /** Trained tensors by checkpoint step and name. */
  parameters: Map<number, Map<string, Float32Array>>;
  device: { kind: string; name: string };
}

async function train(device: 'cpu' | 'webgpu', method: string, sets: string[]): Promise<Trained> {
  const gpu = device === 'webgpu';
  const args = ['train', 'tiny.dota.json', '--json', '--device', device];
  if (gpu) args.push('--allow-software-gpu');
  args.push('--root', path.join(place, `${method}-${device}`));
  args.push(...sets.flatMap((set) => ['--set', set]));
  const result = await runCli(args, place, gpu ? softwareGpuEnvironment() : {});
  if (result.code !== 0) throw new Error(result.stderr + result.stdout);
  const run = String(result.json?.run);
  const steppedRows = journalRows(run).filter(({ kind }) => kind === 'step');
  const rows = steppedRows.map((row) => ({ loss: row.loss!, gradNorm: row.gradNorm! }));
  const parameters = new Map<number, Map<string, Float32Array>>();
  for (const step of [halfway, steps]) parameters.set(step, await trainedTensors(run, step));
  return {
    rows,
    deviceMb: steppedRows.map(({ deviceMb }) => deviceMb),
    parameters,
    device: result.json?.device as Trained['device'],
  };
}

async function trainedTensors(run: string, step: number): Promise<Map<string, Float32Array>> {
  const folder = path.join(run, 'checkpoints', `step-${step}`);
  const tensors = new Map<string, Float32Array>();
  for (const name of ['adapter_model.safetensors', 'model.safetensors']) {
    const file = await SafetensorsFile.open(path.join(folder, name)).catch(() => undefined);
    if (!file) continue;
    for (const tensor of file.names) {
      // Cores at step 0 are written beside what was trained.
      if (tensor.includes('initial')) continue;
      tensors.set(tensor, (await file.read(tensor)).data as Float32Array);
    }
    await file.close();
  }
  return tensors;
}

/** ||a - b|| / ||a|| over all tensors. */
function relativeNorm(a: Map<string, Float32Array>, b: Map<string, Float32Array>): number {
  let difference = 0;
  let energy = 0;
  for (const [name, values] of a) {
    const other = b.get(name)!;
    values.forEach((value, i) => {
      difference += (value - other[i]!) ** 2;
      energy += value ** 2;
    });
  }
  return Math.sqrt(difference / energy);
}

const methods: [string, string[]][] = [
  ['dota', []],
  ['qdota', ['quantization.load_in_4bit=true']],
  ['lora', ['method=lora', 'training.gradient_accumulation_steps=2']],
  ['full', ['method=full', 'training.learning_rate=1e-3']],
];

describe('the software GPU', () => {
  it('is there wherever its package exists, so that nothing below is skipped unseen', () => {
    expect(softwareGpuSupported).toBe(process.platform === 'linux' && process.arch === 'x64');
    if (softwareGpuSupported) expect(softwareGpuEnvironment().VK_ICD_FILENAMES).toMatch(/json$/);
  });
});

// Two at a time would only share the two cores of a small machine.
describe.runIf(softwareGpuSupported).sequential('dota train --device webgpu', () => {
  it.each(methods)('trains %s like the CPU', { timeout: 300_000 }, async (method, sets) => {
    const cpu = await train('cpu', method, sets);
    const gpu = await train('webgpu', method, sets);
    expect(gpu.rows).toHaveLength(steps);
    expect(cpu.device).toMatchObject({ kind: 'cpu', name: expect.stringMatching(/./) as string });
    expect(cpu.deviceMb.every((held) => held === undefined)).toBe(true);
    expect(gpu.device).toEqual({ kind: 'webgpu', name: 'WebGPU (software)' });
    expect(gpu.deviceMb.every((held) => held !== undefined && held > 0)).toBe(true);
    // The CPU repeats itself bit by bit; sums in another order do not.
    expect(gpu.rows).not.toEqual(cpu.rows);
    // fp32 on both sides with sums in another order: about 1e-7 a step, which AdamW's division by
    // the root of tiny second moments amplifies. Measured: see the test's own message when it fails.
    cpu.rows.forEach(({ loss, gradNorm }, i) => {
      const other = gpu.rows[i]!;
      expect(Math.abs(other.loss / loss - 1), `loss of step ${i + 1}`).toBeLessThan(1e-4);
      expect(Math.abs(other.gradNorm / gradNorm - 1), `norm of step ${i + 1}`).toBeLessThan(1e-4);
    });
    expect(cpu.rows.at(-1)!.loss).toBeLessThan(0.97 * cpu.rows[0]!.loss);
    for (const step of [halfway, steps]) {
      const [ours, theirs] = [cpu.parameters.get(step)!, gpu.parameters.get(step)!];
      expect(ours.size).toBeGreaterThan(0);
      expect(relativeNorm(ours, theirs), `parameters at step ${step}`).toBeLessThan(1e-3);
      expect(relativeNorm(ours, theirs), `parameters at step ${step}`).toBeGreaterThan(0);
    }
  });
});
