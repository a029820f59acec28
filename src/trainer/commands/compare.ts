/** `dota compare`: runs side by side, as far as they may be compared. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import {
  comparisonProblems,
  describeProblem,
  type ComparisonProblem,
} from '../../compare/comparable';
import { curvesSvg, paretoSvg } from '../../compare/figure';
import { groupRuns, type RunGroup } from '../../compare/groups';
import {
  comparisonColumns,
  comparisonCsv,
  comparisonLatex,
  comparisonMarkdown,
} from '../../compare/tables';
import { DotaError } from '../../protocol/errors';
import { runFileError } from '../../runs/atomicFile';
import { readCompareRun } from '../../runs/compareRuns';
import { findRun } from '../../runs/runStore';
import { printJson, printLine, table } from './output';

export interface CompareOptions {
  root: string;
  /** Show the numbers although they are of different quantities. */
  allowDifferences?: boolean;
  markdown?: boolean;
  latex?: boolean;
  csv?: boolean;
  svg?: string;
  json?: boolean;
}

/** @throws DotaError `usage`, `file.missing`, `run.corrupt`, `compare.different` */
export async function runCompare(names: readonly string[], options: CompareOptions): Promise<void> {
  const formats = [options.markdown, options.latex, options.csv, options.json];
  if (formats.filter((chosen) => chosen === true).length > 1) {
    throw new DotaError('usage', 'Choose one of --markdown, --latex, --csv and --json.');
  }
  if (names.length < 2) {
    throw new DotaError('usage', 'A comparison needs at least two runs.', {
      next: '"dota runs list" shows them.',
    });
  }
  const runs = await Promise.all(
    names.map(async (name) => readCompareRun(await findRun(options.root, name))),
  );
  const problems = comparisonProblems(runs);
  refuseDifferent(problems, options);
  const groups = groupRuns(runs);
  if (options.svg !== undefined) await writeFigures(groups, options.svg);
  const columns = comparisonColumns(groups);
  if (options.json === true) {
    printJson({ problems, groups: groups.map(jsonOf) });
    return;
  }
  if (options.csv === true) process.stdout.write(comparisonCsv(groups));
  else if (options.latex === true) printLine(comparisonLatex(groups, columns));
  else if (options.markdown === true) printLine(comparisonMarkdown(groups, columns));
  else {
    printLine(
      table([columns.map((c) => c.title), ...groups.map((g) => columns.map((c) => c.cell(g)))]),
    );
  }
  for (const problem of problems) process.stderr.write(`Note: ${describeProblem(problem)}.\n`);
}

function refuseDifferent(problems: readonly ComparisonProblem[], options: CompareOptions): void {
  const refusals = problems.filter(({ severity }) => severity === 'refuse');
  if (refusals.length === 0 || options.allowDifferences === true) return;
  throw new DotaError(
    'compare.different',
    `These runs can't be compared: ${refusals.map(describeProblem).join('. ')}.`,
    { next: 'Leave those runs out, or see the numbers anyway with --allow-differences.' },
  );
}

function jsonOf(group: RunGroup): Record<string, unknown> {
  const { label, method, runs, differing, parameters, best, last, accuracy } = group;
  return {
    label,
    method,
    runs: runs.map(({ id, seed }) => ({ id, seed })),
    differing,
    trainable_parameters: parameters ?? null,
    best_val_loss: best ?? null,
    last_val_loss: last ?? null,
    accuracy: accuracy ?? null,
    peak_rss_mb: group.peakRssMb?.mean ?? null,
    tokens_per_second: group.tokensPerSecond?.mean ?? null,
  };
}

async function writeFigures(groups: readonly RunGroup[], folder: string): Promise<void> {
  const title = 'Validation loss, mean and standard deviation over seeds';
  const figures = {
    'curves-step.svg': curvesSvg(groups, { axis: 'step', title }),
    'curves-tokens.svg': curvesSvg(groups, { axis: 'tokens', title }),
    'curves-time.svg': curvesSvg(groups, { axis: 'elapsed', title }),
    'pareto.svg': paretoSvg(groups, { title: 'Trainable parameters and loss' }),
  };
  for (const [name, text] of Object.entries(figures)) {
    const file = path.join(path.resolve(folder), name);
    try {
      await writeFile(file, text);
    } catch (cause) {
      throw runFileError(cause, file);
    }
  }
}
