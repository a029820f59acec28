/** The evaluations that a run keeps as Markdown, newest first. */
import { latexTable, markdownTable, type TableRow } from '../evaluation/table';
import { evaluationTasks, taskGroupOf, taskGroups } from '../evaluation/tasks';
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
        one.total === 0 ? '-' : percent(one.accuracy),
        one.total === 0 ? '-' : one.interval.map(percent).join(' to '),
        `${one.correct} of ${one.total}`,
        String(one.unanswered),
        one.perplexity?.toFixed(3) ?? '-',
        how(one),
        one.at.slice(0, 16).replace('T', ' '),
      ]),
    ),
    '',
    'Accuracy by the rules of the LLM-Adapters protocol, with Wilson intervals. A row in which no answer was found counts as wrong.',
    '',
    ...papersTables(newestFirst),
  ].join('\n');
}

/** One line a model and way of scoring, one column a set, for a README and for a paper. */
function papersTables(newestFirst: readonly StoredEvaluation[]): string[] {
  return taskGroups.flatMap((group) => {
    const own = newestFirst.filter(({ set, total }) => total > 0 && taskGroupOf(set) === group);
    if (own.length === 0) return [];
    const order = evaluationTasks.map(({ title }) => title);
    const columns = [...new Set(own.map(({ title }) => title))].sort(
      (a, b) => order.indexOf(a) - order.indexOf(b),
    );
    const rows = new Map<string, Record<string, StoredEvaluation>>();
    for (const one of own) {
      const model = one.adapter === null ? 'base model' : `checkpoint ${one.checkpoint}`;
      const name = `${model}, ${how(one)}`;
      const results = rows.get(name) ?? {};
      results[one.title] ??= one;
      rows.set(name, results);
    }
    const table = [...rows].map(([name, results]): TableRow => ({ name, results }));
    return [
      `## ${groupTitles[group]}`,
      '',
      markdownTable(table, columns, escape),
      '',
      '```latex',
      latexTable(table, columns),
      '```',
      '',
    ];
  });
}

const groupTitles = {
  commonsense: 'Commonsense',
  arithmetic: 'Arithmetic',
  other: 'Other files',
} as const;

function how({ scoring, num_beams: beams }: StoredEvaluation): string {
  switch (scoring) {
    case 'generate':
      return beams === 1 ? 'greedy' : `${beams ?? '?'} beams`;
    case 'loglikelihood':
      return 'log-likelihood';
    case 'perplexity':
      return 'perplexity only';
  }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Names come from folders of anybody: none may become markup. */
function escape(text: string): string {
  return text.replace(/\s+/g, ' ').replace(/[\\`*_{}[\]<>()#+!|~&]/g, '\\$&');
}
