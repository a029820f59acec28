/** Prompts as the editor asks them: of the real process, which it keeps. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PromptServer } from '../../../src/host/promptServer';
import { startServer, type ServerProcess } from '../../../src/host/trainerProcess';
import type { GenerateAnswer, ServeMessage } from '../../../src/protocol/generation';
import { cli, runCli, until } from '../trainer/cliHarness';
import { tinyConfig, writeTinyModel, writeTinyData } from '../trainer/tinyModel';

let folder: string;
/** Two runs on one base. */
let runs: string[];
/** The process's own messages, and how often one was started and has ended. */
interface Seen {
  messages: ServeMessage[];
  started: number;
  ended: number;
}
let seen: Seen;
let server: PromptServer;
const request = { prompt: '3+4=', template: 'raw', maxNewTokens: 12, temperature: 0 } as const;

beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'dota-prompts-'));
  await writeTinyModel(path.join(folder, 'model'));
  writeTinyData(path.join(folder, 'train.json'), 60);
  runs = [];
  for (const seed of [0, 1]) {
    const file = `run${seed}.dota.json`;
    const training = { max_steps: seed === 0 ? 30 : 4, learning_rate: 0.05, seed };
    const config = tinyConfig({ training });
    writeFileSync(path.join(folder, file), JSON.stringify(config));
    const result = await runCli(['train', file, '--json'], folder);
    expect(result.code, result.stderr).toBe(0);
    runs.push(path.resolve(folder, String(result.json!['run'])));
  }
});
afterEach(() => {
  server.dispose();
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function open(...args: string[]): PromptServer {
  // What an earlier test's process still says goes to that test's own record.
  const own: Seen = { messages: [], started: 0, ended: 0 };
  seen = own;
  const node = {
    program: process.execPath,
    version: process.version,
    source: 'path',
    asElectron: false,
  } as unknown as Parameters<typeof startServer>[0];
  return new PromptServer((handlers): Promise<ServerProcess> => {
    own.started += 1;
    return Promise.resolve(
      startServer(node, cli, ['serve-prompts', ...args], process.env, {
        onLine: (line) => {
          own.messages.push(JSON.parse(line) as ServeMessage);
          handlers.onLine(line);
        },
        onClose: (reason, exitCode) => {
          own.ended += 1;
          handlers.onClose(reason, exitCode);
        },
      }),
    );
  });
}

async function ask(
  model: string,
  adapters: (string | null)[],
  signal = new AbortController().signal,
): Promise<GenerateAnswer[]> {
  const answers: GenerateAnswer[] = [];
  await server.ask({ model, adapters, request }, signal, (message) => {
    if (message.type === 'answer') answers[message.index] = message.answer;
  });
  return answers;
}

async function alone(adapters: string[]): Promise<number[][]> {
  const args = ['--prompt', '3+4=', '--max-new-tokens', '12', '--compare', '--json'];
  const named = adapters.flatMap((adapter) => ['--adapter', adapter]);
  const result = await runCli(['generate', 'model', ...named, ...args], folder);
  expect(result.code, result.stderr).toBe(0);
  return (result.json!['answers'] as { token_ids: number[] }[]).map((answer) => answer.token_ids);
}

describe('the prompt process', () => {
  it('switches adapters of one base without reading its weights again', async () => {
    server = open();
    const [first, second] = runs as [string, string];
    const ids = (answers: GenerateAnswer[]) => answers.map((answer) => answer.token_ids);
    const one = ids(await ask(first, [null, first]));
    // Another run, in place of the same base model.
    const other = ids(await ask(second, [null, second]));
    const both = ids(await ask(first, [null, first, second]));
    expect(both).toEqual([...one, other[1]]);
    expect(other[0]).toEqual(one[0]);
    expect(one[1]).not.toEqual(other[1]);
    expect(both).toEqual(await alone([first, second]));
    expect(seen.messages.filter(({ type }) => type === 'loaded')).toHaveLength(1);
    expect(seen.started).toBe(1);
    await ask(path.join(folder, 'model'), [null]);
    expect(seen.messages.filter(({ type }) => type === 'loaded')).toHaveLength(1);
  });

  it('tells what is wrong with a question, and answers the next one', async () => {
    server = open();
    await expect(ask(path.join(folder, 'nowhere'), [null])).rejects.toMatchObject({
      code: expect.stringMatching(/^(run|file)\./) as unknown,
    });
    const model = path.join(folder, 'model');
    await expect(ask(model, [path.join(folder, 'none')])).rejects.toThrow();
    expect(await ask(model, [null])).toHaveLength(1);
    expect(seen.started).toBe(1);
  });

  it('ends the answers with what there is when it is told to stop', async () => {
    server = open();
    const long = { ...request, maxNewTokens: 100, temperature: 2 };
    const question = { model: path.join(folder, 'model'), adapters: [null], request: long };
    let answer: GenerateAnswer | undefined;
    // Where this process has to wait for the machine, all hundred are there before its stop.
    for (let attempt = 0; attempt < 5 && answer?.finish !== 'stopped'; attempt++) {
      const abort = new AbortController();
      await server.ask(question, abort.signal, (message) => {
        if (message.type === 'text') abort.abort();
        else answer = message.answer;
      });
    }
    // An end token before the stop arrives would be another reason, with this seed there is none.
    expect(answer?.finish).toBe('stopped');
    expect(answer?.token_ids.length).toBeLessThan(100);
    expect(await ask(question.model, [null])).toHaveLength(1);
    expect(seen.started).toBe(1);
  });

  it('ends when nobody asks, and starts again with the next question', async () => {
    server = open('--idle-seconds', '0.5');
    const model = path.join(folder, 'model');
    await ask(model, [null]);
    await until('the end of the idle process', () => seen.ended === 1);
    await ask(model, [null]);
    expect(seen.started).toBe(2);
    // A question that meets the end of the process is asked again of the next one.
    for (let wait = 440; wait < 560; wait += 20) {
      await new Promise((resolve) => setTimeout(resolve, wait));
      expect(await ask(model, [null])).toHaveLength(1);
    }
  });

  it('fails the question when the process ends in the middle of it', async () => {
    server = open();
    const question = { model: path.join(folder, 'model'), adapters: [null], request };
    const asked = server.ask(question, new AbortController().signal, () => undefined);
    await until('the start', () => seen.started === 1);
    server.dispose();
    await expect(asked).rejects.toMatchObject({ code: 'protocol.closed' });
    await until('its end', () => seen.ended === 1);
  });
});
