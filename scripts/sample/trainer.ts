/** Runs the product's own command line, as a user would. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import type { RunConfigInput } from '../../src/config/runConfig';
import type { RunManifest } from '../../src/protocol/runFiles';
import { writeJson } from './files';

export interface FinishedRun {
  folder: string;
  manifest: RunManifest;
}

/** Builds the trainer's bundles. */
export function buildTrainer(): void {
  run(['esbuild.mjs']);
}

/**
 * Trains in a fresh folder of its own and waits for the end.
 * @param name also the folder under `workFolder`
 * @param config relative paths refer to `workFolder`
 */
export function train(workFolder: string, name: string, config: RunConfigInput): FinishedRun {
  const outputs = path.join(workFolder, 'runs', name);
  rmSync(outputs, { recursive: true, force: true });
  mkdirSync(outputs, { recursive: true });
  const file = path.join(workFolder, `${name}.dota.json`);
  writeJson(file, { ...config, name, output_dir: path.join('runs', name) });
  run(['dist/trainer/cli.cjs', 'train', file]);
  return finishedRun(outputs);
}

/** The last line of `dota evaluate --json`, as far as it is used here. */
interface Evaluation {
  /** Nats a token on the validation set. */
  val_loss: number | null;
  /** Share of the test answers that greedy generation gives exactly, every token. */
  exact_match: number | null;
}

/** @param target a run folder, or a configuration file for its base model */
function evaluate(target: string, options: readonly string[]): Evaluation {
  const lines = run(['dist/trainer/cli.cjs', 'evaluate', target, '--json', ...options], 'pipe');
  return JSON.parse(lines.trimEnd().split('\n').at(-1) ?? '') as Evaluation;
}

/** Share of a test file's answers that are exact. */
export function exactMatch(target: string, testFile: string): number {
  const { exact_match } = evaluate(target, ['--data', testFile, '--no-loss']);
  if (exact_match === null) throw new Error(`${target}: no accuracy.`);
  return exact_match;
}

/** Validation loss of a configuration's base model, nats a token. */
export function baseLoss(workFolder: string, name: string, config: RunConfigInput): number {
  const file = path.join(workFolder, `${name}.dota.json`);
  writeJson(file, config);
  const { val_loss } = evaluate(file, ['--no-accuracy']);
  if (val_loss === null) throw new Error(`${file}: no loss.`);
  return val_loss;
}

/** The one run in a folder of runs. */
function finishedRun(outputs: string): FinishedRun {
  const [id] = readdirSync(outputs).filter((entry) => !entry.startsWith('.'));
  if (id === undefined) throw new Error(`${outputs}: no run.`);
  const folder = path.join(outputs, id);
  const manifest = JSON.parse(readFileSync(path.join(folder, 'run.json'), 'utf8')) as RunManifest;
  if (manifest.state !== 'finished') throw new Error(`${folder}: ${manifest.state}.`);
  return { folder, manifest };
}

/** Runs a script of this repository; @returns its standard output where that is piped. */
function run(args: readonly string[], stdout: 'inherit' | 'pipe' = 'inherit'): string {
  const done = spawnSync(process.execPath, args, {
    stdio: ['inherit', stdout, 'inherit'],
    encoding: 'utf8',
  });
  if (done.status !== 0)
    throw new Error(`node ${args.join(' ')} ended with ${String(done.status)}.`);
  return done.stdout ?? '';
}
