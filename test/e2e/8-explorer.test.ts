/** Decompose Model with progress and cancel, and the MPO explorer in the real editor. */
import type { Frame, Locator } from 'playwright-core';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { writeTinyModel } from '../support/tinyModel';
import { descendants, Project } from './project';
import { closeBrowser, photographFailures, until, Workbench } from './workbench';

const editor = inject('editor');
const title = 'MPO Explorer';
const layers = 32;
let project: Project;
let workbench: Workbench;
photographFailures(() => workbench);

beforeAll(async () => {
  project = Project.empty(editor, 'explorer');
  await writeTinyModel(path.join(project.folder, 'models', 'deep'), layers);
  workbench = await Workbench.open(editor, project.folder);
  await workbench.openSideBar();
  await workbench.expand('Model', 'deep');
});
afterAll(async () => {
  await workbench.close();
  await closeBrowser();
});

const decomposers = (): number[] => descendants(process.ppid, /cli\.cjs decompose/);

describe('DoTA: Decompose Model', () => {
  it('says how far it is, shows results as they come, and can be cancelled', async () => {
    await workbench.contextMenu(workbench.treeRow('Model', 'deep'), 'Decompose Model');
    const progress = workbench.notification('DoTA: Decomposing');
    const done = async (): Promise<number> => {
      const text = (await progress.textContent()) ?? '';
      return Number(/(\d+) of \d+/.exec(text)?.[1] ?? 0);
    };
    await until('ten results', async () => (await done()) >= 10);
    expect(await progress.textContent()).toContain(`of ${layers * 7}`);
    await until('the first layer', async () =>
      (await workbench.treeRow('Model', 'Layer 0').textContent())?.includes('7 decomposed'),
    );
    await workbench.screenshot('decomposing-dark');
    expect(decomposers()).not.toEqual([]);
    await progress.getByRole('button', { name: 'Cancel' }).click();
    await progress.waitFor({ state: 'detached' });
    await until('the end of the process', () => decomposers().length === 0);
    // What came before the cancellation stays; what did not come is not there.
    expect(await workbench.treeRow('Model', 'Layer 0').textContent()).toContain('7 decomposed');
    await workbench.keyInView('Model', 'End');
    const last = workbench.treeRow('Model', `Layer ${layers - 1}`);
    await last.waitFor();
    expect(await last.textContent()).not.toContain('decomposed');
  });
});

describe('the MPO explorer', () => {
  const cut = (frame: Frame): Locator => frame.locator('.cut').first();
  const value = async (frame: Frame): Promise<number> =>
    Number(await cut(frame).getAttribute('aria-valuenow'));

  it('opens on a module and shows what is known of it already', async () => {
    await workbench.keyInView('Model', 'Home');
    await workbench.expand('Model', 'Layer 0');
    await workbench.contextMenu(
      workbench.treeRow('Model', 'self_attn.q_proj'),
      'Open MPO Explorer',
    );
    await workbench.inPanel(title, async (frame) => {
      await frame.locator('h1', { hasText: 'deep' }).waitFor();
      await cut(frame).waitFor();
      expect(await value(frame)).toBe(8);
    });
    // No command was asked again for that.
    expect(decomposers()).toEqual([]);
    await workbench.screenshot('explorer-dark');
  });

  it('follows a cut that is dragged, and one moved by keys', async () => {
    await workbench.inPanel(title, async (frame) => {
      const shown = async (): Promise<string> =>
        (await cut(frame).getAttribute('aria-valuetext')) ?? '';
      const before = await shown();
      await cut(frame).scrollIntoViewIfNeeded();
      const grip = (await cut(frame).locator('.cut-grip').boundingBox())!;
      const plot = (await frame.locator('.spectrum-frame svg').first().boundingBox())!;
      const { mouse } = workbench.page;
      await mouse.move(grip.x + grip.width / 2, grip.y + 4);
      await mouse.down();
      await mouse.move(plot.x + plot.width * 0.7, grip.y + 4, { steps: 10 });
      await mouse.up();
      await until('a larger bond', async () => (await value(frame)) > 8);
      expect(await shown()).not.toBe(before);
      const dragged = await value(frame);
      await cut(frame).press('ArrowLeft');
      await until('one less', async () => (await value(frame)) === dragged - 1);
      // The table behind the drawing follows.
      await frame.locator('.tables summary').first().click();
      const bond = frame.locator('.tables table', { hasText: 'Bonds of' }).locator('tbody tr');
      const cells = await bond.first().locator('th, td').allTextContents();
      expect(cells.slice(0, 3)).toEqual(['1', String(dragged - 1), '32']);
      const [, kept = ''] = /([\d.]+) % kept/.exec(await shown()) ?? [];
      expect(parseFloat(cells[3]!)).toBeCloseTo(Number(kept), 0);
      // And again while it is dragged on.
      await cut(frame).scrollIntoViewIfNeeded();
      const again = (await cut(frame).locator('.cut-grip').boundingBox())!;
      await mouse.move(again.x + again.width / 2, again.y + 4);
      await mouse.down();
      await mouse.move(plot.x + plot.width * 0.3, again.y + 4, { steps: 10 });
      await until('a smaller bond', async () => (await value(frame)) < dragged - 1);
      const now = String(await value(frame));
      await until('the table', async () => {
        return (await bond.first().locator('th, td').nth(1).textContent()) === now;
      });
      await mouse.up();
    });
    await workbench.screenshot('explorer-cut-dark');
  });

  it('decomposes a module that is not known yet', async () => {
    await workbench.inPanel(title, async (frame) => {
      await frame.locator('.cell').last().click();
      await frame.getByRole('button', { name: 'Decompose This Module' }).click();
      await cut(frame).waitFor();
    });
  });

  it('comes back to the same model after a reload', async () => {
    await workbench.reload('dota.explorer');
    await workbench.inPanel(title, async (frame) => {
      await frame.locator('h1', { hasText: 'deep' }).waitFor();
    });
  });
});
