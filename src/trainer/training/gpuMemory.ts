/** A machine's GPUs: what the vendors' own tools say, or else the system. */
import { execFile } from 'node:child_process';
import { isObject, isString } from '../../protocol/guards';
import { macGpus } from './macGpus';
import { linuxGpus, memoryOf, windowsGpus } from './systemGpus';

export interface GpuState {
  vendor: 'nvidia' | 'amd' | 'intel' | 'apple';
  name: string;
  driver: string | undefined;
  totalMb: number;
  /** By all processes; undefined where nobody counts. */
  usedMb: number | undefined;
  /** It has no memory but the machine's; `totalMb` is what it may take of it. */
  shared?: boolean;
}

/**
 * Runs a tool and gives its output; undefined where there is no such tool or it had to be ended. One that ends
 * with an error may have said what it knew before, as `reg query /s` is known to do where it may not read a key.
 */
export type Run = (command: string, args: readonly string[]) => Promise<string | undefined>;

/** They answer within a second or so; a broken driver lets them hang. */
const toolMs = 10_000;

/** Never rejects. @param timeoutMs after which the tool is ended */
export function runTool(
  command: string,
  args: readonly string[],
  timeoutMs = toolMs,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    try {
      execFile(
        command,
        args,
        { timeout: timeoutMs, killSignal: 'SIGKILL', windowsHide: true },
        (error, stdout) => {
          // Half a line would be half a number.
          const cut = error !== null && (error.killed === true || typeof error.code !== 'number');
          resolve(cut ? undefined : stdout);
        },
      );
    } catch {
      // Some failures to start a process are thrown.
      resolve(undefined);
    }
  });
}

/** Asks the system; software adapters are not among what it knows. */
async function systemGpus(run: Run): Promise<GpuState[]> {
  switch (process.platform) {
    case 'linux':
      return linuxGpus();
    case 'win32':
      return windowsGpus(run);
    case 'darwin':
      return macGpus(run);
    default:
      return [];
  }
}

/**
 * @returns one entry a GPU, those with memory of their own first; the system is only asked about vendors
 *   whose tool does not answer
 */
export async function gpuStates(run: Run = runTool, system = systemGpus): Promise<GpuState[]> {
  const tools = await toolStates(run);
  const answered = new Set(tools.map(({ vendor }) => vendor));
  const others = (await system(run)).filter(({ vendor }) => !answered.has(vendor));
  const known = [...tools, ...others];
  return [...known.filter((gpu) => !gpu.shared), ...known.filter((gpu) => gpu.shared)];
}

/**
 * MiB that a process has on NVIDIA's GPUs, all of them together.
 * @returns undefined where the tool does not list it: it lists processes that compute, among which a driver may
 *   not count those of Vulkan, and Windows does not tell it how much each has
 */
export async function processUsedMb(pid: number, run: Run = runTool): Promise<number | undefined> {
  const listed = await run('nvidia-smi', [
    '--query-compute-apps=pid,used_memory',
    '--format=csv,noheader,nounits',
  ]);
  const own = (listed ?? '').split('\n').flatMap((line) => {
    const [id, used, ...more] = line.split(',');
    const usedMb = count(used);
    return more.length === 0 && count(id) === pid && usedMb !== undefined ? [usedMb] : [];
  });
  return own.length === 0 ? undefined : own.reduce((sum, usedMb) => sum + usedMb, 0);
}

async function toolStates(run: Run): Promise<GpuState[]> {
  const [nvidia, amd] = await Promise.all([
    run('nvidia-smi', [
      '--query-gpu=name,driver_version,memory.total,memory.free',
      '--format=csv,noheader,nounits',
    ]),
    run('rocm-smi', [
      '--showproductname',
      '--showmeminfo',
      'vram',
      '--showdriverversion',
      '--json',
    ]),
  ]);
  return [...nvidiaStates(nvidia ?? ''), ...amdStates(amd ?? '')];
}

/**
 * Sizes are in MiB (the header of nvidia-smi's own table). NVML documents `free` as what is not allocated; whether
 * `used` has what the driver reserves depends on its version, so what is free is asked for. A field that a GPU does
 * not have is `[N/A]` or `[Not Supported]`: users' reports show both for GPUs that share the machine's memory.
 */
function nvidiaStates(csv: string): GpuState[] {
  return csv.split('\n').flatMap((line): GpuState[] => {
    const fields = line.split(',').map((field) => field.trim());
    const [name, driver, total, free] = fields;
    const totalMb = count(total);
    if (fields.length !== 4 || name === undefined || name === '' || !totalMb) return [];
    const freeMb = count(free);
    const usedMb = freeMb === undefined ? undefined : Math.max(0, totalMb - freeMb);
    return [{ vendor: 'nvidia', name, driver, totalMb, usedMb }];
  });
}

/**
 * As rocm-smi prints it in reports of its users (not documented key by key): strings of bytes, with `N/A` for what
 * it does not know, and perhaps warnings before the JSON. It counts GPUs inside of processors by what the firmware
 * has set aside for them.
 */
function amdStates(printed: string): GpuState[] {
  let cards: unknown;
  try {
    cards = JSON.parse(printed.slice(Math.max(0, printed.indexOf('{'))));
  } catch {
    return [];
  }
  if (!isObject(cards)) return [];
  const driver = isObject(cards.system) ? cards.system['Driver version'] : undefined;
  return Object.entries(cards).flatMap(([key, card]): GpuState[] => {
    if (!key.startsWith('card') || !isObject(card)) return [];
    const total = count(card['VRAM Total Memory (B)']);
    if (!total) return [];
    const used = count(card['VRAM Total Used Memory (B)']);
    const named = card['Card Series'] ?? card['Card series'];
    return [
      {
        vendor: 'amd',
        name: isString(named) ? named : key,
        driver: isString(driver) ? driver : undefined,
        ...memoryOf(mebibytes(total), used === undefined ? undefined : mebibytes(used)),
      },
    ];
  });
}

const mebibytes = (bytes: number): number => Math.round(bytes / 2 ** 20);

/** A number that a tool prints; undefined for whatever it prints in place of one. */
function count(text: unknown): number | undefined {
  if (!isString(text) || !/^\d+(\.\d+)?$/.test(text.trim())) return undefined;
  return Number(text);
}
