/** The end of a run's log. */
import { open } from 'node:fs/promises';
import path from 'node:path';
import { readNoFollow } from '../runs/noFollow';

const maxBytes = 64 * 1024;

/** The last lines of log.txt, oldest first; none when there is no log, or a link in its place. */
export async function readLogTail(folder: string, lines: number): Promise<string[]> {
  const handle = await open(path.join(folder, 'log.txt'), readNoFollow).catch(() => undefined);
  if (handle === undefined) return [];
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, maxBytes);
    const buffer = Buffer.alloc(length);
    await handle.read(buffer, 0, length, size - length);
    const text = buffer.toString('utf8').trimEnd();
    return text === '' ? [] : text.split('\n').slice(-lines);
  } finally {
    await handle.close();
  }
}
