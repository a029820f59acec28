/** What can be measured of how a panel looks. */
import type { Frame, Page } from 'playwright-core';
import { expect } from 'vitest';
import { lowContrast } from '../webview/audit';
import { until } from './workbench';

/** Texts whose contrast against what lies behind them is below the limit. */
export async function faintTexts(frame: Frame): Promise<string[]> {
  return (await lowContrast(frame)).map(({ ratio, text }) => `${ratio} ${text}`);
}

/**
 * Contrast of the runs' state icons, whose colours we choose, against the rows that they stand in, least
 * first: `2.1 crashed`.
 */
export function iconContrasts(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const parse = (text: string): number[] => text.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0];
    const luminance = (colour: readonly number[]): number => {
      const [r = 0, g = 0, b = 0] = colour.map((c) => {
        const s = c / 255;
        return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element: Element): readonly number[] => {
      for (let e: Element | null = element; e !== null; e = e.parentElement) {
        const colour = parse(getComputedStyle(e).backgroundColor);
        if ((colour[3] ?? 1) === 1) return colour;
      }
      return [255, 255, 255];
    };
    return [...document.querySelectorAll('.sidebar .custom-view-tree-node-item-icon')]
      .filter((icon) => /codicon-(pass|error|warning)\b/.test(icon.className))
      .map((icon): [number, string] => {
        const [a, b] = [
          luminance(parse(getComputedStyle(icon).color)),
          luminance(behind(icon.parentElement!)),
        ];
        const row = icon.closest('.monaco-list-row')?.textContent ?? '';
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), row];
      })
      .sort((x, y) => x[0] - y[0])
      .map(([ratio, row]) => `${ratio.toFixed(2)} ${row}`);
  });
}

/** Charts that show a single colour: nothing was drawn. */
export function blankCharts(frame: Frame): Promise<number> {
  return frame.evaluate(() => {
    const canvases = [...document.querySelectorAll('canvas')].filter((c) => c.width > 0);
    if (canvases.length === 0) return -1;
    return canvases.filter((canvas) => {
      const data = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height).data;
      const colours = new Set<number>();
      for (let i = 0; i < data.length; i += 4)
        colours.add((data[i]! << 16) | (data[i + 1]! << 8) | data[i + 2]! | (data[i + 3]! << 24));
      return colours.size < 8;
    }).length;
  });
}

/** What sticks out to the right, where the page would scroll sideways. */
export function overflowing(frame: Frame): Promise<string[]> {
  return frame.evaluate(() => {
    const limit = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= limit) return [];
    return [...document.querySelectorAll('body *')]
      .filter((e) => e.getBoundingClientRect().right > limit + 1)
      .map((e) => `${e.tagName} ${e.className} ${e.getBoundingClientRect().right}`);
  });
}

/** Expects an empty list, giving the panel time to get there: colours come after the theme's class. */
export async function settled(list: () => Promise<string[]>): Promise<void> {
  let last: string[] = [];
  await until(
    'an empty list',
    async () => {
      last = await list();
      return last.length === 0;
    },
    20_000,
  ).catch(() => undefined);
  expect(last).toEqual([]);
}

/** Short name, theme, class of a webview's body, class of the workbench. */
export const themes = [
  ['dark', 'Dark Modern', 'vscode-dark', 'vs-dark'],
  ['light', 'Light Modern', 'vscode-light', 'vs'],
  ['hc-dark', 'Dark High Contrast', 'vscode-high-contrast', 'hc-black'],
  ['hc-light', 'Light High Contrast', 'vscode-high-contrast-light', 'hc-light'],
] as const;
