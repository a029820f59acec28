/** The panel and the trees in every kind of theme, at 200 % zoom, and with the keyboard alone. */
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { writeSyntheticRun } from '../support/syntheticRun';
import { faintIcons, iconContrasts } from '../webview/audit';
import { until } from '../support/until';
import { blankCharts, faintTexts, overflowing, settled, themes } from './looks';
import { openRun, showCharts, title, waitForPoints } from './metricsPage';
import { Project } from './project';
import { tidyUpAfter, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench;
tidyUpAfter(() => ({ project, workbench }));

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
  writeSyntheticRun(project.runsFolder, {
    id: '20260101-030405-dd44',
    steps: 60,
    state: 'failed',
    manifest: { createdAt: created(1), name: 'sample, arithmetic, full' },
  });
  workbench = await Workbench.open(editor, project.folder);
  await workbench.openSideBar();
  await openRun(workbench, 'dota r8');
  await waitForPoints(workbench, 300);
  await openRun(workbench, 'lora r8');
  await showCharts(workbench);
});

describe('the panel and the trees', () => {
  it.each(themes)('can be read in %s', async (name, theme, bodyClass, base) => {
    await workbench.setTheme(theme, base);
    await workbench.inPanel(title, async (frame) => {
      await frame.locator(`body.${bodyClass}`).waitFor();
      await until('drawn charts', async () => (await blankCharts(frame)) === 0);
      await settled(() => faintTexts(frame));
      await settled(() => faintIcons(frame));
    });
    await workbench.screenshot(`panel-${name}`);
    // What the views show of icons, with the actions that appear under the pointer.
    const { page } = workbench;
    for (const [place, expected] of [
      [workbench.view('Model').locator('.pane-header'), ['Add Model Folder', 'Refresh Models']],
      [workbench.view('Runs').locator('.pane-header'), ['Fine-tune', 'Open Metrics Panel']],
      [workbench.treeRow('Model', 'tiny'), ['Decompose Model']],
      [workbench.treeRow('Runs', 'dota r8'), ['Open Metrics of Run', 'pass ']],
      [workbench.treeRow('Runs', 'lora r8'), ['Resume Run', 'warning ']],
      [workbench.treeRow('Runs', 'arithmetic, full'), ['Open Metrics of Run', 'error ']],
    ] as const) {
      await place.hover();
      await until(`icons of ${expected.join(', ')}`, async () => {
        const shown = (await iconContrasts(page, '.sidebar .pane')).map(({ text }) => text);
        return expected.every((label) => shown.some((text) => text.includes(label)));
      });
      await settled(() => faintIcons(page, '.sidebar .pane'));
      await settled(() => faintTexts(page, '.sidebar .pane'));
    }
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
        await settled(() => overflowing(frame));
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

describe('the explorer', () => {
  const explorer = 'MPO Explorer';

  it('shows a decomposed module', async () => {
    await workbench.expand('Model', 'tiny');
    await workbench.contextMenu(workbench.treeRow('Model', 'Layer 0'), 'Decompose Layer');
    await until('all modules', async () =>
      (await workbench.treeRow('Model', 'Layer 0').textContent())?.includes('7 decomposed'),
    );
    await workbench.clearNotifications();
    await workbench.contextMenu(workbench.treeRow('Model', 'Layer 0'), 'Open MPO Explorer');
    await workbench.inPanel(explorer, (frame) => frame.locator('.cut').first().waitFor());
  });

  it.each(themes)('can be read in %s', async (name, theme, bodyClass, base) => {
    await workbench.setTheme(theme, base);
    await workbench.inPanel(explorer, async (frame) => {
      await frame.locator(`body.${bodyClass}`).waitFor();
      await settled(() => faintTexts(frame));
      // Every curve has an extent.
      const curves = await frame
        .locator('.curve.own')
        .evaluateAll((all) => all.map((curve) => curve.getBoundingClientRect().width));
      expect(curves.length).toBeGreaterThan(0);
      expect(curves.filter((width) => width < 10)).toEqual([]);
    });
    await workbench.screenshot(`explorer-${name}`);
  });

  it('has no sideways scrolling at 200 % zoom', async () => {
    const size = workbench.page.viewportSize()!;
    await workbench.command('View: Close Primary Side Bar');
    await workbench.page.setViewportSize({ width: size.width / 2, height: size.height / 2 });
    try {
      await workbench.inPanel(explorer, (frame) => settled(() => overflowing(frame)));
      await workbench.screenshot('explorer-zoomed');
    } finally {
      await workbench.page.setViewportSize(size);
    }
  });
});
