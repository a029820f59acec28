/** DoTA: Fine-tune. Runs the open configuration, or asks, writes one and runs that. */
import { access, copyFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import {
  QuickInputButtons,
  Uri,
  window,
  workspace,
  type QuickPick,
  type QuickPickItem,
} from 'vscode';
import { settings } from '../host/settings';
import { DotaError } from '../protocol/errors';
import { activeConfig } from './activeConfig';
import type { SampleData } from './configFile';
import { isConfigFile } from './configInView';
import type { CommandContext } from './context';
import {
  FineTuneFlow,
  type Choice,
  type DataChoice,
  type FineTuneAnswers,
  type FineTuneOffer,
  type Step,
  type StepId,
} from './fineTuneFlow';
import { askFurther } from './fineTuneFurther';
import { commandIds } from './ids';
import { countParameters } from '../views/modelTree';
import { countLayers, formatShort } from '../views/format';
import { startRun } from './startRun';

/** One line about memory and time. */
type Estimate = (answers: FineTuneAnswers, signal: AbortSignal) => Promise<string | undefined>;

export function registerFineTune(context: CommandContext): void {
  context.register(commandIds.fineTune, async (target: unknown) => {
    const file = configFileOf(target);
    if (file !== undefined) {
      await saveIfDirty(file);
      await refuseSecondStart(context, file);
      await startRun(context, ['train', file], path.dirname(file));
      return;
    }
    const answers = await ask(await offerOf(context), async (soFar, signal) => {
      const { estimateAnswers } = await import('./fineTuneEstimate');
      const sample = path.join(context.extension.extensionPath, 'media', 'sample', 'data');
      const split = (name: string): string => path.join(sample, `arithmetic.${name}.json`);
      const data = { train: split('train'), validation: split('validation'), test: split('test') };
      return estimateAnswers(context.trainer, soFar, data, signal);
    });
    if (answers === undefined) return;
    const config = await writeConfig(context, answers);
    if (answers.finish === 'start') {
      await startRun(context, ['train', config], path.dirname(config));
    } else {
      await window.showTextDocument(Uri.file(config));
    }
  });
}

/** The configuration that is meant: what the menu or CodeLens names, else the one in view. */
function configFileOf(target: unknown): string | undefined {
  if (!(target instanceof Uri)) return activeConfig()?.fsPath;
  return isConfigFile(target) ? target.fsPath : undefined;
}

async function saveIfDirty(file: string): Promise<void> {
  const open = workspace.textDocuments.find((d) => d.uri.fsPath === file);
  if (open?.isDirty === true) await open.save();
}

/**
 * Two trainings of one configuration at a time are never meant.
 * @throws DotaError `run.locked` naming the run; whatever is wrong with the configuration
 */
async function refuseSecondStart(context: CommandContext, file: string): Promise<void> {
  const { parseRunConfig } = await import('../config/parseRunConfig');
  const config = parseRunConfig(await readFile(file, 'utf8'), file);
  await context.monitor.refresh();
  const same = context.monitor
    .list()
    .find(
      (run) =>
        run.live &&
        run.manifest.configDirectory === path.dirname(file) &&
        isDeepStrictEqual(run.manifest.config, JSON.parse(JSON.stringify(config))),
    );
  if (same === undefined) return;
  context.metricsPanel.open([same.key]);
  throw new DotaError('run.locked', `“${same.manifest.name}” runs this configuration already.`, {
    where: same.key,
    next: 'Stop it first, or change the configuration.',
  });
}

async function offerOf(context: CommandContext): Promise<FineTuneOffer> {
  const models = (await context.models.read())
    .filter((m) => m.problem === undefined)
    .map((m) => ({
      path: m.path,
      name: m.name,
      detail: `${m.architecture ?? ''}, ${countLayers(m.numLayers ?? 0)}, ${formatShort(
        countParameters(m.tensors ?? []),
      )} parameters`,
    }));
  const data: DataChoice[] = [
    { name: 'arithmetic', detail: 'Comes with the sample model; learned within a minute' },
  ];
  const found = await workspace.findFiles(
    '**/*.{jsonl,csv,parquet}',
    '**/{node_modules,.dota}/**',
    20,
  );
  for (const uri of found) {
    data.push({
      train: uri.fsPath,
      name: workspace.asRelativePath(uri),
      detail: 'In this workspace',
    });
  }
  return { models, data, sampleEpochs: 3 };
}

/** Asks step by step; undefined when the user leaves. */
async function ask(offer: FineTuneOffer, estimate: Estimate): Promise<FineTuneAnswers | undefined> {
  const flow = new FineTuneFlow(offer);
  for (let step = flow.step; step !== undefined; step = flow.step) {
    const choice = await pick(flow, step, estimate);
    if (choice === undefined) return undefined;
    if (choice === 'back') {
      flow.back();
      continue;
    }
    const value = choice.value ?? (await askFurther(choice.further, step));
    // Leaving the further question returns to the step itself.
    if (value !== undefined) flow.answer(step.id, value as FineTuneAnswers[StepId] as never);
  }
  return flow.result;
}

function pick(
  flow: FineTuneFlow,
  step: Step,
  estimate: Estimate,
): Promise<Choice | 'back' | undefined> {
  return new Promise((resolve) => {
    const input = window.createQuickPick<QuickPickItem & { choice: Choice }>();
    input.title = `DoTA: Fine-tune · ${step.title}`;
    input.step = flow.number;
    input.totalSteps = flow.total;
    input.placeholder = step.placeholder;
    input.ignoreFocusOut = true;
    input.matchOnDetail = true;
    if (flow.canGoBack) input.buttons = [QuickInputButtons.Back];
    input.items = step.choices.map((choice) => ({
      label: choice.label,
      ...(choice.description === undefined ? {} : { description: choice.description }),
      ...(choice.detail === undefined ? {} : { detail: choice.detail }),
      choice,
    }));
    const active = input.items[step.preselected];
    if (active !== undefined) input.activeItems = [active];
    const abort = new AbortController();
    if (step.id === 'finish') void showEstimate(input, flow, estimate, abort.signal);
    let answer: Choice | 'back' | undefined;
    input.onDidTriggerButton(() => {
      answer = 'back';
      input.hide();
    });
    input.onDidAccept(() => {
      answer = input.selectedItems[0]?.choice ?? input.activeItems[0]?.choice;
      if (answer !== undefined) input.hide();
    });
    input.onDidHide(() => {
      abort.abort();
      input.dispose();
      resolve(answer);
    });
    input.show();
  });
}

/** Fills in what the run would cost while its last question is open; a failure is told at the start. */
async function showEstimate(
  input: QuickPick<QuickPickItem>,
  flow: FineTuneFlow,
  estimate: Estimate,
  signal: AbortSignal,
): Promise<void> {
  input.busy = true;
  try {
    const line = await estimate(flow.soFar, signal);
    if (line !== undefined && !signal.aborted) input.placeholder = line;
  } catch {
    // Whatever is wrong with the answers, starting says so with the next step.
  } finally {
    if (!signal.aborted) input.busy = false;
  }
}

/** Writes the configuration to the workspace, or to the extension's storage where none is open. */
async function writeConfig(context: CommandContext, answers: FineTuneAnswers): Promise<string> {
  const directory =
    workspace.workspaceFolders?.[0]?.uri.fsPath ?? context.extension.globalStorageUri.fsPath;
  await mkdir(directory, { recursive: true });
  const { configFromAnswers, configStem, configText, freeConfigName } =
    await import('./configFile');
  const sampleData = await provideSampleData(context.extension.extensionPath, directory);
  const config = configFromAnswers(answers, {
    directory,
    sampleData,
    tensorboard: settings.tensorboard(),
  });
  const name = freeConfigName(configStem(answers), new Set(await readdir(directory)));
  const file = path.join(directory, name);
  await writeFile(file, configText(config), { flag: 'wx' });
  return file;
}

/**
 * Copies the sample's data beside the runs, so that the configuration still means the same when the
 * extension was updated, or on another machine.
 */
async function provideSampleData(extensionPath: string, directory: string): Promise<SampleData> {
  const source = path.join(extensionPath, 'media', 'sample', 'data');
  const target = path.join(directory, '.dota', 'sample');
  await mkdir(target, { recursive: true });
  const provide = async (split: string): Promise<string> => {
    const file = path.join(target, `arithmetic.${split}.json`);
    const there = await access(file).then(
      () => true,
      () => false,
    );
    if (!there) await copyFile(path.join(source, `arithmetic.${split}.json`), file);
    return file;
  };
  return {
    train: await provide('train'),
    validation: await provide('validation'),
    test: await provide('test'),
  };
}
