/** What can be done with a run from the Runs view: pause, force, duplicate, rename, note, delete. */
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { writeSyntheticRun } from '../support/syntheticRun';
import { until } from '../support/until';
import { waitForLead, waitForPoints } from './metricsPage';
import { isRunning, Project } from './project';
import { tidyUpAfter, Workbench } from './workbench';

const editor = inject('editor');
const created = '2026-01-02T03:04:05.000Z';
let project: Project;
let workbench: Workbench;
let old: string;
tidyUpAfter(() => ({ project, workbench }));

beforeAll(async () => {
  project = await Project.create(editor, 'runs');
  old = writeSyntheticRun(project.runsFolder, {
    id: '20260102-030405-aa11',
    steps: 40,
    manifest: { name: 'old', createdAt: created },
  });
  project.writeConfig('long', 200_000);
  workbench = await Workbench.open(editor, project.folder);
  await workbench.openSideBar();
  await workbench.treeRow('Runs', 'old').waitFor();
});

const runText = async (name: string): Promise<string> =>
  (await workbench.treeRow('Runs', name).textContent()) ?? '';

describe('a run that works', () => {
  let folder: string;

  it('pauses and goes on, without a step in between', async () => {
    await workbench.openFile('long.dota.json');
    await workbench.command('DoTA: Fine-tune');
    await workbench.treeRow('Runs', 'long').waitFor();
    folder = project.run('long');
    await waitForPoints(workbench, 5);
    await workbench.contextMenu(workbench.treeRow('Runs', 'long'), 'Pause Run');
    await until('the run as paused', () => project.manifest(folder)?.state === 'paused');
    await until('the tree', async () => (await runText('long')).includes('paused'));
    await workbench.screenshot('paused-dark');
    const steps = project.steps(folder).length;
    const lock = path.join(folder, 'lock.json');
    const beat = statSync(lock).mtimeMs;
    // The trainer is alive all the while: it touches its lock every five seconds.
    await until('a heartbeat', () => statSync(lock).mtimeMs > beat);
    expect(project.steps(folder)).toHaveLength(steps);
    await workbench.contextMenu(workbench.treeRow('Runs', 'long'), 'Resume Run');
    await until('more steps', () => project.steps(folder).length > steps + 3);
    await until('the tree', async () => /running|saving/.test(await runText('long')));
  });

  it('is ended by force when its trainer no longer answers, and resumes after', async () => {
    const { pid } = project.lock(folder)!;
    process.kill(pid, 'SIGSTOP');
    try {
      await until('the warning', async () => (await runText('long')).includes('not answering'));
      await workbench.screenshot('not-answering-dark');
      await workbench.contextMenu(workbench.treeRow('Runs', 'long'), 'Force Stop Run');
      expect(await workbench.dialog.textContent()).toContain('since the last checkpoint are lost');
      await workbench.screenshot('force-stop-dark');
      await workbench.answer('Force Stop');
      await until('the end of the process', () => !isRunning(pid));
    } finally {
      if (isRunning(pid)) process.kill(pid, 'SIGCONT');
    }
    await until('the tree', async () => (await runText('long')).includes('crashed'));
    const last = project.steps(folder).at(-1)!.step;
    await workbench.contextMenu(workbench.treeRow('Runs', 'long'), 'Resume Run');
    await until('more steps', () => project.steps(folder).at(-1)!.step > last);
    const steps = project.steps(folder).map((s) => s.step);
    expect(steps).toEqual(steps.map((_, i) => i + 1));
  });

  it('is not offered for deletion, and stops from its menu', async () => {
    await workbench.treeRow('Runs', 'long').click({ button: 'right' });
    await workbench.menuEntry('Stop Run').waitFor();
    expect(await workbench.menuEntry('Delete Run').count()).toBe(0);
    await workbench.page.keyboard.press('Escape');
    await workbench.contextMenu(workbench.treeRow('Runs', 'long'), 'Stop Run');
    await until('the run as stopped', () => project.manifest(folder)?.state === 'stopped');
  });
});

describe('the buttons of a run’s row', () => {
  it('resume it, show its metrics and stop it', async () => {
    const row = workbench.treeRow('Runs', 'long');
    const folder = project.run('long');
    const last = project.steps(folder).at(-1)!.step;
    await until('the tree', async () => (await runText('long')).includes('stopped'));
    await workbench.inlineAction(row, 'Resume Run');
    await until('more steps', () => project.steps(folder).at(-1)!.step > last);
    await workbench.command('View: Close All Editors');
    await workbench.inlineAction(row, 'Open Metrics of Run');
    await waitForLead(workbench, 'long');
    await until('the tree', async () => /running|saving/.test(await runText('long')));
    await workbench.inlineAction(row, 'Stop Run');
    await until('the run as stopped', () => project.manifest(folder)?.state === 'stopped');
    await workbench.statusItem.waitFor({ state: 'hidden' });
  });

  it('leave its log to be read', async () => {
    await workbench.contextMenu(workbench.treeRow('Runs', 'long'), 'Show Log');
    await workbench.page.locator('.tab.active', { hasText: 'log.txt' }).waitFor();
    await workbench.command('DoTA: Show Log');
    await workbench.page
      .locator('.part.panel .view-lines', { hasText: 'dota train' })
      .first()
      .waitFor();
  });
});

describe('a run that is over', () => {
  it('is duplicated as a configuration', async () => {
    await workbench.contextMenu(workbench.treeRow('Runs', 'old'), 'Duplicate Run');
    await workbench.page.locator('.tab.active', { hasText: '.dota.json' }).waitFor();
    const name = readdirSync(project.folder).find((n) => /^old.*\.dota\.json$/.test(n));
    expect(name).toBeDefined();
    const copy = JSON.parse(readFileSync(path.join(project.folder, name!), 'utf8')) as object;
    expect(copy).toMatchObject({
      data: { train: 'data/train.json' },
      training: { learning_rate: 0.005 },
    });
  });

  it('keeps notes', async () => {
    await workbench.contextMenu(workbench.treeRow('Runs', 'old'), 'Edit Notes');
    await workbench.page.locator('.tab.active', { hasText: 'notes.md' }).waitFor();
    await workbench.page.locator('.editor-instance .view-lines').first().click();
    await workbench.page.keyboard.press('Control+End');
    await workbench.page.keyboard.type('Too short.');
    await workbench.page.keyboard.press('Control+S');
    const notes = path.join(old, 'notes.md');
    await until('the notes', () => readFileSync(notes, 'utf8').includes('Too short.'));
  });

  it('is renamed, keeping its folder', async () => {
    await workbench.contextMenu(workbench.treeRow('Runs', 'old'), 'Rename Run');
    await workbench.fillInput('Rename Run', 'a better name');
    await workbench.treeRow('Runs', 'a better name').waitFor();
    expect(project.manifest(old)?.name).toBe('a better name');
  });

  it('is revealed', async () => {
    await workbench.contextMenu(workbench.treeRow('Runs', 'a better name'), 'Reveal Run Folder');
    await workbench.page
      .locator('.explorer-folders-view .monaco-list-row.focused', {
        hasText: path.basename(old),
      })
      .waitFor();
    await workbench.openSideBar();
  });

  it('is deleted when confirmed, saying how much that frees', async () => {
    const row = workbench.treeRow('Runs', 'a better name');
    await workbench.contextMenu(row, 'Delete Run');
    expect(await workbench.dialog.textContent()).toContain(old);
    expect(await workbench.dialog.textContent()).toMatch(/Delete and Free [\d.]+ [KM]?B/);
    await workbench.screenshot('delete-dark');
    await workbench.answer('Cancel');
    expect(existsSync(old)).toBe(true);
    await workbench.contextMenu(row, 'Delete Run');
    await workbench.answer('Delete and Free');
    await until('the folder gone', () => !existsSync(old));
    await row.waitFor({ state: 'detached' });
  });
});
