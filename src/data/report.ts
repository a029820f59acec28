/** Counts over a dataset, gathered row by row while it is tokenized. */
import { maxFlagged, rowFlags, type DatasetReport } from '../protocol/datasetPreview';
import type { EncodedRow } from './examples';
import { countTargets } from './tokenizedSet';

export function emptyReport(): DatasetReport {
  return {
    partial: true,
    fraction: 0,
    rows: 0,
    examples: 0,
    truncated: 0,
    empty: 0,
    withoutLabels: 0,
    doubleBos: 0,
    specialText: 0,
    promptNotPrefix: 0,
    tokens: 0,
    lossTokens: 0,
    longest: 0,
    histogram: [],
    flagged: {
      truncated: [],
      empty: [],
      withoutLabels: [],
      doubleBos: [],
      specialText: [],
      promptNotPrefix: [],
    },
  };
}

export class ReportBuilder {
  private readonly report = emptyReport();
  private readonly lengths = new Map<number, number>();

  add(row: EncodedRow): void {
    const { report } = this;
    const { notes } = row;
    report.examples += row.examples.length;
    for (const flag of rowFlags) {
      if (Number(notes[flag]) === 0) continue;
      report[flag]++;
      if (report.flagged[flag].length < maxFlagged) report.flagged[flag].push(report.rows);
    }
    report.rows++;
    for (const { inputIds, lossMask } of row.examples) {
      report.tokens += inputIds.length;
      report.lossTokens += countTargets(lossMask);
    }
    if (notes.empty) return;
    report.longest = Math.max(report.longest, notes.length);
    this.lengths.set(notes.length, (this.lengths.get(notes.length) ?? 0) + 1);
  }

  /** @param fraction share of the file that has been read; 1 when complete */
  snapshot(fraction: number): DatasetReport {
    return {
      ...this.report,
      fraction,
      partial: fraction < 1,
      histogram: histogram(this.lengths, this.report.longest),
    };
  }
}

const bins = 32;

/** At most 32 bins of equal width, which is 1, 2 or 5 times a power of ten. */
function histogram(
  lengths: ReadonlyMap<number, number>,
  longest: number,
): { from: number; to: number; rows: number }[] {
  if (lengths.size === 0) return [];
  let width = 1;
  for (let step = 0; longest / width >= bins; step++) width *= step % 3 === 1 ? 2.5 : 2;
  const counts = Array.from({ length: Math.floor(longest / width) + 1 }, (_, i) => ({
    from: i * width,
    to: (i + 1) * width - 1,
    rows: 0,
  }));
  for (const [length, rows] of lengths) {
    const bin = counts[Math.floor(length / width)];
    if (bin !== undefined) bin.rows += rows;
  }
  return counts;
}
