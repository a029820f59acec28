/** What a module's ranks keep and cost, in numbers. */
import type { TrainingMemory } from '../../src/protocol/explorerPanel';
import { formatBytes, formatCount, formatNumber, formatPercent } from '../shared/format';
import { adapterBytes, estimate, structure, type Prepared } from './cut';
import { tileElement } from './totals';

/** Where the host does not know better: a core's entry, its gradient and two moments. */
const NUMBERS_A_PARAMETER = 4;

/** One tile a number: value, what it rests on, and what it means as a tooltip. */
export function moduleTiles(
  prepared: Prepared,
  ranks: readonly number[],
  training: TrainingMemory | undefined,
): HTMLElement[] {
  const { result } = prepared;
  const e = estimate(prepared, ranks);
  const dense = result.rows * result.cols;
  const score = structure(result);
  const rows: [label: string, value: string, note: string, help: string][] = [
    [
      'Relative error',
      `${e.exact ? '' : '≈ '}${formatPercent(e.error)}`,
      e.exact
        ? 'exact'
        : `estimate; between ${formatPercent(e.errorLow)} and ${formatPercent(e.errorHigh)}`,
      '‖W − MPO‖ / ‖W‖, Frobenius norm',
    ],
    [
      'Kept energy',
      `${e.exact ? '' : '≈ '}${formatPercent(1 - e.error ** 2)}`,
      ...referenceNote(prepared, ranks),
    ],
    [
      'Parameters',
      formatCount(e.parameters),
      `${formatPercent(e.parameters / dense)} of ${formatCount(dense)} · ${formatNumber(dense / e.parameters, 3)}\u00a0×\u00a0smaller`,
      'Entries of all cores: what is trained',
    ],
    [
      'Adapter file',
      formatBytes(adapterBytes(e.parameters)),
      'cores in fp32',
      'Cores in fp32, headers aside',
    ],
    [
      'Training memory',
      `+ ${formatBytes(e.parameters * (training?.bytesPerParameter ?? NUMBERS_A_PARAMETER * 4))}`,
      'cores, gradient, AdamW',
      'What this module’s adapter adds: cores and what stays frozen of them, gradient and two moments, in fp32. The model and its activations stand in the sum for the whole model above',
    ],
    [
      'Structure',
      score === undefined ? '–' : `${formatNumber(score * 100, 3)} points`,
      score === undefined
        ? 'not compared with both references yet'
        : 'beyond both references, as decomposed',
      'Energy kept beyond the better reference, in percentage points, at the ranks last decomposed',
    ],
  ];
  return rows.map(([label, value, note, help]) => tileElement({ label, value, note, help }));
}

function referenceNote(prepared: Prepared, ranks: readonly number[]): [note: string, help: string] {
  const { references } = prepared.result;
  const part = (kind: 'gaussian' | 'own_spectrum', label: string): string | undefined => {
    const found = references.find((r) => r.kind === kind);
    return found === undefined ? undefined : `${label} ${formatPercent(found.keptEnergy)}`;
  };
  const parts = [part('gaussian', 'Gaussian'), part('own_spectrum', 'own spectrum')].filter(
    (p) => p !== undefined,
  );
  // The references were decomposed at the module's own ranks and say nothing about others.
  const current = ranks.every((d, k) => d === prepared.result.bonds[k]?.dimension);
  return [
    parts.length === 0 || !current ? 'share of the sum of squares' : parts.join(' · '),
    'Share of the sum of squares that the MPO holds; beside it what random matrices keep at the ranks last decomposed. No promise of better tuning.',
  ];
}
