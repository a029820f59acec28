#!/usr/bin/env node
/** The command line `dota`. Commands are loaded when they run, so that `--help` is instant. */
import './ort/noTelemetry';
import { Argument, Command, CommanderError, Option } from 'commander';
import { ExitCode, serializeError } from '../protocol/errors';
import { ignoreClosedPipes, printJson, reportError } from './commands/output';
import type { CompareOptions } from './commands/compare';
import type { DecomposeOptions } from './commands/decomposeCommand';
import type { EvaluateOptions } from './commands/evaluate';
import type { ExportOptions } from './commands/export';
import type { GenerateCommandOptions } from './commands/generate';
import type { ProfileOptions } from './commands/profile';
import type { PreviewOptions } from './commands/preview';
import type { RunsOptions } from './commands/runs';
import type { ServePromptsOptions } from './commands/servePrompts';
import type { StudyOptions } from './commands/study';
import type { TrainOptions } from './commands/train';

const exitCodeHelp = `
Exit codes: 0 done, 64 wrong usage, 65 bad input, 70 defect, 75 stopped and resumable.`;

const defaultRoot = '.dota/runs';

function json(command: Command): Command {
  return command.option('--json', 'print one JSON object as the last line of standard output');
}

/** Shorthands of `--set device=…` and `--set allow_software_gpu=true`. */
function deviceOption(): Option {
  return new Option('--device <kind>', 'override the configuration’s device').choices([
    'auto',
    'cpu',
    'webgpu',
  ]);
}

function softwareGpuOption(): Option {
  return new Option('--allow-software-gpu', 'accept a software WebGPU adapter (tests only)');
}

function buildProgram(finish: (code: ExitCode) => void): Command {
  const program = new Command('dota')
    .description('Fine-tunes language models with tensor adapters.')
    .addHelpText('after', exitCodeHelp)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true });

  json(
    program
      .command('train')
      .description('train what a configuration describes, or continue a run')
      .argument('[config|run]', 'a *.dota.json, or a run by id or folder')
      .option('--resume [run]', 'continue from the last good checkpoint')
      .option('--set <key=value>', 'override a key of the configuration (repeatable)', collect, [])
      .option('--root <folder>', 'folder that holds the runs', defaultRoot)
      .addOption(deviceOption())
      .addOption(softwareGpuOption())
      .option('--micro-batch <n>', 'sequences computed at once; the batch of a step stays the same')
      .option('--estimate', 'say what memory and time it would take, and do not start')
      .option('--detach', 'go on in the background and print the run')
      .addOption(new Option('--quiet').hideHelp()),
  ).action(async (target: string | undefined, options: TrainOptions) => {
    const { runTrain } = await import('./commands/train');
    finish(await runTrain(target, options));
  });

  addEvaluate(program);
  addGenerate(program);
  addServePrompts(program);
  addDoctor(program, finish);
  addProfile(program);
  addExport(program);
  addPreview(program);
  addDecompose(program);
  addMemory(program);
  addRuns(program);
  addCompare(program);
  addStudy(program, finish);
  return program;
}

function addProfile(program: Command): void {
  json(
    program
      .command('profile')
      .description('where the time and the memory of a training step go')
      .argument('<config>', 'a *.dota.json')
      .option('--steps <n>', 'steps to measure', '5')
      .option('--set <key=value>', 'override a key of the configuration (repeatable)', collect, [])
      .addOption(deviceOption())
      .addOption(softwareGpuOption()),
  ).action(async (file: string, options: ProfileOptions) => {
    const { runProfile } = await import('./commands/profile');
    await runProfile(file, options);
  });
}

function addDoctor(program: Command, finish: (code: ExitCode) => void): void {
  json(
    program.command('doctor').description('what this machine has for training, and what it lacks'),
  ).action(async (options: { json?: boolean }) => {
    const { runDoctor } = await import('./commands/doctor');
    finish(await runDoctor(options));
  });
  // Run in a process of its own: a driver that crashes takes only this one with it.
  program
    .command('probe-device', { hidden: true })
    .addArgument(new Argument('<kind>').choices(['cpu', 'webgpu']))
    .action(async (kind: 'cpu' | 'webgpu') => {
      const { probeDevice } = await import('./ort/probe');
      try {
        printJson(await probeDevice(kind));
      } catch (error) {
        printJson({ error: serializeError(error) });
      }
    });
}

function addEvaluate(program: Command): void {
  const scoring = new Option('--scoring <how>', 'answers, likelihood of the choices, or neither');
  const format = new Option('--format <form>', 'of the table').choices([
    'text',
    'markdown',
    'latex',
  ]);
  json(
    program
      .command('evaluate')
      .description('loss, perplexity and accuracy of a model, a run or adapters')
      .argument('<model>', 'a model folder, "sample", a *.dota.json, or a run by id or folder')
      .option('--adapter <run|folder>', 'a run or adapter folder (repeatable)', collect, [])
      .option('--compare', 'the base model as well')
      .option('--checkpoint <which>', 'best, last, none (the base model) or a step', 'best')
      .option('--data <path...>', 'files, or a folder with sets of LLM-Adapters')
      .option('--task <name>', 'score by the rules of a set of LLM-Adapters, e.g. boolq')
      .addOption(scoring.choices(['generate', 'loglikelihood', 'perplexity']).default('generate'))
      .option('--num-beams <n>', 'beam search; 4 for the sets of LLM-Adapters')
      .addOption(format)
      .option('--outputs <file>', 'write every answer, a JSON line each')
      .option('--limit <rows>', 'answer the first rows only')
      .option('--max-new-tokens <n>', 'longest answer')
      .option('--batch-size <n>', 'rows answered at once')
      .option('--no-loss', 'leave the validation loss out')
      .option('--no-accuracy', 'leave the answers out')
      .option('--set <key=value>', 'override a key of the configuration (repeatable)', collect, [])
      .option('--root <folder>', 'folder that holds the runs', defaultRoot),
  ).action(async (what: string, options: EvaluateOptions) => {
    const { runEvaluate } = await import('./commands/evaluate');
    await runEvaluate(what, options);
  });
  json(
    program
      .command('tasks')
      .description('the sets that evaluate knows, where they come from, what a folder has of them')
      .argument('[folder]', 'where you keep them'),
  ).action(async (folder: string | undefined, options: { json?: boolean }) => {
    const { runTasks } = await import('./commands/tasks');
    await runTasks(folder, options);
  });
}

function addGenerate(program: Command): void {
  const device = new Option('--device <kind>', 'where to compute').choices(['cpu', 'webgpu']);
  const template = new Option('--template <name>', 'how the prompt is put before the model');
  json(
    program
      .command('generate')
      .description('continue a prompt with a model, with adapters, or with both side by side')
      .argument('<model>', 'a model folder, "sample", a *.dota.json or a run (its base model)')
      .option('--adapter <run|folder>', 'a run or adapter folder (repeatable)', collect, [])
      .option('--compare', 'the base model’s answer as well')
      .requiredOption('--prompt <text>', 'the prompt; - reads standard input')
      .addOption(
        template.choices(['raw', 'plain', 'alpaca', 'llm-adapters', 'chat']).default('raw'),
      )
      .option('--max-new-tokens <n>', 'longest answer', '128')
      .option('--greedy', 'always the most probable token (the default)')
      .option('--temperature <t>', 'sample; lower is closer to --greedy')
      .option('--top-k <k>', 'sample among the k most probable tokens')
      .option('--top-p <p>', 'sample among the most probable tokens that reach p together')
      .option('--seed <n>', 'of sampling', '0')
      .option('--num-beams <n>', 'beam search')
      .option('--length-penalty <x>', 'of beam search: scores are divided by length^x (1)')
      .option('--stop <text>', 'end the answer before this text (repeatable)', collect, [])
      .option('--checkpoint <which>', 'of runs: best, last or a step', 'best')
      .option('--root <folder>', 'folder that holds the runs', defaultRoot)
      .addOption(device.default('cpu'))
      .addOption(new Option('--stream', 'JSON lines as the answers grow').hideHelp()),
  ).action(async (model: string, options: GenerateCommandOptions) => {
    const { runGenerate } = await import('./commands/generate');
    await runGenerate(model, options);
  });
}

/** For the editor, which keeps it between questions. */
function addServePrompts(program: Command): void {
  json(
    program
      .command('serve-prompts', { hidden: true })
      .description('answer questions that come as JSON lines on standard input')
      .option('--idle-seconds <n>', 'end after so long without a question', '300')
      .option('--checkpoint <which>', 'of runs: best, last or a step', 'best')
      .option('--root <folder>', 'folder that holds the runs', defaultRoot),
  ).action(async (options: ServePromptsOptions) => {
    const { servePrompts } = await import('./commands/servePrompts');
    await servePrompts(options);
  });
}

function addExport(program: Command): void {
  const forms = new Option(
    '--to, --format <form>',
    'merged: a model folder; adapter: the native adapter; lora: for PEFT; gguf: for llama.cpp; onnx: for transformers.js',
  );
  json(
    program
      .command('export')
      .description('what a run trained, in a form that other programs load')
      .argument('<run>', 'a run by id or folder')
      .addOption(forms.choices(['merged', 'adapter', 'lora', 'gguf', 'onnx']).default('merged'))
      .requiredOption('--out <path>', 'new folder to write; for gguf a new file')
      .option('--checkpoint <which>', 'best, last or a step', 'best')
      .option('--rank <r>', 'rank of the LoRA conversion (16), or its limit with --energy')
      .option('--energy <share>', 'smallest rank that keeps this share of each change')
      .addOption(
        new Option('--gguf-type <type>', 'type of the matrices of a GGUF file')
          .choices(['f16', 'q8_0'])
          .default('f16'),
      )
      .option('--root <folder>', 'folder that holds the runs', defaultRoot)
      .option('--stream', 'progress as JSON lines'),
  ).action(async (run: string, options: ExportOptions) => {
    const { runExport } = await import('./commands/export');
    await runExport(run, options);
  });
}

function addPreview(program: Command): void {
  json(
    program
      .command('preview')
      .description('what a configuration would train on, token by token')
      .argument('[config]', 'a *.dota.json; without one, --data and the defaults')
      .option('--data <file>', 'show this file instead of data.train')
      .option('--model <folder>', 'model folder whose tokenizer is used, or "sample"')
      .option('--start <row>', 'first row, from 0', '0')
      .option('--rows <n>', 'rows to show', '5')
      .option('--index <list>', 'these rows instead, by index from 0, e.g. 3,17')
      .option('--no-counts', 'show the rows only, without reading the whole file')
      .option('--stream', 'the page as a JSON line at once, then the counts as they come in')
      .option('--set <key=value>', 'override a key of the configuration (repeatable)', collect, []),
  ).action(async (config: string | undefined, options: PreviewOptions) => {
    const { runPreview } = await import('./commands/preview');
    await runPreview(config, options);
  });
}

function addDecompose(program: Command): void {
  const references = new Option('--reference <kinds...>', 'also decompose random matrices');
  const gauge = new Option('--gauge <gauge>', 'how singular values are shared among the cores');
  json(
    program
      .command('decompose')
      .description('matrix product operators of weights: shapes, bonds, kept energy, errors')
      .argument('<model>', 'a model folder, a .safetensors file, or "sample"')
      .argument('[modules...]', 'module paths; the matrices of the decoder layers when absent')
      .option('--tensor <name...>', 'the same as naming modules after the model')
      .option('--rank <d>', 'largest bond dimension, or one for each bond: 8,16,8')
      .option('--energy <share>', 'keep this share of the energy')
      .option('--error <e>', 'stay below this relative error')
      .option('--budget <n>', 'parameters of all modules together')
      .option('--cores <n>', 'number of cores')
      .option('--rows <factors>', 'row factors, e.g. 8x8x8')
      .option('--cols <factors>', 'column factors')
      .option('--plan <file>', 'shapes and ranks by module, as JSON')
      .addOption(new Option('--orientation <o>', 'rows run over').choices(['out', 'in']))
      .addOption(gauge.choices(['left', 'sqrt', 'sqrt_rms']))
      .addOption(references.choices(['gaussian', 'own_spectrum']))
      .option('--exact-middle', 'whole spectra of wide middle bonds too (about 20 s at side 4096)')
      .option('--seed <n>', 'of the random references')
      .option('--out <file>', 'write the cores (safetensors)')
      .option('--cache <folder>', 'keep results here and reuse them')
      .option('--threads <n>', 'CPU threads')
      .option('--stream', 'a JSON line as each module is ready'),
  ).action(async (model: string, modules: string[], options: DecomposeOptions) => {
    const { decomposeCommand } = await import('./commands/decomposeCommand');
    await decomposeCommand(model, modules, options);
  });
}

function addMemory(program: Command): void {
  json(
    program
      .command('memory')
      .description('memory of training on a model, as a formula in what the adapter trains')
      .argument('<model>', 'a model folder, or "sample"'),
  ).action(async (model: string, options: { json?: boolean }) => {
    const { runMemory } = await import('./commands/memory');
    await runMemory(model, options.json === true);
  });
}

function addCompare(program: Command): void {
  json(
    program
      .command('compare')
      .description('runs side by side: mean and spread over seeds, and why runs do not compare')
      .argument('<runs...>', 'runs by id or folder')
      .option('--root <folder>', 'folder that holds the runs', defaultRoot)
      .option('--allow-differences', 'show numbers that are of different quantities')
      .option('--markdown', 'a Markdown table')
      .option('--latex', 'a LaTeX table')
      .option('--csv', 'every run at full precision')
      .option('--svg <folder>', 'also write the figures into this folder'),
  ).action(async (runs: string[], options: CompareOptions) => {
    const { runCompare } = await import('./commands/compare');
    await runCompare(runs, options);
  });
}

function addStudy(program: Command, finish: (code: ExitCode) => void): void {
  json(
    program
      .command('study')
      .description('methods x tasks x seeds from one file; a second start goes on where it was')
      .argument('<config>', 'a *.dota-study.json')
      .option('--dry-run', 'list the runs and the time they will take')
      .option('--minutes <n>', 'begin no further run after so many minutes')
      .option('--jobs <n>', 'runs side by side; as many as the cores allow when absent')
      .option('--fresh', 'forget the results that are there and carry everything out again')
      .option('--report <folder>', 'write study.md and its figures from what is there; run nothing')
      .option('--results', 'print what is there, for the compare panel; run nothing')
      .option('--stream', 'progress as JSON lines'),
  ).action(async (config: string, options: StudyOptions) => {
    const { runStudy } = await import('./commands/study');
    finish(await runStudy(config, options));
  });
}

function addRuns(program: Command): void {
  const runs = program.command('runs').description('list, show, control and delete runs');
  const sub = (name: string, description: string): Command =>
    json(
      runs
        .command(name)
        .description(description)
        .option('--root <folder>', 'folder that holds the runs', defaultRoot),
    );

  sub('list', 'list the runs, newest first').action(async (options: RunsOptions) => {
    const { runsList } = await import('./commands/runs');
    await runsList(options);
  });
  sub('show', 'show one run')
    .argument('<run>', 'id or folder')
    .action(async (id: string, options: RunsOptions) => {
      const { runsShow } = await import('./commands/runs');
      await runsShow(id, options);
    });
  const controls = [
    ['stop', 'stop with a checkpoint, to be resumed later'],
    ['pause', 'pause at the next step, staying in memory'],
    ['resume', 'go on after a pause ("dota train --resume" continues a stopped run)'],
  ] as const;
  for (const [name, description] of controls) {
    const command = sub(name, description)
      .argument('<run>', 'id or folder')
      .option('--no-wait', 'return once the trainer has been told');
    if (name === 'stop') command.option('--force', 'end a trainer that does not answer, at once');
    command.action(
      async (id: string, options: RunsOptions & { force?: boolean; wait?: boolean }) => {
        const { runsCommand } = await import('./commands/runs');
        await runsCommand(name, id, options);
      },
    );
  }
  sub('delete', 'delete a run for good')
    .argument('<run>', 'id')
    .action(async (id: string, options: RunsOptions) => {
      const { runsDelete } = await import('./commands/runs');
      await runsDelete(id, options);
    });
}

function collect(value: string, earlier: string[]): string[] {
  return [...earlier, value];
}

async function main(): Promise<ExitCode> {
  let code: ExitCode = ExitCode.done;
  const program = buildProgram((result) => {
    code = result;
  });
  const wantsJson = process.argv.includes('--json');
  try {
    await program.parseAsync(process.argv);
    return code;
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has printed help, or what is wrong.
      if (error.exitCode === 0) return ExitCode.done;
      const message = error.message.replace(/^error: /, '');
      if (wantsJson) printJson({ error: { code: 'usage', message } });
      return ExitCode.usage;
    }
    return reportError(error, { json: wantsJson });
  }
}

ignoreClosedPipes();
void main().then((code) => {
  process.exitCode = code;
});
