/** What `stepChild.ts` runs and reports. */
import type { SerializedError } from '../../../../src/protocol/errors';

/** Of the sequences of each micro-batch of a step. */
export const stepLengths = [
  [9, 12],
  [12, 7],
  [12, 12],
] as const;

interface Traffic {
  /** Elements of each result that came to the host. */
  fetched: number[];
  /** Elements that the host has fed. */
  fed: number;
}

export interface StepReport {
  sign: { values?: number[]; error?: SerializedError };
  /** Bytes on the device at most, beyond what lies there between two steps. */
  memory: { numLayers: number; evaluation: number; step: number }[];
  step: Traffic;
  /** Forward and backward of the micro-batches alone. */
  passes: Traffic;
  evaluation: Traffic;
  parameters: number;
}
