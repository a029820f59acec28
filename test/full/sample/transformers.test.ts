/** The committed sample in transformers and in our engine. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { fullPlan } from '../../../src/adapters/adapter';
import { ignoredLabel } from '../../../src/data/batch';
import { loadModelFolder } from '../../../src/models/modelFolder';
import { loadTokenizer } from '../../../src/models/tokenizer';
import { createEngine } from '../../../src/trainer/engine/createEngine';
import { generateGreedy } from '../../../src/trainer/generate';
import { runJudge } from '../support/judges';

const model = 'media/sample/model';
const texts = [
  '7 plus 8 equals',
  'Tom has 9 apples. Tom gives away 4 apples. Now Tom has',
  'A dog is an animal.\nThe kite is',
  'List: 3 14 7. Again: 3',
  'Where is the horse? The horse is',
];

interface Judged {
  results: { ids: number[]; loss: number; continuation: string }[];
}

describe.runIf(process.env['DOTA_FULL'])('transformers', () => {
  it('loads the sample and agrees on ids, losses and greedy continuations', async () => {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'dota-sample-'));
    const file = path.join(folder, 'texts.json');
    await writeFile(file, JSON.stringify(texts));
    const script = path.join(import.meta.dirname, '../../fixtures/sample/judge_model.py');
    const { results } = JSON.parse(runJudge(script, [model, file])) as Judged;
    await rm(folder, { recursive: true, force: true });

    const { config, weights } = await loadModelFolder(model);
    const tokenizer = await loadTokenizer(model, config.vocabSize);
    const engine = await createEngine({
      config,
      weights,
      adapters: fullPlan,
      device: 'cpu',
      threads: 1,
    });
    for (const [i, { ids, loss, continuation }] of results.entries()) {
      expect([...tokenizer.prefixIds, ...tokenizer.encode(texts[i]!)]).toEqual(ids);
      const { lossSum } = await engine.evaluate({
        batchSize: 1,
        sequenceLength: ids.length,
        inputIds: Int32Array.from(ids),
        labels: Int32Array.from([...ids.slice(1), ignoredLabel]),
        positionIds: Int32Array.from(ids, (_, t) => t),
        segmentIds: new Int32Array(ids.length).fill(1),
        lossTokens: ids.length - 1,
        tokens: ids.length,
      });
      // fp32 on both sides, summed in different orders.
      expect(Math.abs(lossSum / (ids.length - 1) / loss - 1)).toBeLessThan(1e-5);
      const [generated] = await generateGreedy(engine, [ids], config.eosTokenIds, 12);
      expect(tokenizer.decode(generated ?? [], { skipSpecialTokens: true })).toBe(continuation);
    }
    await engine.dispose();
    await weights.close();
  });
});
