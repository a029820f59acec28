import { describe, expect, it } from 'vitest';
import {
  adaptersOf,
  isPromptTarget,
  sidesOf,
  withoutSide,
  withRun,
  type PromptTarget,
} from '../../../src/host/promptTarget';
import type { StoredEvaluation } from '../../../src/protocol/evaluation';
import { isStoredEvaluation } from '../../../src/protocol/evaluation';
import { parsePromptHostMessage, parsePromptViewMessage } from '../../../src/protocol/promptPanel';
import { evaluationReport } from '../../../src/views/evaluationReport';

const request = { prompt: '--json', template: 'raw', maxNewTokens: 16, temperature: 0 } as const;

describe('whose answers are shown', () => {
  const alone: PromptTarget = { name: 'm', model: '/m', runs: [] };

  it('are the model’s, or the base’s and those of runs on it', () => {
    expect(sidesOf(alone)).toEqual(['m']);
    expect(adaptersOf(alone)).toEqual([null]);
    const run = { name: 'a', key: '/runs/a' };
    const more = withRun(withRun(withRun(alone, run), { name: 'b', key: '/runs/b' }), run);
    expect(sidesOf(more)).toEqual(['Base model', 'a', 'b']);
    expect(adaptersOf(more)).toEqual([null, '/runs/a', '/runs/b']);
    expect(adaptersOf(withoutSide(more, 1))).toEqual([null, '/runs/b']);
    expect(withoutSide(more, 0)).toEqual(more);
  });

  it('are checked where an earlier version may have kept them', () => {
    expect(isPromptTarget(alone)).toBe(true);
    expect(isPromptTarget({ name: 'r', model: '/r', run: '/r' })).toBe(false);
  });
});

describe('a prompt', () => {
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
