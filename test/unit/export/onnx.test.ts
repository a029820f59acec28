/** The exported ONNX graph against the real transformers, for every architecture of the fixtures. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeOnnx } from '../../../src/export/onnx/writeOnnx';
import { loadModelFolder } from '../../../src/models/modelFolder';
import { relativeError } from '../graph/harness';
import { writeDecoderFixture } from '../models/decoderFixture';
import { writeModel } from './helpers';

interface Fixture {
  name: string;
  config: { vocab_size: number; num_hidden_layers: number };
  weights: Record<string, { shape: number[]; data: number[] }>;
  input_ids: number[][];
  attention_mask: number[][];
  logits: number[];
}
const { cases } = JSON.parse(await readFile('test/fixtures/engine/decoders.json', 'utf8')) as {
  cases: Fixture[];
};

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'dota-onnx-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** One forward of the columns `[begin, end)` of all rows. */
async function forward(
  session: ort.InferenceSession,
  fixture: Fixture,
  begin: number,
  end: number,
  past: Record<string, ort.Tensor>,
): Promise<ort.InferenceSession.OnnxValueMapType> {
  const rows = fixture.input_ids.length;
  const ints = (values: number[][]): ort.Tensor =>
    new ort.Tensor('int64', BigInt64Array.from(values.flat(), BigInt), [rows, values[0]!.length]);
  return session.run({
    input_ids: ints(fixture.input_ids.map((row) => row.slice(begin, end))),
    attention_mask: ints(fixture.attention_mask.map((row) => row.slice(0, end))),
    position_ids: ints(fixture.input_ids.map((row) => row.map((_, t) => t).slice(begin, end))),
    ...past,
  });
}

describe('the exported graph', () => {
  it.each(cases.map((fixture) => [fixture.name, fixture] as const))('%s', async (name, fixture) => {
    const folder = await mkdtemp(path.join(root, 'model-'));
    await writeDecoderFixture(folder, fixture.config, fixture.weights);
    const model = await loadModelFolder(folder);
    const out = path.join(root, `${name}-out`);
    await writeOnnx(model, {}, out, '# card\n');
    await model.weights.close();
    const session = await ort.InferenceSession.create(path.join(out, 'onnx/model.onnx'));
    const { numLayers: layers, numKeyValueHeads: heads, headDim } = model.config;
    const [rows, length] = [fixture.input_ids.length, fixture.input_ids[0]!.length];
    const names = Array.from({ length: layers }, (_, n) => [`${n}.key`, `${n}.value`]).flat();
    expect([...session.outputNames].sort()).toEqual(
      ['logits', ...names.map((n) => `present.${n}`)].sort(),
    );
    let past: Record<string, ort.Tensor> = Object.fromEntries(
      names.map((n) => [
        `past_key_values.${n}`,
        new ort.Tensor('float32', new Float32Array(0), [rows, heads, 0, headDim]),
      ]),
    );
    const vocabulary = model.config.vocabSize;
    const own: number[] = [];
    const expected: number[] = [];
    // All but two columns at once, then through the cache one by one.
    for (const [begin, end] of [
      [0, length - 2],
      [length - 2, length - 1],
      [length - 1, length],
    ] as const) {
      const result = await forward(session, fixture, begin, end, past);
      const logits = result['logits']!.data as Float32Array;
      for (let row = 0; row < rows; row++) {
        for (let t = begin; t < end; t++) {
          if (fixture.attention_mask[row]![t] === 0) continue;
          const at = (row * (end - begin) + t - begin) * vocabulary;
          own.push(...logits.subarray(at, at + vocabulary));
          const from = (row * length + t) * vocabulary;
          expected.push(...fixture.logits.slice(from, from + vocabulary));
        }
      }
      past = Object.fromEntries(
        names.map((n) => [`past_key_values.${n}`, result[`present.${n}`]! as ort.Tensor]),
      );
    }
    // fp32 against fp64, as for the engine.
    expect(relativeError(own, expected)).toBeLessThan(1e-5);
    await session.release();
  });

  it('puts large weights into data files, and names their number for transformers.js', async () => {
    const folder = path.join(root, 'large');
    await writeModel(folder, { dtype: 'F32' });
    await writeFile(path.join(folder, 'tokenizer.json'), '{}');
    const model = await loadModelFolder(folder);
    const [inline, split] = [path.join(root, 'inline'), path.join(root, 'split')];
    await writeOnnx(model, {}, inline, '# card\n');
    const limits = { inlineBytes: 1000, dataBytes: 4096 };
    await writeOnnx(model, {}, split, '# card\n', undefined, limits);
    const files = (await readdir(path.join(split, 'onnx'))).sort();
    expect(files.length).toBeGreaterThan(2);
    expect(files.slice(0, 3)).toEqual(['model.onnx', 'model.onnx_data', 'model.onnx_data_1']);
    const config = JSON.parse(await readFile(path.join(split, 'config.json'), 'utf8')) as object;
    expect(config).toMatchObject({
      'transformers.js_config': { use_external_data_format: files.length - 1 },
    });
    const results = [];
    for (const out of [inline, split]) {
      const session = await ort.InferenceSession.create(path.join(out, 'onnx/model.onnx'));
      const fixture = { input_ids: [[1, 5, 9]], attention_mask: [[1, 1, 1]] } as Fixture;
      const empty = (): ort.Tensor => new ort.Tensor('float32', new Float32Array(0), [1, 2, 0, 2]);
      const past = Object.fromEntries(
        [0, 1].flatMap((n) => ['key', 'value'].map((k) => [`past_key_values.${n}.${k}`, empty()])),
      );
      results.push((await forward(session, fixture, 0, 3, past))['logits']!.data);
      await session.release();
    }
    expect(results[1]).toEqual(results[0]);
    await model.weights.close();
  });

  it('leaves nothing behind when it is cancelled', async () => {
    const folder = path.join(root, 'cancelled-base');
    await writeModel(folder);
    const model = await loadModelFolder(folder);
    const before = await readdir(root);
    const cancel = (): void => {
      throw new Error('cancelled');
    };
    await expect(writeOnnx(model, {}, path.join(root, 'c'), '', cancel)).rejects.toThrow();
    expect(await readdir(root)).toEqual(before);
    await model.weights.close();
  });
});
