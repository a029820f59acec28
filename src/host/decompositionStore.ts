/**
 * Decompositions that outlive the window. The trainer's child keeps each result by the content of its
 * tensor and options; here stands, by model, which of them were made last and from which state of the
 * model's files, so that opening the model again shows them without reading a weight.
 */
import { createHash } from 'node:crypto';
import { appendFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { ModuleDecomposition } from '../protocol/decomposition';
import { parseDecomposition, withExactSpectra } from '../protocol/decomposition';
import { isDecomposeOptions, type DecomposeOptions } from '../protocol/explorerPanel';
import { isObject, isString } from '../protocol/guards';
import { ignoreInGit } from '../runs/ignoreInGit';

/** A result with the options that it was made with. */
export interface StoredResult {
  result: ModuleDecomposition;
  made: DecomposeOptions;
}

interface Line {
  stamp: string;
  module: string;
  /** Name of the cache's entry. */
  key: string;
  made: DecomposeOptions;
}

/** Entries of the cache (about 50 kB each); the oldest quarter goes when there are more. */
const MAX_ENTRIES = 6000;
/** Superseded lines of an index that are put up with. */
const MAX_STALE_LINES = 1000;
const entryName = /^[0-9a-f]{64}$/;

export class DecompositionStore {
  private writing: Promise<unknown> = Promise.resolve();
  private tidied: Promise<void> | undefined;

  /** @param folderOf the cache's folder, asked each time: a workspace may be opened later */
  constructor(private readonly folderOf: () => string) {}

  /** What the child is told; it makes the folder when it has something to keep. */
  get folder(): string {
    return this.folderOf();
  }

  /** Notes a result of the child; in order, and without an error that would end the child's run. */
  remember(
    model: string,
    stamp: string,
    key: string,
    module: string,
    made: DecomposeOptions,
  ): void {
    const line: Line = { stamp, module, key, made: onlyOf(made, module) };
    this.writing = this.writing
      .then(() => (this.tidied ??= this.tidy()))
      .then(() => appendFile(this.indexFile(model), `${JSON.stringify(line)}\n`))
      .catch(() => undefined);
  }

  /** Ends when everything remembered so far is on disk. */
  async settled(): Promise<void> {
    await this.writing;
  }

  /**
   * The newest result of each module that was made from the model's files as they are now. Damaged or
   * missing entries are left out: they are computed again when asked for.
   */
  async restore(model: string, stamp: string): Promise<StoredResult[]> {
    await this.writing;
    const file = this.indexFile(model);
    const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n').flatMap(parseLine);
    const latest = new Map<string, Line>();
    /** The last of each module with whole spectra of wide middles, which outlive a change of ranks. */
    const whole = new Map<string, Line>();
    for (const line of lines) {
      if (line.stamp !== stamp) continue;
      latest.set(line.module, line);
      if (line.made.exactMiddle) whole.set(line.module, line);
    }
    if (lines.length > latest.size + whole.size + MAX_STALE_LINES) {
      const text = [...whole.values(), ...latest.values()]
        .map((line) => `${JSON.stringify(line)}\n`)
        .join('');
      this.writing = writeFile(file, text).catch(() => undefined);
    }
    const found: StoredResult[] = [];
    for (const { module, key, made } of latest.values()) {
      const result = await this.read(key, module);
      if (result === undefined) continue;
      const exact = made.exactMiddle ? undefined : whole.get(module);
      const before = exact === undefined ? undefined : await this.read(exact.key, module);
      found.push({ result: withExactSpectra(result, before), made });
    }
    return found;
  }

  /**
   * Once a window, and only where results came in (nothing is written in Restricted Mode): keeps the
   * cache out of git and drops the oldest entries.
   */
  private async tidy(): Promise<void> {
    const { folder } = this;
    await mkdir(this.indexFolder(), { recursive: true });
    await ignoreInGit(path.dirname(folder));
    const entries = (await readdir(folder)).filter((name) => name.endsWith('.json'));
    if (entries.length <= MAX_ENTRIES) return;
    const dated = await Promise.all(
      entries.map(async (name) => {
        const found = await stat(path.join(folder, name)).catch(() => undefined);
        return { name, time: found?.mtimeMs ?? 0 };
      }),
    );
    dated.sort((a, b) => a.time - b.time);
    for (const { name } of dated.slice(0, entries.length - Math.floor(0.75 * MAX_ENTRIES)))
      await rm(path.join(folder, name), { force: true });
  }

  private async read(key: string, module: string): Promise<ModuleDecomposition | undefined> {
    try {
      const text = await readFile(path.join(this.folder, `${key}.json`), 'utf8');
      const result = parseDecomposition(JSON.parse(text));
      return result === undefined ? undefined : { ...result, module };
    } catch {
      return undefined;
    }
  }

  private indexFolder(): string {
    return path.join(this.folder, 'models');
  }

  private indexFile(model: string): string {
    const name = createHash('sha256').update(model).digest('hex').slice(0, 32);
    return path.join(this.indexFolder(), `${name}.jsonl`);
  }
}

/** Names, sizes and times of a model's weight files: whether they are still what was decomposed. */
export async function stampOf(model: string): Promise<string> {
  const names = (await readdir(model).catch((): string[] => [])).filter((name) =>
    name.endsWith('.safetensors'),
  );
  const facts = await Promise.all(
    names.sort().map(async (name) => {
      const found = await stat(path.join(model, name)).catch(() => undefined);
      return [name, found?.size, found?.mtimeMs];
    }),
  );
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 32);
}

/** Shapes and ranks of other modules say nothing about this one's result. */
function onlyOf(made: DecomposeOptions, module: string): DecomposeOptions {
  const [shape, ranks] = [made.shapes[module], made.ranks[module]];
  return {
    ...made,
    shapes: shape === undefined ? {} : { [module]: shape },
    ranks: ranks === undefined ? {} : { [module]: ranks },
  };
}

/** The file lies in the workspace: whatever does not look like a line of ours is skipped. */
function parseLine(text: string): Line[] {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return [];
  }
  if (!isObject(raw)) return [];
  const { stamp, module, key, made } = raw;
  return isString(stamp) &&
    isString(module) &&
    isString(key) &&
    entryName.test(key) &&
    isDecomposeOptions(made)
    ? [{ stamp, module, key, made }]
    : [];
}
