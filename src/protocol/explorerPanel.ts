/**
 * Messages between the extension host and the MPO explorer. Shapes, spectra and ranks cross this
 * boundary, never tensors.
 */
import type { ModuleDecomposition } from './decomposition';
import type { SerializedError } from './errors';
import {
  isBoolean,
  isNumber,
  isObject,
  isOneOf,
  isOptional,
  isString,
  isStringArray,
} from './guards';

export interface ExplorerModel {
  name: string;
  /** e.g. `llama`. */
  architecture: string;
  parameters: number;
  numLayers: number;
  /** Bytes of all weights as stored. */
  weightBytes: number;
  /** Dimensions that training memory depends on. */
  hiddenSize: number;
  intermediateSize: number;
  vocabSize: number;
}

/**
 * Memory of a training step with DoTA as a formula: fixedBytes[lowest adapted layer] + bytesPerEntry x
 * entries of that layer's largest adapted matrix + bytesPerParameter x trained parameters.
 */
export interface TrainingMemory {
  /** What it holds for: sequences of a micro-batch and tokens of each. */
  batch: number;
  sequence: number;
  /** Model, activations, logits and runtime, by the lowest adapted layer. */
  fixedBytes: readonly number[];
  bytesPerEntry: number;
  /** Cores, what stays frozen of them, gradient and optimizer state. */
  bytesPerParameter: number;
}

/** A matrix that can be decomposed; known from the headers alone. */
export interface ExplorerModule {
  /** Full path, e.g. `model.layers.0.self_attn.q_proj`. */
  name: string;
  /** Last part of the path, e.g. `q_proj`: the column (or row) of the heat map. */
  kind: string;
  /** Layer index; undefined for modules outside the layers (embedding, head). */
  layer?: number;
  rows: number;
  cols: number;
  dtype: string;
}

export const rankRules = ['rank', 'energy', 'error', 'budget'] as const;
export type RankRule = (typeof rankRules)[number];

/** What is asked of the decomposition; the same options make the same cache key. */
export interface DecomposeOptions {
  /** Number of cores; ignored for modules named in `shapes`. */
  cores: number;
  /**
   * `rank`: largest bond dimension; `energy`: least kept energy in (0, 1]; `error`: largest relative
   * error in [0, 1); `budget`: trainable parameters of all requested modules together.
   */
  rule: RankRule;
  value: number;
  orientation: 'out' | 'in';
  /** Explicit factors by full module name. */
  shapes: Readonly<Record<string, { rows: readonly number[]; cols: readonly number[] }>>;
  /** Bond dimensions d_1..d_{n-1} by full module name, instead of the rule's. */
  ranks: Readonly<Record<string, readonly number[]>>;
  /** Compute the whole spectrum of wide middle bonds as well (about 20 s at side 4096). */
  exactMiddle: boolean;
}

export type ExplorerHostMessage =
  /** Answer to `ready`. `focus`: module to select first. */
  | {
      type: 'init';
      model: ExplorerModel;
      modules: readonly ExplorerModule[];
      options: DecomposeOptions;
      focus?: string;
    }
  /** Follows `init`, at the defaults of a configuration; stays away where the model cannot be trained. */
  | { type: 'training'; training: TrainingMemory }
  /** Results as they come (cached ones at once). `options` are those they were made with. */
  | { type: 'results'; options: DecomposeOptions; results: readonly ModuleDecomposition[] }
  /** `running: false` ends a request, whatever the reason. */
  | {
      type: 'progress';
      running: boolean;
      done: number;
      total: number;
      module?: string;
      /** Of `module`'s whole spectrum, in [0, 1], where that takes long. */
      spectrumShare?: number;
      secondsLeft?: number;
      cancelled?: boolean;
    }
  | { type: 'focus'; module: string }
  /** `module` absent: the whole request failed. */
  | { type: 'error'; module?: string; error: SerializedError };

export const textFormats = ['csv', 'latex', 'svg'] as const;
export type TextFormat = (typeof textFormats)[number];

export type ExplorerViewMessage =
  | { type: 'ready' }
  | { type: 'decompose'; modules: readonly string[]; options: DecomposeOptions }
  | { type: 'cancel' }
  /**
   * Write into a `*.dota.json`: `adapter.rank_pattern` (full module path -> d_1..d_{n-1}),
   * `adapter.mpo_shapes` and the orientation that they are meant in; `target_modules` become the
   * modules named here.
   */
  | {
      type: 'useRanks';
      orientation: 'out' | 'in';
      rankPattern: Readonly<Record<string, readonly number[]>>;
      shapes: Readonly<Record<string, { rows: readonly number[]; cols: readonly number[] }>>;
    }
  /** Save with a dialog. */
  | { type: 'exportText'; format: TextFormat; fileName: string; text: string }
  | { type: 'exportPng'; fileName: string; bytes: Uint8Array }
  /** The host runs the decomposition again, at `options.ranks`, into one file (safetensors). */
  | { type: 'exportCores'; modules: readonly string[]; options: DecomposeOptions };

const orientations = ['out', 'in'] as const;

function isNumbers(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isNumber);
}

function isShapes(value: unknown): value is DecomposeOptions['shapes'] {
  return (
    isObject(value) &&
    Object.values(value).every((s) => isObject(s) && isNumbers(s.rows) && isNumbers(s.cols))
  );
}

function isRanks(value: unknown): value is DecomposeOptions['ranks'] {
  return isObject(value) && Object.values(value).every(isNumbers);
}

/** Whether something are options of a decomposition. */
export function isDecomposeOptions(value: unknown): value is DecomposeOptions {
  return (
    isObject(value) &&
    isNumber(value.cores) &&
    isOneOf(rankRules, value.rule) &&
    isNumber(value.value) &&
    isOneOf(orientations, value.orientation) &&
    isShapes(value.shapes) &&
    isRanks(value.ranks) &&
    isBoolean(value.exactMiddle)
  );
}

/** Checks a message from the explorer; undefined = not one of ours (the host ignores it). */
export function parseExplorerViewMessage(raw: unknown): ExplorerViewMessage | undefined {
  if (!isObject(raw)) return undefined;
  const m = raw;
  switch (m.type) {
    case 'ready':
    case 'cancel':
      return { type: m.type };
    case 'decompose':
    case 'exportCores':
      return isStringArray(m.modules) && isDecomposeOptions(m.options)
        ? { type: m.type, modules: m.modules, options: m.options }
        : undefined;
    case 'useRanks':
      return isOneOf(orientations, m.orientation) && isRanks(m.rankPattern) && isShapes(m.shapes)
        ? {
            type: 'useRanks',
            orientation: m.orientation,
            rankPattern: m.rankPattern,
            shapes: m.shapes,
          }
        : undefined;
    case 'exportText':
      return isOneOf(textFormats, m.format) && isString(m.fileName) && isString(m.text)
        ? { type: 'exportText', format: m.format, fileName: m.fileName, text: m.text }
        : undefined;
    case 'exportPng':
      return isString(m.fileName) && m.bytes instanceof Uint8Array
        ? { type: 'exportPng', fileName: m.fileName, bytes: m.bytes }
        : undefined;
    default:
      return undefined;
  }
}

/** Whether something is a formula of training memory. */
export function isTrainingMemory(value: unknown): value is TrainingMemory {
  return (
    isObject(value) &&
    isNumber(value.batch) &&
    isNumber(value.sequence) &&
    isNumbers(value.fixedBytes) &&
    isNumber(value.bytesPerEntry) &&
    isNumber(value.bytesPerParameter)
  );
}

function isResult(value: unknown): value is ModuleDecomposition {
  return (
    isObject(value) &&
    isString(value.module) &&
    isNumber(value.energy) &&
    Array.isArray(value.cores) &&
    Array.isArray(value.bonds) &&
    value.bonds.every((b) => isObject(b) && b.spectrum instanceof Float64Array) &&
    Array.isArray(value.references)
  );
}

/** Checks a message from the host; undefined = not one of ours (the explorer ignores it). */
export function parseExplorerHostMessage(raw: unknown): ExplorerHostMessage | undefined {
  if (!isObject(raw)) return undefined;
  const ok = ((): boolean => {
    switch (raw.type) {
      case 'init':
        return isObject(raw.model) && Array.isArray(raw.modules) && isDecomposeOptions(raw.options);
      case 'training':
        return isTrainingMemory(raw.training);
      case 'results':
        return (
          isDecomposeOptions(raw.options) &&
          Array.isArray(raw.results) &&
          raw.results.every(isResult)
        );
      case 'progress':
        return isBoolean(raw.running) && isNumber(raw.done) && isNumber(raw.total);
      case 'focus':
        return isString(raw.module);
      case 'error':
        return (
          isOptional(isString, raw.module) && isObject(raw.error) && isString(raw.error.message)
        );
      default:
        return false;
    }
  })();
  return ok ? (raw as unknown as ExplorerHostMessage) : undefined;
}
