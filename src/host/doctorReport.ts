/** The report of `dota doctor --json` for people: Markdown, and a sentence for a notification. */
import { deviceLine, type RunDevice } from '../protocol/deviceText';
import { DotaError, type SerializedError } from '../protocol/errors';
import { isNumber, isObject, isOneOf, isString, type Fields } from '../protocol/guards';
import { formatCount } from '../views/format';
import { escaped } from './profileReport';

export interface DoctorReport {
  markdown: string;
  /** What a run takes, or why nothing can be trained. */
  summary: string;
  /** Set where nothing can be trained here. */
  problem: SerializedError | undefined;
}

/**
 * @param nodeFrom where the Node.js that trains was found, e.g. `PATH`
 * @throws DotaError `protocol.invalid` where the report lacks something
 */
export function doctorReport(report: unknown, nodeFrom: string): DoctorReport {
  if (!isObject(report)) throw invalid();
  const problem = report.error === undefined ? undefined : errorOf(report.error);
  const chosen = chosenOf(report.chosen);
  const summary =
    problem === undefined && chosen !== undefined
      ? `Runs use ${deviceLine(chosen)}`
      : `Nothing can be trained here. ${problem?.message ?? ''}`.trimEnd();
  const markdown = [
    '# DoTA: Doctor',
    '',
    `**${escaped(summary)}**`,
    '',
    ...(problem?.next === undefined ? [] : [`What to do: ${escaped(problem.next)}`, '']),
    ...devices(report),
    ...memory(report),
    ...versions(report, nodeFrom),
    ...otherChecks(report),
  ].join('\n');
  return { markdown, summary, problem };
}

const deviceNames = { cpu: 'CPU', webgpu: 'GPU, through WebGPU' } as const;
/** Providers of the runtime, as they are called. */
const providerNames: Readonly<Record<string, string>> = {
  cuda: 'CUDA',
  dml: 'DirectML',
  coreml: 'Core ML',
};

function devices(report: Fields): string[] {
  const asked = list(report.devices).flatMap((device) => {
    if (!isOneOf(['cpu', 'webgpu'] as const, device.kind)) throw invalid();
    const { kind } = device;
    if (device.ok === true) {
      const check = list(report.checks).find(({ name }) => name === `device ${kind}`);
      const refused = device.software === true;
      return [
        `### ${deviceNames[kind]}: ${refused ? 'refused' : 'passed its check'}`,
        '',
        escaped(string(check?.text)),
        '',
      ];
    }
    const { message, next } = errorOf(device.error);
    return [
      `### ${deviceNames[kind]}: cannot be used`,
      '',
      escaped(message),
      '',
      ...(next === undefined ? [] : [`What to do: ${escaped(next)}`, '']),
      ...saidByDriver(device.stderr),
    ];
  });
  // Why WebGPU is left out is said above.
  const others = list(report.left_out).flatMap(({ device, why }) => {
    const name = providerNames[string(device)];
    return name === undefined ? [] : [`- ${name} is not used. ${escaped(string(why))}`];
  });
  return ['## Devices', '', ...asked, ...others, ...(others.length > 0 ? [''] : [])];
}

/** Indented, it is code whatever is in it. */
function saidByDriver(text: unknown): string[] {
  if (!isString(text) || text.trim() === '') return [];
  return ['It said:', '', ...text.split(/\r?\n/).map((line) => `    ${line}`), ''];
}

function memory(report: Fields): string[] {
  const { memory_mb: total, memory_available_mb: available } = report;
  if (!isNumber(total)) throw invalid();
  const gpus = list(report.gpus).map(({ name, driver, totalMb, usedMb, shared }) => {
    if (!isNumber(totalMb)) throw invalid();
    const version = isString(driver) ? ` (driver ${driver})` : '';
    const free =
      shared === true
        ? 'part of the machine’s'
        : isNumber(usedMb)
          ? formatCount(Math.max(0, totalMb - usedMb))
          : 'not counted';
    return `| ${escaped(string(name) + version)} | ${formatCount(totalMb)} | ${free} |`;
  });
  return [
    '## Memory',
    '',
    '| | MB | a run may take |',
    '| --- | ---: | ---: |',
    `| This machine | ${formatCount(total)} | ${isNumber(available) ? formatCount(available) : 'not counted'} |`,
    ...gpus,
    '',
  ];
}

function versions(report: Fields, nodeFrom: string): string[] {
  const rows = [
    ['DoTA', string(report.dota)],
    ['Node.js', `${string(report.node)} (${nodeFrom})`],
    ['onnxruntime', string(report.onnxruntime)],
    ['Platform', string(report.platform)],
    ['Processor', `${string(report.cpu)}, ${String(report.cores)} cores`],
  ] as const;
  return [
    '## Versions',
    '',
    '| | |',
    '| --- | --- |',
    ...rows.map(([name, value]) => `| ${name} | ${escaped(value)} |`),
    '',
  ];
}

/** Checks that no section above is made of. */
function otherChecks(report: Fields): string[] {
  const rows = list(report.checks).flatMap(({ name, ok, text }) => {
    const title = string(name);
    if (title === 'GPU' || (title.startsWith('device ') && title !== 'device order')) return [];
    return [`| ${ok === true ? 'ok' : 'no'} | ${escaped(title)} | ${escaped(string(text))} |`];
  });
  return ['## Checks', '', '| | | |', '| --- | --- | --- |', ...rows, ''];
}

function chosenOf(value: unknown): RunDevice | undefined {
  if (value === null || value === undefined) return undefined;
  if (!isObject(value) || !isOneOf(['cpu', 'webgpu'] as const, value.kind)) throw invalid();
  const { kind, threads, reason } = value;
  if (!isNumber(threads)) throw invalid();
  return { kind, name: string(value.name), threads, ...(isString(reason) && { reason }) };
}

function errorOf(value: unknown): SerializedError {
  if (!isObject(value) || !isString(value.message)) throw invalid();
  const { message, next } = value;
  return { code: 'device.unavailable', message, ...(isString(next) && { next }) };
}

function list(value: unknown): Fields[] {
  if (!Array.isArray(value) || !value.every(isObject)) throw invalid();
  return value;
}

function string(value: unknown): string {
  if (!isString(value)) throw invalid();
  return value;
}

function invalid(): DotaError {
  return new DotaError('protocol.invalid', 'The trainer’s report is not what was expected.', {
    next: 'The log has what it said.',
  });
}
