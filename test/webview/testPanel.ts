/** What every file of panel tests begins and ends with. */
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import {
  launchBrowser,
  openWebview,
  type PanelName,
  type Webview,
  type WebviewOptions,
} from './harness';
import { themes } from './themes';

/**
 * One browser for the file; what a test opened is closed after it, and no script error and no breach of
 * the content security policy may be left behind.
 * @returns opens the panel, in the dark theme where nothing else is said
 */
export function testPanel(
  name: PanelName,
): (options?: Partial<WebviewOptions>) => Promise<Webview> {
  let browser: Browser;
  const opened: Webview[] = [];
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(async () => {
    await browser.close();
  });
  afterEach(async () => {
    const views = opened.splice(0);
    for (const view of views) await view.close();
    expect(views.flatMap(({ problems }) => problems)).toEqual([]);
  });
  return async (options = {}) => {
    const view = await openWebview(browser, name, { theme: themes[0]!, ...options });
    opened.push(view);
    return view;
  };
}

/** Resolves when what was asked for has been drawn. */
export async function drawn(view: Webview): Promise<void> {
  await view.page.evaluate(
    () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
  );
}
