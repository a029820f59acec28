/** The explorer's numbers for the whole model, and its comparison across layers. */
import { describe, expect, it } from 'vitest';
import type { ExplorerViewMessage } from '../../src/protocol/explorerPanel';
import { estimate, prepare } from '../../webview/explorer/cut';
import { formatBytes, formatCount } from '../../webview/shared/format';
import { lowContrast, overflowing } from './audit';
import { model, modules, options, result, training } from './explorerData';
import type { Webview, WebviewOptions } from './harness';
import { testPanel } from './testPanel';
import { themes } from './themes';

const all = modules();
const show = testPanel('explorer');
let view: Webview;

async function settle(): Promise<void> {
  // Longer than the delay with which the table of modules follows.
  await view.page.waitForTimeout(260);
}

async function open(change: Partial<WebviewOptions> = {}): Promise<void> {
  view = await show(change);
  await view.post({ type: 'init', model, modules: all, options });
  await view.post({ type: 'training', training });
  await view.post({ type: 'results', options, results: all.map((m) => result(m)) });
  await settle();
}

const sent = (): Promise<ExplorerViewMessage[]> => view.sent<ExplorerViewMessage>();

describe('the whole model', () => {
  const total = async (label: string): Promise<string> =>
    (await view.page.textContent(`.totals .tile:has(dt:text-is("${label}")) .value`)) ?? '';

  it('shows what a slider does to error, parameters, file and memory before anything is asked', async () => {
    await open();
    const shown = async (): Promise<string[]> =>
      Promise.all(
        ['Relative error', 'Trained parameters', 'Adapter file', 'Training memory'].map(total),
      );
    const before = await shown();
    const parameters = (rank: number): number =>
      all.reduce((sum, m) => {
        const bonds = [rank, rank];
        return sum + estimate(prepare(result(m)), bonds).parameters;
      }, 0);
    expect(before[1]).toBe(formatCount(parameters(32)));
    expect(before[2]).toBe(formatBytes(4 * parameters(32)));
    const memory = (rank: number): number =>
      training.fixedBytes[0]! + 18 * 11008 * 4096 + 20 * parameters(rank);
    expect(before[3]).toBe(`≈ ${formatBytes(memory(32))}`);
    await view.page.focus('.controls input[type=range] >> nth=0');
    for (let k = 0; k < 4; k++) await view.page.keyboard.press('PageUp');
    await settle();
    const after = await shown();
    const rank = Number(await view.page.inputValue('.controls input[type=number]'));
    expect(rank).toBeGreaterThan(64);
    expect(after[0]).toMatch(/^≈ /);
    expect(parseFloat(after[0]!.slice(2))).toBeLessThan(parseFloat(before[0]!));
    expect(after[1]).toBe(formatCount(parameters(rank)));
    expect(after[3]).toBe(`≈ ${formatBytes(memory(rank))}`);
    expect(after[3]).not.toBe(before[3]);
  });

  it('shows one module in all layers, and two layers side by side, with words and a table', async () => {
    await open();
    const words = (): Promise<string | null> =>
      view.page.getAttribute('.across-frame svg', 'aria-label');
    expect(await words()).toContain('q_proj keeps more than both references in 32 of 32 layers');
    expect(await view.page.locator('.across .dot').count()).toBe(32);
    await view.page.locator('.across .dot >> nth=5').click();
    await settle();
    expect(await view.page.textContent('.module h2 >> nth=0')).toBe(all[5 * 7]!.name);
    await view.page.click('.across button:has-text("Two layers")');
    await view.page.selectOption('.across select', '9');
    await settle();
    expect(await words()).toMatch(/^Layer 5 keeps .*; layer 9 keeps /);
    expect(await view.page.locator('.across .dot').count()).toBe(14);
    await view.screenshot('explorer-two-layers-dark');
    await view.page.click('.across summary');
    expect(await view.page.locator('.across tbody tr').count()).toBe(14);
    await view.page.click('.across button[aria-label="Comparison as SVG"]');
    expect((await sent()).filter((m) => m.type === 'exportText')).toHaveLength(1);
    const state = await view.state();
    await view.close();
    await open({ state });
    expect(await words()).toMatch(/^Layer 5 keeps .*; layer 9 keeps /);
  });
});

it('calls nothing structure that was compared with the Gaussian alone, and offers the comparison', async () => {
  await open();
  const first = all[0]!;
  const whole = result(first);
  const half = { ...whole, references: whole.references.slice(0, 1) };
  await view.post({ type: 'results', options, results: [half] });
  await settle();
  const tile = '.module >> nth=0 >> .tile:has(dt:text-is("Structure")) .value';
  expect(await view.page.textContent(tile)).toBe('–');
  const legend = view.page.locator('.module >> nth=0 >> .spectrum-legend');
  expect(await legend.locator('text=same spectrum').isVisible()).toBe(false);
  await view.page.click('button:has-text("Compare with Random Matrices")');
  expect((await sent()).at(-1)).toEqual({ type: 'decompose', modules: [first.name], options });
  await view.post({ type: 'results', options, results: [whole] });
  await settle();
  expect(await view.page.textContent(tile)).toContain('points');
  expect(await legend.locator('text=same spectrum').isVisible()).toBe(true);
  expect(await view.page.isVisible('button:has-text("Compare with Random Matrices")')).toBe(false);
});

it('keeps words readable on cells when the theme changes', async () => {
  await open({ theme: themes[1]! });
  const next = themes[2]!;
  await view.page.evaluate(({ variables, bodyClass }) => {
    document.documentElement.removeAttribute('style');
    for (const [key, value] of Object.entries(variables))
      document.documentElement.style.setProperty(`--vscode-${key}`, value);
    document.body.className = bodyClass;
  }, next);
  await settle();
  expect(await lowContrast(view.page)).toEqual([]);
});

describe.each(themes)('in $name', (theme) => {
  it('two layers side by side are readable, wide and narrow', async () => {
    await open({ theme, height: 1100 });
    await view.page.click('.across button:has-text("Two layers")');
    await settle();
    await view.screenshot(`explorer-layers-${theme.name}`);
    expect(await lowContrast(view.page)).toEqual([]);
    await view.page.setViewportSize({ width: 480, height: 900 });
    await settle();
    expect(await overflowing(view.page)).toEqual([]);
  });
});
