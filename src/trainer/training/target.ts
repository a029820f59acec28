/** What a command means: a configuration (its base model), or a run with one of its checkpoints. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { runConfigSchema, type RunConfig } from '../../config/runConfig';
import { DotaError } from '../../protocol/errors';
import {
  checkpointPath,
  listCheckpoints,
  newestGoodCheckpoint,
  verifyCheckpoint,
} from '../../runs/checkpoints';
import { readManifest } from '../../runs/manifest';
import type { RunFolder } from '../../runs/runFolder';
import { findRun } from '../../runs/runStore';
import { loadRunConfig } from '../commands/runConfigFile';

export interface TargetOptions {
  root: string;
  set: string[];
  /** `best`, `last`, `none` (the base model) or a step. */
  checkpoint: string;
}

export interface Target {
  config: RunConfig;
  directory: string;
  run: RunFolder | undefined;
  /** Folder of a verified checkpoint. */
  checkpoint: string | undefined;
}

/** A configuration file means its base model; a run its checkpoint. */
export async function findTarget(what: string, options: TargetOptions): Promise<Target> {
  const info = await stat(path.resolve(what)).catch(() => undefined);
  if (info?.isFile() === true) {
    const { config, directory } = await loadRunConfig(what, options.set);
    return { config, directory, run: undefined, checkpoint: undefined };
  }
  const run = await findRun(options.root, what);
  const manifest = await readManifest(run);
  const parsed = runConfigSchema.safeParse(manifest.config);
  if (!parsed.success) {
    throw new DotaError('run.corrupt', 'The run’s configuration cannot be used.', {
      where: run.manifest,
      next: 'Start a new run.',
    });
  }
  const best = manifest.best?.step;
  return {
    config: parsed.data,
    directory: manifest.configDirectory,
    run,
    checkpoint: await chooseCheckpoint(run, options.checkpoint, best),
  };
}

async function chooseCheckpoint(
  run: RunFolder,
  wanted: string,
  best: number | undefined,
): Promise<string | undefined> {
  if (wanted === 'none') return undefined;
  if (wanted === 'last' || (wanted === 'best' && best === undefined)) {
    const { checkpoint } = await newestGoodCheckpoint(run);
    if (checkpoint !== undefined) return checkpoint.path;
    throw noCheckpoint(run, wanted, []);
  }
  const step = wanted === 'best' ? (best ?? 0) : Number(wanted);
  const all = await listCheckpoints(run);
  // The base model itself was best, before the first step.
  if (wanted === 'best' && step === 0) return undefined;
  if (!all.some((checkpoint) => checkpoint.step === step)) {
    throw noCheckpoint(
      run,
      wanted,
      all.map((checkpoint) => checkpoint.step),
    );
  }
  const chosen = { step, path: checkpointPath(run, step) };
  await verifyCheckpoint(run, chosen);
  return chosen.path;
}

function noCheckpoint(run: RunFolder, wanted: string, there: readonly number[]): DotaError {
  return new DotaError('file.missing', `The run has no checkpoint "${wanted}".`, {
    where: run.checkpoints,
    next:
      there.length === 0
        ? 'It has none at all; "--checkpoint none" evaluates the base model.'
        : `There are: ${there.join(', ')}.`,
  });
}
