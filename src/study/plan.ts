/** From a study to its runs: pure, so that a dry run and a second start see the same list. */
import { createHash } from 'node:crypto';
import { withoutDefaults } from '../config/changedSettings';
import { runConfigSchema, type RunConfig } from '../config/runConfig';
import type { DecoderConfig } from '../models/modelConfig';
import { DotaError } from '../protocol/errors';
import { sizeForBudget } from './budget';
import type { StudyConfig, StudyVariant } from './studyConfig';

export type StudyStage = 'sweep' | 'main' | 'ablation';

export interface PlannedRun {
  /** Hash of `declared`: a run that is done under it is not done again. */
  key: string;
  stage: StudyStage;
  /** A key of `methods`. */
  method: string;
  /** The method with its rank, or what the ablation changes. */
  label: string;
  /** Name of the ablation. */
  ablation?: string;
  task: string;
  budget?: number;
  seed: number;
  learningRate: number;
  /** As the study's file has it, paths relative to that file: the same on every machine. */
  declared: RunConfig;
  /** To run: with absolute paths, and without the test file, which no training may see. */
  config: RunConfig;
}

export interface StudyContext {
  /** Architecture of each model named by the study, by the name as written. */
  models: ReadonlyMap<string, DecoderConfig>;
  /** Makes a path of the study file absolute; "sample" stays. */
  resolve: (path: string) => string;
}

/** What the sweep chose for a method, and whether a better rate may lie outside of the grid. */
export interface ChosenRate {
  rate: number;
  atEdge: boolean;
}

/** Learning rate of each method, once the sweep is done. */
export type ChosenRates = ReadonlyMap<string, number>;

export function sweepTask(study: StudyConfig): string {
  return taskOf(study, study.sweep);
}

/** The task that a part of the study names; the first where it names none. */
export function taskOf(study: StudyConfig, { task }: { task?: string | undefined }): string {
  return knownTask(study, task);
}

/** What runs on a task share: the study's training, and over it the task's. */
export function trainingOf(study: StudyConfig, task: string): Partial<StudyConfig['training']> {
  return { ...study.training, ...study.tasks[task]?.training };
}

/** Every method x every learning rate, one seed, one task, the first size. */
export function planSweep(study: StudyConfig, context: StudyContext): PlannedRun[] {
  const task = sweepTask(study);
  return Object.entries(study.methods).flatMap(([method, variant]) =>
    study.learning_rates.map((learningRate) =>
      planned(study, context, {
        ...{ stage: 'sweep' as const, method, variant, task, learningRate },
        ...{ seed: study.sweep.seed, size: sizesOf(study)[0] ?? {} },
      }),
    ),
  );
}

/**
 * Methods x tasks x sizes x seeds, then the ablations. Seeds vary slowest, so that a study that is
 * interrupted has every method at the same number of seeds, give or take one.
 */
export function planMain(
  study: StudyConfig,
  context: StudyContext,
  rates: ChosenRates,
): PlannedRun[] {
  const runs = study.seeds.flatMap((seed) =>
    Object.keys(study.tasks).flatMap((task) =>
      sizesOf(study).flatMap((size) =>
        Object.entries(study.methods).map(([method, variant]) =>
          planned(study, context, {
            ...{ stage: 'main' as const, method, variant, task, seed, size },
            learningRate: rateOf(rates, method),
          }),
        ),
      ),
    ),
  );
  // A method without a rank has one size only.
  const distinct = new Map(runs.map((run) => [run.key, run]));
  return [...distinct.values(), ...planAblations(study, context, rates)];
}

function planAblations(
  study: StudyConfig,
  context: StudyContext,
  rates: ChosenRates,
): PlannedRun[] {
  return study.ablations.flatMap((ablation) => {
    const base = study.methods[ablation.method];
    if (base === undefined) {
      throw invalid(`ablations: there is no method "${ablation.method}"`, study);
    }
    const task = taskOf(study, ablation);
    const seeds = ablation.seeds ?? study.seeds;
    return seeds.flatMap((seed) =>
      Object.entries(ablation.variants).map(([label, change]) => {
        const variant: StudyVariant = {
          method: base.method,
          adapter: { ...base.adapter, ...change.adapter },
          quantization: { ...base.quantization, ...change.quantization },
        };
        const first = sizesOf(study)[0] ?? {};
        const keepsRank = change.adapter?.r !== undefined;
        // Without matching, a variant keeps the rank of the method it varies.
        const { options } = sized(study, context, base, study.model, first);
        const size: Size = change.match_budget ? first : keepsRank ? {} : { options };
        return planned(study, context, {
          ...{ stage: 'ablation' as const, method: ablation.method, variant, task, seed, size },
          ...{ learningRate: rateOf(rates, ablation.method), ablation: ablation.name, label },
          model: change.model ?? study.model,
          training: change.training,
        });
      }),
    );
  });
}

/** Whether a run answers a test file: main runs do, once. Nothing is chosen by them any more. */
export function needsTest(study: StudyConfig, { stage, task }: PlannedRun): boolean {
  return stage === 'main' && study.tasks[task]?.test !== undefined;
}

/** `DoTA, arithmetic, rate 0.01, seed 0`, at most as long as a run's name may be. */
export function describe(run: PlannedRun): string {
  const what = run.ablation === undefined ? run.label : `${run.ablation}: ${run.label}`;
  const stage = run.stage === 'sweep' ? 'sweep, ' : '';
  return `${stage}${what}, ${run.task}, rate ${run.learningRate}, seed ${run.seed}`.slice(0, 120);
}

type SizeOptions = ReturnType<typeof sizeForBudget>;

interface Size {
  budget?: number;
  options?: SizeOptions;
}

function sizesOf(study: StudyConfig): Size[] {
  if (study.budgets !== undefined) return study.budgets.map((budget) => ({ budget }));
  if (study.ranks !== undefined) return study.ranks.map((r) => ({ options: { r } }));
  return [{}];
}

interface Wanted {
  stage: StudyStage;
  method: string;
  variant: StudyVariant;
  task: string;
  seed: number;
  size: Size;
  learningRate: number;
  ablation?: string;
  label?: string;
  model?: string;
  training?: Partial<StudyConfig['training']> | undefined;
}

function planned(study: StudyConfig, context: StudyContext, wanted: Wanted): PlannedRun {
  const { stage, method, variant, task, seed, size, learningRate, ablation } = wanted;
  const model = wanted.model ?? study.model;
  const data = study.tasks[task];
  if (data === undefined) throw invalid(`there is no task "${task}"`, study);
  const { options, matched } = sized(study, context, variant, model, size);
  const declared = runConfigSchema.parse({
    model,
    method: variant.method,
    adapter: { ...variant.adapter, ...options },
    quantization: variant.quantization ?? {},
    data: without(data, ['test', 'training']),
    training: {
      ...trainingOf(study, task),
      ...wanted.training,
      seed,
      learning_rate: learningRate,
    },
    device: study.device,
    threads: study.threads,
  });
  const config: RunConfig = {
    ...declared,
    model: model === 'sample' ? model : context.resolve(model),
    data: {
      ...declared.data,
      train: context.resolve(data.train),
      validation: context.resolve(data.validation),
    },
  };
  const label =
    wanted.label ?? (sizesOf(study).length > 1 ? sizeLabel(method, size, options) : method);
  return {
    key: configKey(declared),
    ...{ stage, method, label, task, seed, learningRate, declared, config },
    ...(ablation === undefined ? {} : { ablation }),
    ...(matched && size.budget !== undefined ? { budget: size.budget } : {}),
  };
}

function sizeLabel(method: string, size: Size, { r }: SizeOptions): string {
  if (size.budget !== undefined) return `${method}, ${size.budget}`;
  return r === undefined ? method : `${method}, r ${r}`;
}

/** The options that size a variant, and whether they were chosen for a budget. */
function sized(
  study: StudyConfig,
  context: StudyContext,
  variant: StudyVariant,
  model: string,
  size: Size,
): { options: SizeOptions; matched: boolean } {
  const { method } = variant;
  if (method === 'full') return { options: {}, matched: false };
  const { budget } = size;
  if (budget === undefined) {
    return { options: size.options ?? {}, matched: false };
  }
  const architecture = context.models.get(model);
  if (architecture === undefined) throw invalid(`model: "${model}" was not read`, study);
  const { adapter } = runConfigSchema.parse({
    adapter: { ...variant.adapter },
    data: { train: '-' },
  });
  return { options: sizeForBudget(method, architecture, adapter, budget), matched: true };
}

/**
 * SHA-256 over what the configuration changes of the defaults, without what names it: a version that
 * knows more options does not run again what is done.
 * @param config with paths as the study has them
 */
export function configKey(config: RunConfig): string {
  const rest = without(withoutDefaults(config), ['name', 'output_dir', '$schema']);
  return createHash('sha256').update(canonical(rest)).digest('hex').slice(0, 24);
}

/** A copy of an object without some of its keys. */
export function without<T extends object, K extends string>(
  value: T,
  keys: readonly K[],
): Omit<T, K> {
  const rest = Object.entries(value).filter(([key]) => !(keys as readonly string[]).includes(key));
  return Object.fromEntries(rest) as Omit<T, K>;
}

export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  const entries = Object.entries(value)
    .filter(([, inner]) => inner !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join(',')}}`;
}

function rateOf(rates: ChosenRates, method: string): number {
  const rate = rates.get(method);
  if (rate === undefined) throw new Error(`no learning rate was chosen for ${method}`);
  return rate;
}

function knownTask(study: StudyConfig, name: string | undefined): string {
  const task = name ?? Object.keys(study.tasks)[0];
  if (task === undefined || study.tasks[task] === undefined) {
    throw invalid(`there is no task "${task ?? ''}"`, study);
  }
  return task;
}

function invalid(message: string, study: StudyConfig): DotaError {
  return new DotaError('config.invalid', `${message}.`, {
    where: study.name,
    next: 'Name a key that the study has.',
  });
}

/**
 * The rate with the lowest validation loss of each method; a method of which a rate is still missing
 * has none. Diverged runs (no finite loss) count as worst.
 */
export function chooseRates(
  study: StudyConfig,
  sweep: readonly PlannedRun[],
  bestLoss: (key: string) => number | undefined,
): Map<string, ChosenRate> {
  const chosen = new Map<string, ChosenRate>();
  for (const method of Object.keys(study.methods)) {
    const losses = sweep
      .filter((run) => run.method === method)
      .map((run) => ({ rate: run.learningRate, loss: bestLoss(run.key) }));
    if (losses.length === 0 || losses.some(({ loss }) => loss === undefined)) continue;
    const finite = losses.map(({ rate, loss = Infinity }) => ({
      rate,
      loss: Number.isFinite(loss) ? loss : Infinity,
    }));
    const { rate } = finite.reduce((a, b) => (b.loss < a.loss ? b : a));
    const all = losses.map((l) => l.rate);
    const atEdge = all.length > 1 && (rate === Math.min(...all) || rate === Math.max(...all));
    chosen.set(method, { rate, atEdge });
  }
  return chosen;
}
