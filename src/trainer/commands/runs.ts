/** `dota runs`: looks after the runs of a folder. */
import { deviceLine, megabytesText } from '../../protocol/deviceText';
import { DotaError } from '../../protocol/errors';
import type { RunManifest, RunState, TrainerCommand } from '../../protocol/runFiles';
import { attachToRun, forceStop } from '../../runs/attach';
import { listCheckpoints } from '../../runs/checkpoints';
import { JournalReader } from '../../runs/journalReader';
import { checkLiveness, effectiveState } from '../../runs/liveness';
import { readManifest } from '../../runs/manifest';
import { deleteRun, findRun, listRuns, runSize } from '../../runs/runStore';
import { megabytes, printJson, printLine, table } from './output';

export interface RunsOptions {
  root: string;
  json?: boolean;
}

const waitMs = 60_000;

/** @throws DotaError `file.unreadable` */
export async function runsList(options: RunsOptions): Promise<void> {
  const runs = await Promise.all(
    (await listRuns(options.root)).map(async (run) => {
      if ('problem' in run) {
        return { id: run.folder.id, run: run.folder.path, error: run.problem.toJSON() };
      }
      const { folder, manifest } = run;
      return {
        id: folder.id,
        run: folder.path,
        name: manifest.name,
        state: effectiveState(manifest, await checkLiveness(folder)),
        created_at: manifest.createdAt,
        step: manifest.progress?.step ?? 0,
        total_steps: manifest.progress?.totalSteps ?? null,
        best_val_loss: manifest.best?.validationLoss ?? null,
      };
    }),
  );
  if (options.json === true) {
    printJson({ runs });
    return;
  }
  if (runs.length === 0) {
    printLine(`No runs in ${options.root}.`);
    return;
  }
  const rows = runs.map((run) =>
    'error' in run && run.error !== undefined
      ? [run.id, 'damaged', '', '', run.error.message]
      : [
          run.id,
          run.state,
          `${run.step}/${run.total_steps ?? '?'}`,
          run.best_val_loss?.toFixed(4) ?? '-',
          run.name,
        ],
  );
  printLine(table([['RUN', 'STATE', 'STEP', 'BEST', 'NAME'], ...rows]));
}

/** @throws DotaError `file.missing`, `run.corrupt` */
export async function runsShow(id: string, options: RunsOptions): Promise<void> {
  const folder = await findRun(options.root, id);
  const manifest = await readManifest(folder);
  const state = effectiveState(manifest, await checkLiveness(folder));
  const journal = new JournalReader(folder.journal);
  await journal.read();
  const checkpoints = (await listCheckpoints(folder)).map(({ step }) => step);
  const result = {
    ...manifest,
    state,
    run: folder.path,
    rows: { step: journal.steps.length, eval: journal.evals.length },
    checkpoints,
    bytes: await runSize(folder),
  };
  if (options.json === true) {
    printJson(result);
    return;
  }
  const lines: [string, string][] = [
    ['Run', folder.path],
    ['Name', manifest.name],
    ['State', manifest.error === undefined ? state : `${state}: ${manifest.error.message}`],
    ['Step', `${manifest.progress?.step ?? 0} of ${manifest.progress?.totalSteps ?? '?'}`],
    ['Loss', lossText(journal.steps.column('loss').at(-1))],
    ['Validation', lossText(journal.evals.column('loss').at(-1))],
    ...machineLines(manifest),
    ...(manifest.error?.next === undefined
      ? []
      : [['Next', manifest.error.next] satisfies [string, string]]),
    ['Checkpoints', checkpoints.join(', ') || 'none'],
    ['Size', megabytes(result.bytes)],
  ];
  printLine(table(lines));
}

function lossText(loss: number | undefined): string {
  if (loss === undefined) return '-';
  // A small loss has its digits behind more zeros.
  return loss !== 0 && Math.abs(loss) < 0.001 ? loss.toExponential(3) : loss.toFixed(4);
}

/** What the run computes on, how fast, and in how much memory, as far as it is known yet. */
function machineLines(manifest: RunManifest): [string, string][] {
  const { device, timing, peakRssMb, peakDeviceMb, estimate } = manifest;
  const onGpu = device?.kind === 'webgpu';
  const expected = estimate === undefined ? '' : `, estimated ${megabytesText(estimate.peakRssMb)}`;
  const line = (name: string, value: string | undefined): [string, string][] =>
    value === undefined ? [] : [[name, value]];
  return [
    ...line('Device', device && deviceLine(device)),
    ...line('Speed', timing && `${Math.round(timing.tokensPerSecond)} tokens/s`),
    ...line(
      'GPU memory',
      peakDeviceMb === undefined ? undefined : `peak ${megabytesText(peakDeviceMb)}${expected}`,
    ),
    ...line(
      'Memory',
      peakRssMb === undefined
        ? undefined
        : `peak ${megabytesText(peakRssMb)}${onGpu ? '' : expected}`,
    ),
  ];
}

/**
 * Stops, pauses or resumes a run that a trainer is working on, and waits until it has.
 * @throws DotaError `run.state` when nobody works on it; `protocol.timeout`
 */
export async function runsCommand(
  command: TrainerCommand,
  id: string,
  options: RunsOptions & { force?: boolean; wait?: boolean },
): Promise<void> {
  const folder = await findRun(options.root, id);
  if (options.force === true) {
    await forceStop(folder);
    report(folder.id, 'crashed', options);
    return;
  }
  const attachment = await attachToRun(folder);
  switch (attachment.kind) {
    case 'none':
    case 'dead':
      throw new DotaError('run.state', 'No trainer is working on this run.', {
        where: folder.path,
        next: `Continue it with "dota train --resume ${folder.path}".`,
      });
    case 'unknown':
      throw new DotaError('run.state', attachment.reason, {
        where: folder.path,
        next: 'Control it as the user and on the machine that started it.',
      });
    case 'unresponsive':
      throw new DotaError('protocol.timeout', 'The trainer does not answer.', {
        where: folder.path,
        next: `End it with "dota runs stop --force ${id}"; the last checkpoint stays.`,
        cause: attachment.error,
      });
    case 'attached':
      break;
  }
  const { control } = attachment;
  try {
    await control.send(command);
    const wanted = (state: RunState): boolean =>
      command === 'pause'
        ? state === 'paused'
        : command === 'resume'
          ? state === 'running'
          : state !== 'running' && state !== 'paused';
    const state = options.wait === false ? undefined : await waitFor(folder, wanted);
    report(folder.id, state ?? command, options);
  } finally {
    control.dispose();
  }
}

/** Polls the folder: it is the only truth, and works over every kind of connection. */
async function waitFor(
  folder: Awaited<ReturnType<typeof findRun>>,
  wanted: (state: RunState) => boolean,
): Promise<RunState> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const liveness = await checkLiveness(folder);
    const state = effectiveState(await readManifest(folder), liveness);
    const settled = liveness.kind === 'none' || liveness.kind === 'dead';
    if (wanted(state) && (settled || state === 'running' || state === 'paused')) return state;
    if (settled) {
      throw new DotaError('run.state', `The run ended before that: it is ${state}.`, {
        where: folder.path,
      });
    }
    if (Date.now() > deadline) {
      throw new DotaError('protocol.timeout', 'The trainer has not reached that state in 60 s.', {
        where: folder.path,
        next: 'It acts between two blocks of a step; try again, or use --force.',
      });
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function report(id: string, state: string, options: RunsOptions): void {
  if (options.json === true) printJson({ id, state });
  else printLine(`${id}: ${state}`);
}

/** @throws DotaError `run.locked`, `usage`, `file.missing` */
export async function runsDelete(id: string, options: RunsOptions): Promise<void> {
  const { freedBytes } = await deleteRun(options.root, id);
  if (options.json === true) printJson({ id, freed_bytes: freedBytes });
  else printLine(`${id}: deleted, ${megabytes(freedBytes)} freed`);
}
