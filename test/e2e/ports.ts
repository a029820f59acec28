/** Which ports processes have open, from what the kernel says (Linux). */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

/** State of a TCP socket that listens, in `/proc/net/tcp`. */
const listening = '0A';

/**
 * Where these processes can be reached over the network: TCP ports that they listen on and UDP ports
 * that they have, as `tcp 0100007F:1F90`.
 */
export function openPorts(pids: readonly number[]): string[] {
  const own = new Set(pids.flatMap(socketsOf));
  return ['tcp', 'tcp6', 'udp', 'udp6'].flatMap((protocol) =>
    readFileSync(`/proc/net/${protocol}`, 'utf8')
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , state]) => protocol.startsWith('udp') || state === listening)
      .filter((columns) => own.has(columns[9]!))
      .map(([, local]) => `${protocol} ${local}`),
  );
}

/** Inodes of the sockets that a process has open; none where it has ended. */
function socketsOf(pid: number): string[] {
  let files: string[];
  try {
    files = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return [];
  }
  return files.flatMap((file) => {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${file}`))?.[1];
      return inode === undefined ? [] : [inode];
    } catch {
      // It was closed meanwhile.
      return [];
    }
  });
}
