/** How many runs of a study go on side by side. */
import os from 'node:os';
import type { StudyConfig } from '../../study/studyConfig';
import { physicalCores } from '../training/physicalCores';

/** Bytes a parameter that a run may take at the most: weights, gradient and two moments in fp32. */
const BYTES_PER_PARAMETER = 16;
/** Of the machine's memory, for all jobs. */
const MEMORY_SHARE = 0.5;

/**
 * One job a core where the study gives each run its share of the cores on the CPU: small models gain
 * nothing from more threads, and runs side by side do. One in all where a run takes the whole machine.
 */
export function defaultJobs(
  study: Pick<StudyConfig, 'device' | 'threads'>,
  modelParameters: number,
  machine = { cores: physicalCores(), memory: os.totalmem() },
): number {
  if (study.device !== 'cpu' || study.threads < 1) return 1;
  const byMemory = (MEMORY_SHARE * machine.memory) / (BYTES_PER_PARAMETER * modelParameters);
  return Math.max(1, Math.floor(Math.min(machine.cores / study.threads, byMemory)));
}
