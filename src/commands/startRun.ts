/** Starting and resuming a run, with what the user sees while the trainer comes up. */
import { window } from 'vscode';
import type { CommandContext } from './context';
import { viewIds } from './ids';

/**
 * Starts the trainer and opens the metrics of the run.
 * @param args arguments of `dota`
 */
export async function startRun(
  context: CommandContext,
  args: readonly string[],
  cwd: string,
): Promise<void> {
  const folder = await window.withProgress(
    { location: { viewId: viewIds.runs }, title: 'Starting the trainer' },
    () => context.trainer.start(args, cwd),
  );
  context.rememberRoot(folder);
  await context.claims.take(folder);
  await context.monitor.refresh();
  context.metricsPanel.open([folder]);
}
