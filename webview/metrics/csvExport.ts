import type { RunSummary } from '../../src/protocol/metricsPanel';
import { csvRow } from '../../src/compare/csv';
import type { RunData } from './runData';

const header = [
  'run',
  'run_id',
  'kind',
  'step',
  'tokens',
  'elapsed_seconds',
  'loss_nats_per_token',
  'learning_rate',
  'grad_norm',
  'tokens_per_second',
  'rss_mb',
  'device_mb',
];

/** Every row of the given runs at full precision; an evaluation's step columns are empty. */
export function runsToCsv(runs: readonly { run: RunSummary; data: RunData }[]): string {
  const parts = [csvRow(header)];
  for (const { run, data } of runs) {
    const { steps, evals } = data;
    const columns = steps.names.map((name) => steps.column(name));
    for (let i = 0; i < steps.length; i++) {
      parts.push(csvRow([run.name, run.id, 'step', ...columns.map((c) => c[i] as number)]));
    }
    for (let i = 0; i < evals.length; i++) {
      const row = evals.names.map((name) => evals.column(name)[i] as number);
      parts.push(csvRow([run.name, run.id, 'eval', ...row, '', '', '', '', '']));
    }
  }
  return parts.join('');
}
