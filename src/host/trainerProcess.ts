/**
 * Starts the trainer. Its command line is the whole interface: short commands answer in JSON, a
 * training detaches itself and is from then on known by its run folder alone.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { DotaError, ExitCode, type SerializedError } from '../protocol/errors';
import { isObject, isString } from '../protocol/guards';
import { childEnvironment, type Environment } from './environment';
import type { NodeProgram } from './findNode';

export interface CommandOptions {
  cwd?: string;
  /** Ends the child: first politely, after two seconds for good. */
  signal?: AbortSignal;
  /** Each line of standard output as it comes. */
  onLine?: (line: string) => void;
  /** Each line of standard error as it comes. */
  onMessage?: (line: string) => void;
}

export interface CommandResult {
  exitCode: number;
  /** The last line of standard output, parsed. */
  json: unknown;
}

const killAfterMs = 2000;

/**
 * Runs `dota <args> --json` to its end.
 * @throws DotaError what the command reported; `run.stopped` when the signal ended it;
 *   `protocol.closed` when it died without an answer
 */
export async function runCommand(
  node: NodeProgram,
  entry: string,
  args: readonly string[],
  environment: Environment,
  options: CommandOptions = {},
): Promise<CommandResult> {
  const child = spawn(node.program, [entry, ...args, '--json'], {
    env: childEnvironment(environment, node.asElectron),
    stdio: ['ignore', 'pipe', 'pipe'],
    windowsHide: true,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  let lastLine = '';
  const errors: string[] = [];
  const output = createInterface({ input: child.stdout });
  output.on('line', (line) => {
    if (line.trim() === '') return;
    lastLine = line;
    options.onLine?.(line);
  });
  createInterface({ input: child.stderr }).on('line', (line) => {
    errors.push(line);
    if (errors.length > 50) errors.shift();
    options.onMessage?.(line);
  });

  const { signal } = options;
  let killTimer: NodeJS.Timeout | undefined;
  const abort = (): void => {
    child.kill('SIGTERM');
    killTimer = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  };
  if (signal?.aborted === true) abort();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    const exitCode = await new Promise<number>((resolve, reject) => {
      child.on('error', reject);
      // `close` and not `exit`: the last lines are read by then.
      child.on('close', (code) => {
        resolve(code ?? ExitCode.defect);
      });
    });
    if (signal?.aborted === true) throw new DotaError('run.stopped', 'Cancelled.');
    const json = parseLine(lastLine);
    const reported = errorIn(json);
    if (reported !== undefined) throw DotaError.from(reported);
    if (exitCode !== ExitCode.done) {
      throw new DotaError(
        'protocol.closed',
        errors.at(-1) ?? `The trainer ended with exit code ${exitCode}.`,
        { next: 'The log has its last lines.' },
      );
    }
    return { exitCode, json };
  } catch (cause) {
    if (cause instanceof DotaError) throw cause;
    throw new DotaError(
      'protocol.closed',
      `The trainer could not be started: ${(cause as Error).message}.`,
      {
        where: node.program,
        next: 'Check dota.nodePath.',
        cause,
      },
    );
  } finally {
    clearTimeout(killTimer);
    signal?.removeEventListener('abort', abort);
  }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return undefined;
  }
}

/** The `{"error": ...}` that every command prints when it fails. */
export function errorIn(json: unknown): SerializedError | undefined {
  if (!isObject(json) || !isObject(json.error)) return undefined;
  const { code, message } = json.error;
  return isString(code) && isString(message)
    ? (json.error as unknown as SerializedError)
    : undefined;
}
