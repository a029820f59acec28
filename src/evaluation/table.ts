/** Results of several sets as a table for a paper or a README. */
import { macroAverage, wilsonInterval, type SetResult } from './interval';

export interface TableRow {
  /** Shown name of the model or run. */
  name: string;
  /** By column title. */
  results: Readonly<Record<string, SetResult>>;
}

/** Accuracy in percent with half the width of its 95 % interval, `74.7 ± 1.2`. */
function cells(row: TableRow, columns: readonly string[], plusMinus: string): string[] {
  const percent = (share: number): string => (100 * share).toFixed(1);
  const found = columns.flatMap((column) => row.results[column] ?? []);
  const shown = columns.map((column) => {
    const result = row.results[column];
    if (result === undefined) return '-';
    const { low, high } = wilsonInterval(result.correct, result.total);
    return `${percent(result.correct / Math.max(1, result.total))} ${plusMinus} ${percent((high - low) / 2)}`;
  });
  // A mean over fewer sets than the others' would mislead.
  if (found.length < columns.length) return [...shown, '-'];
  const mean = macroAverage(found);
  return [
    ...shown,
    `${percent(mean.accuracy)} ${plusMinus} ${percent((mean.high - mean.low) / 2)}`,
  ];
}

/** @param escape makes a name safe as Markdown; by default only what would break the table */
export function markdownTable(
  rows: readonly TableRow[],
  columns: readonly string[],
  escape = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' '),
): string {
  const line = (parts: readonly string[]): string => `| ${parts.join(' | ')} |`;
  return [
    line(['Model', ...columns.map(escape), 'Avg.']),
    line(['---', ...columns.map(() => '---:'), '---:']),
    ...rows.map((row) => line([escape(row.name), ...cells(row, columns, '±')])),
  ].join('\n');
}

export function latexTable(rows: readonly TableRow[], columns: readonly string[]): string {
  const line = (parts: readonly string[]): string => `${parts.join(' & ')} \\\\`;
  return [
    `\\begin{tabular}{l${'r'.repeat(columns.length + 1)}}`,
    '\\toprule',
    line(['Model', ...columns.map(escapeLatex), 'Avg.']),
    '\\midrule',
    ...rows.map((row) => line([escapeLatex(row.name), ...cells(row, columns, '$\\pm$')])),
    '\\bottomrule',
    '\\end{tabular}',
  ].join('\n');
}

export function escapeLatex(text: string): string {
  const special: Readonly<Record<string, string>> = {
    '\\': '\\textbackslash{}',
    '~': '\\textasciitilde{}',
    '^': '\\textasciicircum{}',
  };
  return text.replace(/[\\~^#$%&_{}]/g, (c) => special[c] ?? `\\${c}`).replaceAll('\n', ' ');
}
