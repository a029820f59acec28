/** Reads what the runtime's profiler has written, a file a session. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import type { DeviceKind } from '../ort/sessionOptions';

const event = z.object({
  cat: z.string(),
  name: z.string(),
  /** Microseconds. */
  ts: z.number(),
  dur: z.number(),
  args: z.object({ op_name: z.string().optional() }).optional(),
});

type Event = z.output<typeof event>;

/** Milliseconds by name, in one step. */
export interface SpentTime {
  operators: Map<string, number>;
  phases: Map<string, number>;
}

/** The step that is looked at. */
export interface ProfiledStep {
  kind: DeviceKind;
  /** From 0, the one that warms up. */
  step: number;
  /** All that were profiled. */
  steps: number;
}

/**
 * Sums the time of operators and of phases. Copies to and from a GPU are no operators of it.
 * @param folder holds files named `<phase>.<number>_<date>.json`
 */
export async function readOrtProfiles(folder: string, profiled: ProfiledStep): Promise<SpentTime> {
  const spent: SpentTime = { operators: new Map(), phases: new Map() };
  for (const name of await readdir(folder)) {
    const [phase = 'other'] = name.split('.');
    addProfile(spent, phase, await readFile(path.join(folder, name), 'utf8'), profiled);
  }
  return spent;
}

/** Adds a session's profile to what the others have spent. Every step runs the session as often. */
export function addProfile(
  spent: SpentTime,
  phase: string,
  text: string,
  { kind, step, steps }: ProfiledStep,
): void {
  const events = eventsOf(text);
  const ofStep = (all: Event[]): Event[] => {
    const [from, to] = [step, step + 1].map((end) => Math.round((end * all.length) / steps));
    return all.slice(from, to);
  };
  switch (kind) {
    case 'cpu': {
      const runs = ofStep(events.filter(({ name }) => name === 'model_run'));
      for (const { dur } of runs) add(spent.phases, phase, dur);
      for (const { cat, name, ts, args, dur } of events) {
        const inStep = runs.some((run) => ts >= run.ts && ts <= run.ts + run.dur);
        if (!inStep || cat !== 'Node' || !name.endsWith('_kernel_time')) continue;
        if (args?.op_name !== undefined) add(spent.operators, args.op_name, dur);
      }
      return;
    }
    case 'webgpu':
      // The GPU's own times: `Node` events end when the work was handed over. They stand in the order of the
      // runs, of which each has the same; their clock starts anew after the first. Their names are
      // `<node>&<operator>&<kernel>`.
      for (const { name, dur } of ofStep(events.filter(({ cat }) => cat === 'Api'))) {
        add(spent.phases, phase, dur);
        add(spent.operators, name.split('&')[1] ?? name, dur);
      }
      return;
  }
}

function eventsOf(text: string): Event[] {
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

function add(sums: Map<string, number>, name: string, microseconds: number): void {
  sums.set(name, (sums.get(name) ?? 0) + microseconds / 1000);
}
