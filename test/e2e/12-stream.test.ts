/** How what a run measures travels: to event files, to a panel that was hidden, and over no port. */
import { existsSync, readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import type { JournalRow } from '../../src/protocol/runFiles';
import { writeSyntheticRun } from '../support/syntheticRun';
import { until } from '../support/until';
import { readScalars, type Scalar } from './eventFiles';
import {
  exportedPoints,
  openRun,
  pointCount,
  showCharts,
  title,
  waitForLead,
  waitForPoints,
} from './metricsPage';
import { openPorts } from './ports';
import { descendants, isRunning, Project } from './project';
import { extensionHosts, tidyUpAfter, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench;
tidyUpAfter(() => ({ project, workbench }));

beforeAll(async () => {
  project = await Project.create(editor, 'stream');
  for (const [day, name] of [
    [2, 'earlier'],
    [3, 'third'],
  ] as const)
    writeSyntheticRun(project.runsFolder, {
      id: `2026010${day}-030405-aa1${day}`,
      steps: 300 - 10 * day,
      manifest: { name, createdAt: `2026-01-0${day}T03:04:05.000Z` },
    });
  workbench = await Workbench.open(editor, project.folder, { 'dota.run.tensorboard': true });
  await workbench.openSideBar();
});

describe('a run that is asked for TensorBoard’s files', () => {
  it('writes every scalar of its journal, and no other', async () => {
    await workbench.command('DoTA: Fine-tune');
    await workbench.waitForStep('Model');
    await workbench.pick('tiny');
    await workbench.waitForStep('Data');
    await workbench.pick('arithmetic');
    await workbench.waitForStep('Method');
    await workbench.pick('LoRA');
    await workbench.acceptStep('Modules');
    await workbench.waitForStep('Rank');
    await workbench.pick('4');
    await workbench.waitForStep('Length');
    await workbench.pick('20 steps');
    await workbench.acceptStep('Ready');
    const config = await until('a configuration', () => project.writtenConfig());
    expect(config).toMatchObject({ training: { max_steps: 20, report_to: ['tensorboard'] } });
    const folder = await until('the run', () =>
      project.runs().find((run) => project.manifest(run)?.name.startsWith('tiny')),
    );
    await until('the end', () => project.manifest(folder)?.state === 'finished');

    const rows = readFileSync(path.join(folder, 'metrics.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as JournalRow);
    const expected = rows.flatMap((row): Scalar[] => {
      const scalar = (tag: string, step: number, value: number): Scalar => ({
        tag,
        step,
        // A summary's simple_value has single precision.
        value: Math.fround(value),
      });
      if (row.kind === 'eval') return [scalar('eval/loss', row.step, row.loss)];
      if (row.kind !== 'step') return [];
      return [
        scalar('train/loss', row.step, row.loss),
        scalar('train/learning_rate', row.step, row.learningRate),
        scalar('train/grad_norm', row.step, row.gradNorm),
        scalar('train/tokens_per_second', row.step, row.tokensPerSecond),
      ];
    });
    expect(expected.filter(({ tag }) => tag === 'train/loss')).toHaveLength(20);
    expect(expected.filter(({ tag }) => tag === 'eval/loss').length).toBeGreaterThan(0);
    expect(readScalars(path.join(folder, 'tensorboard'))).toEqual(expected);
  });

  it('does so by its configuration alone: another has none', async () => {
    project.writeConfig('plain', 3);
    await workbench.openFile('plain.dota.json');
    await workbench.command('DoTA: Fine-tune');
    await workbench.treeRow('Runs', 'plain').waitFor();
    const folder = project.run('plain');
    await until('the end', () => project.manifest(folder)?.state === 'finished');
    expect(existsSync(path.join(folder, 'tensorboard'))).toBe(false);
  });
});

describe('a run that streams to the panel', () => {
  let folder: string;

  it('opens no port, and neither does the extension host', async () => {
    project.writeConfig('live', 1_000_000);
    await workbench.openFile('live.dota.json');
    await workbench.command('DoTA: Fine-tune');
    await workbench.treeRow('Runs', 'live').waitFor();
    folder = project.run('live');
    await waitForLead(workbench, 'live');
    const shown = await waitForPoints(workbench, 5);
    const roots = [...extensionHosts(editor), project.lock(folder)!.pid];
    expect(roots.length).toBeGreaterThan(1);
    const found = (): string[] => openPorts(roots.flatMap((pid) => descendants(pid, /./)));
    // At several moments of the stream: as points arrive, the next ones are already on their way.
    for (let more = 1; more <= 5; more++) {
      expect(found()).toEqual([]);
      await waitForPoints(workbench, shown + 10 * more);
    }
    // The same look at this process finds a port that is open.
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as net.AddressInfo;
      const hex = port.toString(16).toUpperCase().padStart(4, '0');
      expect(openPorts([process.pid])).toContain(`tcp 0100007F:${hex}`);
    } finally {
      server.close();
    }
  });

  /** Steps of the leading run at the ends of what the charts show, as the cursor's keys find them. */
  async function visibleSteps(): Promise<[number, number]> {
    return workbench.inPanel(title, async (frame) => {
      const plot = frame.locator('[data-chart=loss] .chart-plot');
      const at = async (key: string): Promise<number> => {
        await plot.press(key);
        const text = await frame.locator('[data-chart=loss] .chart-at').textContent();
        return Number(/step ([\d,]+)/.exec(text ?? '')?.[1]?.replaceAll(',', ''));
      };
      return [await at('Home'), await at('End')];
    });
  }

  /** Runs that the panel draws, by the boxes of its list. */
  function drawnRuns(): Promise<string[]> {
    return workbench.inPanel(title, async (frame) => {
      const boxes = frame.locator('.run-item input:checked');
      return boxes.evaluateAll((all) =>
        all.map((box) => (box.getAttribute('aria-label') ?? '').replace('Show ', '')).sort(),
      );
    });
  }

  it('is followed by a panel that was behind another editor, which looks as it was left', async () => {
    await openRun(workbench, 'third');
    await openRun(workbench, 'earlier');
    await openRun(workbench, 'live');
    await showCharts(workbench);
    await workbench.inPanel(title, async (frame) => {
      await frame.getByLabel('Show third').uncheck();
      await frame.getByLabel('Log scale').check();
    });
    await until('a hundred steps', () => project.steps(folder).length > 100);
    await workbench.inPanel(title, async (frame) => {
      // The other scale makes the chart anew, which has no place until then.
      let plot = { x: 0, y: 0, width: 0, height: 0 };
      await until('the plot', async () => {
        plot = (await frame.locator('[data-chart=loss] .u-over').boundingBox()) ?? plot;
        return plot.width > 0;
      });
      const y = plot.y + plot.height / 2;
      const { mouse } = workbench.page;
      await mouse.move(plot.x + plot.width * 0.25, y);
      await mouse.down();
      await mouse.move(plot.x + plot.width * 0.5, y, { steps: 5 });
      await mouse.up();
      await mouse.move(2, 2);
      await until('the zoom', () => frame.getByRole('button', { name: 'Reset Zoom' }).isEnabled());
    });
    const zoomed = await visibleSteps();
    expect(zoomed[0]).toBeGreaterThan(1);
    expect(zoomed[1]).toBeGreaterThan(zoomed[0]);
    const drawn = await drawnRuns();
    expect(drawn).toEqual(expect.arrayContaining(['earlier', 'live']));
    expect(drawn).not.toContain('third');
    await workbench.screenshot('metrics-zoomed-dark');

    await workbench.openFile('live.dota.json');
    const shown = async (): Promise<number> => {
      const titles = await Promise.all(
        workbench.page.frames().map((frame) => frame.title().catch(() => '')),
      );
      return titles.filter((name) => name === title).length;
    };
    await until('the end of the hidden page', async () => (await shown()) === 0);
    const before = project.steps(folder).length;
    await until('steps meanwhile', () => project.steps(folder).length > before + 20);

    await workbench.showTab(title);
    await waitForLead(workbench, 'live');
    await until(
      'the runs',
      async () => JSON.stringify(await drawnRuns()) === JSON.stringify(drawn),
    );
    await workbench.inPanel(title, async (frame) => {
      expect(await frame.getByLabel('Log scale').isChecked()).toBe(true);
      expect(await frame.getByRole('button', { name: 'Reset Zoom' }).isEnabled()).toBe(true);
    });
    await until('the same range', async () => {
      return JSON.stringify(await visibleSteps()) === JSON.stringify(zoomed);
    });
    await workbench.screenshot('metrics-back-dark');
    await waitForPoints(workbench, before + 20);
  });

  it('and has every row of the journals afterwards', async () => {
    const { pid } = project.lock(folder)!;
    await workbench.command('DoTA: Stop Run');
    await until('the run as stopped', () => project.manifest(folder)?.state === 'stopped');
    await until('the end of the process', () => !isRunning(pid));
    const steps = project.steps(folder);
    await waitForPoints(workbench, steps.length);
    expect(await pointCount(workbench)).toBe(steps.length);
    for (const name of ['live', 'earlier']) {
      const points = await exportedPoints(workbench, name);
      expect(points.map((p) => [p.step, p.loss, p.gradNorm])).toEqual(
        project.steps(project.run(name)).map((s) => [s.step, s.loss, s.gradNorm]),
      );
    }
  });
});
