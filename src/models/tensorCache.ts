/**
 * A folder of safetensors files by content: the key is a hash of everything that the tensors depend
 * on, so an entry can neither go stale nor mix inputs up. Entries are written atomically, checked by
 * their own digest when read, and dropped oldest first when the folder grows too large.
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { DotaError } from '../protocol/errors';
import type { RawTensor } from './modelConfig';
import { SafetensorsFile } from './safetensors/reader';
import { writeSafetensors } from './safetensors/writer';

export interface CacheEntry {
  tensors: ReadonlyMap<string, RawTensor>;
  metadata: Readonly<Record<string, string>>;
}

/** Oldest entries go first beyond this; the one just written always stays. */
const defaultMaxBytes = 8 * 2 ** 30;
const suffix = '.safetensors';

/** SHA-256 (hex) of everything that an entry depends on. */
export function tensorCacheKey(parts: readonly unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

export class TensorCache {
  constructor(
    private readonly folder: string,
    private readonly maxBytes = defaultMaxBytes,
  ) {}

  /** Undefined when there is no entry, or a damaged one, which is removed. Never throws. */
  async read(key: string): Promise<CacheEntry | undefined> {
    const file = this.file(key);
    let entry: CacheEntry | undefined;
    try {
      entry = await readEntry(file);
    } catch (error) {
      if (error instanceof DotaError && error.code === 'file.missing') return undefined;
    }
    if (entry === undefined) {
      await rm(file, { force: true }).catch(() => undefined);
      return undefined;
    }
    const now = new Date();
    // The time of the last use decides what is dropped.
    await utimes(file, now, now).catch(() => undefined);
    return entry;
  }

  /** A cache that cannot be written is none: a full disk or a read-only folder is no error here. */
  async write(key: string, entry: CacheEntry): Promise<void> {
    const tensors = [...entry.tensors].map(([name, tensor]) => ({ name, ...tensor }));
    try {
      await mkdir(this.folder, { recursive: true });
      const metadata = { ...entry.metadata, sha256: digest(entry) };
      await writeSafetensors(this.file(key), tensors, metadata);
      await this.prune(this.file(key));
    } catch (error) {
      if (!(error instanceof DotaError) && !isFileError(error)) throw error;
    }
  }

  private async prune(keep: string): Promise<void> {
    const names = (await readdir(this.folder)).filter((name) => name.endsWith(suffix));
    const entries = await Promise.all(
      names.map(async (name) => {
        const file = path.join(this.folder, name);
        const info = await stat(file).catch(() => undefined);
        return { file, bytes: info?.size ?? 0, used: info?.mtimeMs ?? 0 };
      }),
    );
    let total = entries.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { file, bytes } of entries.sort((a, b) => a.used - b.used)) {
      if (total <= this.maxBytes) return;
      if (file === keep) continue;
      await rm(file, { force: true });
      total -= bytes;
    }
  }

  private file(key: string): string {
    return path.join(this.folder, `${key}${suffix}`);
  }
}

/** @returns undefined when the contents don't match their digest; throws for a broken file */
async function readEntry(file: string): Promise<CacheEntry | undefined> {
  const source = await SafetensorsFile.open(file);
  try {
    const tensors = new Map<string, RawTensor>();
    for (const name of source.names) tensors.set(name, await source.read(name));
    const { sha256, ...metadata } = Object.fromEntries(source.metadata);
    const entry = { tensors, metadata };
    return sha256 === digest(entry) ? entry : undefined;
  } finally {
    await source.close();
  }
}

function digest({ tensors, metadata }: CacheEntry): string {
  const hash = createHash('sha256');
  for (const [name, { dtype, shape, data }] of [...tensors].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(JSON.stringify([name, dtype, shape]));
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  const sorted = Object.entries(metadata).sort(([a], [b]) => (a < b ? -1 : 1));
  return hash.update(JSON.stringify(sorted)).digest('hex');
}

function isFileError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && 'syscall' in error;
}
