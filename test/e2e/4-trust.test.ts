/** Restricted Mode: looking is allowed, starting is not. */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { writeSyntheticRun } from '../support/syntheticRun';
import { until } from '../support/until';
import { openRun, title, waitForPoints } from './metricsPage';
import { Project } from './project';
import { restricted } from './settings';
import { tidyUpAfter, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench;
tidyUpAfter(() => ({ project, workbench }));

interface Manifest {
  contributes: {
    commands: { command: string; title: string; enablement?: string }[];
    menus: { commandPalette: { command: string; when: string }[] };
  };
}
const { contributes } = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest;
const titleOf = (command: string): string =>
  `DoTA: ${contributes.commands.find((c) => c.command === command)!.title}`;

/** Commands that start a process, of the trainer or of a search for Node.js. */
const spawning = [
  'dota.fineTune',
  'dota.previewDataset',
  'dota.decomposeLayer',
  'dota.decomposeModel',
  'dota.run.resume',
  'dota.run.export',
  'dota.run.evaluate',
  'dota.compareMethods',
  'dota.tryPrompt',
  'dota.profileStep',
  'dota.doctor',
];
const refusal = 'Restricted Mode; nothing is started';
/** Those that would run at once if a key is bound to them, which no menu condition prevents. */
const bound = [
  ['Control+Alt+1', 'dota.fineTune'],
  ['Control+Alt+2', 'dota.profileStep'],
  ['Control+Alt+3', 'dota.doctor'],
] as const;
/** And those that open a panel. */
const boundPanels = [
  ['Control+Alt+4', 'dota.previewDataset', 'Dataset Preview'],
  ['Control+Alt+5', 'dota.tryPrompt', 'Try Prompt'],
] as const;

/** Where the Node.js of these tests notes that it was started. */
let started: string;
const keys = path.join(editor.userDataDir, 'User', 'keybindings.json');

beforeAll(async () => {
  project = await Project.create(editor, 'untrusted');
  project.writeConfig('never', 20);
  const run = writeSyntheticRun(project.runsFolder, { id: '20260102-030405-aa11', steps: 12 });
  started = path.join(project.folder, 'started.txt');
  const node = path.join(project.folder, 'node');
  writeFileSync(node, `#!/bin/sh\necho "$@" >> '${started}'\nexec '${process.execPath}' "$@"\n`);
  chmodSync(node, 0o755);
  const settings = { ...restricted, 'dota.nodePath': node };
  if (editor.machineSettingsFile !== '') {
    mkdirSync(path.dirname(editor.machineSettingsFile), { recursive: true });
    writeFileSync(editor.machineSettingsFile, JSON.stringify({ 'dota.nodePath': node }));
  }
  writeFileSync(
    keys,
    JSON.stringify(
      [...bound, ...boundPanels].map(([key, command]) => ({
        key: key.toLowerCase().replace('control', 'ctrl'),
        command,
        // What the view hands over; only Try Prompt looks at it here.
        ...(command === 'dota.tryPrompt' ? { args: { key: run } } : {}),
      })),
    ),
  );
  workbench = await Workbench.open(editor, project.folder, settings);
});
afterAll(() => {
  rmSync(keys, { force: true });
  if (editor.machineSettingsFile !== '') rmSync(editor.machineSettingsFile, { force: true });
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
    for (const command of spawning) expect(offered).not.toContain(titleOf(command));
    // No other is offered either that the manifest keeps for trusted workspaces.
    const kept = contributes.commands.filter((c) => c.enablement === 'isWorkspaceTrusted');
    expect(kept.map((c) => c.command)).toEqual(expect.arrayContaining(spawning));
    for (const { command } of kept) expect(offered).not.toContain(titleOf(command));
  });

  it('offers none of them in the menus of a run and a model', async () => {
    for (const row of [
      workbench.treeRow('Runs', 'arithmetic'),
      workbench.treeRow('Model', 'tiny'),
    ]) {
      await row.click({ button: 'right' });
      const menu = workbench.page.locator('.context-view .monaco-menu');
      await menu.locator('.action-item').first().waitFor();
      const entries = await menu.locator('.action-label').allTextContents();
      expect(entries.length).toBeGreaterThan(0);
      for (const command of spawning)
        expect(entries).not.toContain(titleOf(command).replace('DoTA: ', ''));
      await workbench.page.keyboard.press('Escape');
    }
  });

  it('starts nothing from the panels', async () => {
    await workbench.inPanel(title, async (frame) => {
      expect(await frame.getByRole('button', { name: 'Resume' }).count()).toBe(0);
    });
    await workbench.contextMenu(workbench.treeRow('Model', 'Layer 0'), 'Open MPO Explorer');
    await workbench.inPanel('MPO Explorer', async (frame) => {
      await frame.getByRole('button', { name: 'Decompose All' }).click();
      await frame.getByText(refusal).first().waitFor();
    });
    expect(existsSync(started)).toBe(false);
  });

  it.each(bound)('starts nothing by %s, bound to %s', async (key) => {
    await workbench.openFile('never.dota.json');
    await workbench.page.locator('.editor-instance .view-lines').first().click();
    await workbench.page.keyboard.press(key);
    await workbench.notification(refusal).waitFor();
    await workbench.clearNotifications();
    expect(existsSync(started)).toBe(false);
    expect(project.runs()).toHaveLength(1);
  });

  it.each(boundPanels)('starts nothing by %s, bound to %s', async (key, _command, panel) => {
    await workbench.openFile('never.dota.json');
    await workbench.page.locator('.editor-instance .view-lines').first().click();
    await workbench.page.keyboard.press(key);
    await workbench.inPanel(panel, async (frame) => {
      const ask = frame.getByRole('button', { name: 'Generate' });
      const said = frame.getByText(refusal);
      // The panel may not have drawn itself yet.
      await ask.or(said).first().waitFor();
      if ((await ask.count()) > 0) await ask.click();
      await said.first().waitFor();
    });
    expect(existsSync(started)).toBe(false);
  });

  it('would have noticed: once trusted, the same command starts the same Node.js', async () => {
    await workbench.command('Workspaces: Manage Workspace Trust');
    await workbench.page.getByRole('button', { name: /^Trust$/ }).click();
    await workbench.page
      .locator('.statusbar', { hasText: 'Restricted Mode' })
      .waitFor({ state: 'detached' });
    await workbench.command('DoTA: Doctor');
    await until('a start', () => existsSync(started));
  });
});
