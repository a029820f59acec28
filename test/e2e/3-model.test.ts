/** The Model view down to a bond, against the command line's own numbers. */
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import type { DecomposeReport } from '../../src/protocol/decomposition';
import { formatPercent, formatShort } from '../../src/views/format';
import { Project } from './project';
import { closeBrowser, photographFailures, until, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench;
photographFailures(() => workbench);

beforeAll(async () => {
  project = await Project.create(editor, 'model');
  workbench = await Workbench.open(editor, project.folder);
  await workbench.openSideBar();
});
afterAll(async () => {
  await workbench.close();
  await closeBrowser();
});

describe('the Model view', () => {
  const module = 'model.layers.0.self_attn.q_proj';

  it('lists the sample first, and a model of the workspace', async () => {
    await workbench.treeRow('Model', 'sample').waitFor();
    await workbench.treeRow('Model', 'tiny').waitFor();
  });

  it('decomposes a layer from its menu, and shows what dota decompose says', async () => {
    await workbench.expand('Model', 'tiny');
    await workbench.contextMenu(workbench.treeRow('Model', 'Layer 0'), 'Decompose Layer');
    await until('all modules', async () =>
      (await workbench.treeRow('Model', 'Layer 0').textContent())?.includes('7 decomposed'),
    );
    await workbench.expand('Model', 'Layer 0');
    await workbench.expand('Model', 'self_attn.q_proj');
    const mpo = workbench.treeRow('Model', 'MPO of 3 cores');
    await mpo.waitFor();
    await workbench.screenshot('model-dark');

    const tiny = path.join(project.folder, 'models', 'tiny');
    const shape = ['--rank', '8', '--cores', '3'];
    const report = project.dota('decompose', tiny, module, ...shape) as DecomposeReport;
    const [result] = report.modules;
    const text = (await mpo.textContent()) ?? '';
    expect(text).toContain(`kept ${formatPercent(result!.keptEnergy)}`);
    expect(text).toContain(`error ${formatPercent(result!.relativeError)}`);
    expect(text).toContain(`${formatShort(result!.parameters)} parameters`);
    for (const [k, bond] of result!.bonds.entries()) {
      const row = (await workbench.treeRow('Model', `Bond ${k + 1}`).textContent()) ?? '';
      expect(row).toContain(`${bond.dimension} of ${bond.fullDimension}`);
    }
    for (const [k, core] of result!.cores.entries()) {
      const row = (await workbench.treeRow('Model', `Core ${k + 1}`).textContent()) ?? '';
      expect(row).toContain(core.join(' × '));
    }
  });
});
