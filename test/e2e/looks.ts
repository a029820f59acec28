/** What can be measured of how a panel looks. */
import type { Frame, Page } from 'playwright-core';
import { expect } from 'vitest';
import { lowContrast } from '../webview/audit';
import { until } from '../support/until';

/** Texts whose contrast against what lies behind them is below the limit. */
export async function faintTexts(where: Frame | Page, within = 'body'): Promise<string[]> {
  return (await lowContrast(where, 4.5, within)).map(({ ratio, text }) => `${ratio} ${text}`);
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
