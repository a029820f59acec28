/** Reads what the runtime's profiler has written, a file a session. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';

const event = z.object({
  cat: z.string(),
  name: z.string(),
  /** Microseconds. */
  ts: z.number(),
  dur: z.number(),
  args: z.object({ op_name: z.string().optional() }).optional(),
});

/** Milliseconds by name, over all steps that were profiled. */
export interface SpentTime {
  operators: Map<string, number>;
  phases: Map<string, number>;
}

/**
 * Sums the time of operators and of whole runs. The first run of every session is left out: it warms
 * up.
 * @param folder holds files named `<phase>.<number>_<date>.json`
 */
export async function readOrtProfiles(folder: string): Promise<SpentTime> {
  const spent: SpentTime = { operators: new Map(), phases: new Map() };
  for (const name of await readdir(folder)) {
    const [phase = 'other'] = name.split('.');
    addProfile(spent, phase, await readFile(path.join(folder, name), 'utf8'));
  }
  return spent;
}

export function addProfile(spent: SpentTime, phase: string, text: string): void {
  const events = eventsOf(text);
  const runs = events.filter(({ name }) => name === 'model_run').sort((a, b) => a.ts - b.ts);
  const warm = runs[0] ? runs[0].ts + runs[0].dur : Infinity;
  for (const { cat, name, ts, dur, args } of events) {
    if (ts < warm) continue;
    if (name === 'model_run') add(spent.phases, phase, dur / 1000);
    else if (cat === 'Node' && name.endsWith('_kernel_time') && args?.op_name !== undefined) {
      add(spent.operators, args.op_name, dur / 1000);
    }
  }
}

function eventsOf(text: string): z.output<typeof event>[] {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    // A session that never ran leaves an unfinished list.
    return [];
  }
  if (!Array.isArray(raw)) return [];
  return raw.flatMap((item) => {
    const parsed = event.safeParse(item);
    return parsed.success ? [parsed.data] : [];
  });
}

function add(sums: Map<string, number>, name: string, value: number): void {
  sums.set(name, (sums.get(name) ?? 0) + value);
}
