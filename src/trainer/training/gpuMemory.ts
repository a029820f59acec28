/** A machine's GPUs: what the vendors' own tools say, or else the system. */
import { execFile } from 'node:child_process';
import { linuxGpus, windowsGpus } from './systemGpus';

export interface GpuState {
  vendor: 'nvidia' | 'amd' | 'intel';
  name: string;
  driver: string | undefined;
  totalMb: number;
  /** By all processes; undefined where nobody counts. */
  usedMb: number | undefined;
  /** It has no memory but the machine's; `totalMb` is what it may take of it. */
  shared?: boolean;
}

/** Runs a tool and gives its output; undefined where there is no such tool or it fails. */
export type Run = (command: string, args: readonly string[]) => Promise<string | undefined>;

/** They answer within a second or so; a broken driver lets them hang. */
const toolMs = 10_000;

const runTool: Run = (command, args) =>
  new Promise((resolve) => {
    execFile(
      command,
      args,
      { timeout: toolMs, killSignal: 'SIGKILL', windowsHide: true },
      (error, stdout) => {
        resolve(error ? undefined : stdout);
      },
    );
  });

/** Asks the system; Apple's GPUs and software ones are not among what it knows. */
async function systemGpus(run: Run): Promise<GpuState[]> {
  switch (process.platform) {
    case 'linux':
      return linuxGpus();
    case 'win32':
      return windowsGpus(run);
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

async function toolStates(run: Run): Promise<GpuState[]> {
  const [nvidia, amd] = await Promise.all([
    run('nvidia-smi', [
      '--query-gpu=name,driver_version,memory.total,memory.used',
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

function nvidiaStates(csv: string): GpuState[] {
  return csv
    .split('\n')
    .map((line) => line.split(',').map((field) => field.trim()))
    .filter((fields) => fields.length === 4 && Number.isFinite(Number(fields[2])))
    .map(([name, driver, total, used]) => ({
      vendor: 'nvidia',
      name: name as string,
      driver,
      totalMb: Number(total),
      usedMb: Number(used),
    }));
}

function amdStates(json: string): GpuState[] {
  let cards: Record<string, Record<string, string>>;
  try {
    cards = JSON.parse(json) as typeof cards;
  } catch {
    return [];
  }
  const driver = cards['system']?.['Driver version'];
  return Object.entries(cards).flatMap(([key, card]): GpuState[] => {
    const total = Number(card['VRAM Total Memory (B)']);
    if (!key.startsWith('card') || !Number.isFinite(total)) return [];
    return [
      {
        vendor: 'amd',
        name: card['Card Series'] ?? card['Card series'] ?? key,
        driver,
        totalMb: Math.round(total / 2 ** 20),
        usedMb: Math.round(Number(card['VRAM Total Used Memory (B)'] ?? 0) / 2 ** 20),
      },
    ];
  });
}
