import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { countParameters } from '../../../src/models/config';
import { loadModelFolder } from '../../../src/models/modelFolder';
import { loadTokenizer } from '../../../src/models/tokenizer';
import { runConfigSchema } from '../../../src/config/runConfig';
import { demo } from '../../../scripts/sample/recipe';
import type { SampleFigures } from '../../../scripts/sample/report';

const sample = 'media/sample';
const readJson = (file: string): unknown =>
  JSON.parse(readFileSync(path.join(sample, file), 'utf8'));

describe('the committed sample', () => {
  it('is a bf16 Llama model of 1 to 2.5 million parameters whose weights fit its configuration', async () => {
    const { config, weights, unusedTensors } = await loadModelFolder(`${sample}/model`);
    expect(config.architecture).toBe('llama');
    expect(countParameters(config)).toBeGreaterThanOrEqual(1e6);
    expect(countParameters(config)).toBeLessThanOrEqual(2.5e6);
    expect(unusedTensors).toEqual([]);
    const dtypes = weights.names.map((name) => weights.info(name)?.dtype);
    expect([...new Set(dtypes)]).toEqual(['BF16']);
    await weights.close();
    const tokenizer = await loadTokenizer(`${sample}/model`, config.vocabSize);
    expect(tokenizer.vocabSize).toBe(config.vocabSize);
    expect(config.eosTokenIds).toContain(tokenizer.eosTokenId);
  });

  it('takes at most 6 MB', () => {
    const bytes = readdirSync(sample, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.parentPath.includes('.dota'))
      .map((entry) => statSync(path.join(entry.parentPath, entry.name)).size)
      .reduce((a, b) => a + b, 0);
    expect(bytes).toBeLessThanOrEqual(6e6);
  });

  it('has the demo’s configuration as the recipe says, and it is valid', () => {
    const written = readJson('arithmetic.dota.json');
    expect(written).toEqual(demo);
    expect(() => runConfigSchema.parse(written)).not.toThrow();
  });

  it('carries figures in which the baselines lie well below the demo', () => {
    const { pretraining, arithmetic, mpo } = readJson('figures.json') as SampleFigures;
    expect(pretraining.validationLoss).toBeLessThan(pretraining.trigramValidationLoss);
    expect(arithmetic.testItems).toBeGreaterThanOrEqual(500);
    expect(arithmetic.accuracy).toBeGreaterThanOrEqual(0.8);
    expect(arithmetic.accuracy - arithmetic.accuracyOfBagOfWords).toBeGreaterThanOrEqual(0.3);
    expect(arithmetic.accuracy - arithmetic.accuracyFromRandomBase).toBeGreaterThanOrEqual(0.3);
    expect(mpo.modules).toHaveLength(28);
  });
});
