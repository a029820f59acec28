/** Names of exported files and folders. */
import { readdir } from 'node:fs/promises';

/**
 * The run's name with characters that file systems refuse taken out, numbered where it is taken.
 * @param suffix kind and, for a file, its extension
 */
export async function freeName(folder: string, run: string, suffix: string): Promise<string> {
  const taken = new Set(await readdir(folder));
  const plain = run
    .replace(/[^\p{L}\p{N}._-]+/gu, '-')
    .replace(/^[-.]+|[-.]+$/g, '')
    .slice(0, 60);
  const base = plain === '' ? 'run' : plain;
  for (let n = 1; ; n++) {
    const name = n === 1 ? `${base}${suffix}` : `${base}-${n}${suffix}`;
    if (!taken.has(name)) return name;
  }
}
