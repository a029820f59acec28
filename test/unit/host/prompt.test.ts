import { describe, expect, it } from 'vitest';
import { promptArguments } from '../../../src/host/promptArguments';
import type { StoredEvaluation } from '../../../src/protocol/evaluation';
import { isStoredEvaluation } from '../../../src/protocol/evaluation';
import { parsePromptHostMessage, parsePromptViewMessage } from '../../../src/protocol/promptPanel';
import { evaluationReport } from '../../../src/views/evaluationReport';

const request = { prompt: '--json', template: 'raw', maxNewTokens: 16, temperature: 0 } as const;

describe('a prompt', () => {
  it('is one argument, whatever it starts with', () => {
    const args = promptArguments({ name: 'm', model: '/m' }, request);
    expect(args).toContain('--prompt=--json');
    expect(args).not.toContain('--json');
    expect(args).toContain('--greedy');
  });

  it('is asked of the base and of the run', () => {
    const args = promptArguments(
      { name: 'r', model: '/runs/r', run: '/runs/r' },
      { ...request, temperature: 0.7 },
    );
    expect(args.join(' ')).toContain('--temperature 0.7 --adapter /runs/r --compare');
    expect(args).not.toContain('--greedy');
  });

  it('is checked where it crosses into the host', () => {
    expect(parsePromptViewMessage({ type: 'generate', request })).toEqual({
      type: 'generate',
      request,
    });
    for (const wrong of [
      { maxNewTokens: 0 },
      { maxNewTokens: 1e9 },
      { temperature: -1 },
      { template: 'x' },
      { prompt: 1 },
    ])
      expect(
        parsePromptViewMessage({ type: 'generate', request: { ...request, ...wrong } }),
      ).toBeUndefined();
    expect(parsePromptHostMessage({ type: 'text', index: 0, text: 'a' })).toBeUndefined();
  });
});

describe('the report of a run', () => {
  const one: StoredEvaluation = {
    adapter: '/runs/r',
    set: 'boolq',
    title: 'BoolQ',
    file: '/d/boolq/test.json',
    scoring: 'generate',
    num_beams: 4,
    correct: 3,
    total: 4,
    accuracy: 0.75,
    interval: [0.3, 0.95],
    unanswered: 1,
    loss: 0.5,
    perplexity: Math.exp(0.5),
    tokens: 40,
    at: '2026-01-02T03:04:05.000Z',
    checkpoint: 'best',
  };

  it('is a table, newest first, in which names stay text', () => {
    const later = { ...one, title: 'a|b <script>', adapter: null, at: '2026-02-02T03:04:05.000Z' };
    const report = evaluationReport('[x](command:y)', [one, later]);
    expect(report).toContain('| BoolQ | checkpoint best | 75.0 % |');
    expect(report).toContain('a\\|b \\<script\\>');
    expect(report).not.toContain('[x](');
    expect(report.indexOf('base model')).toBeLessThan(report.indexOf('BoolQ'));
  });

  it('has a table of each group of sets for a README and for a paper', () => {
    const sets = [
      { set: 'gsm8k', title: 'GSM8K' },
      { set: 'piqa', title: 'PIQA' },
      { set: 'boolq', title: 'BoolQ' },
      // An earlier result of the same set gives way to the newest.
      { set: 'boolq', title: 'BoolQ', correct: 0, at: '2025-01-02T03:04:05.000Z' },
    ];
    const report = evaluationReport(
      'r',
      sets.map((set) => ({ ...one, ...set })),
    );
    expect(report).toContain('| Model | BoolQ | PIQA | Avg. |');
    expect(report).toContain('| checkpoint best, 4 beams | 75.0 ±');
    expect(report).toContain('Model & GSM8K & Avg. \\\\');
  });

  it('takes only entries that are evaluations', () => {
    expect(isStoredEvaluation(one)).toBe(true);
    expect(isStoredEvaluation({ ...one, interval: [0] })).toBe(false);
  });
});
