/** A run's device and memory in words: the same on the terminal, in the log and in the editor. */
import type { RunManifest } from './runFiles';

export type RunDevice = NonNullable<RunManifest['device']>;

/** `CPU (AMD EPYC, 2 threads)`, `WebGPU (NVIDIA H200)`. */
export function deviceText({ kind, name, threads }: RunDevice): string {
  switch (kind) {
    case 'cpu': {
      const count = threads === 1 ? '1 thread' : `${threads} threads`;
      const parts = [name === 'CPU' ? '' : name, threads > 0 ? count : ''];
      const known = parts.filter((part) => part !== '').join(', ');
      return known === '' ? 'CPU' : `CPU (${known})`;
    }
    case 'webgpu':
      return name;
  }
}

/** Why the GPU is not used, to go on a line with; undefined where it is. */
export function gpuUnusedText({ reason }: Pick<RunDevice, 'reason'>): string | undefined {
  return reason === undefined ? undefined : `the GPU is not used: ${reason}`;
}

/** The device, and why it is not the GPU. */
export function deviceLine(device: RunDevice): string {
  return [deviceText(device), gpuUnusedText(device)].filter(Boolean).join('; ');
}

/** MB with as many digits as tell a little from nothing: `724 MB`, `0.2 MB`. */
export function megabytesText(mb: number): string {
  return `${mb < 9.95 ? Number(mb.toFixed(1)) : Math.round(mb)} MB`;
}
