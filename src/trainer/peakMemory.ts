/** The most memory that this process has held. */
import { readFileSync } from 'node:fs';

/**
 * High-water mark of resident memory, MB (2^20 bytes). On Linux `maxRSS` starts with what the program that
 * started this one held, so the kernel's own mark of this program is read.
 */
export function peakRssMb(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS / 1024;
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024;
}
