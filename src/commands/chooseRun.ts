/** Which run a command is about. */
import { window } from 'vscode';
import { refusal, type RunAction, type RunView } from '../host/runView';
import { DotaError } from '../protocol/errors';
import { isObject, isString } from '../protocol/guards';
import { textOfRun } from '../views/runsTree';
import type { CommandContext } from './context';

/**
 * The run that a command is about: its argument, the selected one, the only one that qualifies, or one
 * picked from a list.
 * @throws DotaError `run.state` when the named run does not allow the action
 */
export async function chooseRun(
  context: CommandContext,
  target: unknown,
  action?: RunAction,
): Promise<RunView | undefined> {
  const { monitor } = context;
  const named = isObject(target) && isString(target.key) ? target.key : undefined;
  if (named !== undefined) {
    const run = monitor.get(named);
    if (run === undefined)
      throw new DotaError('run.state', 'The run folder is gone.', { where: named });
    return (await allowed(context, run, action)) ? run : undefined;
  }
  const possible = monitor
    .list()
    .filter(
      (run) =>
        action === undefined ||
        refusal(run, action) === undefined ||
        run.controlDisabledReason !== undefined,
    )
    .sort((a, b) => b.manifest.createdAt.localeCompare(a.manifest.createdAt));
  const [only] = possible;
  if (only === undefined) throw new DotaError('run.state', noneFor(action));
  if (possible.length === 1 && action !== 'delete') {
    return (await allowed(context, only, action)) ? only : undefined;
  }
  const picked = await window.showQuickPick(
    possible.map((run) => ({
      label: run.manifest.name,
      description: textOfRun(run).description,
      run,
    })),
    { title: 'DoTA: Choose a Run', placeHolder: 'Which run?' },
  );
  if (picked === undefined) return undefined;
  return (await allowed(context, picked.run, action)) ? picked.run : undefined;
}

function noneFor(action: RunAction | undefined): string {
  switch (action) {
    case 'stop':
    case 'pause':
    case 'forceStop':
      return 'No run is at work.';
    case 'resume':
      return 'No run can be resumed.';
    case 'resumeSmaller':
      return 'No run ended for want of memory.';
    case 'delete':
    case undefined:
      return 'There are no runs.';
  }
}

/** Offers to take control where another window has it. */
async function allowed(
  context: CommandContext,
  run: RunView,
  action: RunAction | undefined,
): Promise<boolean> {
  if (action === undefined) return true;
  const reason = refusal(run, action);
  if (reason === undefined) return true;
  if (reason !== run.controlDisabledReason) throw new DotaError('run.state', reason);
  const take = 'Take Control';
  if ((await window.showWarningMessage(`DoTA: ${reason}`, take)) !== take) return false;
  await context.claims.take(run.key);
  await context.monitor.refresh();
  return true;
}
