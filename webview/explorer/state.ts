/** What the explorer shows, as plain data, and how messages and choices change it. */
import {
  rankRules,
  type DecomposeOptions,
  type ExplorerHostMessage,
  type ExplorerModel,
  type ExplorerModule,
  type TrainingMemory,
} from '../../src/protocol/explorerPanel';
import { withExactSpectra } from '../../src/protocol/decomposition';
import type { SerializedError } from '../../src/protocol/errors';
import { isNumber, isObject, isOneOf, isString } from '../../src/protocol/guards';
import { prepare, ranksFor, type Prepared } from './cut';

export const measures = ['kept', 'error', 'compression', 'parameters', 'structure'] as const;
export type Measure = (typeof measures)[number];

export const acrossModes = ['layers', 'pair'] as const;
/** One kind of module in all layers, or all modules of two layers. */
export type AcrossMode = (typeof acrossModes)[number];

/** Choices that survive hiding and reloading. */
export interface ViewState {
  measure: Measure;
  selected?: string;
  compared?: string;
  across?: AcrossMode;
  /** The layer that the selected module's is compared with. */
  otherLayer?: number;
  /** Options being chosen; undefined = those the host proposed. */
  options?: DecomposeOptions;
  /** Cuts set by hand, by module. */
  cuts: Readonly<Record<string, readonly number[]>>;
}

export interface ExplorerState {
  model?: ExplorerModel;
  modules: readonly ExplorerModule[];
  options: DecomposeOptions;
  /** What training takes beside; undefined where the host does not know. */
  training?: TrainingMemory;
  /** By module; with the options they were made with. */
  results: ReadonlyMap<string, { prepared: Prepared; options: DecomposeOptions }>;
  failures: ReadonlyMap<string, SerializedError>;
  error?: SerializedError;
  progress?: Extract<ExplorerHostMessage, { type: 'progress' }>;
  view: ViewState;
}

export const defaultOptions: DecomposeOptions = {
  cores: 3,
  rule: 'rank',
  value: 8,
  orientation: 'out',
  shapes: {},
  ranks: {},
  exactMiddle: false,
};

export const initialState: ExplorerState = {
  modules: [],
  options: defaultOptions,
  results: new Map(),
  failures: new Map(),
  view: { measure: 'kept', cuts: {} },
};

function parseOptions(raw: unknown): DecomposeOptions | undefined {
  if (!isObject(raw)) return undefined;
  const { cores, rule, value, orientation, exactMiddle } = raw;
  if (!isNumber(cores) || !isOneOf(rankRules, rule) || !isNumber(value)) return undefined;
  return {
    cores,
    rule,
    value,
    orientation: orientation === 'in' ? 'in' : 'out',
    shapes: {},
    ranks: {},
    exactMiddle: exactMiddle === true,
  };
}

/** Reads what `setState` kept; anything unexpected falls back to the default. */
export function parseViewState(raw: unknown): ViewState {
  if (!isObject(raw)) return initialState.view;
  const cuts = isObject(raw.cuts)
    ? Object.fromEntries(
        Object.entries(raw.cuts).filter(
          (e): e is [string, number[]] => Array.isArray(e[1]) && e[1].every(isNumber),
        ),
      )
    : {};
  const options = parseOptions(raw.options);
  return {
    measure: isOneOf(measures, raw.measure) ? raw.measure : 'kept',
    ...(isString(raw.selected) ? { selected: raw.selected } : {}),
    ...(isString(raw.compared) ? { compared: raw.compared } : {}),
    ...(isOneOf(acrossModes, raw.across) ? { across: raw.across } : {}),
    ...(isNumber(raw.otherLayer) ? { otherLayer: raw.otherLayer } : {}),
    ...(options === undefined ? {} : { options }),
    cuts,
  };
}

/** Options of a request for these modules: cuts set by hand become their ranks. */
export function requestOptions(state: ExplorerState, modules: readonly string[]): DecomposeOptions {
  const ranks: Record<string, readonly number[]> = {};
  for (const module of modules) {
    const cut = state.view.cuts[module];
    if (cut !== undefined) ranks[module] = cut;
  }
  return { ...state.options, ranks };
}

/** Whether a result made with `made` still answers `wanted` (ranks are previewed from spectra). */
export function sameShape(made: DecomposeOptions, wanted: DecomposeOptions): boolean {
  return made.cores === wanted.cores && made.orientation === wanted.orientation;
}

/** Whether a result was made with exactly these options, so that nothing new would come of asking. */
export function isCurrent(
  made: DecomposeOptions,
  wanted: DecomposeOptions,
  module: string,
): boolean {
  const [own, asked] = [made.ranks[module], wanted.ranks[module]];
  if (!sameShape(made, wanted)) return false;
  if (own !== undefined || asked !== undefined) return own?.join() === asked?.join();
  return made.rule === wanted.rule && made.value === wanted.value;
}

/** The bond dimensions shown for a module: set by hand, or by the rule in force. */
export function ranksOf(state: ExplorerState, module: string): readonly number[] | undefined {
  const entry = state.results.get(module);
  if (entry === undefined) return undefined;
  const manual = state.view.cuts[module];
  if (manual?.length === entry.prepared.result.bonds.length) return manual;
  const { options } = state;
  // Ranks as decomposed are exact; only a changed rule needs the preview.
  const byRule = entry.options.ranks[module] === undefined;
  if (byRule && entry.options.rule === options.rule && entry.options.value === options.value) {
    return entry.prepared.result.bonds.map((b) => b.dimension);
  }
  return ranksFor(entry.prepared, options.rule, options.value);
}

export function withView(state: ExplorerState, change: Partial<ViewState>): ExplorerState {
  return { ...state, view: { ...state.view, ...change } };
}

/** New options. Cuts set by hand give way to a changed rule; another shape makes them meaningless. */
export function withOptions(
  state: ExplorerState,
  change: Partial<DecomposeOptions>,
): ExplorerState {
  // An explicit shape says its own number of cores; asking for another number undoes it.
  const shapes = change.cores === undefined ? state.options.shapes : {};
  const options = { ...state.options, shapes, ...change };
  return { ...state, options, view: { ...state.view, options, cuts: {} } };
}

/** An explicit shape for one module; its cuts set by hand belong to the old one. */
export function withShape(
  state: ExplorerState,
  module: string,
  shape: DecomposeOptions['shapes'][string],
): ExplorerState {
  const options = { ...state.options, shapes: { ...state.options.shapes, [module]: shape } };
  const cuts = Object.fromEntries(
    Object.entries(state.view.cuts).filter(([name]) => name !== module),
  );
  return { ...state, options, view: { ...state.view, options, cuts } };
}

export function withCut(
  state: ExplorerState,
  module: string,
  bond: number,
  rank: number,
): ExplorerState {
  const ranks = ranksOf(state, module);
  if (ranks === undefined || ranks[bond] === rank) return state;
  const next = ranks.map((d, k) => (k === bond ? rank : d));
  return withView(state, { cuts: { ...state.view.cuts, [module]: next } });
}

export function reduceExplorer(state: ExplorerState, message: ExplorerHostMessage): ExplorerState {
  switch (message.type) {
    case 'init': {
      const names = new Set(message.modules.map((m) => m.name));
      const keep = (name: string | undefined): string | undefined =>
        name !== undefined && names.has(name) ? name : undefined;
      const selected =
        keep(message.focus) ??
        keep(state.view.selected) ??
        message.modules.find((m) => m.layer !== undefined)?.name ??
        message.modules[0]?.name;
      const compared = keep(state.view.compared);
      const view: ViewState = { ...state.view };
      delete view.selected;
      delete view.compared;
      if (selected !== undefined) view.selected = selected;
      if (compared !== undefined) view.compared = compared;
      return {
        ...initialState,
        model: message.model,
        modules: message.modules,
        options: {
          ...(state.view.options ?? message.options),
          shapes: message.options.shapes,
          ranks: {},
        },
        view,
      };
    }
    case 'training':
      return { ...state, training: message.training };
    case 'results': {
      const results = new Map(state.results);
      const failures = new Map(state.failures);
      for (const result of message.results) {
        const before = results.get(result.module)?.prepared.result;
        const prepared = prepare(withExactSpectra(result, before));
        results.set(result.module, { prepared, options: message.options });
        failures.delete(result.module);
      }
      return { ...state, results, failures };
    }
    case 'progress': {
      const next = { ...state };
      delete next.progress;
      // A new request makes the last one's failure old news; its end must not hide a fresh one.
      if (message.running) delete next.error;
      return message.running ? { ...next, progress: message } : next;
    }
    case 'focus':
      return state.modules.some((m) => m.name === message.module)
        ? withView(state, { selected: message.module })
        : state;
    case 'error': {
      if (message.module === undefined) return { ...state, error: message.error };
      const failures = new Map(state.failures);
      failures.set(message.module, message.error);
      return { ...state, failures };
    }
  }
}
