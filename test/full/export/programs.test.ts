/**
 * What a real run trained, in the programs that the exports are for: transformers, PEFT, llama.cpp
 * and transformers.js, teacher-forced over 256 tokens of the sample's text.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadTokenizer, type Tokenizer } from '../../../src/models/tokenizer';
import { runCli } from '../../unit/trainer/cliHarness';
import { judgesPackages, runJudge } from '../support/judges';
import { compare, judges, readLogits, runNode, type Agreement } from './agreement';

const sample = path.resolve('media/sample');
const texts = ['Tom has 9 apples.\n  x = 日本語 😀\t12345', 'Hello, wörld! <|end_of_text|>'];

let root: string;
let tokenizer: Tokenizer;
const at = (name: string): string => path.join(root, name);

async function dota(args: readonly string[]): Promise<Record<string, unknown>> {
  const result = await runCli([...args, '--json'], root);
  expect(result.code, result.stderr).toBe(0);
  return result.json!;
}

describe.runIf(process.env['DOTA_FULL'])('exports of a run', { timeout: 900_000 }, () => {
  let vocabulary: number;

  beforeAll(async () => {
    root = mkdtempSync(path.join(os.tmpdir(), 'dota-programs-'));
    const config = JSON.parse(
      readFileSync(path.join(sample, 'arithmetic.dota.json'), 'utf8'),
    ) as Record<string, Record<string, unknown>>;
    const data = (name: string): string => path.join(sample, `data/arithmetic.${name}.json`);
    const short = {
      ...config,
      model: path.join(sample, 'model'),
      data: {
        ...config['data'],
        train: data('train'),
        validation: data('validation'),
        test: data('test'),
      },
      training: {
        ...config['training'],
        max_steps: 20,
        warmup_steps: 5,
        per_device_train_batch_size: 4,
        eval_steps: 20,
      },
    };
    writeFileSync(at('run.dota.json'), JSON.stringify(short));
    const run = String((await dota(['train', 'run.dota.json']))['run']);
    const last = ['--checkpoint', 'last'];
    await dota(['export', run, '--to', 'merged', '--out', at('merged'), ...last]);
    await dota(['export', run, '--to', 'adapter', '--out', at('adapter'), ...last]);
    await dota(['export', run, '--to', 'lora', '--rank', '128', '--out', at('lora'), ...last]);
    await dota(['export', run, '--format', 'gguf', '--out', at('f16.gguf'), ...last]);
    const q8 = ['--gguf-type', 'q8_0', '--out', at('q8_0.gguf')];
    await dota(['export', run, '--format', 'gguf', ...q8, ...last]);
    await dota(['export', run, '--format', 'onnx', '--out', at('onnx-model'), ...last]);

    tokenizer = await loadTokenizer(path.join(sample, 'model'));
    vocabulary = tokenizer.vocabSize;
    const rows = JSON.parse(readFileSync(data('test'), 'utf8')) as {
      instruction: string;
      output: string;
    }[];
    const text = rows.slice(0, 60).map(({ instruction, output }) => `${instruction} ${output}`);
    const ids = [...tokenizer.prefixIds, ...tokenizer.encode(text.join('\n'))].slice(0, 256);
    expect(ids).toHaveLength(256);
    writeFileSync(at('input.json'), JSON.stringify({ ids, texts }));
    const folders = [path.join(sample, 'model'), at('adapter'), at('merged'), at('lora')];
    runJudge(path.join(judges, 'reference.py'), [...folders, at('input.json'), root]);
  }, 900_000);

  afterAll(() => {
    rmSync(root, { recursive: true, force: true });
  });

  const ids = (special: 'match' | 'literal'): number[][] =>
    texts.map((text) => tokenizer.encode(text, { special }));
  function agreement(name: string, reference = 'adapter'): Agreement {
    const result = compare(
      readLogits(at(`${name}.f32`)),
      readLogits(at(`${reference}.f32`)),
      vocabulary,
    );
    console.log(name, JSON.stringify(result));
    return result;
  }

  it('change the model', () => {
    expect(agreement('base').largest).toBeGreaterThan(1);
  });

  it('merged: transformers', () => {
    // The same rounding to bf16 on both sides; a value at its edge may fall either way.
    const { largest, relative, marginOfFlips } = agreement('merged', 'rounded');
    expect(relative).toBeLessThan(1e-4);
    expect(largest).toBeLessThan(2e-2);
    expect(marginOfFlips).toBeLessThan(1e-2);
    // What the rounding itself costs: bf16 keeps 8 bits, over four layers some 0.1 %.
    const rounding = agreement('merged');
    expect(rounding.relative).toBeLessThan(5e-3);
    expect(rounding.largest).toBeLessThan(0.5);
  });

  it('LoRA at full rank: PEFT', () => {
    const { largest, marginOfFlips } = agreement('lora');
    // fp32 in another order.
    expect(largest).toBeLessThan(1e-3);
    expect(marginOfFlips).toBeLessThan(1e-2);
  });

  it.each([
    // Weights and activations in half precision: 11 bits.
    ['f16', 2e-3, 0.25],
    // Weights and activations in 8 bits.
    ['q8_0', 3e-2, 2],
  ])('GGUF in %s: llama.cpp, and the gguf package', (type, relativeBound, bound) => {
    const file = at(`${type}.gguf`);
    const read = runJudge(path.join(judges, 'ggufPackage.py'), [file]);
    expect(JSON.parse(read)).toMatchObject({
      architecture: 'llama',
      tokens: vocabulary,
      tensors: 38,
      types: ['F32', type === 'f16' ? 'F16' : 'Q8_0'].sort(),
      finite: true,
    });
    const out = at(`${type}.f32`);
    const judged = runNode('llamaCpp.mjs', [judgesPackages(), file, at('input.json'), out]);
    expect(judged['texts']).toEqual(ids('literal'));
    const { largest, relative, typical, marginOfFlips } = agreement(type);
    expect(relative).toBeLessThan(relativeBound);
    expect(largest).toBeLessThan(bound);
    // Two tokens change places where their logits' errors differ by more than their margin: of independent errors
    // the difference is sqrt(2) larger, and four times that is passed once in 16,000.
    expect(marginOfFlips).toBeLessThan(4 * Math.SQRT2 * typical);
  });

  it('ONNX: transformers.js, at once and through the cache', () => {
    const args = [judgesPackages(), at('onnx-model'), at('input.json'), root];
    const judged = runNode('transformersJs.mjs', args);
    expect(judged['texts']).toEqual(ids('match'));
    expect(judged['generated']).not.toHaveLength(0);
    for (const name of ['onnx', 'onnx-cached']) {
      const { largest, marginOfFlips } = agreement(name);
      // fp32 in another order.
      expect(largest).toBeLessThan(1e-3);
      expect(marginOfFlips).toBeLessThan(1e-2);
    }
  });
});
