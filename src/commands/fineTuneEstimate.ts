/** What the answers would cost, asked of the trainer while the last step of the flow is open. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { Trainer } from '../host/trainer';
import { DotaError } from '../protocol/errors';
import { isNumber, isObject } from '../protocol/guards';
import { configFromAnswers, configText, type SampleData } from './configFile';
import type { FineTuneAnswers } from './fineTuneFlow';

/** @param answer of `dota train --estimate --json` @returns one line; undefined when it is none */
export function estimateLine(answer: unknown): string | undefined {
  if (!isObject(answer) || !isNumber(answer.peak_rss_mb) || !isNumber(answer.total_steps)) {
    return undefined;
  }
  const memory =
    answer.peak_rss_mb < 1000
      ? `${Math.round(answer.peak_rss_mb)} MB`
      : `${(answer.peak_rss_mb / 1000).toFixed(1)} GB`;
  const unasked = answer.device_asked === false ? '. DoTA: Doctor asks the GPU' : '';
  const seconds = answer.seconds_per_step;
  if (!isNumber(seconds)) return `About ${memory} of memory${unasked}`;
  const total = seconds * answer.total_steps;
  const time = total < 90 ? `${Math.ceil(total)} s` : `${Math.ceil(total / 60)} min`;
  return `About ${memory} of memory and ${time} on the CPU (${answer.total_steps} steps)${unasked}`;
}

/** @returns one line, a refused device's among them; rejects with what else the trainer reported, or when cancelled */
export async function estimateAnswers(
  trainer: Trainer,
  answers: FineTuneAnswers,
  sampleData: SampleData,
  signal: AbortSignal,
): Promise<string | undefined> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'dota-estimate-'));
  try {
    const file = path.join(folder, 'estimate.dota.json');
    const place = { directory: folder, sampleData, tensorboard: false };
    await writeFile(file, configText(configFromAnswers(answers, place)));
    const { json } = await trainer.command(['train', file, '--estimate'], { signal });
    return estimateLine(json);
  } catch (error) {
    // What no run of these answers can pass on this machine is worth knowing before it is started.
    if (error instanceof DotaError && error.code === 'device.unavailable') return error.message;
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
