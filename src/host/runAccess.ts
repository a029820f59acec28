/** What the run monitor needs of src/runs, in one place that is loaded after activation. */
import { forceStop } from '../runs/attach';
import { runFolder } from '../runs/runFolder';
import { attachTrainer } from './attach';
import type { RunAccess } from './runMonitor';
import { readSnapshot } from './runSnapshot';

export const runAccess: RunAccess = {
  readSnapshot,
  attach: attachTrainer,
  forceStop: (folder) => forceStop(runFolder(folder)),
};
