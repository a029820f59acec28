/** What the vendors' own tools say about a machine's GPUs: names, memory, drivers. */
import { execFile } from 'node:child_process';

export interface GpuState {
  vendor: 'nvidia' | 'amd';
  name: string;
  driver: string | undefined;
  totalMb: number;
  usedMb: number;
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

/** @returns one entry a GPU; empty where no tool answers (Intel, Apple, or none at all) */
export async function gpuStates(run: Run = runTool): Promise<GpuState[]> {
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
