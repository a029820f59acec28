/** What a run outlives: the extension host, its own trainer, a second window. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { until } from '../support/until';
import { exportedPoints, openRun, pointCount, title, waitForPoints } from './metricsPage';
import { groupWithoutAncestors, isRunning, processGroup, Project } from './project';
import { extensionHosts, tidyUpAfter, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench;
let folder: string;
tidyUpAfter(() => ({ project, workbench }));

beforeAll(async () => {
  project = await Project.create(editor, 'survival');
  project.writeConfig('survivor', 100_000);
  workbench = await Workbench.open(editor, project.folder);
  await workbench.openSideBar();
  await workbench.openFile('survivor.dota.json');
  await workbench.command('DoTA: Fine-tune');
  await workbench.treeRow('Runs', 'survivor').waitFor();
  folder = project.run('survivor');
});

describe('a second window on the same folder', () => {
  it('observes: it sees the points and cannot control the run', async () => {
    await waitForPoints(workbench, 3);
    const second = await Workbench.open(editor, project.folder);
    try {
      await second.openSideBar();
      await openRun(second, 'survivor');
      await waitForPoints(second, 3);
      await second.inPanel(title, async (frame) => {
        await frame.getByText('Another window controls this run').first().waitFor();
        expect(await frame.getByRole('button', { name: 'Stop' }).isDisabled()).toBe(true);
      });
      await second.command('DoTA: Stop Run');
      await second.notification('Another window controls this run').waitFor();
      await second.screenshot('second-window-dark');
      expect(project.manifest(folder)?.state).toBe('running');
    } finally {
      await second.close();
    }
    await workbench.inPanel(title, async (frame) => {
      expect(await frame.getByRole('button', { name: 'Stop' }).isDisabled()).toBe(false);
    });
  });
});

describe('the extension host’s process group is killed', () => {
  it('and the trainer goes on stepping; afterwards the panel has every row', async () => {
    const trainer = project.lock(folder)!.pid;
    const hosts = extensionHosts(editor);
    expect(hosts.length).toBeGreaterThan(0);
    // The editor's server leads that group here and has to stay, to open the window again.
    const group = [...new Set(hosts.flatMap(groupWithoutAncestors))];
    expect(group).toEqual(expect.arrayContaining(hosts));
    for (const host of hosts) expect(processGroup(host)).not.toBe(processGroup(trainer));
    for (const member of group) process.kill(member, 'SIGKILL');
    await until('the end of the group', () => group.every((member) => !isRunning(member)));
    const before = project.steps(folder).length;
    await until('more steps', () => project.steps(folder).length > before + 5);
    expect(isRunning(trainer)).toBe(true);

    await workbench.reload();
    await workbench.openSideBar();
    await openRun(workbench, 'survivor');
    const held = await waitForPoints(workbench, before + 5);
    const points = await exportedPoints(workbench, 'survivor');
    expect(points.length).toBeGreaterThanOrEqual(held);
    const journal = project.steps(folder).slice(0, points.length);
    expect(points.map((p) => [p.step, p.loss, p.gradNorm])).toEqual(
      journal.map((s) => [s.step, s.loss, s.gradNorm]),
    );
  });
});

describe('the trainer is killed', () => {
  it('shows the run as crashed with the tail of its log', async () => {
    await until('a checkpoint', () => (project.steps(folder).at(-1)?.step ?? 0) > 12);
    process.kill(project.lock(folder)!.pid, 'SIGKILL');
    await until('the run as crashed', async () =>
      (await workbench.treeRow('Runs', 'survivor').textContent())?.includes('crashed'),
    );
    await workbench.inPanel(title, async (frame) => {
      await frame.getByText('Crashed').first().waitFor();
      await frame.getByText('Resume continues from the last good checkpoint').waitFor();
      const log = readFileSync(path.join(folder, 'log.txt'), 'utf8').trimEnd();
      expect(log).not.toBe('');
      expect(await frame.locator('pre.log').textContent()).toBe(
        log.split('\n').slice(-20).join('\n'),
      );
    });
    await workbench.notification('is gone').waitFor();
    await workbench.screenshot('crashed-dark');
  });

  it('resumes from the last good checkpoint, superseding what came after it', async () => {
    await workbench.notification('is gone').getByRole('button', { name: 'Resume' }).click();
    await until('the new trainer', () => {
      const pid = project.lock(folder)?.pid;
      return pid !== undefined && isRunning(pid) && project.manifest(folder)?.state === 'running';
    });
    const last = project.steps(folder).at(-1)!.step;
    await until('more steps', () => project.steps(folder).at(-1)!.step > last + 3);
    const steps = project.steps(folder).map((s) => s.step);
    expect(steps).toEqual(steps.map((_, i) => i + 1));
    await workbench.command('DoTA: Stop Run');
    await until('the run as stopped', () => project.manifest(folder)?.state === 'stopped');
    await until(
      'all points in the panel',
      async () => (await pointCount(workbench)) === project.steps(folder).length,
    );
  });
});
