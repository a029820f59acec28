/** What the metrics panel shows, as plain data: the run list, the view settings and how they change. */
import { isBoolean, isNumber, isObject, isOneOf, isStringArray } from '../../src/protocol/guards';
import type { SerializedError } from '../../src/protocol/errors';
import type { MetricsHostMessage, RunSummary } from '../../src/protocol/metricsPanel';
import type { Range } from '../chart/lineChart';

export const xAxes = ['step', 'tokens', 'elapsed'] as const;
export type XAxis = (typeof xAxes)[number];

/** Settings that survive hiding and reloading the panel. */
export interface ViewState {
  xAxis: XAxis;
  /** Weight of the moving average, 0 = raw values only. */
  smoothing: number;
  log: boolean;
  table: boolean;
  /** Shown runs in order of choice; the first is the one the header describes. */
  selected: readonly string[];
  /** Colour slot of each shown run; stays with the run while it is shown. */
  slots: Readonly<Record<string, number>>;
  zoom?: Range;
}

export interface PanelState {
  /** False until the host answered. */
  loaded: boolean;
  /** Newest first. */
  runs: readonly RunSummary[];
  logs: Readonly<Record<string, readonly string[]>>;
  error?: SerializedError;
  view: ViewState;
}

export const initialView: ViewState = {
  xAxis: 'step',
  smoothing: 0.6,
  log: false,
  table: false,
  selected: [],
  slots: {},
};

/** Reads what `setState` kept; anything unexpected falls back to the default. */
export function parseViewState(raw: unknown): ViewState {
  if (!isObject(raw)) return initialView;
  const selected = isStringArray(raw.selected) ? [...new Set(raw.selected)] : [];
  const slots = isObject(raw.slots)
    ? Object.fromEntries(
        Object.entries(raw.slots).filter(
          (e): e is [string, number] => Number.isInteger(e[1]) && selected.includes(e[0]),
        ),
      )
    : {};
  const zoom =
    isObject(raw.zoom) &&
    isNumber(raw.zoom.min) &&
    isNumber(raw.zoom.max) &&
    raw.zoom.max > raw.zoom.min
      ? { zoom: { min: raw.zoom.min, max: raw.zoom.max } }
      : {};
  return withSlots({
    xAxis: isOneOf(xAxes, raw.xAxis) ? raw.xAxis : initialView.xAxis,
    smoothing:
      isNumber(raw.smoothing) && raw.smoothing >= 0 && raw.smoothing < 1
        ? raw.smoothing
        : initialView.smoothing,
    log: isBoolean(raw.log) ? raw.log : false,
    table: isBoolean(raw.table) ? raw.table : false,
    selected,
    slots,
    ...zoom,
  });
}

/** Gives every shown run a colour slot, the lowest that is free, and forgets the hidden ones'. */
function withSlots(view: ViewState): ViewState {
  const slots: Record<string, number> = {};
  const used = new Set<number>();
  for (const id of view.selected) {
    const slot = view.slots[id];
    if (slot !== undefined && !used.has(slot)) {
      slots[id] = slot;
      used.add(slot);
    }
  }
  for (const id of view.selected) {
    if (slots[id] !== undefined) continue;
    let slot = 0;
    while (used.has(slot)) slot += 1;
    slots[id] = slot;
    used.add(slot);
  }
  return { ...view, slots };
}

export function select(view: ViewState, selected: readonly string[]): ViewState {
  return withSlots({ ...view, selected: [...new Set(selected)] });
}

/** Shows or hides a run. */
export function toggleRun(view: ViewState, id: string): ViewState {
  const shown = view.selected.includes(id);
  return select(view, shown ? view.selected.filter((s) => s !== id) : [...view.selected, id]);
}

/** Makes a run the one that the header describes, showing it if it was hidden. */
export function leadRun(view: ViewState, id: string): ViewState {
  return select(view, [id, ...view.selected.filter((s) => s !== id)]);
}

function newestFirst(runs: readonly RunSummary[]): RunSummary[] {
  return [...runs].sort((a, b) =>
    a.createdAt === b.createdAt ? (a.id < b.id ? 1 : -1) : a.createdAt < b.createdAt ? 1 : -1,
  );
}

/** The state after a message of the host. Rows (`append`) are kept elsewhere and change nothing here. */
export function reducePanel(state: PanelState, message: MetricsHostMessage): PanelState {
  switch (message.type) {
    case 'init': {
      const known = new Set(message.runs.map((r) => r.id));
      const kept = state.view.selected.filter((id) => known.has(id));
      const asked = message.selected.filter((id) => known.has(id));
      const runs = newestFirst(message.runs);
      const shown = [...kept, ...asked];
      // Opened without a choice: what is running, or else the newest run.
      const fallback = runs.find((r) => r.state === 'running') ?? runs[0];
      if (shown.length === 0 && fallback !== undefined) shown.push(fallback.id);
      return { ...state, loaded: true, runs, view: select(state.view, shown) };
    }
    case 'run': {
      const others = state.runs.filter((r) => r.id !== message.run.id);
      return { ...state, runs: newestFirst([...others, message.run]) };
    }
    case 'removed':
      return {
        ...state,
        runs: state.runs.filter((r) => r.id !== message.runId),
        view: select(
          state.view,
          state.view.selected.filter((id) => id !== message.runId),
        ),
      };
    case 'select': {
      const known = message.runIds.filter((id) => state.runs.some((r) => r.id === id));
      return { ...state, view: select(state.view, [...known, ...state.view.selected]) };
    }
    case 'log':
      return { ...state, logs: { ...state.logs, [message.runId]: message.lines } };
    case 'error':
      return { ...state, error: message.error };
    case 'append':
      return state;
  }
}
