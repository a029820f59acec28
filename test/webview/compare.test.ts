import { describe, expect, it } from 'vitest';
import type { CompareViewMessage } from '../../src/protocol/comparePanel';
import { canvasInk, faintIcons, lowContrast, overflowing, tabStops } from './audit';
import { compareRuns, facts } from './compareData';
import type { Webview, WebviewOptions } from './harness';
import { drawn, testPanel } from './testPanel';
import { themes } from './themes';

const show = testPanel('compare');
let view: Webview;

const settle = (): Promise<void> => drawn(view);

async function open(options: Partial<WebviewOptions> = {}): Promise<void> {
  view = await show({ height: 1250, ...options });
  await view.post({ type: 'runs', title: 'Methods on arithmetic', runs: compareRuns() });
  await settle();
}

const sent = (): Promise<CompareViewMessage[]> => view.sent<CompareViewMessage>();

async function exported(label: string): Promise<string> {
  await view.page.click(`button:has-text("${label}")`);
  const last = (await sent()).at(-1);
  return last?.type === 'export' ? last.text : '';
}

describe.each(themes)('in $name', (theme) => {
  it('draws curves, Pareto plot and table with readable text', async () => {
    await open({ theme });
    await view.page.hover('[data-chart=loss] .chart-plot', { position: { x: 300, y: 100 } });
    await settle();
    await view.screenshot(`compare-${theme.name}`);
    expect(await lowContrast(view.page)).toEqual([]);
    expect(await faintIcons(view.page)).toEqual([]);
    const [ink] = await canvasInk(view.page);
    expect(ink).toBeGreaterThan(0.01);
    // The first group's mark and the second's, each once in the plot and once in its legend.
    expect(await view.page.locator('.pareto svg circle').count()).toBe(2);
    expect(await view.page.locator('.pareto svg rect[height="10"]').count()).toBe(2);
    expect(await view.page.locator('.groups tbody tr').count()).toBe(3);
    expect(await view.page.textContent('.groups tbody')).toContain('1,131,392');
  });
});

describe('layout', () => {
  it.each([
    [1280, 1],
    [1280, 2],
    [480, 1],
  ])('nothing overflows at %i pixels and zoom %i', async (width, zoom) => {
    await open({ width, zoom });
    expect(await overflowing(view.page)).toEqual([]);
    // What explains the table can be read without scrolling it.
    const words = (await view.page.locator('.groups caption span').boundingBox())!;
    const seen = (await view.page.locator('.groups').boundingBox())!;
    expect(words.x + words.width).toBeLessThanOrEqual(seen.x + seen.width);
    await view.screenshot(`compare-${width}-zoom${zoom}`);
  });
});

describe('the drawings', () => {
  it.each([1800, 1280, 700])('reach from side to side at %i pixels, unscaled', async (width) => {
    await open({ width });
    // From wide to narrow and back, as a side bar that opens and closes.
    for (const now of [width, 640, width]) {
      await view.page.setViewportSize({ width: now, height: 1250 });
      await settle();
      await settle();
    }
    const room = await view.page.locator('.pareto').evaluate((e) => e.getBoundingClientRect());
    const figure = (await view.page.locator('.pareto svg').boundingBox())!;
    expect(figure.x).toBe(room.x);
    expect(figure.width).toBeCloseTo(room.width, 0);
    const drawnWidth = await view.page.locator('.pareto svg').getAttribute('viewBox');
    expect(Number(drawnWidth?.split(' ')[2])).toBeCloseTo(figure.width, 0);
    // The legend ends where the figure does, and begins where the plot ends.
    const texts = await view.page
      .locator('.pareto svg text')
      .evaluateAll((all) => all.map((text) => text.getBoundingClientRect().right));
    expect(Math.max(...texts)).toBeLessThan(room.right);
    expect(Math.max(...texts)).toBeGreaterThan(room.right - 60);
    const axis = (await view.page.locator('.pareto svg line').first().boundingBox())!;
    const marks = view.page.locator('.pareto svg circle');
    expect((await marks.last().boundingBox())!.x - (axis.x + axis.width)).toBeLessThan(40);
    const chart = (await view.page.locator('[data-chart=loss] canvas').boundingBox())!;
    const card = (await view.page.locator('[data-chart=loss] .chart-plot').boundingBox())!;
    expect(chart.width).toBeCloseTo(card.width, 0);
    await view.screenshot(`compare-wide-${width}`);
  });
});

it('tells the values of the evaluation nearest to the pointer, and which one it is', async () => {
  await open();
  const plot = (await view.page.locator('[data-chart=loss] .u-over').boundingBox())!;
  // Evaluated every 20 steps, to 200.
  await view.page.mouse.move(plot.x + (plot.width * 47) / 200, plot.y + 30);
  await settle();
  expect(await view.page.textContent('[data-chart=loss] .chart-at')).toBe('Step 40');
  const losses = compareRuns().slice(0, 3);
  const mean = losses.reduce((sum, { curve }) => sum + curve.loss[2]!, 0) / losses.length;
  expect(await view.page.textContent('[data-chart=loss] .legend .value >> nth=0')).toContain(
    mean.toFixed(4),
  );
  const cursor = (await view.page.locator('[data-chart=loss] .chart-cursor').boundingBox())!;
  expect(Math.abs(cursor.x - (plot.x + (plot.width * 40) / 200))).toBeLessThan(2);
});

describe('the guard', () => {
  it('hides numbers of different quantities, names the cause, and shows them when asked', async () => {
    await open();
    const runs = compareRuns();
    const other = { ...runs[8]!, facts: { ...facts, validationData: '9'.repeat(64) } };
    await view.post({ type: 'runs', title: 'Mixed', runs: [...runs.slice(0, 8), other] });
    await settle();
    const text = (await view.page.textContent('.notice.error')) ?? '';
    expect(text).toContain('validation data differs');
    expect(text).toContain(other.id);
    expect(await view.page.isVisible('.groups')).toBe(false);
    await view.screenshot('compare-refused');
    await view.page.click('text=Show Anyway');
    await settle();
    expect(await view.page.isVisible('.groups')).toBe(true);
    expect(await view.page.textContent('.notice.warning')).toContain('validation data differs');
  });

  it('flags another budget without hiding anything', async () => {
    await open();
    const [first, ...rest] = compareRuns();
    const longer = { ...first!, facts: { ...facts, sequencesSeen: 6400 } };
    await view.post({ type: 'runs', title: 'Budget', runs: [longer, ...rest] });
    await settle();
    expect(await view.page.textContent('.notice.warning')).toContain('training budget');
    expect(await view.page.isVisible('.groups')).toBe(true);
  });
});

describe('use', () => {
  it('says it is ready, then loads, and asks for a choice', async () => {
    view = await show();
    expect(await view.page.textContent('.notice')).toContain('Reading the runs');
    await view.post({ type: 'runs', title: '', runs: [] });
    expect(await view.page.textContent('.notice')).toContain('Nothing to compare yet');
    await view.page.click('text=Choose…');
    expect(await sent()).toEqual([{ type: 'ready' }, { type: 'choose' }]);
    await view.screenshot('compare-empty');
  });

  it('keeps names text, never markup', async () => {
    await open();
    const evil = compareRuns().map((run) => ({ ...run, method: '<img src=x onerror=alert(1)>' }));
    await view.post({ type: 'runs', title: '<b>bold</b>', runs: evil });
    await settle();
    expect(await view.page.locator('img, h1 b').count()).toBe(0);
    expect(await view.page.textContent('h1')).toBe('<b>bold</b>');
    expect(await view.page.textContent('.pareto svg')).toContain('<img');
  });

  it('ignores what it does not understand', async () => {
    await open();
    for (const junk of [null, 7, { type: 'runs', title: 'x', runs: [{}] }]) await view.post(junk);
    await settle();
    expect(await view.page.textContent('h1')).toBe('Methods on arithmetic');
  });

  it('switches the axis, keeps the choice, and hides a group from the drawings', async () => {
    await open();
    await view.page.selectOption('select', 'elapsed');
    await view.page.click('.groups input >> nth=1');
    await settle();
    expect(await view.state()).toMatchObject({ axis: 'elapsed', log: false });
    expect(await view.page.locator('[data-chart=loss] .legend li').count()).toBe(2);
    expect(await view.page.locator('.groups tbody tr').count()).toBe(3);
    // The box that was pressed keeps the focus although the table was rebuilt.
    expect(await view.page.evaluate(() => document.activeElement?.getAttribute('type'))).toBe(
      'checkbox',
    );
  });

  it('is used by keyboard alone: the cursor of the curves', async () => {
    await open();
    await view.page.focus('[data-chart=loss] .chart-plot');
    await view.page.keyboard.press('Home');
    await settle();
    const label = (): Promise<string | null> =>
      view.page.getAttribute('[data-chart=loss] .chart-plot', 'aria-label');
    expect(await label()).toContain('Step 0');
    await view.page.keyboard.press('ArrowRight');
    expect(await label()).toContain('Step 20');
  });

  it('reaches every control by Tab, each with a name', async () => {
    await open();
    const stops = (await tabStops(view.page)).join('\n');
    for (const name of ['Choose…', 'Step', 'Log scale', 'Curves SVG', 'LaTeX', 'Validation loss']) {
      expect(stops).toContain(name);
    }
    for (const group of ['DoTA', 'LoRA', 'Full fine-tuning']) {
      expect(stops).toContain(`Draw ${group}`);
    }
  });

  it('exports figures and tables with everything that is shown', async () => {
    await open();
    const curves = await exported('Curves SVG');
    expect(curves).toMatch(/^<svg xmlns/);
    expect(curves.match(/<polygon/g)).toHaveLength(3);
    expect(await exported('Pareto SVG')).toContain('trainable parameters');
    expect((await exported('CSV')).trimEnd().split('\r\n')).toHaveLength(10);
    expect(await exported('Markdown')).toContain('| DoTA | 3 | 18176 |');
    expect(await exported('LaTeX')).toContain('\\begin{tabular}');
  });

  it('shows how far a running study is', async () => {
    await open();
    await view.post({ type: 'progress', text: 'Running: DoTA', done: 3, total: 12 });
    expect(await view.page.textContent('[role=status]')).toContain('3 of 12');
    await view.post({ type: 'progress', text: 'Done', done: 12, total: 12 });
    expect(await view.page.isVisible('[role=status]')).toBe(false);
  });
});
