import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { readAdapterFolder, writeAdapterFolder } from '../../../src/export/adapterFolder';
import { denseUpdate, type AdaptedModule } from '../../../src/export/adapterState';
import { writeMergedModel } from '../../../src/export/mergedModel';
import { modelCard, type CardFacts } from '../../../src/export/modelCard';
import { writePeftLora } from '../../../src/export/peftLora';
import { toFloat32 } from '../../../src/models/dtype';
import { loadModelFolder } from '../../../src/models/modelFolder';
import { SafetensorsFile } from '../../../src/models/safetensors/reader';
import { allModules, explicitDelta, layerPath, mpoModule, writeModel } from './helpers';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'dota-export-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));
let counter = 0;
const newFolder = (): string => path.join(root, `f${counter++}`);

/** Largest difference relative to the largest value. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [gap, size] = [0, 0];
  expect(a.length).toBe(b.length);
  for (let i = 0; i < a.length; i++) {
    gap = Math.max(gap, Math.abs(a[i]! - b[i]!));
    size = Math.max(size, Math.abs(b[i]!));
  }
  return gap / size;
}
/** The base weights, where nothing may ask for them. */
const unread = (): Promise<never> => Promise.reject(new Error('the base weight was read'));
const tools = { gemm: plainGemm, weight: unread };

// fp32 arithmetic on sums of a few dozen products of order one.
const fp32 = 1e-5;

describe('the dense change', () => {
  it.each(['out', 'in'] as const)(
    'of cores over %s features is the definition’s, padding dropped',
    async (orientation) => {
      for (const module of [...allModules(orientation), ...allModules(orientation, false)]) {
        const dense = await denseUpdate(module, plainGemm, unread);
        expect(difference(dense, explicitDelta(module))).toBeLessThan(fp32);
      }
    },
  );
});

describe('the native adapter folder', () => {
  it('is read as written', async () => {
    const folder = newFolder();
    const state = { method: 'dota' as const, modules: allModules('in') };
    await writeAdapterFolder(folder, state, { baseModel: 'base', baseWeights: 'ab' });
    const read = await readAdapterFolder(folder);
    expect(read.state).toEqual(state);
    expect(read.info).toEqual({ baseModel: 'base', baseWeights: 'ab' });
    const config = JSON.parse(
      await readFile(path.join(folder, 'adapter_config.json'), 'utf8'),
    ) as object;
    expect(config).toMatchObject({
      peft_type: 'DOTA',
      task_type: 'CAUSAL_LM',
      r: 3,
      target_modules: ['q_proj', 'up_proj'],
    });
    expect(await readdir(folder)).toContain('load_adapter.py');
  });

  it('with cores that do not fit the weight is refused', async () => {
    const folder = newFolder();
    const state = { method: 'dota' as const, modules: allModules('out') };
    await writeAdapterFolder(folder, state, { baseModel: 'base' });
    const file = path.join(folder, 'adapter_config.json');
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('"out_features": 12', '"out_features": 13'));
    await expect(readAdapterFolder(folder)).rejects.toMatchObject({
      code: 'adapter.shape',
      message: expect.stringContaining('12 x 8') as unknown,
    });
    await writeFile(file, text.replace('"DOTA"', '"LORA"'));
    await expect(readAdapterFolder(folder)).rejects.toMatchObject({ code: 'file.malformed' });
  });
});

describe('the LoRA conversion', () => {
  async function pairs(folder: string, modules: readonly AdaptedModule[]) {
    const file = await SafetensorsFile.open(path.join(folder, 'adapter_model.safetensors'));
    const products = new Map<string, Float32Array>();
    for (const { path: name } of modules) {
      const a = await file.read(`base_model.model.${name}.lora_A.weight`);
      const b = await file.read(`base_model.model.${name}.lora_B.weight`);
      const product = await plainGemm.f32(
        { data: toFloat32(b), rows: b.shape[0]!, cols: b.shape[1]! },
        { data: toFloat32(a), rows: a.shape[0]!, cols: a.shape[1]! },
      );
      products.set(name, product.data);
    }
    await file.close();
    return products;
  }
  const readConfig = async (folder: string): Promise<Record<string, unknown>> =>
    JSON.parse(await readFile(path.join(folder, 'adapter_config.json'), 'utf8')) as Record<
      string,
      unknown
    >;

  it('at full rank loses nothing, and is named as PEFT names it', async () => {
    const folder = newFolder();
    const modules = allModules('out');
    const report = await writePeftLora(
      folder,
      { method: 'dota', modules },
      { r: 8 },
      { baseModel: 'base', layers: 2 },
      tools,
    );
    const products = await pairs(folder, modules);
    for (const module of modules) {
      expect(difference(products.get(module.path)!, explicitDelta(module))).toBeLessThan(1e-4);
    }
    expect(report.every((r) => r.relativeError < 1e-4)).toBe(true);
    expect(await readConfig(folder)).toMatchObject({
      peft_type: 'LORA',
      r: 8,
      lora_alpha: 8,
      target_modules: ['q_proj', 'up_proj'],
      rank_pattern: {},
    });
  });

  it.each([{ r: 2 }, { keptEnergy: 0.9, maxRank: 8 }])(
    'with %j reports what it loses',
    async (rank) => {
      const folder = newFolder();
      const modules = allModules('out');
      const report = await writePeftLora(
        folder,
        { method: 'dota', modules },
        rank,
        { baseModel: 'base' },
        tools,
      );
      const products = await pairs(folder, modules);
      for (const [i, module] of modules.entries()) {
        const exact = explicitDelta(module);
        let [lost, total] = [0, 0];
        for (let k = 0; k < exact.length; k++) {
          lost += (exact[k]! - products.get(module.path)![k]!) ** 2;
          total += exact[k]! ** 2;
        }
        const actual = Math.sqrt(lost / total);
        // The reported figure is a difference of energies, so its own error is about sqrt(fp32).
        expect(Math.abs(report[i]!.relativeError - actual)).toBeLessThan(1e-3);
        expect(actual).toBeGreaterThan(0.01);
        if ('keptEnergy' in rank) {
          expect(1 - actual ** 2).toBeGreaterThan(0.9 - 1e-3);
          expect(report[i]!.rank).toBeLessThan(8);
        } else expect(report[i]!.rank).toBe(2);
      }
      const config = await readConfig(folder);
      const r = Math.max(...report.map((module) => module.rank));
      expect(config['r']).toBe(r);
      // Modules of another rank are named by a pattern that matches them alone.
      for (const { path: name, rank: own } of report) {
        const pattern = config['rank_pattern'] as Record<string, number>;
        const key = Object.keys(pattern).find((k) => new RegExp(`^(.*\\.)?(${k})$`).test(name));
        expect(key === undefined ? r : pattern[key]).toBe(own);
      }
      // Without the number of layers, suffixes could mean more modules than are adapted.
      expect(config['target_modules']).toEqual(modules.map((module) => module.path));
    },
  );

  it('of a LoRA adapter is its pair, whatever rank is asked for, the scale in alpha', async () => {
    const folder = newFolder();
    const pair = { a: new Float32Array(8).fill(1), b: new Float32Array(8).fill(3), rank: 1 };
    const module = (layer: number, factor: number): AdaptedModule => ({
      path: layerPath(layer, 'self_attn.q_proj'),
      outFeatures: 8,
      inFeatures: 8,
      update: { kind: 'lora', ...pair, factor },
    });
    const modules = [module(0, 2), module(1, 5)];
    const state = { method: 'lora' as const, modules };
    const report = await writePeftLora(folder, state, { r: 4 }, { baseModel: 'b' }, tools);
    expect(report.map(({ rank, relativeError }) => [rank, relativeError])).toEqual([
      [1, 0],
      [1, 0],
    ]);
    expect((await pairs(folder, modules)).get(modules[0]!.path)).toEqual(
      new Float32Array(64).fill(3),
    );
    expect(await readConfig(folder)).toMatchObject({
      r: 1,
      lora_alpha: 2,
      alpha_pattern: { 'model\\.layers\\.1\\.self_attn\\.q_proj': 5 },
      rank_pattern: {},
    });
  });
});

describe('the merged model', () => {
  const card = (): string => '# card\n';
  const changesOf = (modules: readonly AdaptedModule[]) => ({
    delta: (tensor: string) => {
      const module = modules.find((m) => `${m.path}.weight` === tensor);
      return module && denseUpdate(module, plainGemm, unread);
    },
  });

  it.each([true, false])('keeps types, shards and other files (sharded: %s)', async (sharded) => {
    const [source, target] = [newFolder(), newFolder()];
    await writeModel(source, { sharded });
    await writeFile(path.join(source, 'tokenizer.json'), '{}');
    await writeFile(path.join(source, 'training_args.bin'), 'pickle');
    const model = await loadModelFolder(source);
    const modules = allModules('out');
    const report = await writeMergedModel(model, changesOf(modules), target, card);
    const expected = (await readdir(source)).filter((name) => name !== 'training_args.bin');
    expect((await readdir(target)).sort()).toEqual([...expected, 'README.md'].sort());
    const merged = await loadModelFolder(target);
    expect(report.changed).toBe(modules.length);
    // bf16 keeps 8 bits: at most 2^-8 of values near 1, against changes near 1.
    expect(report.worstRounding!.loss).toBeLessThan(0.01);
    for (const name of model.weights.names) {
      const [before, after] = [await model.weights.read(name), await merged.weights.read(name)];
      expect(merged.weights.shardOf(name)).toBe(model.weights.shardOf(name));
      const module = modules.find((m) => `${m.path}.weight` === name);
      if (module === undefined) {
        expect(after).toEqual(before);
        continue;
      }
      expect(after.dtype).toBe('BF16');
      const delta = explicitDelta(module);
      const exact = toFloat32(before).map((value, i) => value + delta[i]!);
      expect(difference(toFloat32(after), exact)).toBeLessThan(2 ** -8);
    }
    await model.weights.close();
    await merged.weights.close();
  });

  it('takes whole weights after full fine-tuning', async () => {
    const [source, target] = [newFolder(), newFolder()];
    await writeModel(source, { dtype: 'F32' });
    const model = await loadModelFolder(source);
    const norm = new Float32Array(8).fill(0.5);
    const changes = {
      replacement: (name: string) =>
        name === 'model.norm.weight' ? Promise.resolve(norm) : undefined,
    };
    const report = await writeMergedModel(model, changes, target, card);
    expect(report.changed).toBe(1);
    const merged = await loadModelFolder(target);
    expect((await merged.weights.read('model.norm.weight')).data).toEqual(norm);
    await model.weights.close();
    await merged.weights.close();
  });

  it('refuses a target with files, values that do not fit, and changes of another size, leaving nothing', async () => {
    const source = newFolder();
    await writeModel(source, { dtype: 'F16' });
    const model = await loadModelFolder(source);
    await expect(writeMergedModel(model, {}, source, card)).rejects.toMatchObject({
      code: 'file.unreadable',
    });
    const before = await readdir(root);
    for (const [values, code] of [
      [new Float32Array(8).fill(1e6), 'train.nonFinite'],
      [new Float32Array(8).fill(NaN), 'train.nonFinite'],
      [new Float32Array(9), 'adapter.shape'],
    ] as const) {
      const changes = {
        delta: (name: string) =>
          name === 'model.norm.weight' ? Promise.resolve(values) : undefined,
      };
      await expect(writeMergedModel(model, changes, newFolder(), card)).rejects.toMatchObject({
        code,
      });
      expect(await readdir(root)).toEqual(before);
    }
    await model.weights.close();
  });
});

describe('the model card', () => {
  const facts: CardFacts = {
    name: 'my | run\n`x`',
    baseModel: 'org/base: "x"',
    license: 'llama3.2',
    library: 'transformers',
    method: 'dota',
    adapter: 'r = 8',
    trainableParameters: 1000,
    parameters: 1_000_000,
    dataset: 'train.json',
    steps: 30,
    validationLoss: 1.23456,
    dotaVersion: '0.1.0',
  };
  it('names base model, licence and what rounding took', () => {
    const text = modelCard(facts, { changed: 3, worstRounding: { tensor: 't', loss: 0.0123 } });
    expect(text).toMatch(/^---\nbase_model: "org\/base: \\"x\\""\nlicense: "llama3.2"\n/);
    expect(text).toContain('| Trained parameters | 1000 of 1000000 (0.100 %) |');
    expect(text).toContain('1.2 %');
    expect(text).toContain('# my | run x');
    expect(
      modelCard(
        { ...facts, license: undefined, validationLoss: undefined },
        { changed: 0, worstRounding: undefined },
      ),
    ).not.toMatch(/license:|Validation loss/);
  });
});

describe('a module whose cores cover more than the weight', () => {
  it('is padded: the test’s own helper sees to it', () => {
    const module = mpoModule(layerPath(0, 'self_attn.q_proj'), 'out', false);
    if (module.update.kind !== 'mpo') throw new Error();
    const rows = module.update.cores.reduce((product, core) => product * core.shape[1], 1);
    expect(rows).toBeGreaterThan(module.outFeatures);
  });
});
