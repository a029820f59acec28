/** `dota export`, from a real run to a folder that evaluates the same. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { linearModules } from '../../../src/adapters/targets';
import { runConfigSchema, type RunConfigInput } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { readAdapterFolder } from '../../../src/export/adapterFolder';
import { denseUpdate } from '../../../src/export/adapterState';
import { readCheckpointAdapter } from '../../../src/export/checkpointAdapter';
import { toFloat32 } from '../../../src/models/dtype';
import { loadModelFolder, type ModelFolder } from '../../../src/models/modelFolder';
import { runCli } from '../trainer/cliHarness';
import { tinyConfig, writeTinyWorkspace } from '../trainer/tinyModel';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-export-'));
  await writeTinyWorkspace(folder);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function dota(args: readonly string[]): Promise<Record<string, unknown>> {
  const result = await runCli([...args, '--json'], folder);
  expect(result.code, result.stderr).toBe(0);
  return result.json!;
}

async function train(method: string, adapter: object, rest: object = {}): Promise<string> {
  const file = `${method}.dota.json`;
  const config = tinyConfig({
    method,
    adapter,
    training: { max_steps: 6, save_total_limit: 1 },
    ...rest,
  });
  writeFileSync(path.join(folder, file), JSON.stringify(config));
  return String((await dota(['train', file]))['run']);
}

/** Validation loss of the same rows with another folder as the model. */
async function lossOf(model: string): Promise<number> {
  writeFileSync(path.join(folder, 'other.dota.json'), JSON.stringify(tinyConfig({ model })));
  return Number((await dota(['evaluate', 'other.dota.json', '--no-accuracy']))['val_loss']);
}

/** ||exact - merged|| / ||exact|| over all linear layers, exact on the weights that the run began from. */
async function distanceToFullPrecision(
  run: string,
  method: 'dota' | 'lora',
  adapter: RunConfigInput['adapter'],
  merged: string,
): Promise<number> {
  const config = runConfigSchema.parse(tinyConfig({ method, adapter }));
  const base = await loadModelFolder(path.join(folder, 'model'));
  const other = await loadModelFolder(merged);
  const read = async ({ weights }: ModelFolder, module: string): Promise<Float32Array> =>
    toFloat32(await weights.read(`${module}.weight`));
  const checkpoint = path.join(run, 'checkpoints', 'step-6');
  const state = await readCheckpointAdapter(checkpoint, { ...config, method }, base.config);
  const updates = new Map(state.modules.map((module) => [module.path, module]));
  let [error, energy] = [0, 0];
  for (const { path: module } of linearModules(base.config)) {
    const exact = await read(base, module);
    const update = updates.get(module);
    const change = update && (await denseUpdate(update, plainGemm, () => read(base, module)));
    const stored = await read(other, module);
    exact.forEach((value, i) => {
      const wanted = value + (change?.[i] ?? 0);
      error += (wanted - stored[i]!) ** 2;
      energy += wanted ** 2;
    });
  }
  await base.weights.close();
  await other.weights.close();
  return Math.sqrt(error / energy);
}

describe('dota export', () => {
  it.each([
    ['dota', {}],
    ['dota', { orientation: 'in', residual: 'explicit', mpo_cores: 2 }],
    ['random_mpo', {}],
    ['random_mpo', { init_random: 'frozen_copy' }],
    ['mpop', { r: 16 }],
    ['dota', { trainable_cores: [0, 2] }],
    ['lora', { lora_alpha: 8 }],
    ['lora', { lora_alpha: 8, use_rslora: true }],
    ['lora', { use_dora: true }],
    ['lora', { init_lora_weights: 'pissa' }],
    ['loretta', { lora_alpha: 16 }],
    ['full', {}],
  ])('of a run with %s %j gives a merged model with the same loss', async (method, adapter) => {
    const run = await train(method, adapter);
    const trained = await dota(['evaluate', run, '--checkpoint', 'last', '--no-accuracy']);
    const out = path.join(run, 'merged');
    const weights = path.join(folder, 'model/model.safetensors');
    const before = readFileSync(weights);
    const result = await dota(['export', run, '--out', out, '--checkpoint', 'last']);
    expect(result).toMatchObject({ to: 'merged', out, checkpoint: 6 });
    // Full fine-tuning is undone by leaving the copy: the base stays as it was, whatever the method.
    expect(readFileSync(weights).equals(before)).toBe(true);
    expect(result['changed']).toBe(method === 'full' ? 20 : 4);
    const [base, own, merged] = [
      await lossOf('model'),
      Number(trained['val_loss']),
      await lossOf(out),
    ];
    // fp32 weights: only the order of sums differs.
    expect(Math.abs(merged - own)).toBeLessThan(1e-5 * own);
    // And training did something.
    expect(Math.abs(base - own)).toBeGreaterThan(1e-3);
    expect(readFileSync(path.join(out, 'README.md'), 'utf8')).toContain('train.json');
    // A second export must not overwrite the first.
    const again = await runCli(['export', run, '--out', out, '--json'], folder);
    expect(again.code).toBe(65);
    expect(again.json).toMatchObject({ error: { code: 'file.unreadable', where: out } });
  });

  it.each([
    ['dota', {}],
    ['lora', {}],
    ['lora', { use_dora: true }],
  ] as const)(
    'of a 4-bit run with %s %j merges into the de-quantised matrices',
    async (method, adapter) => {
      const run = await train(method, adapter, { quantization: { load_in_4bit: true } });
      const trained = await dota(['evaluate', run, '--checkpoint', 'last', '--no-accuracy']);
      const out = path.join(run, 'merged');
      const result = await dota(['export', run, '--out', out, '--checkpoint', 'last']);
      // Every linear layer of two blocks of seven.
      expect(result['changed']).toBe(14);
      const [own, merged] = [Number(trained['val_loss']), await lossOf(out)];
      // A value that lies on a threshold of NF4 may round the other way.
      expect(Math.abs(merged - own)).toBeLessThan(1e-4 * own);
      const note = await runCli(
        ['export', run, '--to', 'lora', '--out', path.join(run, 'l')],
        folder,
      );
      expect(note.stderr).toContain('4-bit');
      // The merge says by how much, as it was measured there: against the same adapter put on the
      // full-precision weights by the code that converts adapters.
      const error = Number(result['four_bit_error']);
      expect(error / (await distanceToFullPrecision(run, method, adapter, out))).toBeCloseTo(1, 4);
      const said = `${(100 * error).toPrecision(3)} % of the weights’ norm, measured at this merge`;
      expect(String(result['notes'])).toContain(said);
      // Without a merge, it is the error at step 0.
      expect(note.stderr).toMatch(/ % of the weights’ norm, measured at step 0/);
      const gguf = ['--format', 'gguf', '--out', path.join(run, 'm.gguf'), '--checkpoint', 'last'];
      // The same matrices in another order, summed in fp64.
      const again = Number((await dota(['export', run, ...gguf]))['four_bit_error']);
      expect(Math.abs(again / error - 1)).toBeLessThan(1e-12);
    },
  );

  it.each([
    ['lora', { lora_alpha: 8 }],
    ['lora', { lora_alpha: 8, use_rslora: true }],
    ['lora', { use_dora: true }],
    ['lora', { init_lora_weights: 'pissa', lora_alpha: 4 }],
    ['loretta', { lora_alpha: 16 }],
    ['loretta', { init_random: 'frozen_copy' }],
    ['mpop', { r: 16 }],
    ['random_mpo', { init_random: 'plain', init_std: 0.3 }],
    ['random_mpo', { init_random: 'frozen_copy' }],
  ])('of a run with %s %j as an adapter loses nothing', async (method, adapter) => {
    const run = await train(method, adapter);
    const out = path.join(run, 'adapter');
    const result = await dota([
      ...['export', run, '--to', 'adapter', '--out', out],
      ...['--checkpoint', 'last'],
    ]);
    const { modules } = result as { modules: number | { relative_error: number }[] };
    if (typeof modules !== 'number') {
      expect(modules.map((module) => module.relative_error)).toEqual([0, 0, 0, 0]);
    }
    // The folder on the base answers as the run does: the likelihood of the same text.
    const perplexity = async (adapterOf: string): Promise<number> => {
      const options = ['--adapter', adapterOf, '--checkpoint', 'last', '--data', 'train.json'];
      const scored = await dota([
        ...['evaluate', 'model', '--scoring', 'perplexity', '--limit', '8'],
        ...options,
      ]);
      return (scored['results'] as { perplexity: number }[])[0]!.perplexity;
    };
    const [own, trained] = [await perplexity(out), await perplexity(run)];
    expect(Math.abs(own / trained - 1)).toBeLessThan(1e-5);
  });

  it('writes the native adapter and its conversion, with what each module lost', async () => {
    const run = await train('dota', {});
    const native = path.join(run, 'native');
    await dota(['export', run, '--to', 'adapter', '--out', native, '--checkpoint', 'last']);
    const { state, info } = await readAdapterFolder(native);
    expect(state.modules.map((m) => m.path)).toEqual(
      [0, 1].flatMap((layer) =>
        ['q_proj', 'v_proj'].map((name) => `model.layers.${layer}.self_attn.${name}`),
      ),
    );
    expect(info.baseWeights).toMatch(/^[0-9a-f]{64}$/);
    const lora = path.join(run, 'lora');
    const full = ['--to', 'lora', '--out', lora, '--checkpoint', 'last', '--rank', '32'];
    const { modules } = (await dota(['export', run, ...full])) as {
      modules: { relative_error: number; rank: number }[];
    };
    expect(modules).toHaveLength(4);
    for (const { relative_error: loss } of modules) expect(loss).toBeLessThan(1e-3);
    expect(readdirSync(lora).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    const small = path.join(run, 'small');
    const energy = ['--to', 'lora', '--out', small, '--checkpoint', 'last', '--energy', '0.5'];
    const half = (await dota(['export', run, ...energy])) as { modules: { rank: number }[] };
    for (const [i, { rank }] of half.modules.entries()) expect(rank).toBeLessThan(modules[i]!.rank);
  });

  it('refuses a run whose base model has changed, and a configuration without a run', async () => {
    const run = await train('lora', {});
    const weights = path.join(folder, 'model/model.safetensors');
    const before = readFileSync(weights);
    const changed = Buffer.from(before);
    changed[changed.length - 1] = changed[changed.length - 1]! ^ 1;
    writeFileSync(weights, changed);
    const out = path.join(run, 'merged');
    const result = await runCli(['export', run, '--out', out, '--json'], folder);
    writeFileSync(weights, before);
    expect(result.code).toBe(65);
    expect(result.json).toMatchObject({ error: { code: 'run.state' } });
    const config = await runCli(['export', 'lora.dota.json', '--out', out, '--json'], folder);
    expect(config.code).toBe(64);
  });
});
