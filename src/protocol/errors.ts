/**
 * Coded errors, shared by all three processes. A message says what happened, why, and what to do
 * now; the code is stable, so that tests, the editor and scripts can act on it.
 */

/** Exit codes of the command line and the trainer child (sysexits.h where one fits). */
export const ExitCode = {
  done: 0,
  usage: 64,
  badInput: 65,
  defect: 70,
  /** The run stopped on request or for want of space; `dota train --resume` continues it. */
  resumable: 75,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Stable identifiers, grouped by the layer that raises them. */
export type ErrorCode =
  | 'usage'
  | 'config.invalid'
  | 'file.missing'
  | 'file.unreadable'
  | 'file.malformed'
  | 'file.diskFull'
  | 'model.unsupported'
  | 'model.shape'
  | 'tokenizer.invalid'
  | 'data.empty'
  | 'data.malformed'
  | 'template.failed'
  | 'adapter.noTarget'
  | 'adapter.rank'
  | 'adapter.shape'
  | 'device.unavailable'
  | 'device.lost'
  | 'device.outOfMemory'
  | 'train.nonFinite'
  | 'run.locked'
  | 'run.state'
  | 'run.corrupt'
  | 'run.stopped'
  | 'compare.different'
  | 'study.changed'
  | 'study.results'
  | 'protocol.closed'
  | 'protocol.timeout'
  | 'protocol.invalid'
  | 'node.missing'
  | 'internal';

/** The form in which an error crosses a process boundary. */
export interface SerializedError {
  code: ErrorCode;
  /** What happened, in one sentence. */
  message: string;
  /** File and place, where there is one: `data/train.jsonl:17`. */
  where?: string;
  /** What the user can do now. */
  next?: string;
}

/**
 * The only error type that crosses a module's boundary on purpose; anything else that escapes is a
 * defect and is reported as `internal`.
 */
export class DotaError extends Error {
  readonly code: ErrorCode;
  readonly where: string | undefined;
  readonly next: string | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    details: { where?: string | undefined; next?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'DotaError';
    this.code = code;
    this.where = details.where;
    this.next = details.next;
  }

  toJSON(): SerializedError {
    return {
      code: this.code,
      message: this.message,
      ...(this.where === undefined ? {} : { where: this.where }),
      ...(this.next === undefined ? {} : { next: this.next }),
    };
  }

  static from(error: SerializedError): DotaError {
    return new DotaError(error.code, error.message, { where: error.where, next: error.next });
  }
}

/** Maps whatever was thrown to its serialized form; called once, at a process boundary. */
export function serializeError(error: unknown): SerializedError {
  if (error instanceof DotaError) return error.toJSON();
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'internal', message, next: 'This is a defect. Please report it with the log.' };
}

/** One line for people: what happened, where, and the next step. */
export function formatError(error: SerializedError): string {
  const where = error.where === undefined ? '' : `${error.where}: `;
  const next = error.next === undefined ? '' : ` ${error.next}`;
  return `${where}${error.message}${next}`;
}

/** The exit code that a command ends with after this error. */
export function exitCodeOf(code: ErrorCode): ExitCode {
  switch (code) {
    case 'usage':
      return ExitCode.usage;
    case 'internal':
    case 'protocol.closed':
    case 'protocol.timeout':
    case 'protocol.invalid':
      return ExitCode.defect;
    case 'run.stopped':
    case 'file.diskFull':
    case 'device.lost':
    case 'device.outOfMemory':
      return ExitCode.resumable;
    case 'config.invalid':
    case 'file.missing':
    case 'file.unreadable':
    case 'file.malformed':
    case 'model.unsupported':
    case 'model.shape':
    case 'tokenizer.invalid':
    case 'data.empty':
    case 'data.malformed':
    case 'template.failed':
    case 'adapter.noTarget':
    case 'compare.different':
    case 'study.changed':
    case 'study.results':
    case 'adapter.rank':
    case 'adapter.shape':
    case 'device.unavailable':
    case 'train.nonFinite':
    case 'run.locked':
    case 'run.state':
    case 'run.corrupt':
    case 'node.missing':
      return ExitCode.badInput;
  }
}
