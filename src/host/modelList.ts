/**
 * The models that the Model view lists: the sample, folders of the settings, and model folders at the
 * top of the workspace. Only headers are read.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { elementBytes } from '../models/dtype';
import { withExactSpectra, type ModuleDecomposition } from '../protocol/decomposition';
import { formatError, serializeError } from '../protocol/errors';
import { formatCount } from '../views/format';
import type { DecomposeOptions } from '../protocol/explorerPanel';
import type { ModelEntry } from '../views/modelTree';
import { hubModels } from './hubCache';
import { Listeners } from './listeners';

export interface ModelPlaces {
  /** Folder of the sample model, absolute. */
  sample: string;
  workspaceFolders: readonly string[];
  /** From the settings; relative ones are resolved against the first workspace folder. */
  listed: readonly string[];
  /** The Hugging Face hub's cache, absolute. */
  hubCache?: string;
}

/** A result with the options that it was made with. */
export interface MadeResult {
  /** Folder of the model. */
  folder: string;
  result: ModuleDecomposition;
  made: DecomposeOptions;
}

/** Where a workspace keeps models: itself, its folders, and those of a folder `models`. */
const containers = ['.', 'models'];
const maxFound = 50;

interface ModelPlace {
  folder: string;
  path: string;
  removable: boolean;
  /** The folder's own name when absent. */
  name?: string;
}

export class ModelList {
  /** Fires with the id of a tree node that changed, or undefined for everything. */
  private readonly listeners = new Listeners<string | undefined>();
  readonly onDidChange = this.listeners.subscribe;
  private readonly readListeners = new Listeners<readonly ModelEntry[]>();
  /** Fires when the list was read anew. */
  readonly onDidRead = this.readListeners.subscribe;
  private readonly resultListeners = new Listeners<MadeResult>();
  /** Fires for every decomposition, whoever asked for it. */
  readonly onDidDecompose = this.resultListeners.subscribe;
  private entries: ModelEntry[] | undefined;
  private reading: Promise<ModelEntry[]> | undefined;
  /** Kept across refreshes, by folder. */
  private readonly results = new Map<string, Map<string, ModuleDecomposition>>();
  private readonly made = new WeakMap<ModuleDecomposition, DecomposeOptions>();

  constructor(private readonly places: () => ModelPlaces) {}

  /** What was read last; empty before the first read. */
  get current(): readonly ModelEntry[] {
    return this.entries ?? [];
  }

  async read(): Promise<readonly ModelEntry[]> {
    if (this.entries !== undefined) return this.entries;
    this.reading ??= this.load().finally(() => {
      this.reading = undefined;
    });
    return this.reading;
  }

  refresh(): void {
    this.entries = undefined;
    this.listeners.fire(undefined);
  }

  /**
   * Adds a result under its module; one of the same cores that was compared with references stays.
   * Whole spectra of wide middles that took long are taken over.
   * @returns the one that is known now, and whether it is what was found
   */
  addResult(
    folder: string,
    found: ModuleDecomposition,
    made: DecomposeOptions,
  ): { kept: ModuleDecomposition; isNew: boolean } {
    const results = this.resultsOf(folder);
    const before = results.get(found.module);
    const isNew = before === undefined || !saysMore(before, found);
    const result = isNew ? withExactSpectra(found, before) : before;
    results.set(result.module, result);
    this.made.set(result, made);
    this.listeners.fire(undefined);
    this.resultListeners.fire({ folder, result, made });
    return { kept: result, isNew };
  }

  /** Adds what an earlier window found, where nothing newer is known. */
  restoreResults(
    folder: string,
    found: readonly { result: ModuleDecomposition; made: DecomposeOptions }[],
  ): void {
    const known = this.resultsOf(folder);
    const missing = found.filter(({ result }) => !known.has(result.module));
    if (missing.length === 0) return;
    for (const { result, made } of missing) {
      known.set(result.module, result);
      this.made.set(result, made);
    }
    this.listeners.fire(undefined);
    for (const { result, made } of missing) this.resultListeners.fire({ folder, result, made });
  }

  /** Drops the results of a model whose files have changed. */
  forgetResults(folder: string): void {
    this.resultsOf(folder).clear();
    this.listeners.fire(undefined);
  }

  /** What is known of a model already, the newest result of each module. */
  known(folder: string): MadeResult[] {
    return [...this.resultsOf(folder).values()].flatMap((result) => {
      const made = this.made.get(result);
      return made === undefined ? [] : [{ folder, result, made }];
    });
  }

  private async load(): Promise<ModelEntry[]> {
    const { sample, workspaceFolders, listed, hubCache } = this.places();
    const base = workspaceFolders[0] ?? '';
    const folders: ModelPlace[] = [];
    if (await isModelFolder(sample))
      folders.push({ folder: sample, path: 'sample', removable: false });
    const add = (folder: string, removable: boolean, name?: string): void => {
      if (folders.some((f) => f.folder === folder)) return;
      folders.push({ folder, path: folder, removable, ...(name === undefined ? {} : { name }) });
    };
    for (const entry of listed) add(path.resolve(base, entry), true);
    for (const workspaceFolder of workspaceFolders) {
      for (const folder of await modelFoldersIn(workspaceFolder)) add(folder, false);
    }
    const hub = hubCache === undefined ? [] : await hubModels(hubCache);
    for (const { folder, name } of hub) add(folder, false, name);
    const entries = await Promise.all(folders.map((f) => this.readEntry(f)));
    this.entries = entries;
    this.readListeners.fire(entries);
    return entries;
  }

  private async readEntry(place: ModelPlace): Promise<ModelEntry> {
    const entry: ModelEntry = {
      ...place,
      name: place.name ?? (place.path === 'sample' ? 'sample' : path.basename(place.folder)),
      decompositions: this.resultsOf(place.folder),
    };
    try {
      // Loaded when first needed: checking a model is no part of activation.
      const { loadModelFolder, readLicense } = await import('../models/modelFolder');
      const { config, weights } = await loadModelFolder(place.folder);
      try {
        entry.architecture = config.architecture;
        entry.numLayers = config.numLayers;
        entry.hiddenSize = config.hiddenSize;
        entry.intermediateSize = config.intermediateSize;
        entry.vocabSize = config.vocabSize;
        entry.tensors = weights.names.map((name) => {
          const info = weights.info(name);
          return { name, shape: info?.shape ?? [], dtype: info?.dtype ?? '' };
        });
        entry.weightBytes = weights.names.reduce((sum, name) => {
          const info = weights.info(name);
          const size = info === undefined ? 0 : elementBytes[info.dtype];
          return sum + size * (info?.shape ?? []).reduce((a, b) => a * b, 1);
        }, 0);
        const license = await readLicense(place.folder);
        if (license !== undefined) entry.license = license;
        entry.tokenizer = await describeTokenizer(place.folder, config.vocabSize);
      } finally {
        await weights.close();
      }
    } catch (error) {
      entry.problem = formatError(serializeError(error));
    }
    return entry;
  }

  private resultsOf(folder: string): Map<string, ModuleDecomposition> {
    let results = this.results.get(folder);
    if (results === undefined) {
      results = new Map();
      this.results.set(folder, results);
    }
    return results;
  }
}

/** Whether `a` is the same decomposition as `b`, with more references beside it. */
function saysMore(a: ModuleDecomposition, b: ModuleDecomposition): boolean {
  const same =
    a.energy === b.energy &&
    a.orientation === b.orientation &&
    a.rowFactors.join() === b.rowFactors.join() &&
    a.colFactors.join() === b.colFactors.join() &&
    a.bonds.map((bond) => bond.dimension).join() === b.bonds.map((bond) => bond.dimension).join();
  const asExact = a.bonds.every((bond, k) => bond.exactSpectrum || !b.bonds[k]?.exactSpectrum);
  return same && asExact && a.references.length > b.references.length;
}

/**
 * What there is of a tokenizer, in words. It is not parsed: a large vocabulary would hold up the
 * extension host for a second.
 */
async function describeTokenizer(folder: string, vocabSize: number): Promise<string> {
  const names = await readdir(folder);
  if (!names.includes('tokenizer.json')) return 'missing: there is no tokenizer.json';
  const settings = await readFile(path.join(folder, 'tokenizer_config.json'), 'utf8').catch(
    () => '',
  );
  const chat = settings.includes('"chat_template"') || names.includes('chat_template.jinja');
  return `${formatCount(vocabSize)} tokens${chat ? ', with a chat template' : ''}`;
}

async function isModelFolder(folder: string): Promise<boolean> {
  try {
    const names = await readdir(folder);
    return names.includes('config.json') && names.some((n) => n.endsWith('.safetensors'));
  } catch {
    return false;
  }
}

async function modelFoldersIn(workspaceFolder: string): Promise<string[]> {
  const found: string[] = [];
  if (await isModelFolder(workspaceFolder)) found.push(workspaceFolder);
  for (const container of containers) {
    const folder = path.join(workspaceFolder, container);
    let names: string[];
    try {
      names = await readdir(folder);
    } catch {
      continue;
    }
    for (const name of names.sort()) {
      if (name.startsWith('.') || name === 'node_modules' || found.length >= maxFound) continue;
      const candidate = path.join(folder, name);
      const isFolder = await stat(candidate).then(
        (s) => s.isDirectory(),
        () => false,
      );
      if (isFolder && (await isModelFolder(candidate))) found.push(candidate);
    }
  }
  return found;
}
