/** The environment and the arguments a computing process needs. */
import { spawn } from 'node:child_process';
import { runtimeTelemetryOff } from '../../protocol/runtimeEnvironment';

/**
 * How glibc's allocator serves tensors that come and go by the megabyte (read when a process starts,
 * so it must be started with them; measured on `bench step`):
 * - freed pages are kept: giving them back and faulting them in again with every tensor costs more
 *   than some arithmetic. Only tensors of a large model's size have memory of their own, which goes
 *   back with them: among a heap's other pieces they leave gaps that the next one does not fit (with
 *   Llama-3.2-1B's shape 0.5 GB of them), while the arithmetic on one takes far longer than its pages;
 * - huge pages, where the kernel offers them on request;
 * - no caches of small pieces (`tcache_count`, `mxfast`): the runtime asks for aligned memory, from
 *   which the allocator cuts slivers at both ends; cached, they never grow together with the tensor's
 *   memory again when that is freed, the hole is too small for the next tensor of the same size, and
 *   the peak rises by a tenth;
 * - one arena for all threads, and growth by large pieces of address space (not of memory): else,
 *   with other things in the way of the heap, it grows by scattered small pieces which no large
 *   tensor fits in later, and the peak rises by a quarter in every second process.
 */
const mallocSettings: Readonly<Record<string, string>> = {
  MALLOC_MMAP_THRESHOLD_: String(2 ** 24),
  MALLOC_TRIM_THRESHOLD_: String(2 ** 34),
  MALLOC_TOP_PAD_: String(2 ** 28),
  MALLOC_ARENA_MAX: '1',
  GLIBC_TUNABLES: ['hugetlb=1', 'tcache_count=0', 'mxfast=0']
    .map((setting) => `glibc.malloc.${setting}`)
    .join(':'),
};

/**
 * How JavaScript's memory is collected (read when a process starts; measured on `bench step`). The collector
 * finds a small heap, but the runtime's results weigh on it, and it would run three times a step:
 * - on the thread that calls it, and not beside it on as many as there are cores, which the arithmetic
 *   has use for: a step takes 3 to 6 percent less time;
 * - not before the heap has grown to four times its size (a hundred megabytes of results count as growth
 *   while a step is under way): another 3 percent, with `asideArrays.ts`, which brings as much;
 * - young objects in a few megabytes instead of 48: 10 MB less of memory, for 2 to 7 percent of the time
 *   that tokenizing takes.
 */
const collectorSettings: readonly string[] = [
  '--single-threaded-gc',
  '--heap-growing-percent=300',
  '--max-semi-space-size=4',
];

/** Versions of V8 that know these settings (Node 20, 22, 24 and 25); one that did not would not start. */
const knownV8 = { from: 11, to: 14 };

/** Arguments for Node in a program that computes: those given, and what computing needs. */
export function withComputeArguments(given: readonly string[], v8 = process.versions.v8): string[] {
  const major = Number.parseInt(v8, 10);
  const known = major >= knownV8.from && major <= knownV8.to;
  const own = known ? collectorSettings.filter((setting) => !given.includes(setting)) : [];
  return [...given, ...own];
}

/** `base` with what a computing process of this platform needs. */
export function computeEnvironment(base: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own = process.platform === 'linux' ? mallocSettings : {};
  return { ...own, ...base, ...runtimeTelemetryOff };
}

/**
 * Starts this very program again with the right environment and arguments where it lacks them, and ends
 * with its exit code. On Linux alone, where the allocator's settings weigh most.
 * @returns only when this process may compute itself
 */
export async function ensureComputeEnvironment(): Promise<void> {
  if (process.platform !== 'linux') return;
  const wanted = computeEnvironment(process.env);
  const flags = withComputeArguments(process.execArgv);
  const complete =
    flags.length === process.execArgv.length &&
    Object.keys(wanted).every((key) => process.env[key] !== undefined);
  if (complete) return;
  const child = spawn(process.execPath, [...flags, ...process.argv.slice(1)], {
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
