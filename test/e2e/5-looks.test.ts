/** The panel and the trees in every kind of theme, at 200 % zoom, and with the keyboard alone. */
import type { Frame } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { writeSyntheticRun } from '../support/syntheticRun';
import { openRun, showCharts, title, waitForPoints } from './metricsPage';
import { Project } from './project';
import { closeBrowser, photographFailures, until, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench;
photographFailures(() => workbench);

const hostile = '<img src=x onerror="document.title=1"> $(flame) [x](command:y)';

beforeAll(async () => {
  project = await Project.create(editor, 'looks');
  const created = (day: number): string => `2026-01-0${day}T03:04:05.000Z`;
  writeSyntheticRun(project.runsFolder, {
    id: '20260102-030405-aa11',
    steps: 300,
    manifest: { createdAt: created(2), name: 'sample, arithmetic, dota r8' },
  });
  writeSyntheticRun(project.runsFolder, {
    id: '20260103-030405-bb22',
    steps: 180,
    state: 'stopped',
    manifest: { createdAt: created(3), name: hostile },
    extraRows: [{ kind: 'message', level: 'warning', text: '<script>document.title="2"</script>' }],
  });
  writeSyntheticRun(project.runsFolder, {
    id: '20260104-030405-cc33',
    steps: 240,
    state: 'running',
    manifest: { createdAt: created(4), name: 'sample, arithmetic, lora r8' },
    log: '<b>loading</b>\nstep 240\nKilled\n',
  });
  workbench = await Workbench.open(editor, project.folder);
  await workbench.openSideBar();
  await openRun(workbench, 'dota r8');
  await waitForPoints(workbench, 300);
  await openRun(workbench, 'lora r8');
  await showCharts(workbench);
});
afterAll(async () => {
  await workbench.close();
  await closeBrowser();
});

/** Texts whose contrast against what lies behind them is below the limit. */
function faintTexts(frame: Frame): Promise<string[]> {
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
function blankCharts(frame: Frame): Promise<number> {
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

/** Expects an empty list, giving the panel a moment to get there. */
async function settled(list: () => Promise<string[]>): Promise<void> {
  for (let attempt = 0; attempt < 20 && (await list()).length > 0; attempt++)
    await workbench.page.waitForTimeout(250);
  expect(await list()).toEqual([]);
}

const themes = [
  ['dark', 'Dark Modern', 'vscode-dark', 'vs-dark'],
  ['light', 'Light Modern', 'vscode-light', 'vs'],
  ['hc-dark', 'Dark High Contrast', 'vscode-high-contrast', 'hc-black'],
  ['hc-light', 'Light High Contrast', 'vscode-high-contrast-light', 'hc-light'],
] as const;

describe('the panel and the trees', () => {
  it.each(themes)('can be read in %s', async (name, theme, bodyClass, base) => {
    await workbench.setTheme(theme, base);
    await workbench.inPanel(title, async (frame) => {
      await frame.locator(`body.${bodyClass}`).waitFor();
      await until('drawn charts', async () => (await blankCharts(frame)) === 0);
      // The new colours arrive a moment after the class.
      await settled(() => faintTexts(frame));
    });
    await workbench.screenshot(`panel-${name}`);
  });

  it('shows what a run folder says as text', async () => {
    const found = await workbench.treeRow('Runs', '<img src=x').textContent();
    expect(found).toContain(hostile);
    await openRun(workbench, '<img src=x');
    await workbench.inPanel(title, async (frame) => {
      await frame.getByText(hostile).first().waitFor();
      expect(await frame.locator('img').count()).toBe(0);
      expect(await frame.title()).toBe(title);
    });
  });

  it('has no sideways scrolling at 200 % zoom', async () => {
    const size = workbench.page.viewportSize()!;
    await workbench.command('View: Close Primary Side Bar');
    await workbench.page.setViewportSize({ width: size.width / 2, height: size.height / 2 });
    try {
      await workbench.inPanel(title, async (frame) => {
        await settled(() =>
          frame.evaluate(() => {
            const limit = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= limit) return [];
            return [...document.querySelectorAll('body *')]
              .filter((e) => e.getBoundingClientRect().right > limit + 1)
              .map((e) => `${e.tagName}.${e.className} ${e.getBoundingClientRect().right}`);
          }),
        );
      });
      await workbench.screenshot('panel-zoomed');
    } finally {
      await workbench.page.setViewportSize(size);
      await workbench.openSideBar();
    }
  });

  it('can be worked with the keyboard alone', async () => {
    await workbench.inPanel(title, async (frame) => {
      const table = frame.getByRole('button', { name: 'Table' });
      const focused = (): Promise<boolean> =>
        table.evaluate((element) => element === document.activeElement);
      await frame.locator('body').press('Tab');
      for (let i = 0; i < 60 && !(await focused()); i++) await workbench.page.keyboard.press('Tab');
      expect(await focused()).toBe(true);
      await workbench.page.keyboard.press('Enter');
      await until('the table', async () => (await table.getAttribute('aria-pressed')) === 'true');
      const outline = await table.evaluate((e) => getComputedStyle(e).outlineStyle);
      expect(outline).not.toBe('none');
    });
    await workbench.command('DoTA: Focus on Runs View');
    await workbench.page.keyboard.press('Home');
    await workbench.page.keyboard.press('ArrowDown');
    await until(
      'a focused run',
      async () => (await workbench.view('Runs').locator('.monaco-list-row.focused').count()) > 0,
    );
  });
});
