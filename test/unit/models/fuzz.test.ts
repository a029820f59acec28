/** Model files from elsewhere, mutated. */
import fc from 'fast-check';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { architectures } from '../../../src/models/architectures/descriptions';
import { expectedWeights, parseModelConfig } from '../../../src/models/config';
import { openModelWeights, parseIndex } from '../../../src/models/safetensors/modelWeights';
import { SafetensorsFile } from '../../../src/models/safetensors/reader';
import { writeSafetensors } from '../../../src/models/safetensors/writer';
import { Tokenizer } from '../../../src/models/tokenizer';
import { parseTokenizerFile } from '../../../src/models/tokenizerFile';
import { cases, jsonWithKeys, mutations, owesAnswer } from '../support/fuzz';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'dota-fuzz-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const text = (bytes: Buffer): string => bytes.toString('utf8');

// Seconds on an idle machine; the limit is for a busy one and for the full suite's counts.
describe('mutated', { timeout: 1_200_000 }, () => {
  it('safetensors files are read or refused', async () => {
    const file = path.join(folder, 'm.safetensors');
    await writeSafetensors(
      file,
      [
        { name: 'a', dtype: 'F32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
        { name: 'b.c', dtype: 'BF16', shape: [3], data: Uint16Array.of(1, 2, 3) },
        { name: 'empty', dtype: 'U8', shape: [0], data: new Uint8Array(0) },
      ],
      { format: 'pt' },
    );
    const base = await readFile(file);
    await fc.assert(
      fc.asyncProperty(mutations(base), async (bytes) => {
        await writeFile(file, bytes);
        await owesAnswer(async () => {
          const source = await SafetensorsFile.open(file);
          try {
            for (const name of source.names) {
              if (source.info(name) !== undefined) await source.read(name);
            }
          } finally {
            await source.close();
          }
        });
      }),
      { numRuns: cases },
    );
  });

  it('indexes never lead out of the folder', async () => {
    const inside = path.join(folder, 'sharded');
    await mkdir(path.join(inside, 'sub'), { recursive: true });
    const one = { dtype: 'U8' as const, shape: [1], data: new Uint8Array(1) };
    await writeSafetensors(path.join(inside, 'm.safetensors'), [{ name: 'a', ...one }]);
    const secret = path.join(folder, 'secret.safetensors');
    await writeSafetensors(secret, [{ name: 'secret', ...one }]);
    await symlink(secret, path.join(inside, 'link.safetensors'));
    await symlink(folder, path.join(inside, 'up'));
    const shard = fc.oneof(
      fc.constantFrom(
        'm.safetensors',
        'link.safetensors',
        '../secret.safetensors',
        'up/secret.safetensors',
        'sub/../../secret.safetensors',
        '..\\secret.safetensors',
        'm.safetensors\0',
        secret,
        `file://${secret}`,
      ),
      fc
        .array(fc.constantFrom('..', '.', '/', '\\', 'up', 'secret', 'm', '.safetensors', '%2e'), {
          maxLength: 6,
        })
        .map((parts) => parts.join('')),
    );
    const index = fc.dictionary(fc.constantFrom('a', 'secret', '__proto__'), shard);
    await fc.assert(
      fc.asyncProperty(index, async (weightMap) => {
        const text = JSON.stringify({ weight_map: weightMap });
        await writeFile(path.join(inside, 'model.safetensors.index.json'), text);
        await owesAnswer(async () => {
          const weights = await openModelWeights(inside);
          await weights.close();
          expect(weights.names).toEqual(['a']);
        });
      }),
      { numRuns: cases },
    );
  });

  it('indexes are parsed or refused', async () => {
    const base = Buffer.from(
      '{"metadata":{"total_size":12},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}',
    );
    const made = jsonWithKeys(['metadata', 'weight_map', 'a']).map((v) =>
      Buffer.from(JSON.stringify(v)),
    );
    await fc.assert(
      fc.asyncProperty(fc.oneof(mutations(base), made), (bytes) =>
        owesAnswer(() => {
          for (const shard of parseIndex(text(bytes), 'index').values()) {
            if (path.basename(shard) !== shard) throw new Error(`a path got through: ${shard}`);
          }
        }),
      ),
      { numRuns: cases },
    );
  });

  it('config.json is understood or refused', async () => {
    const json = {
      model_type: 'llama',
      architectures: ['LlamaForCausalLM'],
      hidden_size: 64,
      intermediate_size: 128,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      vocab_size: 100,
      max_position_embeddings: 128,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      rope_scaling: {
        rope_type: 'llama3',
        factor: 8,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 64,
      },
      eos_token_id: [1, 2],
      tie_word_embeddings: true,
    };
    const changed = fc
      .dictionary(
        fc.constantFrom(
          ...Object.keys(json),
          'head_dim',
          'sliding_window',
          'rope_parameters',
          'auto_map',
        ),
        jsonWithKeys(['rope_type', 'factor']),
        { maxKeys: 3 },
      )
      .map((change) => Buffer.from(JSON.stringify({ ...json, ...change })));
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(mutations(Buffer.from(JSON.stringify(json))), changed),
        fc.constantFrom(...architectures.map(({ modelType }) => modelType)),
        (bytes, family) =>
          owesAnswer(() => {
            const config = parseModelConfig(
              text(bytes).replace('"llama"', `"${family}"`).replace('LlamaFor', ''),
              'config.json',
            );
            expectedWeights(config);
          }),
      ),
      { numRuns: cases },
    );
  });

  it('tokenizer.json encodes or is refused', async () => {
    const fixtures = path.join(import.meta.dirname, '../../fixtures/tokenizer');
    const bases = await Promise.all(
      ['llama2', 'llama3', 'qwen'].map(async (name) => {
        const parsed = JSON.parse(await readFile(path.join(fixtures, `${name}.json`), 'utf8')) as {
          model: { vocab: Record<string, number>; merges: unknown[] };
          added_tokens: { id: number }[];
        };
        // A tenth of the size, so that mutations meet the structure as often as the vocabulary.
        const { model } = parsed;
        const kept = Object.entries(model.vocab).filter(([, id]) => id < 300);
        model.vocab = Object.fromEntries(kept);
        model.merges = [];
        return Buffer.from(JSON.stringify(parsed));
      }),
    );
    await fc.assert(
      fc.asyncProperty(fc.oneof(...bases.map(mutations)), (bytes) =>
        owesAnswer(() => {
          const tokenizer = new Tokenizer(parseTokenizerFile(text(bytes), 't.json'), {}, 't.json');
          tokenizer.decode(tokenizer.encode('Some text,\n 123 größer</s>'));
        }),
      ),
      { numRuns: cases },
    );
  });
});
