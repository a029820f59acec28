import { describe, expect, it } from 'vitest';
import {
  parseMetricsHostMessage,
  parseMetricsViewMessage,
  type RunSummary,
} from '../../../src/protocol/metricsPanel';
import { differences } from '../../../webview/metrics/compare';
import { runsToCsv } from '../../../webview/metrics/csvExport';
import { fullRange, legendOf, linesOf, DerivedCache } from '../../../webview/metrics/drawing';
import { commandsFor } from '../../../webview/metrics/header';
import { RunData, secondsLeft } from '../../../webview/metrics/runData';
import { charts } from '../../../webview/metrics/series';
import {
  initialView,
  leadRun,
  parseViewState,
  reducePanel,
  select,
  toggleRun,
  type PanelState,
} from '../../../webview/metrics/state';
import { summarizeRun } from '../../../webview/metrics/summary';
import type { Theme } from '../../../webview/shared/theme';
import { dotaShape, gpuShape, rows, runs } from '../../webview/metricsData';

const start: PanelState = { loaded: false, runs: [], logs: {}, view: initialView };
const all = runs();
const [dota, lora, full] = all.map((r) => r.id) as [string, string, string];

describe('panel state', () => {
  it('lists the newest run first and shows what was asked for', () => {
    const state = reducePanel(start, { type: 'init', runs: [...all].reverse(), selected: [lora] });
    expect(state.runs.map((r) => r.id)).toEqual(all.map((r) => r.id));
    expect(state.view.selected).toEqual([lora]);
    expect(state.loaded).toBe(true);
  });

  it('keeps the selection of before a reload and forgets runs that are gone', () => {
    const kept = parseViewState({
      selected: [full, 'gone'],
      smoothing: 0.9,
      zoom: { min: 1, max: 9 },
    });
    const state = reducePanel(
      { ...start, view: kept },
      { type: 'init', runs: all, selected: [dota] },
    );
    expect(state.view.selected).toEqual([full, dota]);
    expect(state.view.zoom).toEqual({ min: 1, max: 9 });
    expect(Object.keys(state.view.slots).sort()).toEqual([full, dota].sort());
  });

  it('keeps a run’s colour while others come and go', () => {
    let view = select(initialView, [dota, lora, full]);
    const slot = view.slots[full];
    view = toggleRun(view, lora);
    expect(view.slots[full]).toBe(slot);
    view = toggleRun(view, 'new');
    expect(view.slots.new).toBe(1);
    view = leadRun(view, full);
    expect(view.selected[0]).toBe(full);
    expect(view.slots[full]).toBe(slot);
    expect(new Set(Object.values(view.slots)).size).toBe(3);
  });

  it('replaces a changed run, drops a removed one, keeps logs', () => {
    let state = reducePanel(start, { type: 'init', runs: all, selected: [dota] });
    state = reducePanel(state, { type: 'run', run: { ...all[0]!, state: 'crashed' } });
    expect(state.runs.find((r) => r.id === dota)?.state).toBe('crashed');
    expect(state.runs).toHaveLength(4);
    state = reducePanel(state, { type: 'log', runId: dota, lines: ['x'] });
    expect(state.logs[dota]).toEqual(['x']);
    state = reducePanel(state, { type: 'removed', runId: dota });
    expect(state.view.selected).toEqual([]);
    expect(state.runs).toHaveLength(3);
  });

  it.each([
    undefined,
    null,
    3,
    'x',
    [],
    { selected: 'a', smoothing: 2, zoom: { min: 3, max: 1 }, xAxis: 'toString' },
  ])('falls back to the defaults on %j', (raw) => {
    expect(parseViewState(raw)).toEqual(initialView);
  });

  it('offers what each state allows', () => {
    const run = (state: RunSummary['state'], unresponsive = false): RunSummary => ({
      ...all[0]!,
      state,
      unresponsive,
    });
    expect(commandsFor(run('running'))).toEqual(['pause', 'stop']);
    expect(commandsFor(run('running', true))).toEqual(['pause', 'stop', 'forceStop']);
    expect(commandsFor(run('paused'))).toEqual(['resume', 'stop']);
    expect(commandsFor(run('crashed'))).toEqual(['resume']);
    expect(commandsFor(run('finished'))).toEqual([]);
  });
});

describe('run data', () => {
  it('drops superseded rows before appending, as after a resume', () => {
    const data = new RunData();
    data.append(rows(dota, dotaShape, 0, 300));
    data.append({ ...rows(dota, dotaShape, 250, 280), supersedeAbove: 250, seq: 400 });
    expect(data.steps.length).toBe(280);
    expect([...data.steps.column('step').subarray(0, 280)]).toEqual(
      Array.from({ length: 280 }, (_, i) => i + 1),
    );
    const evals = [...data.evals.column('step').subarray(0, data.evals.length)];
    expect(evals).toEqual([0, 83, 166, 249]);
    expect(data.seq).toBe(400);
    data.append({ ...rows(dota, dotaShape, 0, 5), reset: true });
    expect(data.steps.length).toBe(5);
  });

  it('knows of memory on a GPU as long as a row tells of it', () => {
    const data = new RunData();
    data.append(rows(dota, gpuShape, 0, 3));
    data.append({ ...rows(dota, dotaShape, 2, 4), supersedeAbove: 2 });
    expect(data.onGpu).toBe(true);
    data.append({ ...rows(dota, dotaShape, 0, 4), supersedeAbove: 0 });
    expect(data.onGpu).toBe(false);
  });

  it('keeps the best loss and the count of values that are not finite, also after rows were dropped', () => {
    const data = new RunData();
    const message = rows(dota, dotaShape, 0, 6);
    message.steps.loss.set([NaN, 3, 1, Infinity, 2, 0.5]);
    data.append(message);
    expect(data.trainLoss.best).toEqual({ index: 5, value: 0.5 });
    expect(data.trainLoss.notFinite).toBe(2);
    const again = rows(dota, dotaShape, 4, 5);
    again.steps.loss.set([9]);
    data.append({ ...again, supersedeAbove: 4 });
    expect(data.trainLoss.best).toEqual({ index: 2, value: 1 });
    expect(data.trainLoss.notFinite).toBe(2);
  });

  it('predicts the time left from the last fifty rows', () => {
    const data = new RunData();
    // A slow first half (10 s a step) and a fast second one (2 s a step).
    const message = rows(dota, dotaShape, 0, 200);
    message.steps.elapsed.set(
      message.steps.step.map((s) => (s <= 100 ? s * 10 : 1000 + (s - 100) * 2)),
    );
    data.append(message);
    expect(secondsLeft(data, 300)).toBeCloseTo(200, 9);
    expect(secondsLeft(new RunData(), 300)).toBeUndefined();
  });

  it('summarises a run in words', () => {
    const data = new RunData();
    data.append(rows(dota, dotaShape, 0, dotaShape.steps));
    const text = summarizeRun(all[0]!, data);
    expect(text).toContain('is running at step 412 of 1,000');
    expect(text).toMatch(/Training loss fell from 3\.\d+ to 0\.\d+ nats per token, lowest/);
    expect(text).toMatch(/Validation loss is .* after 5 evaluations, best .* at step 332/);
    expect(summarizeRun(all[0]!, undefined)).toContain('No step has been recorded yet');
  });

  it('exports every row at full precision', () => {
    const data = new RunData();
    data.append(rows(dota, dotaShape, 0, 100));
    const lines = runsToCsv([{ run: { ...all[0]!, name: '=evil, run' }, data }])
      .trimEnd()
      .split('\r\n');
    expect(lines).toHaveLength(1 + 100 + 2);
    expect(lines[1]!.startsWith(`"'=evil, run",${dota},step,1,`)).toBe(true);
    const names = lines[0]!.split(',');
    // From the end: a name may hold a comma.
    const cell = (line: string, name: string): string | undefined =>
      line.split(',').at(names.indexOf(name) - names.length);
    expect(Number(cell(lines[50]!, 'loss_nats_per_token'))).toBe(data.steps.column('loss')[49]);
    expect(cell(lines[50]!, 'device_mb')).toBe('');
    expect(lines.at(-1)!.endsWith(',,,,,')).toBe(true);
    const onGpu = new RunData();
    onGpu.append(rows(dota, gpuShape, 0, 1));
    const [, row] = runsToCsv([{ run: all[0]!, data: onGpu }]).split('\r\n');
    expect(cell(row!, 'device_mb')).toBe(String(onGpu.steps.column('deviceMb')[0]));
  });
});

describe('comparison', () => {
  it('names what makes losses not comparable', () => {
    expect(differences(all[0]!, all[1]!)).toEqual([]);
    expect(differences(all[0]!, all[2]!)).toEqual([
      'training data',
      'loss mask, template or length',
    ]);
  });
});

describe('drawing', () => {
  const theme = {
    series: ['#1', '#2', '#3', '#4', '#5', '#6'],
    highContrast: false,
  } as unknown as Theme;
  const data = new RunData();
  data.append(rows(dota, dotaShape, 0, dotaShape.steps));
  const shown = [{ id: dota, name: 'a', slot: 0, data }];
  const loss = charts.find((c) => c.id === 'loss')!;

  it('draws raw, smoothed and validation lines over the whole range', () => {
    const range = fullRange(shown, 'step');
    expect(range).toEqual({ min: 0, max: 412 });
    const view = { ...initialView, smoothing: 0.9 };
    const lines = linesOf(loss, shown, view, range, 600, theme, new DerivedCache());
    expect(lines.map((l) => l.key)).toEqual([
      `${dota}/raw`,
      `${dota}/smooth`,
      `${dota}/validation`,
    ]);
    expect(lines[0]!.points.x.length).toBe(412);
    const plain = linesOf(
      loss,
      shown,
      { ...view, smoothing: 0 },
      range,
      600,
      theme,
      new DerivedCache(),
    );
    expect(plain.map((l) => l.key)).toEqual([`${dota}/raw`, `${dota}/validation`]);
  });

  it('smooths again after rows were dropped', () => {
    const cache = new DerivedCache();
    const run = new RunData();
    run.append(rows(dota, dotaShape, 0, 100));
    cache.smoothed('r', run, 'loss', 0.5);
    run.append({ ...rows(dota, { ...dotaShape, start: 50 }, 10, 60), supersedeAbove: 10 });
    const again = cache.smoothed('r', run, 'loss', 0.5).values.slice(0, 60);
    expect(again).toEqual(new DerivedCache().smoothed('r', run, 'loss', 0.5).values.slice(0, 60));
  });

  it('gives the recorded value nearest to the cursor, not the reduced or smoothed one', () => {
    const value = data.steps.column('loss')[99]!;
    expect(legendOf(loss, shown, 'step', 100.3, theme)[0]!.value).toBe(loss.format(value));
    const last = data.steps.column('loss')[411]!;
    expect(legendOf(loss, shown, 'step', undefined, theme)[0]!.value).toBe(loss.format(last));
  });

  it('tells series apart without colour in high contrast', () => {
    const contrast = { ...theme, highContrast: true };
    const two = [shown[0]!, { ...shown[0]!, id: lora, slot: 1 }];
    const lines = linesOf(
      charts[1]!,
      two,
      { ...initialView, smoothing: 0 },
      { min: 0, max: 412 },
      600,
      contrast,
      new DerivedCache(),
    );
    expect(lines[0]!.dash).not.toEqual(lines[1]!.dash);
    expect(lines[0]!.marker).not.toBe(lines[1]!.marker);
  });
});

describe('message checks', () => {
  it('let every message of the panel through and nothing else', () => {
    for (const message of [
      { type: 'ready', since: {} },
      { type: 'subscribe', since: { a: -1 } },
      { type: 'command', runId: 'a', command: 'stop' },
      { type: 'open', runId: 'a', what: 'log' },
      { type: 'startRun' },
      { type: 'exportCsv', fileName: 'a', text: 'b' },
      { type: 'exportPng', fileName: 'a', bytes: new Uint8Array(1) },
    ]) {
      expect(parseMetricsViewMessage(message)).toEqual(message);
    }
    for (const raw of [
      null,
      1,
      {},
      { type: 'command', runId: 'a', command: 'kill' },
      { type: 'ready', since: { a: 'x' } },
      { type: 'exportPng', fileName: 'a', bytes: [1] },
    ]) {
      expect(parseMetricsViewMessage(raw)).toBeUndefined();
    }
  });

  it('refuse rows whose columns differ in length', () => {
    const message = rows(dota, dotaShape, 0, 10);
    expect(parseMetricsHostMessage(message)).toBe(message);
    const broken = { ...message, steps: { ...message.steps, loss: new Float64Array(9) } };
    expect(parseMetricsHostMessage(broken)).toBeUndefined();
    expect(
      parseMetricsHostMessage({ type: 'init', runs: [{ id: 'a' }], selected: [] }),
    ).toBeUndefined();
  });
});
