/** The questions behind "Browse…" and "Choose…" of the Fine-tune steps. */
import path from 'node:path';
import { window } from 'vscode';
import type { Choice, FineTuneAnswers, Step, StepId } from './fineTuneFlow';

const modules = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];

/** @param step the one that asks further @returns the answer, or undefined when the user leaves */
export async function askFurther(
  further: Choice['further'],
  step: Pick<Step, 'title' | 'choices' | 'preselected'>,
): Promise<FineTuneAnswers[StepId] | undefined> {
  switch (further) {
    case 'modelFolder': {
      const [folder] =
        (await window.showOpenDialog({
          canSelectFolders: true,
          canSelectFiles: false,
          openLabel: 'Use Model',
          title: 'Model Folder in Hugging Face Layout',
        })) ?? [];
      return folder === undefined
        ? undefined
        : { path: folder.fsPath, name: path.basename(folder.fsPath), detail: '' };
    }
    case 'dataFile': {
      const [file] =
        (await window.showOpenDialog({
          openLabel: 'Use Data',
          title: 'Training Data',
          filters: { Data: ['json', 'jsonl', 'csv', 'parquet', 'txt'] },
        })) ?? [];
      return file === undefined
        ? undefined
        : { train: file.fsPath, name: path.basename(file.fsPath), detail: '' };
    }
    case 'rank':
      return askNumber(step.title, Number(step.choices[step.preselected]?.value ?? 8), 4096);
    case 'length': {
      const steps = await askNumber('Optimizer steps', 100, 10_000_000);
      return steps === undefined ? undefined : { steps };
    }
    case 'targets': {
      const chosen = await window.showQuickPick(
        modules.map((label) => ({ label, picked: true })),
        { canPickMany: true, title: 'DoTA: Fine-tune · Modules', ignoreFocusOut: true },
      );
      return chosen === undefined || chosen.length === 0 ? undefined : chosen.map((c) => c.label);
    }
    case undefined:
      return undefined;
  }
}

async function askNumber(title: string, value: number, max: number): Promise<number | undefined> {
  const text = await window.showInputBox({
    title: `DoTA: Fine-tune · ${title}`,
    value: String(value),
    ignoreFocusOut: true,
    validateInput: (input) =>
      /^\d+$/.test(input.trim()) && Number(input) >= 1 && Number(input) <= max
        ? undefined
        : `A whole number from 1 to ${max}`,
  });
  return text === undefined ? undefined : Number(text);
}
