/** `dota generate` as a user runs it. */
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GenerateAnswer } from '../../../src/protocol/generation';
import { isGenerateMessage } from '../../../src/protocol/generation';
import { runCli } from '../trainer/cliHarness';
import { writeTinyWorkspace } from '../trainer/tinyModel';

let folder: string;
let run: string;
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-generate-'));
  await writeTinyWorkspace(folder, { training: { max_steps: 30, learning_rate: 0.05 } });
  run = String((await dota(['train', 'tiny.dota.json']))['run']);
  await dota(['export', run, '--to', 'adapter', '--out', 'adapter']);
  await dota(['export', run, '--to', 'merged', '--out', 'merged']);
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function dota(args: readonly string[]): Promise<Record<string, unknown>> {
  const result = await runCli([...args, '--json'], folder);
  expect(result.code, result.stderr).toBe(0);
  return result.json!;
}

const prompt = ['--prompt', '3+4=', '--max-new-tokens', '12'];

async function answers(args: readonly string[]): Promise<GenerateAnswer[]> {
  return (await dota(['generate', ...args, ...prompt]))['answers'] as GenerateAnswer[];
}

describe('dota generate', () => {
  it('answers with the base, a run, and its exported forms', async () => {
    const sides = await answers(['model', '--compare', '--adapter', run, '--adapter', 'adapter']);
    expect(sides.map(({ adapter }) => adapter)).toEqual([null, run, 'adapter']);
    const [base, trained, exported] = sides;
    expect(trained!.token_ids).not.toEqual(base!.token_ids);
    expect(exported!.token_ids).toEqual(trained!.token_ids);
    const [merged] = await answers(['merged']);
    expect(merged!.token_ids).toEqual(trained!.token_ids);
    // A run in place of the model means its base.
    const [alone] = await answers([run]);
    expect(alone!.token_ids).toEqual(base!.token_ids);
  });

  it('streams what the answers become', async () => {
    const result = await runCli(['generate', 'model', ...prompt, '--stream', '--json'], folder);
    const lines = result.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    const messages = lines.filter(isGenerateMessage);
    const texts = messages.flatMap((message) => (message.type === 'text' ? [message.text] : []));
    const [final] = result.json!['answers'] as GenerateAnswer[];
    texts.forEach((text, i) => expect(final!.text.startsWith(text), `${i}`).toBe(true));
    expect(messages.at(-1)).toMatchObject({ type: 'answer', answer: { text: final!.text } });
  });

  it('ends before a stop text', async () => {
    const [whole] = await answers(['model']);
    const stop = whole!.text.slice(3, 5);
    const [cut] = await answers(['model', '--stop', stop]);
    expect(cut!.text).toBe(whole!.text.slice(0, whole!.text.indexOf(stop)));
    expect(cut!.finish).toBe('stop');
  });

  it('samples by the seed', async () => {
    const sampled = (seed: string) => answers(['model', '--temperature', '1', '--seed', seed]);
    const [first, again, other] = [await sampled('1'), await sampled('1'), await sampled('2')];
    expect(again[0]!.token_ids).toEqual(first[0]!.token_ids);
    expect(other[0]!.token_ids).not.toEqual(first[0]!.token_ids);
  });

  it.each([
    [['--greedy', '--num-beams', '4'], 64],
    [['--temperature', 'hot'], 64],
    [['--top-p', '1.5'], 64],
    [['--max-new-tokens', '200'], 64],
    [['--adapter', 'nowhere'], 65],
  ])('refuses %j', async (args, code) => {
    const result = await runCli(['generate', 'model', ...prompt, ...args, '--json'], folder);
    expect(result.code).toBe(code);
    expect(result.json).toHaveProperty('error.message');
  });
});
