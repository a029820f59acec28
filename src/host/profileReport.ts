/** The report of `dota profile --json` as Markdown, for people. */
import { DotaError } from '../protocol/errors';
import { isStepProfile, type ProfileTable, profileText } from '../protocol/stepProfile';

/** @throws DotaError `protocol.invalid` where the report lacks something */
export function profileMarkdown(config: string, report: unknown): string {
  if (!isStepProfile(report)) throw invalid();
  const { summary, tables, notes } = profileText(report);
  const paragraphs = [
    `# Profile of ${escaped(config)}`,
    `**${escaped(report.device)}**: ${summary.join('\n\n')}`,
    ...tables.map(markdownTable),
    ...notes,
  ];
  return `${paragraphs.join('\n\n')}\n`;
}

function markdownTable({ title, unit, rows }: ProfileTable): string {
  const shares = rows.some(({ share }) => share !== undefined);
  return [
    `## ${title}`,
    '',
    `| | ${unit} |${shares ? ' share |' : ''}`,
    `| --- | ---: |${shares ? ' ---: |' : ''}`,
    ...rows.map(
      ({ name, amount, share }) => `| ${escaped(name)} | ${amount} |${shares ? ` ${share} |` : ''}`,
    ),
  ].join('\n');
}

/** Names come from files and drivers: nothing in them is markup. */
export function escaped(text: string): string {
  return text.replaceAll(/[\\`*_{}[\]()<>#|!~]/g, '\\$&').replaceAll(/\s+/g, ' ');
}

function invalid(): DotaError {
  return new DotaError('protocol.invalid', 'The trainer’s profile is not what was expected.', {
    next: 'The log has what it said.',
  });
}
