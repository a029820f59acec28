/** The environment a computing process needs. */
import { spawn } from 'node:child_process';

/**
 * glibc gives freed pages back with every free and asks for them again with every allocation, which
 * costs a training step more than its arithmetic; these settings keep them (measured: see the
 * benchmarks). They are read when a process starts, so it must be started with them.
 */
const mallocSettings: Readonly<Record<string, string>> = {
  MALLOC_MMAP_MAX_: '0',
  MALLOC_TRIM_THRESHOLD_: '17179869184',
};

/** `base` with what a computing process of this platform needs. */
export function computeEnvironment(base: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return process.platform === 'linux' ? { ...mallocSettings, ...base } : { ...base };
}

/**
 * Starts this very program again with the right environment where it lacks it, and ends with its
 * exit code.
 * @returns only when this process may compute itself
 */
export async function ensureComputeEnvironment(): Promise<void> {
  const wanted = computeEnvironment(process.env);
  const missing = Object.keys(wanted).some((key) => process.env[key] === undefined);
  if (!missing) return;
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: wanted,
  });
  // A terminal sends its signals to both; a program only to this one. Twice does no harm.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => child.kill(signal));
  }
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (exit, signal) => {
      resolve(exit ?? (signal === null ? 70 : 128 + 9));
    });
  });
  process.exit(code);
}
