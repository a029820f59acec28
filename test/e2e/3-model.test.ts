/** The Model view down to a bond, against the command line's own numbers. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import type { DecomposeReport } from '../../src/protocol/decomposition';
import { formatPercent, formatShort } from '../../src/views/format';
import { writeTinyModel } from '../support/tinyModel';
import { until } from '../support/until';
import { Project } from './project';
import { tidyUpAfter, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench;
tidyUpAfter(() => ({ project, workbench }));

beforeAll(async () => {
  project = await Project.create(editor, 'model');
  await writeTinyModel(path.join(project.folder, 'models', 'two'), 2);
  workbench = await Workbench.open(editor, project.folder);
  await workbench.openSideBar();
});

const rowText = async (label: string): Promise<string> =>
  (await workbench.treeRow('Model', label).textContent()) ?? '';

/** Waits until a layer's row says that so many of its modules are decomposed. */
async function decomposed(layer: string, modules: number): Promise<void> {
  await workbench.treeRow('Model', layer).waitFor();
  await until(`${layer} decomposed`, async () =>
    (await rowText(layer)).includes(`${modules} decomposed`),
  );
}

describe('the Model view', () => {
  const module = 'model.layers.0.self_attn.q_proj';

  it('lists the sample first, and a model of the workspace', async () => {
    await workbench.treeRow('Model', 'sample').waitFor();
    await workbench.treeRow('Model', 'tiny').waitFor();
  });

  it('decomposes a layer from the palette, asking for model and layer', async () => {
    await workbench.command('DoTA: Decompose Layer');
    await workbench.waitForStep('Choose a Model');
    await workbench.pick('two');
    await workbench.waitForStep('Decompose Layer of two');
    await workbench.pick('Layer 1');
    await workbench.expand('Model', 'two');
    await decomposed('Layer 1', 7);
    expect(await rowText('Layer 0')).not.toContain('decomposed');
  });

  it('takes the layer that is selected, without asking', async () => {
    await workbench.treeRow('Model', 'Layer 0').click();
    await workbench.command('DoTA: Decompose Layer');
    await decomposed('Layer 0', 7);
    await workbench.collapse('Model', 'two');
  });

  it('decomposes a layer from its menu, and shows what dota decompose says', async () => {
    await workbench.expand('Model', 'tiny');
    await workbench.contextMenu(workbench.treeRow('Model', 'Layer 0'), 'Decompose Layer');
    await decomposed('Layer 0', 7);
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
    const ratio = (result!.rows * result!.cols) / result!.parameters;
    expect(parseFloat(/([\d.]+)× smaller/.exec(text)?.[1] ?? '')).toBeCloseTo(ratio, 0);
    await workbench.collapse('Model', 'tiny');
  });

  it('decomposes a whole model from the palette', async () => {
    await workbench.command('DoTA: Decompose Model');
    await workbench.waitForStep('Choose a Model');
    await workbench.pick('sample');
    await workbench.notification('DoTA: Decomposing sample').waitFor();
    await workbench.expand('Model', 'sample');
    const { num_hidden_layers: layers } = JSON.parse(
      readFileSync('media/sample/model/config.json', 'utf8'),
    ) as { num_hidden_layers: number };
    for (let layer = 0; layer < layers; layer++) await decomposed(`Layer ${layer}`, 7);
    await workbench.notification('DoTA: Decomposing sample').waitFor({ state: 'detached' });
  });
});
