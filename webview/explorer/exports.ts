/** Tables of what is shown, for spreadsheets and papers. Pure. */
import { csvRow } from '../../src/compare/csv';
import { formatFixed, formatInteger } from '../shared/format';
import { estimate, structure } from './cut';
import { ranksOf, type ExplorerState } from './state';

export interface ModuleRow {
  module: string;
  /** undefined outside the layers. */
  layer: number | undefined;
  rows: number;
  cols: number;
  rowFactors: readonly number[];
  colFactors: readonly number[];
  ranks: readonly number[];
  fullRanks: readonly number[];
  parameters: number;
  compression: number;
  errorLow: number;
  errorHigh: number;
  /** Exact, or the likely value. */
  error: number;
  exact: boolean;
  structure: number | undefined;
  /** ||W||_F^2. */
  energy: number;
  orientation: 'out' | 'in';
}

/** Several parts of the panel ask for the rows of one state, frame by frame while a cut is dragged. */
const known = new WeakMap<ExplorerState, readonly ModuleRow[]>();

/** One row for each decomposed module, in the model's order. */
export function moduleRows(state: ExplorerState): readonly ModuleRow[] {
  const before = known.get(state);
  if (before !== undefined) return before;
  const rows = makeRows(state);
  known.set(state, rows);
  return rows;
}

function makeRows(state: ExplorerState): ModuleRow[] {
  return state.modules.flatMap(({ name, layer }) => {
    const entry = state.results.get(name);
    const ranks = ranksOf(state, name);
    if (entry === undefined || ranks === undefined) return [];
    const { result } = entry.prepared;
    const e = estimate(entry.prepared, ranks);
    return [
      {
        module: name,
        layer,
        rows: result.rows,
        cols: result.cols,
        rowFactors: result.rowFactors,
        colFactors: result.colFactors,
        ranks: e.ranks,
        fullRanks: result.bonds.map((b) => b.fullDimension),
        parameters: e.parameters,
        compression: (result.rows * result.cols) / e.parameters,
        errorLow: e.errorLow,
        errorHigh: e.errorHigh,
        error: e.error,
        exact: e.exact,
        structure: structure(result),
        energy: result.energy,
        orientation: result.orientation,
      },
    ];
  });
}

export function rowsToCsv(rows: readonly ModuleRow[]): string {
  const header = [
    'module',
    'rows',
    'cols',
    'row_factors',
    'col_factors',
    'bonds',
    'full_bonds',
    'parameters',
    'compression',
    'relative_error',
    'relative_error_low',
    'relative_error_high',
    'exact',
    'kept_energy',
    'structure',
  ];
  const list = (values: readonly number[]): string => values.join(' ');
  return [
    csvRow(header),
    ...rows.map((r) =>
      csvRow([
        r.module,
        r.rows,
        r.cols,
        list(r.rowFactors),
        list(r.colFactors),
        list(r.ranks),
        list(r.fullRanks),
        r.parameters,
        r.compression,
        r.error,
        r.errorLow,
        r.errorHigh,
        r.exact ? 'true' : 'false',
        1 - r.error ** 2,
        r.structure ?? '',
      ]),
    ),
  ].join('');
}

function texEscape(text: string): string {
  return text.replace(/[\\{}$&#_%^~]/g, (c) => {
    if (c === '\\') return '\\textbackslash{}';
    if (c === '^' || c === '~') return `\\${c}{}`;
    return `\\${c}`;
  });
}

/** A `booktabs` table; errors that are only bounded are given as a range. */
export function rowsToLatex(rows: readonly ModuleRow[]): string {
  const times = (a: readonly number[], b: readonly number[]): string =>
    a.map((i, k) => `${i}{\\cdot}${b[k] ?? 1}`).join(',\\,');
  const error = (r: ModuleRow): string =>
    r.exact
      ? `$${formatFixed(r.errorHigh, 4)}$`
      : `$${formatFixed(r.errorLow, 4)}$--$${formatFixed(r.errorHigh, 4)}$`;
  const lines = rows.map(
    (r) =>
      `${texEscape(r.module)} & $${r.rows}\\times ${r.cols}$ & $${times(r.rowFactors, r.colFactors)}$ & ` +
      `${r.ranks.join(', ')} & ${formatInteger(r.parameters)} & ${formatFixed(r.compression, 1)} & ${error(r)} \\\\`,
  );
  return [
    '% Requires \\usepackage{booktabs}. Relative Frobenius error; a range where it is bounded only.',
    '\\begin{tabular}{lllllrr}',
    '\\toprule',
    'Module & Shape & Factors $i_k{\\cdot}j_k$ & Bonds & Parameters & Compression & Error \\\\',
    '\\midrule',
    ...lines,
    '\\bottomrule',
    '\\end{tabular}',
    '',
  ].join('\n');
}

/**
 * What goes into the configuration: every bond's dimension and the factors, by module of the layers (the
 * head takes no adapter). A chain for W^T is one for W with its legs exchanged and the same bonds, so
 * that results of either orientation are written in the one now chosen.
 */
export function rankPattern(state: ExplorerState): {
  orientation: 'out' | 'in';
  rankPattern: Record<string, readonly number[]>;
  shapes: Record<string, { rows: readonly number[]; cols: readonly number[] }>;
} {
  const { orientation } = state.options;
  const rankPattern: Record<string, readonly number[]> = {};
  const shapes: Record<string, { rows: readonly number[]; cols: readonly number[] }> = {};
  for (const row of moduleRows(state)) {
    if (row.layer === undefined) continue;
    rankPattern[row.module] = row.ranks;
    shapes[row.module] =
      row.orientation === orientation
        ? { rows: row.rowFactors, cols: row.colFactors }
        : { rows: row.colFactors, cols: row.rowFactors };
  }
  return { orientation, rankPattern, shapes };
}
