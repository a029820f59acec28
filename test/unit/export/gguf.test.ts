/** GGUF files, read back by a reader of the tests' own; llama.cpp itself judges in test/full. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../../src/core/rng';
import { decodeRows, encodeRows } from '../../../src/export/gguf/encodeRows';
import { ropeFactors } from '../../../src/export/gguf/tensors';
import { tokenizerMetadata } from '../../../src/export/gguf/tokenizerMetadata';
import { writeGguf } from '../../../src/export/gguf/writeGguf';
import { f16ToF32, f32ToF16, toFloat32 } from '../../../src/models/dtype';
import { loadModelFolder, type ModelFolder } from '../../../src/models/modelFolder';
import { Tokenizer } from '../../../src/models/tokenizer';
import { parseTokenizerFile, type CheckedTokenizer } from '../../../src/models/tokenizerFile';
import { allSplits } from '../../support/sentencePiece';
import { config as tiny, writeModel } from './helpers';
import { readGguf } from './readGguf';

const fixtures = path.join(import.meta.dirname, '../../fixtures');
let root: string;
let model: ModelFolder;
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'dota-gguf-'));
  const folder = path.join(root, 'base');
  await writeModel(folder, { dtype: 'F32' });
  await writeFile(path.join(folder, 'tokenizer.json'), JSON.stringify(smallTokenizer));
  model = await loadModelFolder(folder);
});
afterAll(async () => {
  await model.weights.close();
  await rm(root, { recursive: true, force: true });
});

/** Three letters and a merge; the model has 32 rows for 5 ids. */
const smallTokenizer = {
  added_tokens: [
    { id: 4, content: '<s>', special: true },
    { id: 5, content: 'USER', special: false },
  ],
  normalizer: null,
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false },
  model: { type: 'BPE', vocab: { a: 0, b: 1, c: 2, ab: 3 }, merges: ['a b'] },
};

const description = { name: 'n', license: undefined };
const write = (file: string, type: 'f16' | 'q8_0' = 'f16', changes = {}) =>
  writeGguf(model, changes, path.join(root, file), type, description);

describe('a GGUF file', () => {
  it('has the rows of q and k where llama.cpp looks for them, the rest as in the checkpoint', async () => {
    await write('rows.gguf');
    const { tensors } = readGguf(await readFile(path.join(root, 'rows.gguf')));
    expect(tensors.size).toBe(21);
    // The checkpoint's shape, innermost first.
    expect(tensors.get('blk.1.ffn_down.weight')).toMatchObject({ shape: [12, 8], type: 1 });
    const pairs = [
      ['model.layers.0.self_attn.q_proj.weight', 'blk.0.attn_q.weight', 4],
      ['model.layers.0.self_attn.k_proj.weight', 'blk.0.attn_k.weight', 2],
    ] as const;
    for (const [source, name, heads] of pairs) {
      const own = f16ToF32(new Uint16Array(tensors.get(name)!.data.buffer));
      const base = (await model.weights.read(source)).data;
      // transformers' conversion in reverse: view(heads, half, 2, in) is transpose(1, 2) of ours.
      const [half, width] = [1, 8];
      for (let head = 0; head < heads; head++)
        for (let part = 0; part < 2; part++)
          for (let i = 0; i < half; i++)
            for (let c = 0; c < width; c++) {
              const from = ((head * 2 + part) * half + i) * width + c;
              const to = ((head * half + i) * 2 + part) * width + c;
              // Half precision has 11 bits.
              expect(Math.abs(own[to]! - Number(base[from]))).toBeLessThan(2 ** -11);
            }
    }
    const norm = tensors.get('output_norm.weight')!;
    expect(norm.type).toBe(0);
    expect(new Float32Array(norm.data.buffer)).toEqual(new Float32Array(8).fill(1));
  });

  it('rounds a changed weight once', async () => {
    const name = 'model.layers.0.mlp.up_proj.weight';
    const delta = (tensor: string) =>
      tensor === name ? Promise.resolve(new Float32Array(96).fill(1 / 1024)) : undefined;
    await write('changed.gguf', 'f16', { delta });
    const { tensors } = readGguf(await readFile(path.join(root, 'changed.gguf')));
    const words = new Uint16Array(tensors.get('blk.0.ffn_up.weight')!.data.buffer);
    const base = (await model.weights.read(name)).data as Float32Array;
    const exact = base.map((value) => value + 1 / 1024);
    expect(f16ToF32(words)).toEqual(f16ToF32(new Uint16Array(encodeRows('F16', exact, '').buffer)));
  });

  it('has every id of the embedding, by kind', async () => {
    await write('tokens.gguf');
    const { metadata } = readGguf(await readFile(path.join(root, 'tokens.gguf')));
    const tokens = metadata.get('tokenizer.ggml.tokens') as string[];
    expect(tokens).toHaveLength(32);
    expect(tokens.slice(0, 7)).toEqual(['a', 'b', 'c', 'ab', '<s>', 'USER', '[PAD6]']);
    const types = metadata.get('tokenizer.ggml.token_type') as number[];
    expect(types.slice(0, 7)).toEqual([1, 1, 1, 1, 3, 4, 5]);
    expect(metadata.get('tokenizer.ggml.pre')).toBe('gpt-2');
    expect(metadata.get('tokenizer.ggml.merges')).toEqual(['a b']);
    expect(metadata.get('llama.attention.head_count_kv')).toBe(2);
  });

  it('is not overwritten, and leaves nothing behind when it is cancelled', async () => {
    await write('twice.gguf');
    await expect(write('twice.gguf')).rejects.toMatchObject({ code: 'file.unreadable' });
    const before = await readdir(root);
    const file = path.join(root, 'cancelled.gguf');
    const cancel = (): void => {
      throw new Error('cancelled');
    };
    await expect(writeGguf(model, {}, file, 'f16', description, cancel)).rejects.toThrow();
    expect(await readdir(root)).toEqual(before);
  });

  it('refuses a value that half precision cannot hold', async () => {
    const replacement = (tensor: string) =>
      tensor === 'model.norm.weight' || !tensor.endsWith('up_proj.weight')
        ? undefined
        : Promise.resolve(new Float32Array(96).fill(70_000));
    await expect(write('large.gguf', 'f16', { replacement })).rejects.toMatchObject({
      code: 'train.nonFinite',
    });
  });
});

describe('what the file’s types took', () => {
  it('is measured against the merged weights', async () => {
    const { relativeError } = await write('measured.gguf');
    // Independent: each weight rounded to half precision, norms kept.
    let [lost, energy] = [0, 0];
    for (const name of model.weights.names) {
      const values = toFloat32(await model.weights.read(name));
      const stored = name.endsWith('norm.weight') ? values : f16ToF32(f32ToF16(values));
      values.forEach((value, i) => {
        lost += (value - stored[i]!) ** 2;
        energy += value ** 2;
      });
    }
    expect(lost).toBeGreaterThan(0);
    expect(Math.abs(relativeError / Math.sqrt(lost / energy) - 1)).toBeLessThan(1e-9);
  });

  it('is the same as decoding by the definition', () => {
    const values = new Rng(3, 'q8').normals(320, 0.7);
    const own = decodeRows('Q8_0', encodeRows('Q8_0', values, 'x'));
    for (let block = 0; block < 10; block++) {
      const part = values.subarray(block * 32, block * 32 + 32);
      const scale = Math.max(...part.map(Math.abs)) / 127;
      part.forEach((value, i) => {
        // Half a step, and the scale's rounding to half precision of up to 127 steps.
        const bound = scale * (0.501 + 127 * 2 ** -11);
        expect(Math.abs(own[block * 32 + i]! - value)).toBeLessThan(bound);
      });
    }
  });
});

describe('Q8_0', () => {
  it('gives the bytes of the gguf package', async () => {
    const { values, bytes } = JSON.parse(
      await readFile(path.join(fixtures, 'export/q8.json'), 'utf8'),
    ) as { values: number[]; bytes: number[] };
    const own = encodeRows('Q8_0', Float32Array.from(values), 'x');
    expect([...own]).toEqual(bytes);
  });
});

describe('the factors of Llama 3’s RoPE', () => {
  it('keep short wavelengths and stretch long ones', () => {
    const scaled = {
      ...tiny,
      headDim: 128,
      ropeTheta: 500_000,
      ropeScaling: {
        type: 'llama3',
        factor: 8,
        lowFreqFactor: 1,
        highFreqFactor: 4,
        originalMaxPositionEmbeddings: 8192,
      },
    } as const;
    const factors = ropeFactors(scaled)!;
    expect(factors).toHaveLength(64);
    expect(factors[0]).toBe(1);
    expect(factors[63]).toBe(8);
    // Wavelength 2 pi 500000^(70/128) = 8207 tokens: just beyond the context, stretched in full.
    expect(factors[35]).toBe(8);
    expect(factors[34]! > 1 && factors[34]! < 8).toBe(true);
    expect(ropeFactors(tiny)).toBeUndefined();
  });
});

describe('tokenizers', () => {
  async function fixture(name: string): Promise<{ model: Record<string, unknown> }> {
    const text = await readFile(path.join(fixtures, `tokenizer/${name}.json`), 'utf8');
    return JSON.parse(text) as { model: Record<string, unknown> };
  }
  const metadataOf = (json: object): Map<string, unknown> => {
    const checked: CheckedTokenizer = parseTokenizerFile(JSON.stringify(json), 't');
    const values = tokenizerMetadata(checked, new Tokenizer(checked, {}, 't'), 1000, 't');
    return new Map([...values].map(([key, { value }]) => [key, value]));
  };

  it('of Llama 3 and Qwen have the names that llama.cpp gives them', async () => {
    const llama3 = await fixture('llama3');
    expect(metadataOf(llama3).get('tokenizer.ggml.pre')).toBe('smaug-bpe');
    llama3.model['ignore_merges'] = true;
    expect(metadataOf(llama3).get('tokenizer.ggml.pre')).toBe('llama-bpe');
    expect(metadataOf(llama3).get('tokenizer.ggml.add_bos_token')).toBe(true);
    const qwen = metadataOf(await fixture('qwen'));
    expect(qwen.get('tokenizer.ggml.pre')).toBe('qwen2');
    expect(qwen.get('tokenizer.ggml.add_bos_token')).toBe(false);
  });

  it('of Llama 2 are written as scores where that is the same, and refused where it is not', async () => {
    const llama2 = await fixture('llama2');
    expect(() => metadataOf(llama2)).toThrow(/is no merge|different ranks/);
    llama2.model['merges'] = allSplits(llama2.model['vocab'] as Record<string, number>);
    const metadata = metadataOf(llama2);
    expect(metadata.get('tokenizer.ggml.model')).toBe('llama');
    expect(metadata.get('tokenizer.ggml.add_space_prefix')).toBe(true);
    const scores = metadata.get('tokenizer.ggml.scores') as number[];
    const types = metadata.get('tokenizer.ggml.token_type') as number[];
    expect(types.slice(0, 4)).toEqual([2, 3, 3, 6]);
    expect(new Set(scores).size).toBeGreaterThan(100);
  });

  it('that llama.cpp cannot split are refused', async () => {
    const qwen = (await fixture('qwen')) as { pre_tokenizer?: unknown };
    qwen.pre_tokenizer = { type: 'Whitespace' };
    expect(() => metadataOf(qwen)).toThrow(/pre-tokenizer/);
  });
});
