/**
 * Opens a built webview in a real Chromium, with the document, policy and colour variables that
 * VS Code gives it, and plays the extension host.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { newNonce, panelHtml } from '../../src/panels/html';
import type { EditorTheme } from './themes';

const ORIGIN = 'https://webview.test';
const screenshots = path.resolve('out/screenshots');

export { startChromium as launchBrowser } from '../support/chromium';

export type PanelName = 'metrics' | 'explorer' | 'prompt' | 'preview' | 'compare';

export interface WebviewOptions {
  theme: EditorTheme;
  width?: number;
  height?: number;
  /** What `getState` returns. */
  state?: unknown;
  /** 2 = the editor's 200 % zoom: the window shows half as many CSS pixels, each twice as large. */
  zoom?: number;
}

export interface Webview {
  page: Page;
  /** Messages that the panel sent, oldest first. */
  sent<T = { type: string }>(): Promise<T[]>;
  /** Plays the host. Typed arrays arrive as typed arrays. */
  post(message: unknown): Promise<void>;
  state(): Promise<unknown>;
  /** Console errors, uncaught exceptions and policy violations so far. */
  problems: string[];
  screenshot(name: string): Promise<void>;
  close(): Promise<void>;
}

/** Typed arrays don't survive Playwright's JSON; they travel as base64 and are rebuilt inside. */
function encode(value: unknown): unknown {
  if (value instanceof Float64Array || value instanceof Uint8Array) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return { $typed: value.constructor.name, base64: bytes.toString('base64') };
  }
  if (Array.isArray(value)) return value.map(encode);
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, encode(v)]));
  }
  return value;
}

export async function openWebview(
  browser: Browser,
  name: PanelName,
  options: WebviewOptions,
): Promise<Webview> {
  const zoom = options.zoom ?? 1;
  const context = await browser.newContext({
    viewport: {
      width: Math.round((options.width ?? 1280) / zoom),
      height: Math.round((options.height ?? 900) / zoom),
    },
    deviceScaleFactor: zoom,
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(message.text());
  });
  page.on('pageerror', (error) => {
    problems.push(String(error));
  });
  const html = panelHtml({
    title: 'DoTA',
    cspSource: ORIGIN,
    nonce: newNonce(),
    scriptUri: `${ORIGIN}/${name}.js`,
    styleUri: `${ORIGIN}/${name}.css`,
  });
  await page.route(`${ORIGIN}/**`, async (route) => {
    const file = new URL(route.request().url()).pathname.slice(1);
    if (file === '') return route.fulfill({ contentType: 'text/html', body: html });
    const full = path.resolve('dist/webview', file);
    if (!existsSync(full)) return route.fulfill({ status: 404 });
    const type = file.endsWith('.js')
      ? 'text/javascript'
      : file.endsWith('.css')
        ? 'text/css'
        : 'font/ttf';
    return route.fulfill({ contentType: type, body: readFileSync(full) });
  });
  await page.addInitScript(
    ({ variables, bodyClass, state }) => {
      const global = window as unknown as Record<string, unknown>;
      const sent: unknown[] = [];
      let kept: unknown = state;
      global.__sent = sent;
      global.__state = () => kept;
      global.acquireVsCodeApi = () => ({
        postMessage: (message: unknown) => sent.push(structuredClone(message)),
        getState: () => kept,
        setState: (next: unknown) => {
          kept = structuredClone(next);
        },
      });
      const revive = (value: unknown): unknown => {
        if (Array.isArray(value)) return value.map(revive);
        if (typeof value !== 'object' || value === null) return value;
        const fields = value as Record<string, unknown>;
        if (typeof fields.$typed === 'string') {
          const text = atob(fields.base64 as string);
          const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
          return fields.$typed === 'Float64Array' ? new Float64Array(bytes.buffer) : bytes;
        }
        return Object.fromEntries(Object.entries(fields).map(([k, v]) => [k, revive(v)]));
      };
      global.__post = (message: unknown) => {
        window.dispatchEvent(new MessageEvent('message', { data: revive(message) }));
      };
      document.addEventListener('securitypolicyviolation', (event) => {
        console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`);
      });
      const dress = (): void => {
        for (const [key, value] of Object.entries(variables)) {
          document.documentElement.style.setProperty(`--vscode-${key}`, value);
        }
        document.body.className = bodyClass;
      };
      // The editor sets both before the panel's own script runs.
      new MutationObserver((_records, observer) => {
        if (document.body !== null) {
          observer.disconnect();
          dress();
        }
      }).observe(document, { childList: true, subtree: true });
    },
    {
      variables: options.theme.variables,
      bodyClass: options.theme.bodyClass,
      state: options.state,
    },
  );
  await page.goto(`${ORIGIN}/`);
  return {
    page,
    problems,
    sent: () => page.evaluate(() => (window as unknown as { __sent: never[] }).__sent),
    post: async (message) => {
      await page.evaluate((m) => {
        (window as unknown as { __post: (m: unknown) => void }).__post(m);
      }, encode(message));
    },
    state: () => page.evaluate(() => (window as unknown as { __state: () => unknown }).__state()),
    screenshot: async (file) => {
      mkdirSync(screenshots, { recursive: true });
      // What is far below is drawn when it comes into sight.
      await page.evaluate(async () => {
        for (let y = 0; y < document.documentElement.scrollHeight; y += window.innerHeight / 2) {
          window.scrollTo(0, y);
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        }
        window.scrollTo(0, 0);
      });
      await page.screenshot({ path: path.join(screenshots, `${file}.png`), fullPage: true });
    },
    close: () => context.close(),
  };
}
