/** A comparison as Markdown, LaTeX and CSV; numbers with what they are worth. */
import { csvRow } from './csv';
import { escapeLatex } from '../evaluation/table';
import { wilsonInterval } from '../evaluation/interval';
import { unquote, type RunGroup } from './groups';
import type { Summary } from './statistics';

/** `lead` names the group, `number` columns are set right. */
export interface ComparisonColumn {
  title: string;
  numeric: boolean;
  cell: (group: RunGroup) => string;
}

/** Three significant places of the spread decide how many of the mean are shown. */
function withSpread(summary: Summary | undefined, digits: number): string {
  if (summary === undefined) return '-';
  const mean = summary.mean.toFixed(digits);
  return Number.isNaN(summary.margin) ? mean : `${mean} ± ${summary.margin.toFixed(digits)}`;
}

function accuracyText(group: RunGroup): string {
  const { accuracy } = group;
  if (accuracy === undefined) return '-';
  const percent = (share: number): string => (100 * share).toFixed(1);
  // Over seeds, the seeds are the sample; of one run, its answers are.
  if (accuracy.seeds.n > 1) {
    return `${percent(accuracy.seeds.mean)} ± ${percent(accuracy.seeds.margin)}`;
  }
  const { low, high } = wilsonInterval(accuracy.correct, accuracy.total);
  return `${percent(accuracy.correct / accuracy.total)} [${percent(low)}, ${percent(high)}]`;
}

export function comparisonColumns(groups: readonly RunGroup[]): ComparisonColumn[] {
  const split = groups.find((g) => g.accuracy !== undefined)?.accuracy?.split;
  const keys = Object.keys(groups[0]?.differing ?? {});
  const integer = (value: number | undefined): string =>
    value === undefined ? '-' : String(Math.round(value));
  const numeric = (title: string, cell: (group: RunGroup) => string): ComparisonColumn => ({
    title,
    numeric: true,
    cell,
  });
  return [
    { title: 'Method', numeric: false, cell: (g) => g.label },
    numeric('Seeds', (g) => String(g.runs.length)),
    numeric('Parameters', (g) => integer(g.parameters)),
    numeric('Best val. loss', (g) => withSpread(g.best, 4)),
    numeric('Last val. loss', (g) => withSpread(g.last, 4)),
    numeric(`Accuracy %${split === undefined ? '' : ` (${split})`}`, accuracyText),
    numeric('Peak MB', (g) => integer(g.peakRssMb?.mean)),
    numeric('Tokens/s', (g) => integer(g.tokensPerSecond?.mean)),
    ...keys.map((key) => ({
      title: key,
      numeric: false,
      cell: (g: RunGroup) => unquote(g.differing[key] ?? '') || '-',
    })),
  ];
}

type Columns = readonly ComparisonColumn[];

export function comparisonMarkdown(groups: readonly RunGroup[], columns: Columns): string {
  const escape = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
  const line = (cells: readonly string[]): string => `| ${cells.map(escape).join(' | ')} |`;
  return [
    line(columns.map(({ title }) => title)),
    `| ${columns.map(({ numeric }) => (numeric ? '---:' : '---')).join(' | ')} |`,
    ...groups.map((group) => line(columns.map(({ cell }) => cell(group)))),
  ].join('\n');
}

export function comparisonLatex(groups: readonly RunGroup[], columns: Columns): string {
  const line = (cells: readonly string[]): string => `${cells.map(latexCell).join(' & ')} \\\\`;
  return [
    `\\begin{tabular}{${columns.map(({ numeric }) => (numeric ? 'r' : 'l')).join('')}}`,
    '\\toprule',
    line(columns.map(({ title }) => title)),
    '\\midrule',
    ...groups.map((group) => line(columns.map(({ cell }) => cell(group)))),
    '\\bottomrule',
    '\\end{tabular}',
  ].join('\n');
}

function latexCell(text: string): string {
  return escapeLatex(text).replaceAll('±', '$\\pm$');
}

/** Every run at full precision: means can be taken from it, the reverse can't. */
export function comparisonCsv(groups: readonly RunGroup[]): string {
  const keys = Object.keys(groups[0]?.differing ?? {});
  const head = [
    ...['group', 'method', 'run', 'seed', 'parameters', 'best_val_loss', 'best_step'],
    ...['last_val_loss', 'accuracy_split', 'correct', 'total', 'peak_rss_mb', 'tokens_per_second'],
    ...['seconds', ...keys],
  ];
  const rows = groups.flatMap((group) =>
    group.runs.map((run) => [
      ...[group.label, run.method, run.id, run.seed, run.parameters],
      ...[run.best?.loss, run.best?.step, run.last, run.accuracy?.split],
      ...[run.accuracy?.correct, run.accuracy?.total, run.peakRssMb, run.tokensPerSecond],
      ...[run.seconds, ...keys.map((key) => unquote(group.differing[key] ?? ''))],
    ]),
  );
  return [head, ...rows].map((cells) => csvRow(cells.map((cell) => cell ?? ''))).join('');
}
