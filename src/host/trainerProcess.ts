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

export interface ServerHandlers {
  /** Each line of standard output as it comes. */
  onLine: (line: string) => void;
  /** It has ended. @param reason the last line of standard error, or the exit code as a sentence */
  onClose: (reason: string, exitCode: number | null) => void;
}

/** A command that goes on reading its standard input. */
export interface ServerProcess {
  send(line: string): void;
  /** Closes its input and, where that does not end it soon, ends it. */
  end(): void;
}

/** Starts `dota <args>` with a pipe to its standard input, which is closed when this process ends. */
export function startServer(
  node: NodeProgram,
  entry: string,
  args: readonly string[],
  environment: Environment,
  handlers: ServerHandlers & { onMessage?: (line: string) => void },
): ServerProcess {
  const child = spawn(node.program, [entry, ...args], {
    env: childEnvironment(environment, node.asElectron),
    stdio: ['pipe', 'pipe', 'pipe'],
    windowsHide: true,
  });
  let lastError: string | undefined;
  createInterface({ input: child.stdout }).on('line', handlers.onLine);
  createInterface({ input: child.stderr }).on('line', (line) => {
    lastError = line;
    handlers.onMessage?.(line);
  });
  // A process that has ended closes its pipe; what is sent then is answered by `onClose`.
  child.stdin.on('error', () => undefined);
  let killTimer: NodeJS.Timeout | undefined;
  let ended = false;
  const close = (reason: string, exitCode: number | null): void => {
    clearTimeout(killTimer);
    if (ended) return;
    ended = true;
    handlers.onClose(reason, exitCode);
  };
  child.on('error', (cause) => {
    close(`The trainer could not be started: ${cause.message}.`, null);
  });
  child.on('close', (code) => {
    close(lastError ?? `The trainer ended with exit code ${code ?? ExitCode.defect}.`, code);
  });
  return {
    send: (line) => {
      child.stdin.write(`${line}\n`);
    },
    end: () => {
      child.stdin.end();
      child.kill('SIGTERM');
      killTimer = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
      killTimer.unref();
    },
  };
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
