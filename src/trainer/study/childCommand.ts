/** Runs `dota` commands in processes of their own: each run's peak memory is its own, and a crash ends one run. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { isObject } from '../../protocol/guards';
import { withComputeArguments } from '../child/childEnvironment';

export interface CommandResult {
  code: number;
  /** The last line of standard output, when it is a JSON object. */
  json: Record<string, unknown> | undefined;
  /** The end of standard error. */
  errors: string;
}

const keptErrors = 4000;

/** @param onStart is given a function that asks the command to stop with a checkpoint */
export function runDota(
  args: readonly string[],
  onStart: (stop: () => void) => void,
): Promise<CommandResult> {
  const program = [...withComputeArguments(process.execArgv), path.join(__dirname, 'cli.cjs')];
  const child = spawn(process.execPath, [...program, ...args, '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // An interrupt of the terminal reaches the study alone, which passes one on.
    detached: process.platform !== 'win32',
  });
  onStart(() => {
    child.kill('SIGINT');
  });
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-keptErrors);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      resolve({ code: code ?? (signal === null ? 70 : 75), json: lastJson(output), errors });
    });
  });
}

function lastJson(output: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(output.trimEnd().split('\n').at(-1) ?? '');
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
