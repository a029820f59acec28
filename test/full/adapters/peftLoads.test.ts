/** Adapters of real runs, in PEFT's format, loaded by the real PEFT on the base model. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GenerationSession } from '../../../src/trainer/generation/session';
import { runCli } from '../../unit/trainer/cliHarness';
import { runJudge } from '../support/judges';

const sample = path.resolve('media/sample');
const base = path.join(sample, 'model');
/** Of one length, since our cache of keys and values has no padding to the right. */
const sequences = [
  [607, 12, 300, 45, 77, 5, 230, 411],
  [33, 70, 8, 91, 250, 101, 66, 512],
  [44, 44, 19, 333, 128, 45, 9, 600],
];

const variants: Record<string, { method?: string; adapter: object }> = {
  lora: { adapter: { lora_alpha: 16 } },
  rslora: { adapter: { lora_alpha: 8, use_rslora: true, rank_pattern: { down_proj: 2 } } },
  dora: { adapter: { use_dora: true } },
  pissa: { adapter: { init_lora_weights: 'pissa', lora_alpha: 4 } },
  loretta: { method: 'loretta', adapter: { lora_alpha: 16 } },
};
const names = Object.keys(variants);

interface Judged {
  /** Last logits of every sequence. */
  logits: number[][];
  merged: number[][];
  /** After the merge was undone. */
  unmerged: number[][];
  modules: number;
  scaling: number[];
  dora: boolean;
}

let root: string;
let session: GenerationSession;
let judged: Record<string, Judged> & { base: Judged };
const runs = new Map<string, string>();

async function dota(args: readonly string[]): Promise<Record<string, unknown>> {
  const result = await runCli([...args, '--json'], root);
  expect(result.code, result.stderr).toBe(0);
  return result.json!;
}

beforeAll(async () => {
  root = mkdtempSync(path.join(os.tmpdir(), 'dota-peft-'));
  for (const [name, { method = 'lora', adapter }] of Object.entries(variants)) {
    const config = {
      model: base,
      method,
      device: 'cpu',
      adapter: { r: 4, target_modules: ['q_proj', 'v_proj', 'down_proj'], ...adapter },
      data: { train: path.join(sample, 'data/arithmetic.train.json'), max_length: 64 },
      training: {
        max_steps: 8,
        warmup_steps: 1,
        learning_rate: 0.02,
        per_device_train_batch_size: 4,
        load_best_model_at_end: false,
      },
    };
    writeFileSync(path.join(root, `${name}.dota.json`), JSON.stringify(config));
    const run = String((await dota(['train', `${name}.dota.json`]))['run']);
    runs.set(name, run);
    const out = path.join(root, name);
    await dota(['export', run, '--to', 'adapter', '--out', out, '--checkpoint', 'last']);
  }
  const script = path.join(import.meta.dirname, 'judges/peftLogits.py');
  const folders = names.map((name) => path.join(root, name));
  judged = JSON.parse(
    runJudge(script, [base, JSON.stringify(sequences), ...folders]),
  ) as typeof judged;
  session = await GenerationSession.open(base, { root, checkpoint: 'last', device: 'cpu' });
});
afterAll(async () => {
  await session.dispose();
  rmSync(root, { recursive: true, force: true });
});

/** Largest difference of two sets of logits by the largest of the second. */
function distance(own: ArrayLike<number>, expected: readonly number[][]): number {
  const flat = expected.flat();
  expect(own.length).toBe(flat.length);
  const largest = flat.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return flat.reduce((most, value, i) => Math.max(most, Math.abs(value - own[i]!)), 0) / largest;
}

async function ownLogits(view: GenerationSession['base']): Promise<Float32Array> {
  const { decoder } = session;
  return decoder.nextLogits(view, decoder.newCache(sequences.length), sequences);
}

// fp32 sums in another order through four layers.
const tolerance = 1e-5;

describe('PEFT', () => {
  it('has the same base model', async () => {
    expect(distance(await ownLogits(session.base), judged.base.logits)).toBeLessThan(tolerance);
  });

  it.each(names)('loads what a run of %s trained, and gives our logits', async (name) => {
    const { logits, merged, unmerged, modules } = judged[name]!;
    const own = await ownLogits(await session.withAdapter(runs.get(name)!));
    expect(distance(own, logits)).toBeLessThan(tolerance);
    // PEFT's merge is ours, and undone it is the base again.
    expect(distance(own, merged)).toBeLessThan(tolerance);
    expect(distance(unmerged.flat(), logits)).toBeLessThan(tolerance);
    // Training did something, so that none of this is empty.
    expect(distance(own, judged.base.logits)).toBeGreaterThan(1e-3);
    // Every module of every layer: q, v and down in four of them.
    expect(modules).toBe(12);
    const config = JSON.parse(
      readFileSync(path.join(root, name, 'adapter_config.json'), 'utf8'),
    ) as Record<string, unknown>;
    expect(config['use_rslora']).toBe(name === 'rslora');
    expect(judged[name]!.dora).toBe(name === 'dora');
  });

  it('scales rsLoRA by alpha over the root of each module’s own rank', () => {
    const scaling = [...new Set(judged['rslora']!.scaling.map((value) => value.toFixed(6)))];
    expect(scaling.sort()).toEqual([8 / Math.sqrt(4), 8 / Math.sqrt(2)].map((s) => s.toFixed(6)));
  });
});
