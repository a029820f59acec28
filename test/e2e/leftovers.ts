/**
 * What a suite leaves behind when it is ended in the middle: its trainers are detached, as they have to
 * be, and outlive it. They are found by the locks below the suite's own folder, and ended only where the
 * process is the very one that took the lock. All at once, without waiting: a process that is told to go
 * has no time.
 */
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { isRunning, startTicks } from './project';

/** A process, not to be taken for a later one with the same number (as in a run's lock). */
interface Identity {
  pid: number;
  processStart: string;
}

interface Owner extends Identity {
  /** The editor's server, which leads a process group of its own. */
  server?: Identity;
}

/** How the folders of suites begin, below the system's folder for temporary files. */
export const prefix = 'dota-e2e-';

const ownerFile = (home: string): string => path.join(home, 'owner.json');

/** Notes whose folder it is: this process's, and its server's. */
export function claim(home: string, serverPid = 0): void {
  const owner: Owner = { ...identityOf(process.pid) };
  if (serverPid !== 0) owner.server = identityOf(serverPid);
  writeFileSync(ownerFile(home), JSON.stringify(owner));
}

export function identityOf(pid: number): Identity {
  return { pid, processStart: `${boot()}/${startTicks(pid)}` };
}

/** The trainer writes host, boot and start into its lock; the host is always this one. */
function lives({ pid, processStart: start }: Identity): boolean {
  return isRunning(pid) && start.endsWith(`${boot()}/${startTicks(pid)}`);
}

function boot(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

function readJson<T>(file: string): T | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as T;
  } catch {
    return undefined;
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended meanwhile.
  }
}

/** Ends the editor's server with what it started, and every trainer that holds a run in this folder. */
export function endProcessesOf(home: string): void {
  const server = readJson<Owner>(ownerFile(home))?.server;
  if (server !== undefined && lives(server)) end(-server.pid);
  const locks = readdirSync(home, { recursive: true, encoding: 'utf8' })
    .filter((name) => path.basename(name) === 'lock.json')
    .map((name) => readJson<Identity>(path.join(home, name)));
  for (const lock of locks) if (lock !== undefined && lives(lock)) end(lock.pid);
}

/** Removes a suite's folder with all that still runs in it. */
export function clear(home: string): void {
  endProcessesOf(home);
  rmSync(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 300 });
}

/** Clears the folders of suites that were ended before they could do so; those of others stay. */
export function clearLeftovers(folder = tmpdir()): void {
  for (const name of readdirSync(folder).filter((n) => n.startsWith(prefix))) {
    const home = path.join(folder, name);
    const owner = readJson<Owner>(ownerFile(home));
    if (owner === undefined || lives(owner)) continue;
    // What is to be looked at afterwards stays until it is removed by hand.
    if (existsSync(path.join(home, 'keep'))) endProcessesOf(home);
    else clear(home);
  }
}
