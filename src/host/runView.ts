/** What the editor shows of one run, derived from its folder; no editor types. */
import os from 'node:os';
import { smallerMicroBatch } from '../protocol/microBatch';
import type { RunManifest, RunState } from '../protocol/runFiles';
import { phaseText, type TrainerProgress } from '../protocol/trainerMessages';

export interface RunView {
  /** The run folder, absolute: identifies the run in this window. */
  key: string;
  /** The folder's name. */
  id: string;
  manifest: RunManifest;
  /** The manifest's state, or `crashed` where it claims to run and nothing does. */
  state: RunState;
  /** A trainer holds the folder now. */
  live: boolean;
  /** The trainer has not answered for a while: Force Stop is offered. */
  unresponsive: boolean;
  /** Why this window cannot control the run; undefined = it can. */
  controlDisabledReason?: string;
  /** Another window of this user controls it, and control can be taken over. */
  observed: boolean;
  /** The newest step row. */
  last?: { step: number; loss: number; tokensPerSecond: number; elapsed: number };
  /** What the trainer says that it is doing, while connected. */
  activity?: TrainerProgress;
  /** A checkpoint to resume from exists. */
  resumable: boolean;
}

export type RunAction = 'stop' | 'pause' | 'resume' | 'resumeSmaller' | 'forceStop' | 'delete';

/** What can be done with a run now, and otherwise why not. */
export function refusal(run: RunView, action: RunAction): string | undefined {
  switch (action) {
    case 'stop':
      if (!run.live) return `The run is not running: it is ${run.state}.`;
      return run.controlDisabledReason;
    case 'pause':
      if (!run.live || run.state !== 'running')
        return `Only a running run can be paused: this one is ${run.state}.`;
      return run.controlDisabledReason;
    case 'resume':
      if (run.live)
        return run.state === 'paused' ? run.controlDisabledReason : 'The run is running already.';
      if (run.state === 'finished')
        return 'The run is finished. Duplicate its configuration to go on from there.';
      return undefined;
    case 'resumeSmaller':
      if (!lackedMemory(run)) return 'The run did not end for want of memory.';
      if (smallerMicroBatch(run.manifest) === undefined)
        return 'The run computes one sequence at a time already.';
      return refusal(run, 'resume');
    case 'forceStop':
      if (!run.live) return `No trainer is at work: the run is ${run.state}.`;
      return run.controlDisabledReason;
    case 'delete':
      return run.live ? 'Stop the run before deleting it.' : undefined;
  }
}

/**
 * Memory ran out, or may have: a system without memory ends its largest process without a word, and
 * leaves a crashed run that had most of this machine's.
 */
export function lackedMemory({ manifest, state }: RunView, totalBytes = os.totalmem()): boolean {
  const { error, peakRssMb = 0 } = manifest;
  if (error !== undefined) return error.code === 'device.outOfMemory';
  return state === 'crashed' && peakRssMb * 2 ** 20 > mostOfMemory * totalBytes;
}

/** The rest is the system's, the editor's and the browser's. */
const mostOfMemory = 0.6;

/** Optimizer steps of the whole run; the trainer knows them before the manifest does. */
export function totalSteps(run: RunView): number | undefined {
  const said = run.activity?.totalSteps;
  return said !== undefined && said > 0 ? said : run.manifest.progress?.totalSteps;
}

/** Seconds until the last step at the pace so far, or undefined when unknown. */
export function secondsLeft(run: RunView): number | undefined {
  const total = totalSteps(run);
  const { last } = run;
  if (!run.live || total === undefined || last === undefined || last.step < 1) return undefined;
  return Math.max(0, ((total - last.step) * last.elapsed) / last.step);
}

/** What a running trainer does besides its steps: `decomposing 3/28`; undefined while it trains or says nothing. */
export function activityWords({ activity, live, state }: RunView): string | undefined {
  if (!live || state !== 'running' || activity === undefined) return undefined;
  switch (activity.phase) {
    case 'starting':
    case 'loading':
    case 'probing':
    case 'decomposing':
    case 'evaluating':
    case 'saving':
    case 'stopping':
      return phaseText(activity);
    case 'training':
    case 'paused':
    case 'ended':
      return undefined;
  }
}

export function createdMs(run: RunView): number {
  const time = Date.parse(run.manifest.createdAt);
  return Number.isFinite(time) ? time : 0;
}

/** No trainer works on a run in such a state. */
export function isFinal(state: RunState): boolean {
  return state === 'stopped' || state === 'finished' || state === 'failed' || state === 'crashed';
}
