/** The metrics panel as a user reads it: its header, its table, its CSV. */
import { parse } from 'csv-parse/sync';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { expect } from 'vitest';
import { until } from '../support/until';
import type { Workbench } from './workbench';

export const title = 'DoTA Metrics';

/** Number of step rows that the panel holds of its leading run. */
export async function pointCount(workbench: Workbench): Promise<number> {
  return workbench.inPanel(title, async (frame) => {
    const table = frame.getByRole('button', { name: 'Table' });
    if ((await table.getAttribute('aria-pressed')) !== 'true') await table.click();
    const where = await frame.locator('.pager .number').first().textContent();
    const match = /of ([\d,]+)/.exec(where ?? '');
    return match === null ? 0 : Number(match[1]!.replaceAll(',', ''));
  });
}

export async function showCharts(workbench: Workbench): Promise<void> {
  await workbench.inPanel(title, async (frame) => {
    await frame.getByRole('button', { name: 'Charts' }).click();
  });
}

/** Waits until the panel holds at least so many points. */
export async function waitForPoints(
  workbench: Workbench,
  atLeast: number,
  timeoutMs = 120_000,
): Promise<number> {
  return until(
    `${atLeast} points in the panel`,
    async () => {
      const count = await pointCount(workbench);
      return count >= atLeast ? count : undefined;
    },
    timeoutMs,
  );
}

/** Waits until a run stands in the header of the panel. */
export async function waitForLead(workbench: Workbench, name: string): Promise<void> {
  await until(`${name} in the header`, () =>
    workbench.inPanel(title, (frame) => frame.locator('h1', { hasText: name }).isVisible()),
  );
}

/** Clicks a run in the tree until the panel shows it: a row may be redrawn under the pointer. */
export async function openRun(workbench: Workbench, name: string): Promise<void> {
  const row = workbench.treeRow('Runs', name);
  await row.waitFor();
  await until(`the panel of ${name}`, async () => {
    await row.click({ timeout: 5000 }).catch(() => undefined);
    // Not at once again: a second click on the way would start over.
    return until(
      'the header',
      async () => {
        const frames = workbench.page.frames().filter((f) => f !== workbench.page.mainFrame());
        for (const frame of frames) {
          const shown = frame.locator('h1', { hasText: name });
          if (await shown.isVisible().catch(() => false)) return true;
        }
        return undefined;
      },
      5000,
    ).catch(() => undefined);
  });
  expect(await workbench.notification('command not found').count()).toBe(0);
}

export interface CsvPoint {
  step: number;
  loss: number;
  gradNorm: number;
}

/** Presses a button that saves, and takes what the editor's dialog proposes. @returns the file */
export async function savedFile(
  workbench: Workbench,
  button: string,
  extension: string,
): Promise<string> {
  await workbench.inPanel(title, async (frame) => {
    await frame.getByRole('button', { name: button }).click();
  });
  // The dialog fills in its proposal a moment after it opens; that one is taken.
  const input = workbench.page.locator('.quick-input-widget input.input');
  await input.waitFor({ state: 'visible' });
  const file = await until('a proposed file name', async () => {
    const value = await input.inputValue();
    return value.startsWith(workbench.folder) && value.endsWith(extension) ? value : undefined;
  });
  rmSync(file, { force: true });
  await workbench.page.locator('.quick-input-action .monaco-button').first().click();
  await until(`the ${button} file`, () => existsSync(file) && statSync(file).size > 0);
  return file;
}

/** Saves the CSV with the editor's dialog and reads it: what the panel holds, digit by digit. */
export async function exportedPoints(workbench: Workbench, run: string): Promise<CsvPoint[]> {
  const file = await savedFile(workbench, 'CSV', '.csv');
  const rows = parse(readFileSync(file, 'utf8'), { columns: true }) as Record<string, string>[];
  return rows
    .filter((row) => row.run === run && row.kind === 'step')
    .map((row) => ({
      step: Number(row.step),
      loss: Number(row.loss_nats_per_token),
      gradNorm: Number(row.grad_norm),
    }));
}
