import os from 'node:os';

/** Two threads of one core share its arithmetic units, so a thread more a core only costs. */
export function physicalCores(): number {
  const logical = os.availableParallelism();
  const perCore = process.arch === 'x64' && os.cpus().length > 4 ? 2 : 1;
  return Math.max(1, Math.floor(logical / perCore));
}
