/** From the palette to a finished run: start, watch, reload, stop, resume. */
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { until } from '../support/until';
import {
  exportedPoints,
  pointCount,
  savedFile,
  showCharts,
  title,
  waitForLead,
  waitForPoints,
} from './metricsPage';
import { isRunning, Project } from './project';
import { tidyUpAfter, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench;
tidyUpAfter(() => ({ project, workbench }));

beforeAll(async () => {
  project = await Project.create(editor, 'run');
  workbench = await Workbench.open(editor, project.folder);
});

describe('from the palette to a run', () => {
  it('shows its views and says how to begin', async () => {
    await workbench.openSideBar();
    await until('the welcome text', async () =>
      (await workbench.view('Runs').textContent())?.includes('No runs yet'),
    );
    await workbench.treeRow('Model', 'tiny').waitFor();
    await workbench.screenshot('start-dark');
  });

  it('asks step by step, goes back, and writes a configuration', async () => {
    await workbench.command('DoTA: Fine-tune');
    await workbench.quickPickRow('tiny').waitFor();
    await workbench.screenshot('fine-tune-model-dark');
    await workbench.pick('tiny');
    await until('the second step', async () => (await workbench.quickTitle()).includes('Data'));
    await workbench.page.locator('.quick-input-left-action-bar .action-label').click();
    await until('the first step', async () => (await workbench.quickTitle()).includes('Model'));
    await workbench.pick('tiny');
    await workbench.pick('arithmetic');
    await workbench.pick('Random cores');
    await workbench.pick('Query and value');
    await workbench.pick('4');
    await workbench.pick('20 steps');
    await workbench.pick('Look at it first');
    const config = await until('a configuration', () => project.writtenConfig());
    expect(config).toMatchObject({
      model: 'models/tiny',
      method: 'random_mpo',
      adapter: { r: 4, target_modules: ['q_proj', 'v_proj'] },
      data: { train: '.dota/sample/arithmetic.train.json' },
      training: { max_steps: 20 },
    });
    await workbench.page.locator('.codelens-decoration', { hasText: 'Fine-tune' }).waitFor();
  });

  it('runs an open configuration from its CodeLens and streams its points', async () => {
    await workbench.page.locator('.codelens-decoration a', { hasText: 'Fine-tune' }).click();
    const count = await waitForPoints(workbench, 20);
    expect(count).toBe(20);
    const [folder] = project.runs();
    await until('the end', () => project.manifest(folder!)?.state === 'finished', 120_000);
    const ended = workbench.page.locator('.notification-list-item', { hasText: 'is finished' });
    await ended.getByRole('button', { name: 'Open Metrics' }).waitFor();
    expect(await ended.count()).toBe(1);
    await workbench.statusItem.waitFor({ state: 'hidden' });
    const points = await exportedPoints(workbench, project.manifest(folder!)!.name);
    expect(points.map(({ step, loss }) => ({ step, loss }))).toEqual(
      project.steps(folder!).map(({ step, loss }) => ({ step, loss })),
    );
  });

  it('saves its charts as an image', async () => {
    await showCharts(workbench);
    const png = readFileSync(await savedFile(workbench, 'PNG', '.png'));
    expect(png.subarray(0, 8)).toEqual(Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'));
    // The header's width and height: as large as the charts were, at least.
    expect(png.readUInt32BE(16)).toBeGreaterThan(600);
    expect(png.readUInt32BE(20)).toBeGreaterThan(300);
  });
});

describe('a run in the middle', () => {
  let folder: string;

  it('starts from the palette on the open file, and refuses a second start', async () => {
    project.writeConfig('long', 20_000);
    await workbench.openFile('long.dota.json');
    await workbench.command('DoTA: Fine-tune');
    await workbench.treeRow('Runs', 'long').waitFor();
    folder = project.run('long');
    await waitForLead(workbench, 'long');
    await waitForPoints(workbench, 5);
    await workbench.openFile('long.dota.json');
    await workbench.command('DoTA: Fine-tune');
    await workbench.notification('runs this configuration already').waitFor();
    expect(project.runs()).toHaveLength(2);
  });

  it('shows its progress in the tree and the status bar', async () => {
    await until('the status item', async () =>
      /DoTA \d+\/20000 · loss \d/.test((await workbench.statusItem.textContent()) ?? ''),
    );
    expect(await workbench.treeRow('Runs', 'long').textContent()).toMatch(
      /(running|saving) · \d+\/20000/,
    );
    await workbench.clearNotifications();
    await workbench.command('DoTA: Open Metrics Panel');
    await showCharts(workbench);
    await workbench.screenshot('running-dark');
  });

  it('goes on through a reload, and the panel comes back without a gap', async () => {
    const pid = project.lock(folder)!.pid;
    const before = project.steps(folder).length;
    await workbench.reload();
    await until('steps during the reload', () => project.steps(folder).length > before + 3);
    expect(project.lock(folder)!.pid).toBe(pid);
    await workbench.openSideBar();
    await until('the run as running', async () =>
      (await workbench.treeRow('Runs', 'long').textContent())?.includes('running'),
    );
    // The panel was in front, and is again.
    await waitForPoints(workbench, before + 3);
  });

  it('stops with a checkpoint when asked', async () => {
    const pid = project.lock(folder)!.pid;
    await workbench.command('DoTA: Stop Run');
    await until('the run as stopped', () => project.manifest(folder)?.state === 'stopped');
    await until('the end of the process', () => !isRunning(pid));
    await until('the tree', async () =>
      (await workbench.treeRow('Runs', 'long').textContent())?.includes('stopped'),
    );
    const steps = project.steps(folder);
    await waitForPoints(workbench, steps.length);
    expect(await pointCount(workbench)).toBe(steps.length);
    const points = await exportedPoints(workbench, 'long');
    expect(points.map((p) => p.step)).toEqual(steps.map((s) => s.step));
    expect(points.map((p) => p.loss)).toEqual(steps.map((s) => s.loss));
  });

  it('resumes from there, from the panel', async () => {
    const before = project.steps(folder).at(-1)!.step;
    await workbench.inPanel(title, async (frame) => {
      await frame.getByRole('button', { name: 'Resume' }).click();
    });
    await until('more steps', () => project.steps(folder).at(-1)!.step > before + 3);
    const steps = project.steps(folder).map((s) => s.step);
    expect(steps).toEqual(steps.map((_, i) => i + 1));
    await workbench.command('DoTA: Stop Run');
    await until('the run as stopped', () => project.manifest(folder)?.state === 'stopped');
  });
});
