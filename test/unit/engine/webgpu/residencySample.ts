/** What `residencyChild.ts` runs and reports. */

import { compiledBytes } from '../../../../src/estimate/compiledGraphs';

/** Steps with batches of one shape before those of the other. */
export const stepsOfShape = 10;
export const loopMethods = ['random_mpo', 'full'] as const;
export type LoopMethod = (typeof loopMethods)[number];
/** A step and an evaluation of one shape need fewer graphs, of both shapes more. */
export const compiledLimits: Readonly<Record<LoopMethod, number>> = {
  random_mpo: 10 * compiledBytes(90),
  full: 10 * compiledBytes(90),
};

export interface ResidencySample {
  tensors: number;
  bytes: number;
  /** That the runtime has, and has had. */
  sessions: number;
  made: number;
  rss: number;
}
