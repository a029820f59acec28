/** Turns answers, or an earlier run, into the text of a `*.dota.json`. Paths, no editor types. */
import path from 'node:path';
import { withoutDefaults } from '../config/changedSettings';
import { runConfigSchema, type RunConfig, type RunConfigInput } from '../config/runConfig';
import type { FineTuneAnswers } from './fineTuneFlow';

export interface SampleData {
  train: string;
  validation: string;
  test: string;
}

export interface ConfigPlace {
  /** Folder that the file will lie in, absolute. */
  directory: string;
  /** Where the sample's data lies, absolute. */
  sampleData: SampleData;
  tensorboard: boolean;
}

/** The configuration that the answers describe; only what differs from a default is written. */
export function configFromAnswers(answers: FineTuneAnswers, place: ConfigPlace): RunConfigInput {
  const relative = (file: string): string => portablePath(place.directory, file);
  const { model, data, method, length } = answers;
  const own = data.train;
  return {
    name: runName(answers),
    model: model.path === 'sample' ? 'sample' : relative(model.path),
    method,
    ...(method === 'full'
      ? {}
      : {
          adapter: {
            r: answers.rank,
            target_modules:
              typeof answers.targets === 'string' ? answers.targets : [...answers.targets],
          },
        }),
    data:
      own === undefined
        ? {
            train: relative(place.sampleData.train),
            validation: relative(place.sampleData.validation),
            test: relative(place.sampleData.test),
          }
        : { train: relative(own) },
    training: {
      ...('epochs' in length ? { num_train_epochs: length.epochs } : { max_steps: length.steps }),
      ...(place.tensorboard ? { report_to: ['tensorboard'] } : {}),
    },
  };
}

function runName({ model, data, method, rank }: FineTuneAnswers): string {
  const what =
    data.train === undefined ? data.name : path.basename(data.train).replace(/\.[^.]+$/, '');
  const size = method === 'full' ? 'full' : `${method} r${rank}`;
  return `${model.name}, ${what}, ${size}`.slice(0, 120);
}

/** A copy of a run's configuration that means the same from another folder. */
export function configFromRun(
  config: unknown,
  configDirectory: string,
  directory: string,
): RunConfigInput {
  const parsed: RunConfig = runConfigSchema.parse(config);
  const move = (file: string): string =>
    portablePath(directory, path.resolve(configDirectory, file));
  const { data } = parsed;
  const moved: RunConfig = {
    ...parsed,
    name: parsed.name === undefined ? undefined : `${parsed.name} (copy)`.slice(0, 120),
    model: parsed.model === 'sample' ? 'sample' : move(parsed.model),
    data: {
      ...data,
      train: move(data.train),
      ...(data.validation === undefined ? {} : { validation: move(data.validation) }),
      ...(data.test === undefined ? {} : { test: move(data.test) }),
      ...(data.test_sets === undefined ? {} : { test_sets: data.test_sets.map(move) }),
    },
    output_dir: '.dota/runs',
  };
  return withoutDefaults(moved) as RunConfigInput;
}

/** Relative with forward slashes where the file lies below or near the folder, else absolute. */
function portablePath(directory: string, file: string): string {
  const relative = path.relative(directory, file);
  const far =
    path.isAbsolute(relative) || relative.split(path.sep).slice(0, 3).join() === '..,..,..';
  return far ? file : relative.split(path.sep).join('/');
}

export function configText(config: RunConfigInput): string {
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** A file name that is not taken: `dota-r8.dota.json`, `dota-r8-2.dota.json`, ... */
export function freeConfigName(stem: string, taken: ReadonlySet<string>): string {
  const base =
    stem
      .toLowerCase()
      .replace(/[^a-z0-9._-]+/g, '-')
      .replace(/^[-.]+|[-.]+$/g, '') || 'run';
  for (let n = 1; ; n++) {
    const name = `${base}${n === 1 ? '' : `-${n}`}.dota.json`;
    if (!taken.has(name)) return name;
  }
}

/** The stem that the answers suggest: `sample-arithmetic-dota-r8`. */
export function configStem(answers: FineTuneAnswers): string {
  return runName(answers).replaceAll(', ', '-');
}
