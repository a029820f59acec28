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

/**
 * Share of a test file's answers that greedy generation gives exactly, every token.
 * @param target a run folder, or a configuration file for its base model
 */
export function exactMatch(target: string, testFile: string): number {
  const args = ['evaluate', target, '--data', testFile, '--no-loss', '--json'];
  const lines = run(['dist/trainer/cli.cjs', ...args], 'pipe')
    .trimEnd()
    .split('\n');
  const { exact_match } = JSON.parse(lines.at(-1) ?? '') as { exact_match: number | null };
  if (exact_match === null) throw new Error(`${target}: no accuracy.`);
  return exact_match;
}

/** The one run in a folder of runs. */
export function finishedRun(outputs: string): FinishedRun {
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
