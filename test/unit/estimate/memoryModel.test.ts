import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { linearModules } from '../../../src/adapters/targets';
import { runConfigSchema } from '../../../src/config/runConfig';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { parameterCount } from '../../../src/core/mpo/shapes';
import { mpoSpec } from '../../../src/adapters/mpoShape';
import { estimateTraining, type TrainingShape } from '../../../src/estimate/estimateTraining';
import { memoryModel } from '../../../src/estimate/memoryModel';
import { mergeRanks } from '../../../src/panels/mergeRanks';
import { decodeDecomposition } from '../../../src/protocol/decomposition';
import type { ExplorerModule, TrainingMemory } from '../../../src/protocol/explorerPanel';
import { runDecompose } from '../../../src/trainer/commands/decompose';
import { trainingBytes } from '../../../webview/explorer/cut';
import { moduleRows, rankPattern } from '../../../webview/explorer/exports';
import { defaultOptions, initialState, reduceExplorer } from '../../../webview/explorer/state';
import { decoderOf, defaults } from '../../../bench/step/setup';
import { runCli } from '../trainer/cliHarness';
import { writeTinyWorkspace } from '../trainer/tinyModel';

const { adapter } = runConfigSchema.parse({ data: { train: 'none' } });
const config = decoderOf({ ...defaults, hidden: 64, layers: 4, vocabulary: 300 });
const shape = (residentLimit: number, recompute: boolean): Omit<TrainingShape, 'method'> => ({
  config,
  bytesPerWeight: 2,
  adapter,
  batch: 3,
  sequence: 40,
  accumulation: 1,
  recompute,
  residentLimit,
});

describe('the memory of training as a formula', () => {
  it('is the estimate, for any modules and ranks, resident or not', () => {
    const modules = linearModules(config);
    fc.assert(
      fc.property(
        fc.subarray(modules, { minLength: 1 }),
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 2, max: 4 }),
        fc.boolean(),
        fc.boolean(),
        (chosen, r, mpo_cores, resident, recompute) => {
          const base = shape(resident ? 2 ** 40 : 0, recompute);
          const options = { ...adapter, r, mpo_cores, target_modules: chosen.map((m) => m.path) };
          const judged = estimateTraining({ ...base, method: 'dota', adapter: options });
          const rows = chosen.map((m) => {
            const spec = mpoSpec(m, options);
            return {
              layer: m.layer,
              rows: m.outFeatures,
              cols: m.inFeatures,
              parameters: parameterCount(spec.shape, spec.bonds),
            };
          });
          const bytes = trainingBytes(memoryModel(base), rows) ?? NaN;
          // Sums of a few numbers below 1e9 in another order.
          expect(Math.abs(bytes - judged.totalBytes)).toBeLessThan(1);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('knows nothing without a module in a layer', () => {
    const memory = memoryModel(shape(0, false));
    expect(trainingBytes(memory, [])).toBeUndefined();
    expect(trainingBytes(memory, [{ rows: 3, cols: 3, parameters: 9 }])).toBeUndefined();
    expect(
      trainingBytes(undefined, [{ layer: 0, rows: 3, cols: 3, parameters: 9 }]),
    ).toBeUndefined();
  });
});

describe('what the explorer shows', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'dota-memory-'));
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('is what dota train --estimate says of the configuration it writes', async () => {
    await writeTinyWorkspace(folder);
    const modelFolder = path.join(folder, 'model');
    const report = await runDecompose(
      { path: modelFolder, tensors: [], cores: 3, rank: 6 },
      { gemm: plainGemm, print: () => undefined, note: () => undefined },
    );
    const results = report.modules.map(decodeDecomposition);
    const modules = results.map((r): ExplorerModule => {
      const layer = Number(/layers\.(\d+)\./.exec(r.module)?.[1]);
      const { rows, cols } = r;
      return { name: r.module, kind: r.module.split('.').at(-1)!, layer, rows, cols, dtype: 'F32' };
    });
    const asked = await runCli(['memory', 'model', '--json'], folder);
    const training = asked.json?.training as TrainingMemory;
    const options = { ...defaultOptions, value: 6 };
    const model = {
      name: 'tiny',
      architecture: 'llama',
      parameters: 0,
      numLayers: 2,
      weightBytes: 0,
      hiddenSize: 32,
      intermediateSize: 64,
      vocabSize: 258,
    };
    const start = reduceExplorer(initialState, { type: 'init', model, modules, options });
    const init = reduceExplorer(start, { type: 'training', training });
    const state = reduceExplorer(init, { type: 'results', options, results });
    const rows = moduleRows(state);
    const file = 'explored.dota.json';
    const text = mergeRanks(
      JSON.stringify({
        model: 'model',
        // Packed rows have exactly max_length tokens: the estimate's and the explorer's sequence.
        data: { train: 'train.json', packing: true },
        training: { max_steps: 2 },
      }),
      file,
      rankPattern(state),
    );
    writeFileSync(path.join(folder, file), text);
    const { json, stderr } = await runCli(['train', file, '--estimate', '--json'], folder);
    expect(json, stderr).toBeDefined();
    expect(json?.trainable_parameters).toBe(rows.reduce((sum, r) => sum + r.parameters, 0));
    expect(state.training).toEqual(training);
    expect(Math.round((trainingBytes(state.training, rows) ?? 0) / 2 ** 20)).toBe(
      json?.peak_rss_mb,
    );
  });
});
