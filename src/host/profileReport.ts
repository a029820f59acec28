/** The report of `dota profile --json` as Markdown, for people. */
import { DotaError } from '../protocol/errors';
import { isNumber, isObject, isString } from '../protocol/guards';
import { formatCount } from '../views/format';

/** @throws DotaError `protocol.invalid` where the report lacks something */
export function profileMarkdown(config: string, report: unknown): string {
  if (!isObject(report) || !isString(report.device)) throw invalid();
  const number = (name: string): number => {
    const value = report[name];
    if (!isNumber(value)) throw invalid();
    return value;
  };
  const step = `${number('stepMs').toFixed(1)} ms for ${number('tokensPerStep')} tokens`;
  return [
    `# Profile of ${escaped(config)}`,
    '',
    `**${escaped(report.device)}**: a step takes ${step}, that is ${formatCount(Math.round(number('tokensPerSecond')))} tokens/s.`,
    '',
    `A step is ${number('gflopPerStep').toFixed(2)} GFLOP of matrix products. On their own they run at ` +
      `${number('gemmGflops').toFixed(1)} GFLOP/s and take ` +
      `${(100 * number('gemmShare')).toFixed(1)} % of the step; the rest is everything else.`,
    '',
    ...table('Time by operator', 'ms a step', rowsOf(report.operators), true),
    ...table('Time by phase', 'ms a step', rowsOf(report.phases), true),
    ...table('Memory', 'MB', rowsOf(report.memoryMb), false),
    'Times by operator and phase are taken under the runtime’s profiler, which slows small operators.',
    '',
  ].join('\n');
}

function rowsOf(value: unknown): [string, number][] {
  if (!isObject(value)) throw invalid();
  return Object.entries(value).map(([name, amount]) => {
    if (!isNumber(amount)) throw invalid();
    return [name, amount];
  });
}

function table(title: string, unit: string, rows: [string, number][], shares: boolean): string[] {
  const total = rows.reduce((sum, [, amount]) => sum + amount, 0);
  // A column has one number of digits; operators of small models take hundredths of a millisecond.
  const digits = shares && Math.max(...rows.map(([, amount]) => amount)) < 10 ? 3 : 1;
  return [
    `## ${title}`,
    '',
    `| | ${unit} |${shares ? ' share |' : ''}`,
    `| --- | ---: |${shares ? ' ---: |' : ''}`,
    ...rows.map(([name, amount]) => {
      const share = shares ? ` ${((100 * amount) / total).toFixed(1)} % |` : '';
      return `| ${escaped(name)} | ${amount.toFixed(digits)} |${share}`;
    }),
    '',
  ];
}

/** Names come from files and drivers: nothing in them is markup. */
function escaped(text: string): string {
  return text.replaceAll(/[\\`*_{}[\]()<>#|!~]/g, '\\$&').replaceAll(/\s+/g, ' ');
}

function invalid(): DotaError {
  return new DotaError('protocol.invalid', 'The trainer’s profile is not what was expected.', {
    next: 'The log has what it said.',
  });
}
