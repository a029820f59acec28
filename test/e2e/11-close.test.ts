/** What the setting for closing windows decides. */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, afterEach, describe, expect, inject, it } from 'vitest';
import { until } from '../support/until';
import { waitForPoints } from './metricsPage';
import { isRunning, Project } from './project';
import { closeBrowser, extensionHosts, photographFailures, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench | undefined;
photographFailures(() => workbench);
afterEach(() => {
  project.endTrainers();
});
afterAll(closeBrowser);

/** Starts a long run in a window of its own and closes that. @returns the run and its process */
async function closeWhileTraining(name: string, setting: string) {
  project = await Project.create(editor, name);
  project.writeConfig(name, 200_000);
  const others = new Set(extensionHosts(editor));
  workbench = await Workbench.open(editor, project.folder, { 'dota.run.onWindowClose': setting });
  await workbench.openSideBar();
  await workbench.openFile(`${name}.dota.json`);
  await workbench.command('DoTA: Fine-tune');
  await workbench.treeRow('Runs', name).waitFor();
  await waitForPoints(workbench, 12);
  const hosts = extensionHosts(editor).filter((pid) => !others.has(pid));
  expect(hosts).toHaveLength(1);
  const folder = project.run(name);
  const { pid } = project.lock(folder)!;
  await workbench.close();
  workbench = undefined;
  await until('the end of the window', () => hosts.every((host) => !isRunning(host)));
  return { folder, pid };
}

describe('closing the window', () => {
  it('leaves the run at work with "keep"', async () => {
    const { folder, pid } = await closeWhileTraining('kept', 'keep');
    const before = project.steps(folder).length;
    await until('more steps', () => project.steps(folder).length > before + 5);
    expect(isRunning(pid)).toBe(true);
    expect(project.manifest(folder)?.state).toBe('running');
  });

  it('stops it with a checkpoint with "checkpointAndStop", from which it resumes', async () => {
    const { folder, pid } = await closeWhileTraining('stopped', 'checkpointAndStop');
    await until('the run as stopped', () => project.manifest(folder)?.state === 'stopped');
    await until('the end of the process', () => !isRunning(pid));
    const last = project.steps(folder).at(-1)!.step;
    const checkpoints = readdirSync(path.join(folder, 'checkpoints')).join(' ');
    expect(checkpoints).toContain(String(last));
  });
});
