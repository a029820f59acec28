import { describe, expect, it } from 'vitest';
import type { MetricsViewMessage } from '../../src/protocol/metricsPanel';
import { canvasInk, faintIcons, lowContrast, overflowing, tabStops } from './audit';
import type { Webview, WebviewOptions } from './harness';
import {
  dotaShape,
  fullShape,
  gpuRun,
  gpuShape,
  loraShape,
  noGpu,
  rows,
  runs,
} from './metricsData';
import { drawn, testPanel } from './testPanel';
import { themes } from './themes';

const [dota, lora, full, old] = runs().map((r) => r.id) as [string, string, string, string];
const show = testPanel('metrics');
let view: Webview;

async function open(options: Partial<WebviewOptions> = {}): Promise<Webview> {
  view = await show(options);
  return view;
}

const settle = (): Promise<void> => drawn(view);

async function openWithRun(options: Partial<WebviewOptions> = {}): Promise<void> {
  await open(options);
  await view.post({ type: 'init', runs: runs(), selected: [dota] });
  await view.post(rows(dota, dotaShape, 0, dotaShape.steps));
  await settle();
}

async function overlay(): Promise<void> {
  await view.post({ type: 'select', runIds: [dota, lora, full] });
  await view.post(rows(lora, loraShape, 0, loraShape.steps));
  await view.post(rows(full, fullShape, 0, fullShape.steps));
  await settle();
}

const sent = (): Promise<MetricsViewMessage[]> => view.sent<MetricsViewMessage>();

describe.each(themes)('in $name', (theme) => {
  it('draws one run and three, with readable text', async () => {
    await openWithRun({ theme, height: 1100 });
    await view.screenshot(`metrics-one-${theme.name}`);
    expect(await lowContrast(view.page)).toEqual([]);
    expect(await faintIcons(view.page)).toEqual([]);
    const alone = await canvasInk(view.page);
    expect(alone).toHaveLength(5);
    for (const ink of alone) expect(ink).toBeGreaterThan(0.01);
    await overlay();
    await view.page.hover('[data-chart=loss] .chart-plot', { position: { x: 400, y: 100 } });
    await settle();
    await view.screenshot(`metrics-overlay-${theme.name}`);
    expect(await lowContrast(view.page)).toEqual([]);
    expect(await faintIcons(view.page)).toEqual([]);
    const three = await canvasInk(view.page);
    expect(three[0]).toBeGreaterThan(alone[0]!);
  });

  it('shows a crash, the table and the empty state with readable text', async () => {
    await open({ theme });
    await view.post({ type: 'init', runs: runs(), selected: [old] });
    await view.post(rows(old, dotaShape, 0, 57));
    await view.post({
      type: 'log',
      runId: old,
      lines: ['step 56 loss 3.41', 'step 57 loss 3.39', 'Killed'],
    });
    await settle();
    expect(await view.page.textContent('.notice.error')).toContain('Killed');
    await view.screenshot(`metrics-crashed-${theme.name}`);
    expect(await lowContrast(view.page)).toEqual([]);
    expect(await faintIcons(view.page)).toEqual([]);
    await view.page.click('text=Table');
    await settle();
    await view.screenshot(`metrics-table-${theme.name}`);
    expect(await lowContrast(view.page)).toEqual([]);
    expect(await faintIcons(view.page)).toEqual([]);
    for (const id of runs().map((r) => r.id)) await view.post({ type: 'removed', runId: id });
    await settle();
    await view.screenshot(`metrics-empty-${theme.name}`);
    expect(await lowContrast(view.page)).toEqual([]);
    expect(await faintIcons(view.page)).toEqual([]);
    await view.page.click('text=Fine-Tune…');
    expect((await sent()).at(-1)).toEqual({ type: 'startRun' });
  });
});

describe('the device', () => {
  const gpu = gpuRun();
  async function openOnGpu(options: Partial<WebviewOptions> = {}): Promise<void> {
    await open(options);
    await view.post({ type: 'init', runs: [gpu, ...runs()], selected: [gpu.id] });
    await view.post(rows(gpu.id, gpuShape, 0, gpuShape.steps));
    await settle();
  }
  const tile = (name: string): Promise<string> =>
    view.page.locator('.tile', { has: view.page.locator(`dt:text-is("${name}")`) }).innerText();
  const visible = (id: string): Promise<boolean> => view.page.isVisible(`[data-chart=${id}]`);

  it.each(themes)('has memory of its own on a GPU, in $name', async (theme) => {
    await openOnGpu({ theme, height: 1500 });
    expect(await canvasInk(view.page)).toHaveLength(6);
    await view.screenshot(`metrics-gpu-${theme.name}`);
    expect(await lowContrast(view.page)).toEqual([]);
    expect(await faintIcons(view.page)).toEqual([]);
    expect(await view.page.textContent('.facts')).toContain('WebGPU (NVIDIA RTX 4090)');
    // The estimate is of the GPU's memory, and stands beside that alone.
    expect(await tile('GPU memory')).toMatch(/6\.12 GB\s+peak 6\.12 GB \(estimate 5\.80 GB\)/);
    expect(await tile('Memory')).toMatch(/\d{3} MB\s+peak 421 MB$/);
  });

  it('has a curve and a column of its memory only with a run on a GPU', async () => {
    await openOnGpu();
    const columns = (): Promise<number> =>
      view.page.locator('th:visible', { hasText: 'GPU memory' }).count();
    expect(await visible('deviceMb')).toBe(true);
    await view.page.click('text=Table');
    await settle();
    expect(await columns()).toBe(1);
    expect(await view.page.locator('table.data tbody tr').last().innerText()).toMatch(/6,120$/);
    await openWithRun();
    expect(await visible('rssMb')).toBe(true);
    expect(await visible('deviceMb')).toBe(false);
    await view.page.click('text=Table');
    await settle();
    expect(await columns()).toBe(0);
    expect(await view.page.locator('table.data tbody tr').last().innerText()).toMatch(/41\d$/);
  });

  it.each([1280, 900, 480])(
    'leaves nothing out and no row half empty at %i pixels',
    async (width) => {
      await openOnGpu({ width, height: 1500 });
      expect(await overflowing(view.page)).toEqual([]);
      const ends = await rowEnds();
      expect(new Set(ends)).toEqual(new Set([0]));
    },
  );

  it('says why it is not the GPU, and what the trainer does before the first step', async () => {
    await open();
    const [run] = runs();
    const { progress, ...starting } = { ...run!, activity: 'asking the GPU' };
    expect(progress).toBeDefined();
    await view.post({ type: 'init', runs: [starting], selected: [dota] });
    await settle();
    const header = view.page.locator('.run-header').first();
    expect(await header.innerText()).toContain('asking the GPU');
    const facts = await view.page.locator('.facts').allTextContents();
    expect(facts[0]).toMatch(/CPU \(AMD EPYC, 2 threads\)$/);
    expect(facts[1]).toBe(`The GPU is not used: ${noGpu}`);
    await view.post({ type: 'run', run: run! });
    await settle();
    expect(await header.innerText()).not.toContain('asking the GPU');
  });
});

/** How far the last tile of each row ends before the tiles' edge, in pixels. */
function rowEnds(): Promise<number[]> {
  return view.page.locator('.tiles').evaluate((tiles) => {
    const rows = new Map<number, number>();
    for (const tile of tiles.children) {
      const { top, right } = tile.getBoundingClientRect();
      rows.set(Math.round(top), Math.max(rows.get(Math.round(top)) ?? 0, right));
    }
    const { right } = tiles.getBoundingClientRect();
    return [...rows.values()].map((end) => Math.round(right - end));
  });
}

describe('layout', () => {
  it.each([
    [1280, 2],
    [900, 1],
    [700, 2],
    [480, 1],
  ])('nothing overflows at %i pixels and zoom %i', async (width, zoom) => {
    await openWithRun({ width, zoom, height: 900 });
    await overlay();
    expect(await overflowing(view.page)).toEqual([]);
    await view.screenshot(`metrics-${width}-zoom${zoom}`);
    await view.page.click('text=Table');
    await settle();
    expect(await overflowing(view.page)).toEqual([]);
  });

  it.each([1280, 900, 480])('no row of figures is left half empty at %i pixels', async (width) => {
    await openWithRun({ width });
    const ends = await rowEnds();
    expect(new Set(ends)).toEqual(new Set([0]));
  });
});

it('draws the charts that a higher window, or scrolling, brings into sight', async () => {
  await openWithRun({ height: 500 });
  const all = (): Promise<number[]> => canvasInk(view.page);
  expect((await all()).length).toBeLessThan(5);
  expect(await view.page.locator('.chart-hole:visible').count()).toBe(0);
  await view.page.mouse.wheel(0, 10_000);
  await expect.poll(all).toHaveLength(5);
  await openWithRun({ height: 500 });
  await view.page.setViewportSize({ width: 1280, height: 1300 });
  await expect.poll(all).toHaveLength(5);
  for (const ink of await all()) expect(ink).toBeGreaterThan(0.01);
});

describe('messages', () => {
  it('says it is ready, shows loading, subscribes to what it shows', async () => {
    await open();
    expect(await view.page.textContent('body')).toContain('Reading runs');
    expect(await sent()).toEqual([{ type: 'ready', since: {} }]);
    await view.post({ type: 'init', runs: runs(), selected: [dota] });
    await settle();
    expect((await sent()).at(-1)).toEqual({ type: 'subscribe', since: { [dota]: -1 } });
    expect(await view.page.textContent('body')).toContain('Reading the journal');
    const first = rows(dota, dotaShape, 0, 100);
    await view.post(first);
    await view.page.click(`text=${runs()[1]!.name}`);
    expect((await sent()).at(-1)).toEqual({
      type: 'subscribe',
      since: { [dota]: first.seq, [lora]: -1 },
    });
  });

  it('shows names as text, never as markup', async () => {
    await open();
    const evil = { ...runs()[0]!, name: '<img src=x onerror=alert(1)><b>bold</b>' };
    await view.post({ type: 'init', runs: [evil], selected: [evil.id] });
    await view.post(rows(evil.id, dotaShape, 0, 100));
    await view.post({ type: 'log', runId: evil.id, lines: ['<script>alert(2)</script>'] });
    await view.post({
      type: 'run',
      run: { ...evil, state: 'failed', error: { code: 'internal', message: '<i>x</i>' } },
    });
    await settle();
    expect(await view.page.locator('img, h1 b, .notice i').count()).toBe(0);
    expect(await view.page.textContent('h1')).toBe(evil.name);
  });

  it('ignores what it does not understand', async () => {
    await openWithRun();
    const before = await view.page.textContent('.progress-text');
    for (const junk of [
      null,
      7,
      { type: 'append', runId: dota, seq: 'x' },
      { type: 'init', runs: [{}] },
    ]) {
      await view.post(junk);
    }
    await settle();
    expect(await view.page.textContent('.progress-text')).toBe(before);
  });

  it('sends each command once and waits for the answer', async () => {
    await openWithRun();
    await view.page.click('button:has-text("Stop")');
    expect((await sent()).filter((m) => m.type === 'command')).toEqual([
      { type: 'command', runId: dota, command: 'stop' },
    ]);
    expect(await view.page.isDisabled('button:has-text("Stop")')).toBe(true);
    await view.post({ type: 'run', run: { ...runs()[0]!, state: 'stopped' } });
    await settle();
    expect(await view.page.isEnabled('button:has-text("Resume")')).toBe(true);
  });

  it('explains why another window’s run cannot be controlled', async () => {
    await open();
    const run = { ...runs()[0]!, controlDisabledReason: 'Another window owns this run.' };
    await view.post({ type: 'init', runs: [run], selected: [run.id] });
    await settle();
    expect(await view.page.isDisabled('button:has-text("Stop")')).toBe(true);
    expect(await view.page.textContent('.facts')).toContain('Another window owns this run.');
  });

  it('names what makes two runs not comparable', async () => {
    await openWithRun();
    await overlay();
    expect(await view.page.textContent('.run-list')).toContain(
      'Not comparable: other training data, loss mask, template or length',
    );
  });

  it('exports every row as CSV and the charts as PNG', async () => {
    await openWithRun();
    await view.page.click('button:has-text("CSV")');
    const csv = (await sent()).find((m) => m.type === 'exportCsv');
    expect(csv?.type === 'exportCsv' && csv.text.split('\r\n').length).toBe(1 + 412 + 5 + 1);
    await view.page.click('button:has-text("PNG")');
    await view.page.waitForFunction(() =>
      (window as unknown as { __sent: { type: string }[] }).__sent.some(
        (m) => m.type === 'exportPng',
      ),
    );
    const png = await view.page.evaluate(() => {
      const all = (window as unknown as { __sent: { type: string; bytes?: Uint8Array }[] }).__sent;
      const bytes = all.find((m) => m.type === 'exportPng')?.bytes;
      return bytes === undefined ? [] : [...bytes.subarray(0, 24), bytes.length];
    });
    expect(png.slice(0, 8)).toEqual([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
    expect(png.at(-1)).toBeGreaterThan(20_000);
  });
});

describe('view', () => {
  it('zooms by drag and by wheel, and resets by double click; other charts follow', async () => {
    await openWithRun();
    const plot = view.page.locator('[data-chart=loss] .u-over');
    const box = (await plot.boundingBox())!;
    const y = box.y + box.height / 2;
    await view.page.mouse.move(box.x + box.width * 0.25, y);
    await view.page.mouse.down();
    await view.page.mouse.move(box.x + box.width * 0.5, y, { steps: 5 });
    await view.page.mouse.up();
    await settle();
    const { zoom } = (await view.state()) as { zoom: { min: number; max: number } };
    // A pixel is about half a step here.
    expect(Math.abs(zoom.min - 412 * 0.25)).toBeLessThan(2);
    expect(Math.abs(zoom.max - 412 * 0.5)).toBeLessThan(2);
    await view.page.keyboard.down('Control');
    await view.page.mouse.wheel(0, -100);
    await view.page.keyboard.up('Control');
    await settle();
    const closer = (await view.state()) as { zoom: { min: number; max: number } };
    expect(closer.zoom.max - closer.zoom.min).toBeLessThan(zoom.max - zoom.min);
    await plot.dblclick();
    await settle();
    expect((await view.state()) as object).not.toHaveProperty('zoom');
  });

  it('shows the recorded values at the cursor in every chart', async () => {
    await openWithRun();
    const plot = view.page.locator('[data-chart=gradNorm] .u-over');
    const box = (await plot.boundingBox())!;
    await view.page.mouse.move(box.x + (box.width * 200) / 412, box.y + 20);
    await settle();
    const at = (await view.page.textContent('[data-chart=loss] .chart-at'))!;
    const step = Number(at.replace('step ', ''));
    expect(Math.abs(step - 200)).toBeLessThan(3);
    const loss = rows(dota, dotaShape, 0, 412).steps.loss[step - 1]!;
    const shown = await view.page.textContent('[data-chart=loss] .legend .value >> nth=0');
    expect(Number(shown)).toBeCloseTo(loss, 3);
  });

  it('draws on logarithmic axes, and on linear ones again', async () => {
    await openWithRun({ height: 1100 });
    await overlay();
    const linear = await canvasInk(view.page);
    await view.page.check('text=Log scale');
    await settle();
    await view.screenshot('metrics-log');
    const logarithmic = await canvasInk(view.page);
    expect(logarithmic).toHaveLength(linear.length);
    for (const ink of logarithmic) expect(ink).toBeGreaterThan(0.01);
    expect(logarithmic[0]).not.toBe(linear[0]);
    await view.page.uncheck('text=Log scale');
    await settle();
    expect(await canvasInk(view.page)).toEqual(linear);
  });

  it('survives hiding: settings come back, rows are asked for again', async () => {
    await openWithRun();
    await view.page.selectOption('.toolbar select', 'tokens');
    await view.page.check('text=Log scale');
    const state = await view.state();
    await view.close();
    await open({ state });
    await view.post({ type: 'init', runs: runs(), selected: [] });
    await settle();
    expect(await view.page.inputValue('.toolbar select')).toBe('tokens');
    expect(await view.page.isChecked('text=Log scale')).toBe(true);
    expect((await sent()).at(-1)).toEqual({ type: 'subscribe', since: { [dota]: -1 } });
  });

  it('appends live rows and drops superseded ones without a reload', async () => {
    await openWithRun();
    await view.post(rows(dota, dotaShape, 412, 500));
    await view.post({
      type: 'run',
      run: {
        ...runs()[0]!,
        progress: { step: 500, totalSteps: 1000, epoch: 1.5, tokens: 406_000 },
      },
    });
    await settle();
    expect(await view.page.textContent('.progress-text')).toContain('Step 500 of 1,000 (50 %)');
    await view.post({ ...rows(dota, dotaShape, 400, 430), supersedeAbove: 400 });
    await view.page.click('text=Table');
    await settle();
    expect(await view.page.textContent('.pager')).toContain('Rows 401 to 430 of 430');
  });

  it('follows a change of theme', async () => {
    await openWithRun();
    await view.page.evaluate(
      ({ variables, bodyClass }) => {
        for (const [key, value] of Object.entries(variables)) {
          document.documentElement.style.setProperty(`--vscode-${key}`, value);
        }
        document.body.className = bodyClass;
      },
      { variables: themes[1]!.variables, bodyClass: themes[1]!.bodyClass },
    );
    await settle();
    await settle();
    await view.screenshot('metrics-switched');
    const grey = await view.page.evaluate(() => {
      const canvas = document.querySelector('canvas')!;
      const { data } = canvas.getContext('2d')!.getImageData(0, 0, 60, canvas.height);
      let darkest = 255;
      for (let i = 0; i < data.length; i += 4) {
        if (data[i + 3] === 255) darkest = Math.min(darkest, data[i]!);
      }
      return darkest;
    });
    // Axis labels are now the light theme's #3b3b3b.
    expect(grey).toBeLessThan(0x60);
  });
});

describe('keyboard only', () => {
  it('reaches every control and every chart', async () => {
    await openWithRun();
    const stops = (await tabStops(view.page)).join('\n');
    for (const name of [
      'Pause',
      'Stop',
      'Open Log',
      '3 settings',
      'Charts',
      'Table',
      'X axis',
      'Smoothing',
      'Log scale',
      'PNG',
      'CSV',
      'Show Arithmetic, full',
      'Loss, nats per token',
      'Memory, MB resident',
    ]) {
      expect(stops).toContain(name);
    }
  });

  it('moves the cursor along the rows and says the values; zooms; resets', async () => {
    await openWithRun();
    await view.page.focus('[data-chart=loss] .chart-plot');
    await view.page.keyboard.press('Home');
    await view.page.keyboard.press('ArrowRight');
    await view.page.keyboard.press('Shift+ArrowRight');
    await settle();
    const loss = rows(dota, dotaShape, 0, 412).steps.loss;
    const said = (await view.page.textContent('[aria-live=polite]'))!;
    expect(said).toContain('step 12:');
    expect(Number(/Loss ([\d.]+)/.exec(said)?.[1])).toBeCloseTo(loss[11]!, 3);
    await view.page.keyboard.press('+');
    await settle();
    expect(await view.state()).toHaveProperty('zoom');
    await view.page.keyboard.press('Escape');
    await settle();
    expect(await view.state()).not.toHaveProperty('zoom');
    await view.page.keyboard.press('End');
    await settle();
    expect(await view.page.textContent('[data-chart=loss] .chart-at')).toBe('step 412');
  });

  it('keeps the cursor where the keys put it while rows arrive under a resting pointer', async () => {
    await openWithRun();
    await view.page.hover('[data-chart=loss] .u-over', { position: { x: 400, y: 60 } });
    await view.page.focus('[data-chart=loss] .chart-plot');
    await view.page.keyboard.press('Home');
    await view.post(rows(dota, dotaShape, 412, 420));
    await settle();
    const at = (): Promise<string | null> => view.page.textContent('[data-chart=loss] .chart-at');
    expect(await at()).toBe('step 1');
    await view.page.mouse.move(700, 500);
    await view.page.hover('[data-chart=loss] .u-over', { position: { x: 300, y: 60 } });
    await settle();
    expect(await at()).not.toBe('step 1');
  });

  it('shows and hides runs, and keeps the focus there', async () => {
    await openWithRun();
    await view.page.focus(`[data-key="box-${lora}"]`);
    await view.page.keyboard.press('Space');
    await settle();
    expect(((await view.state()) as { selected: string[] }).selected).toEqual([dota, lora]);
    expect(
      await view.page.evaluate(() => (document.activeElement as HTMLElement).dataset.key),
    ).toBe(`box-${lora}`);
  });
});
