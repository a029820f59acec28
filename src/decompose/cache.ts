/**
 * Results of decompositions by content: the key is a hash of the tensor's bytes and of every option
 * that changes the result, so a cache can neither go stale nor mix models up.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { RawTensor } from '../models/modelConfig';
import { encodeDecomposition, parseDecomposition } from '../protocol/decomposition';
import type { ModuleDecomposition } from '../protocol/decomposition';

/** Raised whenever the algorithm or the format changes what a key stands for. */
const FORMAT = 2;

/** SHA-256 over dtype, shape, bytes and options, in hex. */
export function cacheKey(raw: RawTensor, options: unknown): string {
  const { data } = raw;
  return createHash('sha256')
    .update(`${FORMAT}|${raw.dtype}|${raw.shape.join('x')}|${JSON.stringify(options)}|`)
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest('hex');
}

export class DecompositionCache {
  constructor(private readonly folder: string) {}

  /** A cached result under the module's present name; undefined when absent or unreadable. */
  async read(key: string, module: string): Promise<ModuleDecomposition | undefined> {
    let text: string;
    try {
      text = await readFile(this.file(key), 'utf8');
    } catch {
      return undefined;
    }
    try {
      // The cache lies in the workspace, so what it says is checked before it is shown.
      const result = parseDecomposition(JSON.parse(text));
      return result === undefined ? undefined : { ...result, module };
    } catch {
      // A damaged entry is as good as none: it is computed and written again.
      return undefined;
    }
  }

  /** Written under a temporary name and renamed, so that a reader never sees half of it. */
  async write(key: string, result: ModuleDecomposition): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    const file = this.file(key);
    const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`;
    try {
      await writeFile(temporary, JSON.stringify(encodeDecomposition(result)));
      await rename(temporary, file);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  private file(key: string): string {
    return path.join(this.folder, `${key}.json`);
  }
}
