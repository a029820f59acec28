/**
 * What the panels cost in the browser: opening a run of a million rows, a live update of it, moving the
 * cursor over it, and a list of 500 runs. Real Chromium, software rendering. Prints one JSON object;
 * times are milliseconds of script and layout. The explorer has a bench of its own.
 */
import type { Page } from 'playwright-core';
import { launchBrowser, openWebview } from '../test/webview/harness';
import { runs } from '../test/webview/metricsData';
import { themes } from '../test/webview/themes';
import { quantile } from './quantile';

const ROWS = 1_000_000;
const PIECE = 100_000;

interface MetricsFigures {
  open: number;
  updates: number[];
  hovers: number[];
  zooms: number[];
}

/** Runs in the page: feeds rows as the host would and times dispatch plus the frame that follows. */
async function feed(
  page: Page,
  runId: string,
  rows: number,
  piece: number,
): Promise<MetricsFigures> {
  return page.evaluate(
    async ({ runId: id, rows: total, piece: size }) => {
      const make = (from: number, to: number, complete: boolean): unknown => {
        const column = (f: (step: number) => number): Float64Array =>
          Float64Array.from({ length: to - from }, (_, i) => f(from + i + 1));
        const noise = (s: number): number => Math.sin(s * 12.9898) * 0.5;
        const none = new Float64Array(0);
        return {
          type: 'append',
          runId: id,
          seq: to,
          steps: {
            step: column((s) => s),
            tokens: column((s) => s * 812),
            elapsed: column((s) => s * 0.2),
            loss: column((s) => 4 / (1 + s * 1e-5) + noise(s)),
            learningRate: column((s) => 1e-3 * (1 - s / total)),
            gradNorm: column((s) => 1 + noise(s + 7)),
            tokensPerSecond: column((s) => 4000 + 100 * noise(s + 3)),
            rssMb: column((s) => 400 + noise(s)),
          },
          evals: { step: none, tokens: none, elapsed: none, loss: none },
          complete,
        };
      };
      const frame = (): Promise<number> => new Promise((done) => requestAnimationFrame(done));
      /** Time of `act` plus that of everything the page does in the next frame. */
      const cost = async (act: () => void): Promise<number> => {
        await frame();
        const before = performance.now();
        let started = 0;
        requestAnimationFrame(() => {
          started = performance.now();
        });
        act();
        const acted = performance.now() - before;
        return new Promise((done) => {
          requestAnimationFrame(() => {
            // Reading a layout property makes the browser settle what the frame changed.
            void document.body.offsetHeight;
            done(acted + performance.now() - started);
          });
        });
      };
      const post = (message: unknown): void => {
        window.dispatchEvent(new MessageEvent('message', { data: message }));
      };
      const pieces: unknown[] = [];
      for (let from = 0; from < total; from += size) {
        pieces.push(make(from, from + size, from + size >= total));
      }
      const opened = await cost(() => {
        pieces.forEach(post);
      });
      const updates: number[] = [];
      for (let i = 0; i < 20; i++) {
        const row = make(total + i, total + i + 1, true);
        updates.push(
          await cost(() => {
            post(row);
          }),
        );
      }
      const over = document.querySelector('[data-chart=loss] .u-over');
      const box = over?.getBoundingClientRect();
      const hovers: number[] = [];
      for (let i = 0; i < 20 && over !== null && box !== undefined; i++) {
        hovers.push(
          await cost(() => {
            over.dispatchEvent(
              new MouseEvent('mousemove', {
                clientX: box.left + 30 * (i + 1),
                clientY: box.top + 40,
                bubbles: true,
              }),
            );
          }),
        );
      }
      const zooms: number[] = [];
      for (let i = 0; i < 10 && over !== null && box !== undefined; i++) {
        zooms.push(
          await cost(() => {
            over.dispatchEvent(
              new WheelEvent('wheel', {
                clientX: box.left + 300,
                clientY: box.top + 40,
                deltaY: -100,
                ctrlKey: true,
                bubbles: true,
                cancelable: true,
              }),
            );
          }),
        );
      }
      return { open: opened, updates, hovers, zooms };
    },
    { runId, rows, piece },
  );
}

async function main(): Promise<void> {
  const browser = await launchBrowser();
  try {
    const theme = themes[0];
    const first = runs()[0];
    if (theme === undefined || first === undefined) throw new Error('no data');
    const metrics = await openWebview(browser, 'metrics', { theme });
    const many = Array.from({ length: 500 }, (_, i) => ({
      ...first,
      id: `run-${i}`,
      name: `Run ${i}`,
    }));
    await metrics.post({ type: 'init', runs: many, selected: ['run-0'] });
    const figures = await feed(metrics.page, 'run-0', ROWS, PIECE);
    await metrics.close();

    console.log(
      JSON.stringify({
        rows: ROWS,
        runs: many.length,
        open_ms: quantile([figures.open], 0.5),
        live_update_ms: quantile(figures.updates, 0.5),
        live_update_p90_ms: quantile(figures.updates, 0.9),
        hover_ms: quantile(figures.hovers, 0.5),
        zoom_ms: quantile(figures.zooms, 0.5),
      }),
    );
  } finally {
    await browser.close();
  }
}

await main();
