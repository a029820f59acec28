/** The evaluations that a run keeps as Markdown, newest first. */
import type { StoredEvaluation } from '../protocol/evaluation';

export function evaluationReport(name: string, evaluations: readonly StoredEvaluation[]): string {
  const newestFirst = [...evaluations].sort((a, b) => b.at.localeCompare(a.at));
  const line = (cells: readonly string[]): string => `| ${cells.map(escape).join(' | ')} |`;
  return [
    `# Evaluations of ${escape(name)}`,
    '',
    line([
      'Set',
      'Model',
      'Accuracy',
      '95 % interval',
      'Correct',
      'No answer',
      'Perplexity',
      'Scoring',
      'When',
    ]),
    '| --- | --- | ---: | :---: | ---: | ---: | ---: | --- | --- |',
    ...newestFirst.map((one) =>
      line([
        one.title,
        one.adapter === null ? 'base model' : `checkpoint ${one.checkpoint}`,
        percent(one.accuracy),
        one.interval.map(percent).join(' to '),
        `${one.correct} of ${one.total}`,
        String(one.unanswered),
        one.perplexity?.toFixed(3) ?? '-',
        one.num_beams === null ? 'log-likelihood' : scoring(one.num_beams),
        one.at.slice(0, 16).replace('T', ' '),
      ]),
    ),
    '',
    'Accuracy by the rules of the LLM-Adapters protocol, with Wilson intervals. A row in which no answer was found counts as wrong.',
    '',
  ].join('\n');
}

function scoring(beams: number): string {
  return beams === 1 ? 'greedy' : `${beams} beams`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Names come from folders of anybody: none may become markup. */
function escape(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[\\`*_{}[\]<>()#+!|~&]/g, '\\$&');
}
