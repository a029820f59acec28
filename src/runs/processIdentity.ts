/** Telling one process from another that later got the same number. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import os from 'node:os';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * When a process started, as text that only equality is asked of: host, boot and start time.
 * @returns undefined when there is no such process, or '' where the platform does not tell
 */
export async function processStart(pid: number): Promise<string | undefined> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  switch (process.platform) {
    case 'linux':
      return linuxStart(pid);
    case 'win32':
      return commandStart('powershell.exe', [
        '-NoProfile',
        '-NonInteractive',
        '-Command',
        `(Get-Process -Id ${pid} -ErrorAction Stop).StartTime.ToFileTimeUtc()`,
      ]);
    default:
      return commandStart('ps', ['-o', 'lstart=', '-p', String(pid)]);
  }
}

async function linuxStart(pid: number): Promise<string | undefined> {
  let stat: string;
  try {
    stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The program's name stands in parentheses and may hold anything; field 22 counts from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // A zombie has ended; only its parent has not looked yet.
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
  return `${os.hostname()}/${boot.trim()}/${fields[19] ?? ''}`;
}

async function commandStart(program: string, args: string[]): Promise<string | undefined> {
  try {
    const { stdout } = await run(program, args, { timeout: 10_000, windowsHide: true });
    const text = stdout.trim();
    return text === '' ? undefined : `${os.hostname()}/${text}`;
  } catch {
    return undefined;
  }
}

/** The host named in a process start, '' when it names none. */
export function hostOf(start: string): string {
  return start.slice(0, Math.max(0, start.indexOf('/')));
}
