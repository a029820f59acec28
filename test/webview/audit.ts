/** Checks of what is on screen, run inside the page. */
import type { Frame, Page } from 'playwright-core';

export interface Contrast {
  text: string;
  ratio: number;
  color: string;
  background: string;
}

/**
 * Contrast (WCAG 2.2) of every visible text against what is behind it, worst first; only those below
 * `least`. Disabled controls are exempt, as in WCAG.
 */
export async function lowContrast(
  page: Page | Frame,
  least = 4.5,
  within = 'body',
): Promise<Contrast[]> {
  return (await contrasts(page, 'text', within)).filter(({ ratio }) => ratio < least);
}

/** Contrast of every visible icon inside these elements, worst first; `text` is its name and row. */
export function iconContrasts(page: Page | Frame, within = 'body'): Promise<Contrast[]> {
  return contrasts(page, 'icons', within);
}

/** Icons that cannot be told from what lies behind them (WCAG 2.2, 1.4.11: 3 to 1). */
export async function faintIcons(page: Page | Frame, within = 'body'): Promise<string[]> {
  return (await iconContrasts(page, within))
    .filter(({ ratio }) => ratio < 3)
    .map(({ ratio, text, color, background }) => `${ratio} ${text}: ${color} on ${background}`);
}

function contrasts(
  page: Page | Frame,
  what: 'text' | 'icons',
  within: string,
): Promise<Contrast[]> {
  return page.evaluate(
    ([kind, roots]) => {
      type Color = [number, number, number, number];
      const parse = (text: string): Color => {
        const parts = text.match(/-?[\d.]+(e-?\d+)?/g)?.map(Number) ?? [];
        const scale = text.startsWith('color(') ? 1 : 255;
        const [r = 0, g = 0, b = 0, a = 1] = parts;
        return [r / scale, g / scale, b / scale, text === 'transparent' || text === 'none' ? 0 : a];
      };
      const over = (top: Color, under: Color): Color => {
        const a = top[3];
        return [0, 1, 2]
          .map((i) => (top[i] ?? 0) * a + (under[i] ?? 0) * (1 - a))
          .concat(1) as Color;
      };
      const luminance = (c: Color): number => {
        const [r = 0, g = 0, b = 0] = c
          .slice(0, 3)
          .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const behind = (element: Element): Color => {
        const layers: Color[] = [];
        for (let e: Element | null = element; e !== null; e = e.parentElement) {
          if (e.classList.contains('cell')) {
            const rect = e.querySelector('rect');
            if (rect !== null) layers.push(parse(getComputedStyle(rect).fill));
          }
          layers.push(parse(getComputedStyle(e).backgroundColor));
        }
        return layers.reduceRight((under, top) => over(top, under), [1, 1, 1, 1] as Color);
      };
      const opacity = (element: Element): number => {
        let product = 1;
        for (let e: Element | null = element; e !== null; e = e.parentElement)
          product *= Number(getComputedStyle(e).opacity);
        return product;
      };
      /** Colour and name of what is looked for; undefined for any other element. */
      const drawn = (element: Element): { color: string; name: string } | undefined => {
        if (kind === 'text') {
          const text = [...element.childNodes]
            .filter((n) => n.nodeType === Node.TEXT_NODE)
            .map((n) => n.textContent ?? '')
            .join('')
            .trim();
          if (text === '' || element.closest('title, option, script') !== null) return undefined;
          const style = getComputedStyle(element);
          return { color: element instanceof SVGElement ? style.fill : style.color, name: text };
        }
        const glyph = getComputedStyle(element, '::before');
        if (!element.classList.contains('codicon') || !/^".+"$/.test(glyph.content))
          return undefined;
        const icon = [...element.classList].find((c) => c.startsWith('codicon-')) ?? '';
        const label = element.closest('[aria-label]')?.getAttribute('aria-label') ?? '';
        return { color: glyph.color, name: `${icon.slice(8)} ${label}`.trim() };
      };
      const found: { text: string; ratio: number; color: string; background: string }[] = [];
      for (const root of document.querySelectorAll(roots)) {
        for (const element of root.querySelectorAll('*')) {
          const what = drawn(element);
          if (what === undefined) continue;
          if (element.closest(':disabled, .disabled, [aria-disabled="true"]') !== null) continue;
          const box = element.getBoundingClientRect();
          if (box.width < 2 || box.height < 2) continue;
          if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true }))
            continue;
          const back = behind(element);
          const [r, g, b, a] = parse(what.color);
          const front: Color = [r, g, b, a * opacity(element)];
          const [x, y] = [luminance(over(front, back)), luminance(back)];
          const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
          found.push({
            text: what.name.slice(0, 60),
            ratio: Math.round(ratio * 100) / 100,
            color: what.color,
            background: back.map((v) => Math.round(v * 255)).join(' '),
          });
        }
      }
      return found.sort((p, q) => p.ratio - q.ratio);
    },
    [what, within] as const,
  );
}

/** Elements that stick out of the window sideways, or whose text is cut off without a scroll bar. */
export async function overflowing(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    const found: string[] = [];
    if (document.documentElement.scrollWidth > width + 1) {
      found.push(`document: ${document.documentElement.scrollWidth} > ${width}`);
    }
    for (const element of document.body.querySelectorAll('*')) {
      if (!(element as HTMLElement).checkVisibility() || element.closest('.sr-only') !== null)
        continue;
      let scrolls = false;
      for (let e = element.parentElement; e !== null; e = e.parentElement) {
        if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX)) scrolls = true;
      }
      const box = element.getBoundingClientRect();
      const name = `${element.tagName.toLowerCase()}.${element.getAttribute('class') ?? ''} "${(element.textContent ?? '').slice(0, 30)}"`;
      if (!scrolls && box.width > 0 && box.right > width + 1)
        found.push(`${name}: right ${box.right} > ${width}`);
      const style = getComputedStyle(element);
      // Shortened with an ellipsis is meant (the full text is in the tooltip); cut off is not.
      if (
        element instanceof HTMLElement &&
        style.overflowX === 'hidden' &&
        style.textOverflow !== 'ellipsis' &&
        element.scrollWidth > element.clientWidth + 1
      ) {
        found.push(`${name}: cut off, ${element.scrollWidth} > ${element.clientWidth}`);
      }
    }
    return found;
  });
}

/** Share of pixels of each visible canvas that differ from its most common colour. */
export async function canvasInk(page: Page): Promise<number[]> {
  return page.evaluate(() =>
    [...document.querySelectorAll('canvas')]
      .filter((c) => c.checkVisibility() && c.width > 0)
      .map((canvas) => {
        const data = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data;
        if (data === undefined) return 0;
        const words = new Uint32Array(data.buffer);
        const counts = new Map<number, number>();
        for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
        return 1 - Math.max(...counts.values()) / words.length;
      }),
  );
}

/** Presses Tab until the focus returns to where it was first; a short name of each stop. */
export async function tabStops(page: Page, most = 400): Promise<string[]> {
  const stops: string[] = [];
  for (let i = 0; i < most; i++) {
    await page.keyboard.press('Tab');
    const name = await page.evaluate(() => {
      const e = document.activeElement;
      if (e === null || e === document.body) return '';
      return (
        e.getAttribute('aria-label') ??
        e.closest('label')?.textContent?.trim() ??
        e.textContent?.trim().slice(0, 60) ??
        e.tagName
      );
    });
    if (name === '') break;
    stops.push(name);
  }
  return stops;
}
