import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { ChatTemplate } from '../../../src/data/templates/chatTemplate';
import type { ChatMessage } from '../../../src/data/templates/rendered';
import { chooseTemplate, renderRow } from '../../../src/data/templates/template';

const place = { file: 'f', line: 3 };
const row = { instruction: 'I', input: '', output: 'O', answer: 'A' };
const withInput = { ...row, input: 'N' };

describe('the LLM-Adapters prompts', () => {
  // Written out from finetune.py and evaluate.py at commit 8166572 of LLM-Adapters.
  const b = '                ';
  const h =
    'Below is an instruction that describes a task. Write a response that appropriately completes the request.';
  const hi =
    'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.';
  it.each([
    ['train', row, `${h}  \n\n${b}### Instruction:\n${b}I\n${b}\n${b}### Response:\n${b}`],
    ['eval', row, `${h} \n\n${b}### Instruction:\n${b}I\n\n${b}### Response:\n${b}`],
    [
      'train',
      withInput,
      `${hi} \n\n${b}### Instruction:\n${b}I\n${b}\n${b}### Input:\n${b}N\n${b}\n${b}### Response:\n${b}`,
    ],
    [
      'eval',
      withInput,
      `${hi}\n\n${b}### Instruction:\n${b}I\n\n${b}### Input:\n${b}N\n\n${b}### Response:\n${b}`,
    ],
  ] as const)('for %s are byte-exact', (purpose, given, prompt) => {
    expect(renderRow(given, 'llm-adapters', place, purpose)).toEqual({
      kind: 'completion',
      prompt,
      completion: 'O',
    });
  });
});

describe('auto', () => {
  it.each([
    [{ messages: [] }, 'chat'],
    [{ conversations: [] }, 'chat'],
    [row, 'llm-adapters'],
    [{ instruction: 'I', output: 'O' }, 'alpaca'],
    [{ prompt: 'P', completion: 'C' }, 'plain'],
    [{ text: 'T' }, 'plain'],
    [JSON.parse('{"__proto__":{"messages":[]},"text":"T"}') as object, 'plain'],
  ])('%j is %s', (given, name) => {
    expect(chooseTemplate(given as Record<string, unknown>)).toBe(name);
  });
});

describe('rows', () => {
  it('of ShareGPT and OpenAI become the same messages', () => {
    const expected = [
      { role: 'system', content: 's' },
      { role: 'user', content: 'u' },
      { role: 'assistant', content: 'a' },
      { role: 'tool', content: 't' },
    ];
    const share = {
      conversations: [
        { from: 'system', value: 's' },
        { from: 'human', value: 'u' },
        { from: 'gpt', value: 'a' },
        { from: 'observation', value: 't' },
      ],
    };
    const openai = {
      messages: [
        expected[0],
        { role: 'user', content: [{ type: 'text', text: 'u' }] },
        expected[2],
        expected[3],
      ],
    };
    for (const given of [share, openai]) {
      expect(renderRow(given, 'chat', place)).toMatchObject({ kind: 'chat', messages: expected });
    }
  });

  it.each([
    [{ instruction: 'I' }, 'alpaca', /no field output \(it has: instruction\)/],
    [{ instruction: ['x'], output: 'O' }, 'alpaca', /instruction is not text/],
    [{ prompt: 'P' }, 'plain', /no field completion/],
    [{}, 'plain', /no field text/],
    [{ a: 1 }, 'chat', /neither messages nor/],
    [
      { messages: [{ role: 'alien', content: 'x' }] },
      'chat',
      /Message 1 has the unknown role "alien"/,
    ],
    [{ messages: [{ role: 'user' }] }, 'chat', /Message 1 has no text/],
    [{ messages: 'hello' }, 'chat', /not a list/],
  ] as const)('%j with template %s name the problem', (given, template, message) => {
    let error: unknown;
    try {
      renderRow(given, template, place);
    } catch (caught) {
      error = caught;
    }
    expect(error).toMatchObject({ code: 'data.malformed', where: 'f:3' });
    expect((error as Error).message).toMatch(message);
  });
});

describe('chat templates', () => {
  const variables = { bosToken: '<s>', eosToken: '</s>' };

  it('render as Python’s jinja2 does', async () => {
    const text = await readFile(
      path.join(import.meta.dirname, '../../fixtures/data/chat.json'),
      'utf8',
    );
    const fixture = JSON.parse(text) as {
      templates: Record<string, string>;
      cases: {
        template: string;
        messages: ChatMessage[];
        addGenerationPrompt: boolean;
        text: string;
      }[];
    };
    expect(fixture.cases.length).toBe(16);
    for (const c of fixture.cases) {
      const source = fixture.templates[c.template]!;
      for (const variant of [source, source.replaceAll('\n', '\r\n')]) {
        const template = new ChatTemplate(variant, variables, 't');
        // A template file with CRLF is read with universal newlines, text in quotes included.
        expect(template.render(c.messages, { addGenerationPrompt: c.addGenerationPrompt })).toBe(
          c.text,
        );
      }
    }
  });

  const message: ChatMessage = { role: 'user', content: 'hello' };
  const hostile: [string, string][] = [
    ['a huge range', '{% for i in range(100000000) %}x{% endfor %}'],
    [
      'nested loops',
      '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}',
    ],
    [
      'nested loops over a variable',
      '{% set r = range(99999) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}',
    ],
    [
      'a doubling string',
      '{% set n = namespace(s="xxxxxxxx") %}{% for i in range(64) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}',
    ],
    [
      'a doubling list',
      '{% set n = namespace(s=[1,2]) %}{% for i in range(64) %}{% set n.s = n.s + n.s %}{% endfor %}',
    ],
    [
      'replacement that multiplies',
      '{% set n = namespace(s="xxxxxxxx") %}{% for i in range(64) %}{% set n.s = n.s | replace("x", n.s) %}{% endfor %}',
    ],
    ['endless recursion', '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}'],
    ['the constructor', '{{ messages.constructor.constructor("return process")() }}'],
    ['__proto__', '{{ messages[0].__proto__.polluted() }}'],
    ['deep nesting', `${'('.repeat(20000)}`],
    ['deep expressions', `{{ ${'('.repeat(20000)}1${')'.repeat(20000)} }}`],
    ['an unclosed block', '{% if true %}'],
    ['its own exception', '{{ raise_exception("only one user") }}'],
  ];
  it.each(hostile)('with %s end soon, with a message', (_name, source) => {
    const started = process.cpuUsage();
    let error: unknown;
    try {
      const text = new ChatTemplate(source, variables, 'chat_template').render([message], {
        addGenerationPrompt: false,
      });
      // Plain text is harmless.
      expect(text.length).toBeLessThan(100_000);
      error = 'rendered';
    } catch (caught) {
      error = caught;
    }
    if (error !== 'rendered') {
      expect(error).toMatchObject({ code: 'template.failed', where: 'chat_template' });
    }
    // CPU time, since the machine may be busy; without limits these run for minutes or end the process.
    expect(process.cpuUsage(started).user).toBeLessThan(3_000_000);
  });

  it('pass on what they raise', () => {
    const template = new ChatTemplate('{{ raise_exception("only one user") }}', variables, 't');
    expect(() => template.render([message], { addGenerationPrompt: false })).toThrow(
      /only one user/,
    );
  });
});
