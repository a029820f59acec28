/** A run as comparisons see it: what was measured, and the facts that decide what it may stand beside. */
import type { RunState } from './runFiles';

/** What two runs must share before their losses and scores mean the same; `''` = not recorded. */
export interface ComparisonFacts {
  baseWeights: string;
  tokenizer: string;
  trainData: string;
  validationData: string;
  /** `file`, or share and seed of the split of the training file. */
  split: string;
  /** Which tokens the loss counts. */
  lossMask: string;
  template: string;
  /** Length, truncation and packing. */
  sequences: string;
  /** SHA-256 of the file that the accuracy is of; `''` without one. */
  evaluationData: string;
  /** Sequences that the run trains on in all: steps x batch size x accumulation. */
  sequencesSeen: number;
  /** Tokens seen, of a finished run. */
  tokens: number;
}

/** Points of validation, oldest first; equal lengths. */
export interface EvalCurve {
  step: readonly number[];
  tokens: readonly number[];
  /** Seconds of training. */
  elapsed: readonly number[];
  /** Nats a token. */
  loss: readonly number[];
}

export interface CompareRun {
  id: string;
  name: string;
  state: RunState;
  /** `DoTA`, `QDoTA`, `PiSSA`, …: the method as papers call it. */
  method: string;
  seed: number;
  /** Configuration as dotted key -> JSON, without name, seed and output folder. */
  settings: Readonly<Record<string, string>>;
  facts: ComparisonFacts;
  curve: EvalCurve;
  best?: { step: number; loss: number };
  last?: number;
  /** Trainable parameters. */
  parameters?: number;
  peakRssMb?: number;
  tokensPerSecond?: number;
  seconds?: number;
  accuracy?: { split: 'test' | 'validation'; correct: number; total: number };
}
