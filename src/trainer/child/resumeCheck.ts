/** Whether a resumed run continues exactly where the earlier one was. */
import type { NewRow } from '../../runs/journalWriter';
import { JournalReader } from '../../runs/journalReader';

export interface ExpectedRow {
  step: number;
  loss: number;
  gradNorm: number;
}

/** The rows that an earlier process already wrote above `step`, which the resume will supersede. */
export async function rowsAbove(journal: string, step: number): Promise<Map<number, ExpectedRow>> {
  const reader = new JournalReader(journal);
  await reader.read();
  const rows = new Map<number, ExpectedRow>();
  const steps = reader.steps.column('step');
  for (let i = 0; i < steps.length; i += 1) {
    const at = steps[i] ?? 0;
    if (at > step) {
      rows.set(at, {
        step: at,
        loss: reader.steps.column('loss')[i] ?? NaN,
        gradNorm: reader.steps.column('gradNorm')[i] ?? NaN,
      });
    }
  }
  return rows;
}

/** A warning when a repeated step differs from the one it replaces, bit for bit. */
export function differenceFrom(
  expected: ExpectedRow | undefined,
  row: Extract<NewRow, { kind: 'step' }>,
): string | undefined {
  if (expected === undefined) return undefined;
  if (expected.loss === row.loss && expected.gradNorm === row.gradNorm) return undefined;
  return (
    `Step ${row.step} has loss ${row.loss} and gradient norm ${row.gradNorm}; before the ` +
    `interruption it had ${expected.loss} and ${expected.gradNorm}. The run goes on, but is not the ` +
    'uninterrupted one bit for bit: device, thread count or versions differ.'
  );
}
