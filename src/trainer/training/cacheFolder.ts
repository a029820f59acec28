import path from 'node:path';

/** Where a run beside this configuration keeps what can be computed again. */
export function cacheFolder(directory: string): string {
  return path.join(directory, '.dota', 'cache');
}
