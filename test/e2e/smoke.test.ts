import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { closeBrowser, photographFailures, Workbench } from './workbench';

const editor = inject('editor');
let workbench: Workbench;
photographFailures(() => workbench);

beforeAll(async () => {
  const folder = path.join(editor.workspaces, 'smoke');
  mkdirSync(folder);
  writeFileSync(path.join(folder, 'a.dota.json'), '{\n  "data": { "train": "t.json" }\n}\n');
  workbench = await Workbench.open(editor, folder);
});
afterAll(async () => {
  await workbench.close();
  await closeBrowser();
});

describe('the installed extension', () => {
  it('shows its views and says how to begin', async () => {
    await workbench.openSideBar();
    await workbench.screenshot('start');
    expect(await workbench.view('Runs').textContent()).toContain('No runs yet');
  });
});
