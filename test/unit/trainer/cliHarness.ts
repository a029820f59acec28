/** Runs the built command line as a user would. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, existsSync } from 'node:fs';
import path from 'node:path';
import { until as patient } from '../../support/until';

export const cli = path.resolve('dist/trainer/cli.cjs');

export interface CliResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** The last line of standard output, parsed; undefined when it is no JSON. */
  json: Record<string, unknown> | undefined;
}

export interface RunningCli {
  child: ChildProcess;
  done: Promise<CliResult>;
}

/** The temporary folder of the tests, short enough for sockets. */
const environment = { ...process.env, NODE_OPTIONS: '' };

export function startCli(
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): RunningCli {
  const child = spawn(process.execPath, [cli, ...args], {
    cwd,
    env: { ...environment, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const done = new Promise<CliResult>((resolve) => {
    child.on('close', (code, signal) => {
      resolve({ code, signal, stdout, stderr, json: lastJson(stdout) });
    });
  });
  return { child, done };
}

export function runCli(
  args: readonly string[],
  cwd: string,
  env?: Readonly<Record<string, string>>,
): Promise<CliResult> {
  return startCli(args, cwd, env).done;
}

function lastJson(stdout: string): Record<string, unknown> | undefined {
  const line = stdout.trimEnd().split('\n').at(-1) ?? '';
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** Waits for what a process of its own does, and looks often: it may be to be met in the middle. */
export function until<T>(what: string, probe: Parameters<typeof patient<T>>[1]): Promise<T> {
  return patient(what, probe, 120_000, 10);
}

export interface RowOnDisk {
  kind: string;
  seq: number;
  step?: number;
  loss?: number;
  learningRate?: number;
  gradNorm?: number;
  deviceMb?: number;
  state?: string;
  text?: string;
}

export function journalRows(run: string): RowOnDisk[] {
  const file = path.join(run, 'metrics.jsonl');
  if (!existsSync(file)) return [];
  return readFileSync(file, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as RowOnDisk);
}

/** Waits until the journal of `run` holds the row of a step. */
export function untilStep(run: string, step: number): Promise<true> {
  return until(`step ${step}`, () =>
    journalRows(run).some((r) => r.kind === 'step' && r.step! >= step),
  );
}
