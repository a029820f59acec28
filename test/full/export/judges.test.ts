/** The exports, loaded by the programs they are meant for. */
import { mkdtemp, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plainGemm } from '../../../src/core/linalg/plainGemm';
import { writeAdapterFolder } from '../../../src/export/adapterFolder';
import { denseUpdate } from '../../../src/export/adapterState';
import { writeMergedModel } from '../../../src/export/mergedModel';
import { writePeftLora } from '../../../src/export/peftLora';
import { loadModelFolder } from '../../../src/models/modelFolder';
import { allModules, writeModel } from '../../unit/export/helpers';
import { runJudge } from '../support/judges';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(path.join(os.tmpdir(), 'dota-judges-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe.runIf(process.env['DOTA_FULL'])('transformers, PEFT and the Python loader', () => {
  it.each([
    ['out', false],
    ['in', true],
  ] as const)(
    'agree on the exports of an adapter over %s features (sharded: %s)',
    async (orientation, sharded) => {
      const folder = (name: string): string => path.join(root, `${orientation}-${name}`);
      await writeModel(folder('base'), { dtype: 'F32', sharded });
      const model = await loadModelFolder(folder('base'));
      const modules = allModules(orientation);
      const unread = (): Promise<never> => Promise.reject(new Error('no weight is needed'));
      const state = { method: 'dota' as const, modules };
      const delta = (tensor: string) => {
        const module = modules.find((m) => `${m.path}.weight` === tensor);
        return module && denseUpdate(module, plainGemm, unread);
      };
      await writeMergedModel(model, { delta }, folder('merged'), () => '# x\n');
      await model.weights.close();
      await writeAdapterFolder(folder('adapter'), state, { baseModel: folder('base') });
      await writePeftLora(
        folder('lora'),
        state,
        { r: 8 },
        { baseModel: folder('base'), layers: 2 },
        { gemm: plainGemm, weight: unread },
      );
      const script = path.join(import.meta.dirname, '../../fixtures/export/judge.py');
      const folders = ['base', 'merged', 'adapter', 'lora'].map(folder);
      const result = JSON.parse(runJudge(script, folders)) as Record<string, number>;
      // fp32 sums in another order through two layers.
      expect(result['adapter']).toBeLessThan(1e-5);
      // The pair is of full rank, its factors are rounded to fp32.
      expect(result['lora']).toBeLessThan(1e-4);
      // The change is no rounding error itself.
      expect(result['change']).toBeGreaterThan(0.1);
    },
  );
});
