/** A profile as lines for a terminal. */
import { type ProfileTable, profileText, type StepProfile } from '../../protocol/stepProfile';

export function profileLines(profile: StepProfile): string[] {
  const { summary, tables, notes } = profileText(profile);
  return [`${profile.device}: ${summary.join('\n')}`, ...tables.flatMap(tableLines), ...notes];
}

/** Amounts stand with their points below each other. */
function tableLines({ title, unit, rows }: ProfileTable): string[] {
  const whole = (amount: string): number => amount.split('.', 1)[0]?.length ?? 0;
  const nameWidth = Math.max(...rows.map(({ name }) => name.length));
  const wholeWidth = Math.max(...rows.map(({ amount }) => whole(amount)));
  const aligned = rows.map(({ amount }) => ' '.repeat(wholeWidth - whole(amount)) + amount);
  const width = Math.max(...aligned.map((amount) => amount.length));
  return [
    `${title} (${unit}):`,
    ...rows.map(({ name, share = '' }, i) =>
      `  ${name.padEnd(nameWidth)}  ${(aligned[i] as string).padEnd(width)}  ${share.padStart(7)}`.trimEnd(),
    ),
  ];
}
