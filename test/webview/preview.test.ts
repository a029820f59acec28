import { describe, expect, it } from 'vitest';
import { faintIcons, lowContrast, overflowing, tabStops } from './audit';
import type { Webview, WebviewOptions } from './harness';
import { page, report, row, settings } from './previewData';
import { testPanel } from './testPanel';
import { themes } from './themes';

const source = { config: '/home/ada/project/run.dota.json' };
const show = testPanel('preview');
let view: Webview;

async function open(change: Partial<WebviewOptions> = {}): Promise<void> {
  view = await show(change);
  await view.post({ type: 'init', source });
  await view.post({ type: 'busy', task: 'count', running: true, cancelled: false });
  await view.post({ type: 'settings', settings });
  await view.post({ type: 'page', page, offset: 0 });
}

async function complete(): Promise<void> {
  await view.post({ type: 'report', report: report() });
  await view.post({ type: 'busy', task: 'count', running: false, cancelled: false });
}

const text = (selector: string): Promise<string | null> => view.page.textContent(selector);
const last = async (): Promise<unknown> => (await view.sent()).at(-1);

describe.each(themes)('in $name', (theme) => {
  it('shows rows while it still counts, then all counts', async () => {
    view = await show({ theme });
    expect(await text('.rows')).toContain('Reading rows');
    await view.close();
    await open({ theme });
    const partial = report({ partial: true, fraction: 0.31, rows: 31_000 });
    await view.post({ type: 'report', report: partial });
    expect(await text('.progress')).toContain('Partial: counted 31,000 rows, 31 % of the file');
    await view.screenshot(`preview-partial-${theme.name}`);
    expect(await lowContrast(view.page)).toEqual([]);
    expect(await faintIcons(view.page)).toEqual([]);
    await complete();
    expect(await view.page.locator('.progress').isVisible()).toBe(false);
    await view.screenshot(`preview-${theme.name}`);
    expect(await lowContrast(view.page)).toEqual([]);
    expect(await faintIcons(view.page)).toEqual([]);
  });

  it('tells trained text, context and special tokens apart without colour', async () => {
    await open({ theme });
    const look = (selector: string): Promise<string[]> =>
      view.page
        .locator(selector)
        .first()
        .evaluate((node) => {
          const style = getComputedStyle(node);
          return [style.borderBottomStyle, style.borderBottomWidth, style.borderTopStyle];
        });
    const trained = await look('.row .run.trained');
    expect(trained[0]).toBe('solid');
    expect(Number.parseFloat(trained[1]!)).toBeGreaterThanOrEqual(2);
    expect((await look('.row .run.context'))[0]).toBe('none');
    expect((await look('.row .token.special'))[2]).toBe('solid');
  });
});

describe('layout', () => {
  it.each([
    [1280, 2],
    [700, 1],
    [480, 1],
  ])('nothing overflows at %i pixels and zoom %i', async (width, zoom) => {
    await open({ width, zoom });
    await complete();
    await view.screenshot(`preview-${width}-zoom${zoom}`);
    expect(await overflowing(view.page)).toEqual([]);
  });
});

describe('rows', () => {
  it('shows line ends, tabs and control characters as signs', async () => {
    await open();
    const tokens = [
      { text: 'a\n\tb\u001b', id: 1, trained: false, special: false },
      { text: '', id: 2, trained: true, special: false },
      { text: '<b>é', id: 3, trained: true, special: false },
    ];
    const odd = { index: 0, line: 7, sequences: [tokens], remarks: [] };
    await view.post({ type: 'page', page: { start: 0, rows: [odd], more: false }, offset: 0 });
    const shown = await view.page.locator('.row .token').allTextContents();
    expect(shown).toEqual(['a↵\n→\tb\ufffd', '·', '<b>é']);
    expect(await view.page.getAttribute('.row .token >> nth=0', 'title')).toBe('id 1');
  });

  it('says what is trained to a screen reader, and why a row is dropped', async () => {
    await open();
    const tokens = view.page.locator('.row >> nth=0 >> .tokens');
    expect(await tokens.getAttribute('aria-label')).toBe('Tokens of row 1');
    expect(await tokens.locator('mark .sr-only').first().textContent()).toBe(' trained: ');
    expect(await text('.row >> nth=2')).toContain('Dropped: the answer is blank.');
    expect(await text('.row >> nth=2 >> .row-head')).toContain('dropped');
  });

  it('opens the file at a row', async () => {
    await open();
    await view.page.click('.row >> nth=1 >> button');
    expect(await last()).toEqual({ type: 'openRow', line: 2 });
  });

  it('turns pages and goes to a row', async () => {
    await open();
    expect(await text('.rows-head .number')).toBe('1–20');
    expect(await view.page.isDisabled('button:has-text("Previous")')).toBe(true);
    await view.page.click('button:has-text("Next")');
    expect(await last()).toEqual({ type: 'page', offset: 20 });
    await view.post({
      type: 'page',
      page: { start: 20, rows: [row(20)], more: false },
      offset: 20,
    });
    expect(await text('.rows-head .number')).toBe('21–21');
    expect(await view.page.isDisabled('button:has-text("Next")')).toBe(true);
    await view.page.fill('input[aria-label="Go to row"]', '500');
    await view.page.keyboard.press('Enter');
    expect(await last()).toEqual({ type: 'page', offset: 499 });
  });
});

describe('counts', () => {
  it('filter the rows by a click, and show all again by a second', async () => {
    await open();
    await complete();
    expect(await text('.flag >> nth=0')).toBe('1,312Truncated');
    await view.page.click('.flag:has-text("Empty")');
    expect(await last()).toEqual({ type: 'page', offset: 0, filter: 'empty' });
    const rows = [page.rows[2]!];
    await view.post({
      type: 'page',
      page: { start: 0, rows, more: false },
      offset: 0,
      filter: 'empty',
    });
    expect(await text('.rows-head h2')).toBe('Rows: Empty');
    expect(await view.page.getAttribute('.flag:has-text("Empty")', 'aria-pressed')).toBe('true');
    await view.page.click('.flag:has-text("Empty")');
    expect(await last()).toEqual({ type: 'page', offset: 0 });
    // There is nothing to filter by.
    expect(await view.page.isDisabled('.flag:has-text("Nothing to learn")')).toBe(true);
  });

  it('can be cancelled, and stay marked partial', async () => {
    await open();
    await view.post({ type: 'report', report: report({ partial: true, fraction: 0.5 }) });
    await view.page.click('button:has-text("Cancel")');
    expect(await last()).toEqual({ type: 'cancel' });
    await view.post({ type: 'busy', task: 'count', running: false, cancelled: true });
    expect(await text('.progress')).toContain('Partial: counting was cancelled at 50 %');
    expect(await view.page.locator('button:has-text("Cancel")').isVisible()).toBe(false);
  });

  it('mark max_length in the histogram and give it as a table', async () => {
    await open();
    await complete();
    expect(await text('.limit-text')).toBe('max_length 256');
    const [limit, width] = await view.page
      .locator('.histogram-svg')
      .evaluate((node) => [
        Number(node.querySelector('.limit')?.getAttribute('x1')),
        Number(node.getAttribute('viewBox')?.split(' ')[2]),
      ]);
    // The axis ends with the last bin, at 625 tokens.
    expect(limit! / width!).toBeCloseTo(256 / 625, 3);
    expect(await view.page.getAttribute('.histogram-svg', 'aria-label')).toContain('1,312 rows');
    await view.page.click('.histogram summary');
    expect(await view.page.locator('.histogram tbody tr').count()).toBe(25);
  });
});

describe('options and errors', () => {
  it('tries other options without a configuration', async () => {
    await open();
    await view.page.selectOption('select[aria-label="Loss mask"]', 'all');
    expect(await last()).toEqual({
      type: 'try',
      trial: { template: 'alpaca', lossMask: 'all', maxLength: 256 },
    });
  });

  it('keeps the rows beside an error of the counts', async () => {
    await open();
    const error = {
      code: 'data.malformed',
      message: 'Not valid JSON.',
      where: 'rows.jsonl:77',
      next: 'Correct or remove this row.',
    };
    await view.post({ type: 'error', error });
    expect(await text('[role=alert]')).toContain('rows.jsonl:77');
    expect(await view.page.locator('.row').count()).toBe(20);
  });

  it('is usable by keyboard alone, and keeps its source for a reload', async () => {
    await open();
    await complete();
    const stops = await tabStops(view.page);
    for (const name of ['Template', 'Loss mask', 'Truncated', 'Next', 'Tokens of row 1']) {
      expect(
        stops.some((stop) => JSON.stringify(stop).includes(name)),
        name,
      ).toBe(true);
    }
    expect(await view.state()).toEqual({ source });
  });
});
