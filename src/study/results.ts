/** What a study has on disk, for its report and for the compare panel. */
import { readCompareRun } from '../runs/compareRuns';
import type { CompareRun } from '../protocol/comparison';
import { chooseRates, planMain, planSweep, type PlannedRun, type StudyContext } from './plan';
import type { LedgerEntry, StudyStore } from './store';
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
  rates: Map<string, { rate: number; atEdge: boolean }>;
  ledger: LedgerEntry[];
}

export async function readStudy(
  study: StudyConfig,
  context: StudyContext,
  store: StudyStore,
): Promise<StudyResults> {
  const sweep = await Promise.all(planSweep(study, context).map((run) => read(run, store)));
  const losses = new Map(sweep.map((s) => [s.planned.key, lossOf(s)]));
  const rates = chooseRates(
    study,
    sweep.map(({ planned }) => planned),
    (key) => losses.get(key),
  );
  // Methods whose sweep is not over have no main runs yet: their rate is unknown.
  const known = Object.fromEntries(Object.entries(study.methods).filter(([m]) => rates.has(m)));
  const partial: StudyConfig = {
    ...study,
    methods: known,
    ablations: study.ablations.filter(({ method }) => method in known),
  };
  const chosen = new Map([...rates].map(([method, { rate }]) => [method, rate]));
  const planned = planMain(partial, context, chosen);
  return {
    ...{ study, sweep, rates },
    main: await Promise.all(planned.map((run) => read(run, store))),
    ledger: await store.ledger(),
  };
}

/** Best validation loss; infinite for a diverged run, undefined for one that is not done. */
export function lossOf({ run, diverged }: StudyRun): number | undefined {
  if (diverged) return Infinity;
  return run?.state === 'finished' ? (run.best?.loss ?? Infinity) : undefined;
}

async function read(planned: PlannedRun, store: StudyStore): Promise<StudyRun> {
  const found = await store.find(planned.key);
  if (found === undefined) return { planned, run: undefined, diverged: false };
  const diverged = found.manifest.error?.code === 'train.nonFinite';
  const run = await readCompareRun(found.folder);
  return { planned, run: { ...run, name: planned.label }, diverged };
}
