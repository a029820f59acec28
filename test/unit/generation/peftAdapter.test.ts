/** Adapters that the real PEFT saved (test/fixtures/adapters/make_folders.py), on the bundled sample. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { writePeftLora } from '../../../src/export/peftLora';
import { readPeftLora } from '../../../src/export/readPeftLora';
import { toFloat32 } from '../../../src/models/dtype';
import { SafetensorsFile } from '../../../src/models/safetensors/reader';
import { GenerationSession } from '../../../src/trainer/generation/session';
import { relativeError } from '../graph/harness';
import { runCli } from '../trainer/cliHarness';
import { writeTinyModel } from '../trainer/tinyModel';

const folders = path.resolve('test/fixtures/adapters/folders');
const { ids, logits } = JSON.parse(readFileSync(path.join(folders, 'logits.json'), 'utf8')) as {
  ids: number[];
  logits: Record<string, number[]>;
};
const names = ['lora', 'rslora', 'dora', 'pissa'];
let root: string;
let session: GenerationSession;
beforeAll(async () => {
  root = mkdtempSync(path.join(os.tmpdir(), 'dota-peft-'));
  session = await GenerationSession.open('media/sample/model', {
    root,
    checkpoint: 'best',
    device: 'cpu',
  });
});
afterAll(async () => {
  await session.dispose();
  rmSync(root, { recursive: true, force: true });
});

/** Largest difference by the largest logit. */
async function distance(view: GenerationSession['base'], expected: number[]): Promise<number> {
  const { decoder } = session;
  const own = await decoder.nextLogits(view, decoder.newCache(1), [ids]);
  const largest = Math.max(...expected.map(Math.abs));
  return Math.max(...expected.map((value, i) => Math.abs(value - own[i]!))) / largest;
}

type Tensors = Map<string, { shape: readonly number[]; data: Float32Array }>;

async function tensorsOf(folder: string): Promise<Tensors> {
  const file = await SafetensorsFile.open(path.join(folder, 'adapter_model.safetensors'));
  const tensors: Tensors = new Map();
  for (const name of file.names) {
    const tensor = await file.read(name);
    tensors.set(name, { shape: tensor.shape, data: toFloat32(tensor) });
  }
  await file.close();
  return tensors;
}

/** B A of the pair whose A has this name. */
async function productOf(tensors: Tensors, down: string): Promise<Float32Array> {
  const matrix = (name: string) => {
    const { data, shape } = tensors.get(name)!;
    return { data, rows: shape[0]!, cols: shape[1]! };
  };
  return (await plainGemm.f32(matrix(down.replace('lora_A', 'lora_B')), matrix(down))).data;
}

/** A copy of a fixture with fields of its configuration changed. */
function changed(name: string, fields: object): string {
  const folder = mkdtempSync(path.join(root, 'changed-'));
  cpSync(path.join(folders, name), folder, { recursive: true });
  const file = path.join(folder, 'adapter_config.json');
  const config = JSON.parse(readFileSync(file, 'utf8')) as object;
  writeFileSync(file, JSON.stringify({ ...config, ...fields }));
  return folder;
}

describe('an adapter that PEFT saved', () => {
  it.each([...names, 'pissa_lora'])('gives the logits of PEFT: %s', async (name) => {
    const view = await session.withAdapter(path.join(folders, name));
    // fp32 sums in another order through four layers.
    expect(await distance(view, logits[name]!)).toBeLessThan(1e-5);
    expect(await distance(session.base, logits[name]!)).toBeGreaterThan(0.01);
    expect(await distance(session.base, logits['base']!)).toBeLessThan(1e-5);
  });

  it.each(names)('is written again as PEFT wrote it: %s', async (name) => {
    const read = path.join(folders, name);
    const written = mkdtempSync(path.join(root, 'written-'));
    const state = {
      method: 'lora' as const,
      modules: await readPeftLora(read),
      usesRslora: name === 'rslora',
    };
    const weight = async (module: string): Promise<Float32Array> => {
      const tensor = await session.model.weights.read(`${module}.weight`);
      return toFloat32(tensor);
    };
    const tools = { gemm: plainGemm, weight };
    await writePeftLora(written, state, { r: 1 }, { baseModel: 'media/sample/model' }, tools);
    // PiSSA becomes LoRA, as in PEFT's own conversion.
    const expected = name === 'pissa' ? path.join(folders, 'pissa_lora') : read;
    const [ours, theirs] = [await tensorsOf(written), await tensorsOf(expected)];
    expect([...ours.keys()].sort()).toEqual([...theirs.keys()].sort());
    if (name === 'pissa') {
      // The factors taken out are unique up to their signs only: the products must agree.
      for (const key of ours.keys()) {
        if (!key.endsWith('lora_A.weight')) continue;
        const product = (tensors: Tensors): Promise<Float32Array> => productOf(tensors, key);
        expect(relativeError(await product(ours), await product(theirs))).toBeLessThan(1e-5);
      }
    } else expect(ours).toEqual(theirs);
    const config = (folder: string): Record<string, unknown> =>
      JSON.parse(readFileSync(path.join(folder, 'adapter_config.json'), 'utf8')) as never;
    const [own, peft] = [config(written), config(expected)];
    for (const key of ['r', 'lora_alpha', 'use_rslora', 'use_dora', 'init_lora_weights', 'bias']) {
      expect(own[key], key).toEqual(peft[key]);
    }
    const view = await session.withAdapter(written);
    expect(await distance(view, logits[name]!)).toBeLessThan(1e-5);
  });

  it('has each module at its own rank and scale', async () => {
    const modules = await readPeftLora(path.join(folders, 'lora'));
    const facts = modules.map(({ path: name, update }) => [name, update.rank, update.factor]);
    expect(facts.sort()).toEqual([
      ['model.layers.0.mlp.down_proj', 1, 6],
      ['model.layers.0.self_attn.q_proj', 2, 3],
      ['model.layers.2.mlp.down_proj', 1, 6],
      ['model.layers.2.self_attn.q_proj', 2, 1.5],
    ]);
  });

  it.each([
    [{ init_lora_weights: 'pissa_niter_4' }, 'model.unsupported'],
    [{ init_lora_weights: 'pissa', use_dora: true }, 'model.unsupported'],
    [{ init_lora_weights: 'corda' }, 'model.unsupported'],
    [{ bias: 'all' }, 'model.unsupported'],
    [{ fan_in_fan_out: true }, 'model.unsupported'],
    [{ modules_to_save: ['lm_head'] }, 'model.unsupported'],
    [{ alpha_pattern: { '(a+)+b': 1 } }, 'model.unsupported'],
    [{ rank_pattern: {} }, 'adapter.shape'],
    [{ r: 'two' }, 'file.malformed'],
  ])('is refused where it would be applied wrongly: %j', async (fields, code) => {
    await expect(readPeftLora(changed('lora', fields))).rejects.toMatchObject({ code });
  });

  it('is refused on a model of another shape', async () => {
    const tiny = path.join(root, 'tiny');
    await writeTinyModel(tiny);
    const other = await GenerationSession.open(tiny, {
      root,
      checkpoint: 'best',
      device: 'cpu',
    });
    await expect(other.withAdapter(path.join(folders, 'lora'))).rejects.toMatchObject({
      code: 'adapter.shape',
    });
    await other.dispose();
  });

  it('answers and is evaluated by the command line', async () => {
    const adapter = ['--adapter', path.join(folders, 'dora'), '--json'];
    const sample = path.resolve('media/sample/model');
    const answer = await runCli(
      ['generate', sample, '--prompt', '1 + 1', '--max-new-tokens', '4', ...adapter],
      root,
    );
    expect(answer.code, answer.stderr).toBe(0);
    const data = path.resolve('test/fixtures/evaluation/sets/boolq/test.json');
    const options = ['--data', data, '--max-new-tokens', '2', '--compare', ...adapter];
    const scored = await runCli(['evaluate', sample, ...options], root);
    expect(scored.code, scored.stderr).toBe(0);
    const [base, adapted] = scored.json!['results'] as { perplexity: number; num_beams: number }[];
    expect(adapted!.perplexity).not.toBeCloseTo(base!.perplexity, 2);
    expect(adapted!.num_beams).toBe(4);
  });
});
