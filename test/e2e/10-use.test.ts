/** What is done with runs that are there: ask, export, compare; and a look at data and step before. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import type { Frame } from 'playwright-core';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { SafetensorsFile } from '../../src/models/safetensors/reader';
import { formatInteger } from '../../webview/shared/format';
import { until } from '../support/until';
import { faintTexts, overflowing, settled, themes } from './looks';
import { Project } from './project';
import { tidyUpAfter, Workbench } from './workbench';

const editor = inject('editor');
let project: Project;
let workbench: Workbench;
let dota: string;
let lora: string;
tidyUpAfter(() => ({ project, workbench }));

beforeAll(async () => {
  project = await Project.create(editor, 'use');
  dota = project.train('dota', 40);
  lora = project.train('lora', 40);
  workbench = await Workbench.open(editor, project.folder);
  await workbench.openSideBar();
  await workbench.treeRow('Runs', 'dota').waitFor();
});

interface Generated {
  answers: { text: string; token_ids: number[] }[];
}

/** Whether the panel can be read in every theme, at 200 % zoom, and reached by the keyboard alone. */
function checkLooks(name: string, title: string, control: (frame: Frame) => Promise<void>): void {
  it.each(themes)('can be read in %s', async (short, theme, bodyClass, base) => {
    await workbench.setTheme(theme, base);
    await workbench.inPanel(title, async (frame) => {
      await frame.locator(`body.${bodyClass}`).waitFor();
      await settled(() => faintTexts(frame));
    });
    await workbench.screenshot(`${name}-${short}`);
  });

  it('has no sideways scrolling at 200 % zoom', async () => {
    const size = workbench.page.viewportSize()!;
    await workbench.command('View: Close Primary Side Bar');
    await workbench.page.setViewportSize({ width: size.width / 2, height: size.height / 2 });
    try {
      await workbench.inPanel(title, (frame) => settled(() => overflowing(frame)));
      await workbench.screenshot(`${name}-zoomed`);
    } finally {
      await workbench.page.setViewportSize(size);
      await workbench.openSideBar();
    }
  });

  it('can be worked with the keyboard alone', async () => {
    await workbench.inPanel(title, control);
  });
}

/** Presses Tab until the element has the focus, which then can be seen. */
async function tabTo(frame: Frame, selector: string): Promise<void> {
  const wanted = frame.locator(selector).first();
  const focused = (): Promise<boolean> => wanted.evaluate((e) => e === document.activeElement);
  await frame.locator('body').press('Tab');
  for (let i = 0; i < 80 && !(await focused()); i++) await workbench.page.keyboard.press('Tab');
  expect(await focused()).toBe(true);
  expect(await wanted.evaluate((e) => getComputedStyle(e).outlineStyle)).not.toBe('none');
}

describe('Try Prompt', () => {
  const title = 'Try Prompt';

  it('streams the answers of base model and run, which are those of dota generate', async () => {
    await workbench.contextMenu(workbench.treeRow('Runs', 'dota'), 'Try Prompt');
    const texts = await workbench.inPanel(title, async (frame) => {
      await frame.locator('h1', { hasText: 'dota' }).waitFor();
      await frame.getByLabel('Prompt', { exact: true }).fill('2 + 2 =');
      await frame.getByLabel('Longest answer').fill('24');
      // Every state of each answer, as a reader sees it grow.
      await frame.evaluate(() => {
        const states: string[][] = [[], []];
        (window as unknown as { states: string[][] }).states = states;
        document.querySelectorAll('.answer pre').forEach((pre, i) => {
          new MutationObserver(() => states[i]!.push(pre.textContent)).observe(pre, {
            childList: true,
            characterData: true,
            subtree: true,
          });
        });
      });
      await frame.getByRole('button', { name: 'Generate' }).click();
      const notes = frame.locator('.answer footer');
      await until('both answers', async () =>
        (await notes.allTextContents()).every((note) => note.includes('tokens/s')),
      );
      const states = await frame.evaluate(
        () => (window as unknown as { states: string[][] }).states,
      );
      for (const grown of states) {
        expect(new Set(grown.filter((text) => text !== '')).size).toBeGreaterThan(1);
        for (const text of grown) expect(grown.at(-1)!.startsWith(text)).toBe(true);
      }
      return frame.locator('.answer pre').allTextContents();
    });
    const asked = ['--prompt', '2 + 2 =', '--max-new-tokens', '24', '--greedy', '--compare'];
    const told = project.dota('generate', dota, '--adapter', dota, ...asked) as Generated;
    expect(texts).toEqual(told.answers.map(({ text }) => text));
    expect(texts[0]).not.toBe(texts[1]);
  });

  checkLooks('prompt-editor', title, async (frame) => {
    await tabTo(frame, 'textarea');
    // Not Ctrl+A: the editor selects everything once more, a moment later and into the typing.
    await workbench.page.keyboard.press('End');
    await workbench.page.keyboard.press('Shift+Home');
    await workbench.page.keyboard.type('3 + 4 =');
    expect(await frame.getByLabel('Prompt', { exact: true }).inputValue()).toBe('3 + 4 =');
    await workbench.page.keyboard.press('Control+Enter');
    const ask = frame.getByRole('button', { name: 'Generate' });
    await until('an answer', async () => {
      const notes = await frame.locator('.answer footer').allTextContents();
      return (await ask.isEnabled()) && notes.every((note) => note.includes('tokens/s'));
    });
    await frame.getByLabel('Earlier prompts').locator('option', { hasText: '3 + 4 =' }).waitFor({
      state: 'attached',
    });
  });
});

describe('Preview Dataset', () => {
  const title = 'Dataset Preview';

  it('shows from the CodeLens what dota preview says', async () => {
    await workbench.openFile('dota.dota.json');
    await workbench.page.locator('.codelens-decoration a', { hasText: 'Preview Dataset' }).click();
    const told = project.dota('preview', 'dota.dota.json') as {
      page: { rows: { sequences: { trained: boolean; text: string }[][] }[] };
      report: { rows: number; tokens: number; lossTokens: number };
    };
    await workbench.inPanel(title, async (frame) => {
      const total = (label: string) =>
        frame.locator('.tile', { hasText: label }).locator('.value').first();
      await until(
        'all counts',
        async () => (await total('Rows').textContent()) === formatInteger(told.report.rows),
      );
      expect(await total('Tokens').textContent()).toBe(formatInteger(told.report.tokens));
      expect(await total('Trained on').textContent()).toBe(formatInteger(told.report.lossTokens));
      const [first] = told.page.rows;
      const tokens = first!.sequences.flat();
      const trained = tokens.filter((token) => token.trained).length;
      const head = frame.locator('.rows .row').first().locator('.row-head');
      expect(await head.textContent()).toContain(`${tokens.length} tokens, ${trained} trained on`);
    });
  });

  checkLooks('preview-editor', title, async (frame) => {
    const first = frame.locator('.rows h3').first();
    const before = await first.textContent();
    await frame.getByRole('button', { name: 'Next' }).focus();
    await tabTo(frame, '.rows-head .button:has-text("Next")');
    await workbench.page.keyboard.press('Enter');
    await until('the next page', async () => (await first.textContent()) !== before);
  });
});

describe('Export…', () => {
  async function exportAs(run: string, form: string): Promise<string> {
    const before = new Set(readdirSync(project.folder));
    await workbench.contextMenu(workbench.treeRow('Runs', run), 'Export…');
    await workbench.quickPickRow(form).click();
    await workbench.acceptFileDialog();
    await workbench.notification('exported to').waitFor();
    await workbench.clearNotifications();
    const [made, ...others] = readdirSync(project.folder).filter((name) => !before.has(name));
    expect(others).toEqual([]);
    return path.join(project.folder, made!);
  }
  const asked = ['--prompt', '2 + 2 =', '--max-new-tokens', '16', '--greedy'];
  const answers = (...args: string[]): number[][] =>
    (project.dota('generate', 'models/tiny', ...args, ...asked) as Generated).answers.map(
      ({ token_ids }) => token_ids,
    );

  it('writes an adapter that dota loads, with the answer of the run', async () => {
    const folder = await exportAs('dota', 'Adapter');
    expect(path.basename(folder)).toBe('dota-adapter');
    expect(existsSync(path.join(folder, 'load_adapter.py'))).toBe(true);
    expect(answers('--adapter', folder)).toEqual(answers('--adapter', dota));
  });

  it('writes a LoRA in the layout of PEFT', async () => {
    const folder = await exportAs('lora', 'LoRA (PEFT)');
    const config = JSON.parse(readFileSync(path.join(folder, 'adapter_config.json'), 'utf8')) as {
      peft_type: string;
      target_modules: string[];
    };
    expect(config.peft_type).toBe('LORA');
    expect([...config.target_modules].sort()).toEqual(['q_proj', 'v_proj']);
    const file = await SafetensorsFile.open(path.join(folder, 'adapter_model.safetensors'));
    try {
      const of = (module: string, side: string): readonly number[] =>
        file.info(`base_model.model.model.layers.0.self_attn.${module}.lora_${side}.weight`)!.shape;
      for (const module of config.target_modules) {
        const [rank, width] = of(module, 'A');
        expect(of(module, 'B')).toEqual([128, rank]);
        // At 99.9 % of the change not more than the rank that was trained.
        expect(rank).toBeLessThanOrEqual(4);
        expect(width).toBe(128);
      }
    } finally {
      await file.close();
    }
  });

  it('writes a merged model that dota loads', async () => {
    const folder = await exportAs('lora', 'Merged model');
    const asRun = project.dota('generate', folder, ...asked) as Generated;
    expect(asRun.answers[0]!.token_ids).toHaveLength(16);
    expect(existsSync(path.join(folder, 'tokenizer.json'))).toBe(true);
  });
});

describe('Compare Methods', () => {
  const title = 'DoTA Compare';

  async function showsComparison(): Promise<void> {
    const told = project.dota('compare', dota, lora) as {
      groups: { label: string; best_val_loss: { mean: number }; trainable_parameters: number }[];
    };
    expect(told.groups).toHaveLength(2);
    await workbench.inPanel(title, async (frame) => {
      await frame.locator('h1', { hasText: 'Compare runs' }).waitFor();
      for (const { label, best_val_loss, trainable_parameters } of told.groups) {
        const row = frame.locator('table.data tbody tr', { hasText: label });
        const text = await row.textContent();
        expect(text).toContain(best_val_loss.mean.toFixed(4));
        expect(text?.replaceAll(',', '')).toContain(String(trainable_parameters));
      }
    });
  }

  async function showsStudy(): Promise<void> {
    await workbench.inPanel(title, async (frame) => {
      await frame.locator('h1', { hasText: 'A small study' }).waitFor();
      await until('both methods', async () => {
        const names = await frame.locator('table.data tbody tr th').allTextContents();
        return ['DoTA', 'LoRA'].every((method) => names.some((name) => name.includes(method)));
      });
      // At the end nothing is said to be running.
      await frame.getByText('Running: ').waitFor({ state: 'hidden' });
    });
  }

  it('compares finished runs with the numbers of dota compare', async () => {
    await workbench.command('DoTA: Compare Methods');
    await workbench.pick('Compare runs');
    await workbench.quickPickRow('dota').waitFor();
    for (const name of ['dota', 'lora']) await workbench.pick(name);
    await workbench.page.locator('.quick-input-widget').getByRole('button', { name: 'OK' }).click();
    await showsComparison();
  });

  it('shows them again after a reload, read from the run folders', async () => {
    await workbench.reload();
    await workbench.showTab(title);
    await showsComparison();
  });

  checkLooks('compare-editor', title, async (frame) => {
    const box = frame.locator('table.data tbody input').first();
    await tabTo(frame, 'table.data tbody input');
    await workbench.page.keyboard.press('Space');
    expect(await box.isChecked()).toBe(false);
    await workbench.page.keyboard.press('Space');
    expect(await box.isChecked()).toBe(true);
  });

  it('carries out a study from its file, showing its runs as they come', async () => {
    project.writeStudy('small', ['dota', 'lora'], 3);
    await workbench.openFile('small.dota-study.json');
    await workbench.command('DoTA: Compare Methods');
    await workbench.pick('small.dota-study.json');
    await showsStudy();
    await workbench.notification('A small study').waitFor({ state: 'detached' });
    const told = project.dota('study', 'small.dota-study.json', '--results') as {
      runs: unknown[];
    };
    expect(told.runs.length).toBeGreaterThanOrEqual(2);
  });

  it('shows the study again after a reload, and nothing as running', async () => {
    await workbench.reload();
    await workbench.showTab(title);
    await showsStudy();
    expect(await workbench.notification('A small study').count()).toBe(0);
  });
});

describe('after a reload', () => {
  it('the prompt’s panel and the preview are back with what they were about', async () => {
    await workbench.showTab('Try Prompt');
    await workbench.inPanel('Try Prompt', async (frame) => {
      await frame.locator('h1', { hasText: 'dota' }).waitFor();
      await frame.getByLabel('Earlier prompts').locator('option', { hasText: '3 + 4 =' }).waitFor({
        state: 'attached',
      });
    });
    await workbench.showTab('Dataset Preview');
    await workbench.inPanel('Dataset Preview', async (frame) => {
      await frame.locator('.rows .row').first().waitFor();
    });
  });
});

describe('Doctor', () => {
  it('says what runs use, and opens a report with every device', async () => {
    await workbench.command('DoTA: Doctor');
    const said = workbench.notification('Runs use');
    await said.waitFor();
    await workbench.screenshot('doctor-notification');
    await workbench.page.getByRole('button', { name: 'Open Report' }).click();
    const frame = await workbench.webviewShowing('Versions');
    const text = (await frame.locator('body').textContent()) ?? '';
    expect(text).toContain('Runs use');
    expect(text).toContain('CPU: passed its check');
    expect(text).toMatch(/GPU, through WebGPU: (passed its check|refused|cannot be used)/);
    for (const heading of ['Devices', 'Memory', 'Checks']) expect(text).toContain(heading);
    expect(await frame.locator('table').count()).toBe(3);
    await workbench.screenshot('doctor');
  });
});

describe('Profile Step', () => {
  it('measures the configuration that is open and shows where the time goes', async () => {
    await workbench.openFile('dota.dota.json');
    await workbench.command('DoTA: Profile Step');
    const frame = await workbench.webviewShowing('Time by operator');
    const text = (await frame.locator('body').textContent()) ?? '';
    expect(text).toMatch(/Profile of dota\.dota\.json/);
    expect(text).toMatch(/[\d.,]+ ms a step of [\d,]+ tokens, [\d.,]+ tokens\/s/);
    expect(text).toContain('Share of the machine’s GEMM rate');
    for (const heading of ['Time by phase', 'Memory']) expect(text).toContain(heading);
    expect(await frame.locator('table').count()).toBe(3);
    await workbench.screenshot('profile');
  });
});
