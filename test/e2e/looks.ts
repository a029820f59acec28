/** What can be measured of how a panel looks. */
import type { Frame } from 'playwright-core';
import { expect } from 'vitest';
import { until } from './workbench';

/** Texts whose contrast against what lies behind them is below the limit. */
export function faintTexts(frame: Frame): Promise<string[]> {
  return frame.evaluate(() => {
    type Colour = [number, number, number, number];
    const parse = (text: string): Colour => {
      // What color-mix() computes to: components in [0, 1].
      const mixed = /color\(srgb ([^)]+)\)/
        .exec(text)?.[1]
        ?.split(/[\s/]+/)
        .map(Number);
      if (mixed !== undefined) {
        const [r = 0, g = 0, b = 0, a = 1] = mixed;
        return [r * 255, g * 255, b * 255, a];
      }
      const parts =
        /rgba?\(([^)]+)\)/
          .exec(text)?.[1]
          ?.split(/[,/ ]+/)
          .map(Number) ?? [];
      return [parts[0] ?? 0, parts[1] ?? 0, parts[2] ?? 0, parts[3] ?? 1];
    };
    const over = (top: Colour, below: Colour): Colour => {
      const mix = (i: 0 | 1 | 2): number => top[i] * top[3] + below[i] * (1 - top[3]);
      return [mix(0), mix(1), mix(2), 1];
    };
    const behind = (element: Element): Colour => {
      const layers: Colour[] = [];
      for (let e: Element | null = element; e !== null; e = e.parentElement)
        layers.push(parse(getComputedStyle(e).backgroundColor));
      const page = getComputedStyle(document.documentElement).getPropertyValue(
        '--vscode-editor-background',
      );
      const probe = document.createElement('i');
      probe.style.color = page;
      document.body.append(probe);
      let colour = parse(getComputedStyle(probe).color);
      probe.remove();
      for (const layer of layers.reverse()) colour = over(layer, colour);
      return colour;
    };
    const luminance = ([r, g, b]: Colour): number => {
      const linear = [r, g, b].map((c) => {
        const s = c / 255;
        return s <= 0.03928 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * linear[0]! + 0.7152 * linear[1]! + 0.0722 * linear[2]!;
    };
    const faint: string[] = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const text = node.textContent?.trim() ?? '';
      const element = node.parentElement;
      if (text === '' || element === null || element.closest('script, style') !== null) continue;
      if (!element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
      // Disabled controls are exempt (WCAG 1.4.3).
      if (element.closest(':disabled, [aria-disabled="true"]') !== null) continue;
      const back = behind(element);
      const front = over(parse(getComputedStyle(element).color), back);
      const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
      const ratio = (light! + 0.05) / (dark! + 0.05);
      if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${text.slice(0, 40)}`);
    }
    return faint;
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
