import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { model, modules, options, result } from './explorerData';
import { launchBrowser, openWebview } from './harness';
import { themes } from './themes';

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
});
afterAll(async () => {
  await browser.close();
});

describe.each(themes)('explorer in $name', (theme) => {
  it('draws', async () => {
    const view = await openWebview(browser, 'explorer', { theme, height: 1100 });
    const all = modules();
    await view.post({ type: 'init', model, modules: all, options });
    await view.post({ type: 'results', options, results: all.slice(0, 170).map((m) => result(m)) });
    await view.post({
      type: 'progress',
      running: true,
      done: 170,
      total: 224,
      module: all[170]!.name,
      secondsLeft: 47,
    });
    await view.page.waitForTimeout(500);
    await view.screenshot(`explorer-${theme.name}`);
    await view.post({ type: 'progress', running: false, done: 224, total: 224 });
    const four = { ...options, cores: 4 };
    await view.post({ type: 'results', options, results: all.slice(170).map((m) => result(m)) });
    await view.post({ type: 'results', options: four, results: [result(all[2]!, four)] });
    await view.page.selectOption('.compare-row select', all[2]!.name);
    await view.page.waitForTimeout(200);
    await view.screenshot(`explorer-compare-${theme.name}`);
    expect(view.problems).toEqual([]);
    await view.close();
  });
});
