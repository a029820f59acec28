import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launchBrowser, openWebview } from './harness';
import { dotaShape, fullShape, loraShape, rows, runs } from './metricsData';
import { themes } from './themes';

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
});

describe.each(themes)('metrics panel in $name', (theme) => {
  it('draws', async () => {
    const view = await openWebview(browser, 'metrics', { theme, height: 1100 });
    const all = runs();
    const ids = all.map((r) => r.id);
    await view.post({ type: 'init', runs: all, selected: [ids[0]] });
    await view.post(rows(ids[0]!, dotaShape, 0, dotaShape.steps));
    await view.page.waitForTimeout(200);
    await view.screenshot(`metrics-one-${theme.name}`);
    await view.post({ type: 'select', runIds: [ids[0], ids[1], ids[2]] });
    await view.post(rows(ids[1]!, loraShape, 0, loraShape.steps));
    await view.post(rows(ids[2]!, fullShape, 0, fullShape.steps));
    await view.page.waitForTimeout(200);
    await view.page.hover('[data-chart=loss] .chart-plot', { position: { x: 400, y: 100 } });
    await view.page.waitForTimeout(100);
    await view.screenshot(`metrics-overlay-${theme.name}`);
    expect(view.problems).toEqual([]);
    await view.close();
  });
});
