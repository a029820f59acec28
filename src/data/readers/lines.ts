/** Lines of a UTF-8 file of any size, in bounded memory. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { DotaError } from '../../protocol/errors';
import { fileError } from '../../models/files';
import { malformedRow, rowLimits, type ReadOptions } from './row';

export const chunkBytes = 1024 * 1024;

/**
 * Chunks of a file, reporting progress.
 * @throws DotaError `file.missing`, `file.unreadable`, `run.stopped` when aborted
 */
export async function* readChunks(file: string, options: ReadOptions): AsyncGenerator<Buffer> {
  let done = 0;
  try {
    const { size } = await stat(file);
    // A buffer of this size is allocated for each read, so a small file gets a small one.
    const highWaterMark = Math.min(chunkBytes, size + 1);
    for await (const chunk of createReadStream(file, { highWaterMark })) {
      throwIfAborted(options.signal);
      done += (chunk as Buffer).length;
      options.onProgress?.(size === 0 ? 1 : done / size);
      yield chunk as Buffer;
    }
  } catch (cause) {
    throw fileError(cause, file);
  }
}

/** @throws DotaError `run.stopped` */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new DotaError('run.stopped', 'Reading was stopped.');
}

/**
 * Lines without their end (LF or CRLF) and without a byte order mark, with numbers from 1.
 * @throws DotaError `data.malformed` for a line over the limit or not UTF-8; as `readChunks`
 */
export async function* readLines(
  file: string,
  options: ReadOptions = {},
): AsyncGenerator<{ text: string; line: number }> {
  let pending: Buffer[] = [];
  let pendingBytes = 0;
  let line = 0;
  const take = (last: Buffer): string => {
    const bytes = pending.length === 0 ? last : Buffer.concat([...pending, last]);
    pending = [];
    pendingBytes = 0;
    line++;
    return decodeLine(bytes, file, line);
  };
  for await (const chunk of readChunks(file, options)) {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
      yield { text: take(chunk.subarray(start, end)), line };
      start = end + 1;
    }
    pending.push(chunk.subarray(start));
    pendingBytes += chunk.length - start;
    if (pendingBytes > rowLimits.bytes) {
      throw malformedRow(
        file,
        line + 1,
        `The line is longer than ${rowLimits.bytes} bytes`,
        'Write one row a line, or use a JSON array.',
      );
    }
  }
  if (pendingBytes > 0) yield { text: take(Buffer.alloc(0)), line };
}

/** @throws DotaError `data.malformed` */
export function decodeLine(bytes: Uint8Array, file: string, line: number): string {
  let text: string;
  try {
    // ignoreBOM: a mark inside the file is part of the text; only the file's first is dropped.
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: line > 1 }).decode(bytes);
  } catch {
    throw malformedRow(file, line, 'The text is not valid UTF-8', 'Save the file as UTF-8.');
  }
  return text.endsWith('\r') ? text.slice(0, -1) : text;
}
