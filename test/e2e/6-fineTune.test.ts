/** DoTA: Fine-tune on the sample with its defaults, and the help that a configuration file gives. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { until } from '../support/until';
import { waitForPoints } from './metricsPage';
import { Project } from './project';
import { tidyUpAfter, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench;
tidyUpAfter(() => ({ project, workbench }));

beforeAll(async () => {
  project = Project.empty(editor, 'sample');
  workbench = await Workbench.open(editor, project.folder);
  await workbench.openSideBar();
});

describe('DoTA: Fine-tune on the sample', () => {
  it('goes through on Enter, and back without losing an answer', async () => {
    await workbench.command('DoTA: Fine-tune');
    await workbench.acceptStep('Model');
    await workbench.acceptStep('Data');
    await workbench.quickPickRow('LoRA').click();
    await workbench.waitForStep('Modules');
    await workbench.goBack();
    await workbench.waitForStep('Method');
    expect(await workbench.focusedRow()).toContain('LoRA');
    await workbench.screenshot('fine-tune-method-dark');
    await workbench.quickPickRow('DoTA').click();
    await workbench.acceptStep('Modules');
    await workbench.waitForStep('Largest bond dimension');
    expect(await workbench.focusedRow()).toMatch(/^8/);
    await workbench.acceptStep('Largest bond dimension');
    await workbench.acceptStep('Length');
    await workbench.waitForStep('Ready');
    expect(await workbench.focusedRow()).toContain('starts the run and opens its metrics');
    await workbench.acceptStep('Ready');
    const config = await until('a configuration', () => project.writtenConfig());
    expect(config).toMatchObject({ model: 'sample', method: 'dota', adapter: { r: 8 } });
  });

  it('starts the run, whose points arrive in the panel', async () => {
    await waitForPoints(workbench, 3, 240_000);
    await workbench.screenshot('sample-running-dark');
    const [folder] = project.runs();
    await workbench.command('DoTA: Stop Run');
    await until('the run as stopped', () => project.manifest(folder!)?.state === 'stopped');
  });
});

describe('a *.dota.json in the editor', () => {
  it('completes keys and explains them', async () => {
    writeFileSync(
      path.join(project.folder, 'help.dota.json'),
      '{\n  "method": "dota",\n  \n  "data": { "train": "train.json" }\n}\n',
    );
    await workbench.openFile('help.dota.json');
    await workbench.goTo(3, 3);
    const suggestions = workbench.page.locator('.suggest-widget.visible .monaco-list-row');
    await until('suggestions', async () => {
      if ((await suggestions.count()) > 0) return true;
      await workbench.page.keyboard.press('Control+Space');
      return suggestions
        .first()
        .waitFor({ timeout: 5000 })
        .then(
          () => true,
          () => undefined,
        );
    });
    const labels = await suggestions.allTextContents();
    expect(labels.join('\n')).toContain('adapter');
    await workbench.screenshot('completion-dark');
    await workbench.page.keyboard.press('Escape');

    const key = workbench.page.locator('.view-line span', { hasText: /^"method"$/ }).first();
    const hover = workbench.page.locator('.monaco-hover:visible');
    await until('the explanation of method', async () => {
      // The pointer has to come anew for the editor to ask again.
      await workbench.page.mouse.move(2, 2);
      await key.hover();
      return hover
        .filter({ hasText: 'random_mpo' })
        .first()
        .waitFor({ timeout: 5000 })
        .then(
          () => true,
          () => undefined,
        );
    });
    await workbench.screenshot('hover-dark', 'stays');
    // It was there for the picture.
    expect(await hover.filter({ hasText: 'random_mpo' }).count()).toBeGreaterThan(0);
  });

  it('marks what is not valid', async () => {
    writeFileSync(
      path.join(project.folder, 'wrong.dota.json'),
      '{\n  "method": "dotta",\n  "data": { "train": "train.json" }\n}\n',
    );
    await workbench.openFile('wrong.dota.json');
    await workbench.page.locator('.squiggly-warning, .squiggly-error').first().waitFor();
  });

  it('is refused with line and reason when run all the same', async () => {
    await workbench.openFile('wrong.dota.json');
    await workbench.command('DoTA: Fine-tune');
    const message = workbench.notification('method');
    await message.waitFor();
    expect(await message.textContent()).toContain('wrong.dota.json');
    expect(project.runs()).toHaveLength(1);
  });
});
