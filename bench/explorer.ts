/**
 * The MPO explorer with a model of 32 layers of 7 modules: time to its first drawing, frames while a
 * cut is dragged with the mouse over most of its range, and a move by one key. Real Chromium, software
 * rendering; milliseconds. Prints one JSON object.
 *
 *   npm run bench -- explorer
 */
import type { Page } from 'playwright-core';
import { model, modules, options, result } from '../test/webview/explorerData';
import { launchBrowser, openWebview } from '../test/webview/harness';
import { themes } from '../test/webview/themes';
import { quantile } from './quantile';

const MOVES = 120;
const KEYS = 40;

/** Collects the time between frames into a list on the page. */
function watchFrames(page: Page): Promise<void> {
  return page.evaluate(() => {
    const frames: number[] = [];
    let last = performance.now();
    const tick = (): void => {
      const now = performance.now();
      frames.push(now - last);
      last = now;
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
    (window as unknown as { __frames: number[] }).__frames = frames;
  });
}

function takeFrames(page: Page): Promise<number[]> {
  return page.evaluate(() => {
    const { __frames: frames } = window as unknown as { __frames: number[] };
    return frames.splice(0);
  });
}

async function main(): Promise<void> {
  const browser = await launchBrowser();
  try {
    const theme = themes[0];
    if (theme === undefined) throw new Error('no theme');
    const { page, post, close } = await openWebview(browser, 'explorer', { theme });
    const list = modules();
    const results = list.map((m) => result(m));
    const started = performance.now();
    await post({ type: 'init', model, modules: list, options });
    await post({ type: 'results', options, results });
    await page.locator('.spectrum-frame svg >> nth=0').waitFor();
    const first = performance.now() - started;
    const plot = page.locator('.spectrum-frame svg >> nth=0');
    await plot.scrollIntoViewIfNeeded();
    const box = await plot.boundingBox();
    if (box === null) throw new Error('no spectrum');
    await watchFrames(page);
    await page.mouse.move(box.x + 60, box.y + 60);
    await page.mouse.down();
    await takeFrames(page);
    await page.mouse.move(box.x + box.width - 60, box.y + 60, { steps: MOVES });
    const dragged = await takeFrames(page);
    await page.mouse.up();
    await page.locator('.cut >> nth=0').focus();
    await takeFrames(page);
    for (let k = 0; k < KEYS; k++) await page.keyboard.press('ArrowLeft');
    const keyed = await takeFrames(page);
    await close();
    console.log(
      JSON.stringify({
        modules: list.length,
        first_drawing_ms: Math.round(first),
        drag_frame_ms: quantile(dragged, 0.5),
        drag_frame_p90_ms: quantile(dragged, 0.9),
        drag_frame_max_ms: quantile(dragged, 1),
        key_frame_ms: quantile(keyed, 0.5),
        key_frame_p90_ms: quantile(keyed, 0.9),
      }),
    );
  } finally {
    await browser.close();
  }
}

await main();
