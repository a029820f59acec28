/** What a study has found out, for its report and for the compare panel. */
import type { CompareRun } from '../protocol/comparison';
import { chooseRates, needsTest, planMain, planSweep } from './plan';
import type { ChosenRate, PlannedRun, StudyContext } from './plan';
import { comparedRun, type StudyRecord } from './record';
import type { ResultsFile, TestOpening } from './resultsFile';
import type { StudyConfig } from './studyConfig';

export interface StudyRun {
  planned: PlannedRun;
  /** Undefined where it has not been run; a diverged run has an infinite loss. */
  run: CompareRun | undefined;
  diverged: boolean;
}

export interface StudyResults {
  study: StudyConfig;
  sweep: StudyRun[];
  /** Empty while the sweep is not over for any method. */
  main: StudyRun[];
  rates: Map<string, ChosenRate>;
  openings: readonly TestOpening[];
  /** Runs that are done, and those planned as far as it is known. */
  done: number;
  total: number;
  /** All runs are done and scored. Until then no score of the test split is in `main`. */
  complete: boolean;
}

export function readStudy(
  study: StudyConfig,
  context: StudyContext,
  results: ResultsFile,
): StudyResults {
  const sweep = planSweep(study, context);
  const rates = sweptRates(study, sweep, results);
  // Methods whose sweep is not over have no main runs yet: their rate is unknown.
  const known = Object.fromEntries(Object.entries(study.methods).filter(([m]) => rates.has(m)));
  const partial: StudyConfig = {
    ...study,
    methods: known,
    ablations: study.ablations.filter(({ method }) => method in known),
  };
  const main = planMain(partial, context, ratesOnly(rates));
  const planned = uniqueRuns([...main, ...sweep]);
  const done = planned.filter((run) => isDone(study, run, results)).length;
  const complete =
    done === planned.length && rates.size === Object.keys(study.methods).length && main.length > 0;
  const read = (run: PlannedRun): StudyRun => {
    const record = results.find(run.key);
    return {
      planned: run,
      run: record && comparedRun(record, run, complete ? testOf(study, run, results) : undefined),
      diverged: record?.outcome === 'diverged',
    };
  };
  return {
    ...{ study, rates, done, complete, total: planned.length },
    sweep: sweep.map(read),
    main: main.map(read),
    openings: results.openings,
  };
}

/** Rates of the methods of which all runs of the sweep are done. */
export function sweptRates(
  study: StudyConfig,
  sweep: readonly PlannedRun[],
  results: ResultsFile,
): Map<string, ChosenRate> {
  return chooseRates(study, sweep, (key) => {
    const record = results.find(key);
    if (record === undefined) return undefined;
    // A rate at which the loss left the numbers is the worst, not a missing one.
    return record.outcome === 'diverged' ? Infinity : (record.run.best?.loss ?? Infinity);
  });
}

export function ratesOnly(rates: ReadonlyMap<string, ChosenRate>): Map<string, number> {
  return new Map([...rates].map(([method, { rate }]) => [method, rate]));
}

/** One of each configuration, the first: a run may be a main run and a variant of an ablation. */
export function uniqueRuns(runs: readonly PlannedRun[]): PlannedRun[] {
  const unique = new Map<string, PlannedRun>();
  for (const run of runs) if (!unique.has(run.key)) unique.set(run.key, run);
  return [...unique.values()];
}

/** Whether nothing is left to do for a run in its stage. */
export function isDone(study: StudyConfig, run: PlannedRun, results: ResultsFile): boolean {
  const record = results.find(run.key);
  if (record === undefined) return false;
  if (record.outcome === 'diverged' || run.stage === 'sweep') return true;
  const scored = !needsTest(study, run) || testOf(study, run, results) !== undefined;
  return record.validation !== undefined && scored;
}

function testOf(study: StudyConfig, run: PlannedRun, results: ResultsFile): StudyRecord['test'] {
  return needsTest(study, run) ? results.testScore(study, run) : undefined;
}

/** Best validation loss; infinite for a diverged run, undefined for one that is not done. */
export function lossOf({ run, diverged }: StudyRun): number | undefined {
  if (diverged) return Infinity;
  return run?.state === 'finished' ? (run.best?.loss ?? Infinity) : undefined;
}
