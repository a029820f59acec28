/** Adapters that the real PEFT saved (test/fixtures/adapters/make_folders.py), on the bundled sample. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPeftLora } from '../../../src/export/readPeftLora';
import { GenerationSession } from '../../../src/trainer/generation/session';
import { runCli } from '../trainer/cliHarness';
import { writeTinyModel } from '../trainer/tinyModel';

const folders = path.resolve('test/fixtures/adapters/folders');
const { ids, logits } = JSON.parse(readFileSync(path.join(folders, 'logits.json'), 'utf8')) as {
  ids: number[];
  logits: Record<string, number[]>;
};
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

async function distance(view: GenerationSession['base'], expected: number[]): Promise<number> {
  const { decoder } = session;
  const own = await decoder.nextLogits(view, decoder.newCache(1), [ids]);
  return Math.max(...expected.map((value, i) => Math.abs(value - own[i]!)));
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
  it.each(['lora', 'rslora', 'dora'])('gives the logits of PEFT: %s', async (name) => {
    const view = await session.withAdapter(path.join(folders, name));
    // fp32 sums in another order through four layers; logits are of the order of 10.
    expect(await distance(view, logits[name]!)).toBeLessThan(2e-4);
    expect(await distance(session.base, logits[name]!)).toBeGreaterThan(0.1);
    expect(await distance(session.base, logits['base']!)).toBeLessThan(2e-4);
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
    [{ init_lora_weights: 'pissa' }, 'model.unsupported'],
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
  }, 60_000);
});
