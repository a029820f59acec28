/** Restricted Mode: looking is allowed, starting is not. */
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { writeSyntheticRun } from '../support/syntheticRun';
import { openRun, title, waitForPoints } from './metricsPage';
import { Project } from './project';
import { restricted } from './settings';
import { closeBrowser, photographFailures, until, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench;
photographFailures(() => workbench);

beforeAll(async () => {
  project = await Project.create(editor, 'untrusted');
  project.writeConfig('never', 20);
  writeSyntheticRun(project.runsFolder, { id: '20260102-030405-aa11', steps: 12 });
  workbench = await Workbench.open(editor, project.folder, restricted);
});
afterAll(async () => {
  await workbench.close();
  await closeBrowser();
});

describe('in Restricted Mode', () => {
  it('shows models and earlier runs', async () => {
    await workbench.openSideBar();
    await workbench.page.locator('.statusbar', { hasText: 'Restricted Mode' }).waitFor();
    await workbench.expand('Model', 'tiny');
    await workbench.treeRow('Model', 'Layer 0').waitFor();
    await openRun(workbench, 'arithmetic');
    await waitForPoints(workbench, 12);
    await workbench.screenshot('restricted-dark');
  });

  it('offers no command that starts or writes anything', async () => {
    const offered = await workbench.commandsMatching('DoTA: ');
    expect(offered).toContain('DoTA: Show Log');
    for (const hidden of [
      'Fine-tune',
      'Decompose Layer',
      'Decompose Model',
      'Doctor',
      'Resume Run',
    ])
      expect(offered).not.toContain(`DoTA: ${hidden}`);
  });

  it('starts nothing from the panel either', async () => {
    await workbench.inPanel(title, async (frame) => {
      expect(await frame.getByRole('button', { name: 'Resume' }).count()).toBe(0);
    });
    await until('no new run', () => project.runs().length === 1);
  });
});
