/** What the views say when they are empty, for every reason there is; and the walkthrough. */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, describe, expect, inject, it } from 'vitest';
import { Project } from './project';
import { restricted } from './settings';
import { closeBrowser, photographFailures, Workbench } from './workbench';

const editor = inject('editor');
let workbench: Workbench | undefined;
photographFailures(() => workbench);
afterEach(async () => {
  await workbench?.close();
  workbench = undefined;
});
afterAll(closeBrowser);

async function open(
  name: string | undefined,
  settings: Record<string, unknown> = {},
): Promise<Workbench> {
  const folder = name === undefined ? undefined : Project.empty(editor, name).folder;
  workbench = await Workbench.open(editor, folder, settings);
  await workbench.openSideBar();
  return workbench;
}

describe('an empty view', () => {
  it('asks for a folder where none is open', async () => {
    const { view, screenshot } = bound(await open(undefined));
    await view('Runs').getByText('Open a folder to keep runs beside your data').waitFor();
    await view('Runs').getByRole('button', { name: 'Open Folder' }).waitFor();
    await view('Runs').getByRole('button', { name: 'Fine-tune' }).waitFor();
    await screenshot('empty-no-folder-dark');
  });

  it('offers Fine-tune where there is no run', async () => {
    const { view, screenshot } = bound(await open('no-runs'));
    await view('Runs').getByText('No runs yet').waitFor();
    await view('Runs').getByRole('button', { name: 'Fine-tune' }).waitFor();
    await view('Model').getByText('sample').first().waitFor();
    await screenshot('empty-no-run-dark');
  });

  it('says what Restricted Mode allows', async () => {
    const { view, screenshot } = bound(await open('no-trust', restricted));
    await view('Runs').getByText('open in Restricted Mode').waitFor();
    await view('Runs').getByRole('button', { name: 'Manage Workspace Trust' }).waitFor();
    expect(await view('Runs').getByRole('button', { name: 'Fine-tune' }).count()).toBe(0);
    await screenshot('empty-restricted-dark');
  });

  it('asks for a model where none is listed', async () => {
    const installed = readdirSync(editor.extensionsDir).find((n) => n.includes('dota-vscode'))!;
    const sample = path.join(editor.extensionsDir, installed, 'media/sample/model');
    renameSync(sample, `${sample}.away`);
    try {
      const { view, screenshot } = bound(await open('no-model'));
      await view('Model').getByText('No model is listed').waitFor();
      await view('Model').getByRole('button', { name: 'Add Model Folder' }).waitFor();
      await screenshot('empty-no-model-dark');
      await workbench!.command('DoTA: Open MPO Explorer');
      await workbench!.notification('No model is listed').waitFor();
    } finally {
      renameSync(`${sample}.away`, sample);
    }
  });

  it('names the fix where no Node.js is found', async () => {
    mkdirSync(path.dirname(editor.machineSettingsFile), { recursive: true });
    writeFileSync(
      editor.machineSettingsFile,
      JSON.stringify({ 'dota.nodePath': '/nowhere/bin/node' }),
    );
    try {
      const { view, screenshot } = bound(await open('no-node'));
      await workbench!.command('DoTA: Doctor');
      await workbench!.notification('/nowhere/bin/node').waitFor();
      await view('Runs').getByText('No Node.js 20 or later was found').waitFor();
      await screenshot('empty-no-node-dark');
      // The setting undone, the view asks for what comes next.
      rmSync(editor.machineSettingsFile);
      await view('Runs').getByText('No runs yet').waitFor();
    } finally {
      rmSync(editor.machineSettingsFile, { force: true });
    }
  });
});

describe('the walkthrough', () => {
  it('opens with its steps, each with its action', async () => {
    const { page } = await open('walkthrough');
    await workbench!.command('Welcome: Open Walkthrough...');
    await workbench!.pick('Get Started with DoTA');
    const steps = page.locator('.getting-started-step');
    await steps.first().waitFor();
    expect(await steps.count()).toBe(6);
    await page.locator('.getting-started-step', { hasText: 'Fine-tune the sample' }).click();
    await page
      .locator('.getting-started-step.expanded')
      .getByRole('button', { name: 'Fine-tune' })
      .waitFor();
    await workbench!.view('Runs').getByText('No runs yet').waitFor();
    await workbench!.screenshot('walkthrough-dark');
    await page
      .locator('.getting-started-step.expanded')
      .getByRole('button', { name: 'Fine-tune' })
      .click();
    await workbench!.waitForStep('Model');
  });
});

/** The workbench's two methods that every state is checked with. */
function bound(of: Workbench): Pick<Workbench, 'view' | 'screenshot'> {
  return { view: (name) => of.view(name), screenshot: (name) => of.screenshot(name) };
}
