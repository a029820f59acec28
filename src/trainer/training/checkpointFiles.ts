/** What stands in a checkpoint, and how it is read back. */
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import * as z from 'zod';
import type { AdapterPlan, LinearModule } from '../../adapters/adapter';
import type { RunConfig } from '../../config/runConfig';
import type { Core } from '../../core/mpo/types';
import { SafetensorsFile } from '../../models/safetensors/reader';
import { writeSafetensors, type TensorToWrite } from '../../models/safetensors/writer';
import { DotaError } from '../../protocol/errors';
import type { RunFingerprint } from '../../protocol/runFiles';
import type { Engine, EngineStatePart, Moment, TrainableTensor } from '../engine';
import type { LoopState } from '../loop';
import { initialBytes, type InitialCores, initialPrefix } from './initialCores';

const adapterFile = 'adapter_model.safetensors';
/** All weights, where all of them train. */
export const modelFile = 'model.safetensors';
const optimizerFile = 'optimizer.safetensors';
/** Scales of an 8-bit moment. */
const absmaxSuffix = '.absmax';
const stateFile = 'trainer_state.json';
/** What makes a fully trained checkpoint a model folder that any program can open. */
const modelSideFiles = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'chat_template.jinja',
];

const count = z.number().min(0);
const stateSchema = z.object({
  formatVersion: z.literal(1),
  loop: z.object({
    step: z.int().min(0),
    tokens: count,
    elapsed: count,
    best: z.object({ step: z.int().min(0), validationLoss: z.number() }).optional(),
    lastValidationLoss: z.number().optional(),
    lastTrainLoss: z.number().optional(),
    evaluationsWithoutImprovement: z.int().min(0),
    evaluatedStep: z.int().min(0).optional(),
    unlogged: z.object({ lossSum: z.number(), lossTokens: count }),
  }),
  totalSteps: z.int().min(0),
  fingerprint: z.record(z.string(), z.string()),
  /** On what the result's bits depend beside configuration and data. */
  environment: z.record(z.string(), z.union([z.string(), z.number()])),
  trainable: z.array(z.object({ name: z.string(), shape: z.array(z.int()) })),
});
type StoredState = z.output<typeof stateSchema>;

export interface CheckpointContents {
  config: RunConfig;
  /** Absolute folder of the base model. */
  modelFolder: string;
  loop: LoopState;
  totalSteps: number;
  fingerprint: RunFingerprint;
  environment: Record<string, string | number>;
}

/** About how many bytes a checkpoint takes: parameters and two moments in fp32, and some text. */
export function checkpointBytes(engine: Engine, plan: AdapterPlan): number {
  const trained = engine.trainable.reduce((sum, t) => sum + t.size, 0);
  return 12 * trained + initialBytes(plan) + (1 << 20);
}

/** Fills `folder` with a checkpoint of the engine's state. */
export async function writeCheckpointFiles(
  folder: string,
  engine: Engine,
  initial: InitialCores,
  contents: CheckpointContents,
): Promise<void> {
  const at = (name: string): string => path.join(folder, name);
  const state = await engine.readState();
  const parameters = engine.trainable.map((tensor): TensorToWrite => ({
    name: tensor.name,
    dtype: 'F32',
    shape: tensor.shape,
    data: view(state.parameters, tensor),
  }));
  if (contents.config.method === 'full') {
    await writeSafetensors(at(modelFile), parameters, { format: 'pt' });
    await copySideFiles(contents.modelFolder, folder);
  } else {
    await initial.use((cores) =>
      writeSafetensors(at(adapterFile), [...parameters, ...cores], { format: 'pt' }),
    );
    await writeJson(at('adapter_config.json'), {
      peft_type: contents.config.method.toUpperCase(),
      base_model_name_or_path: contents.modelFolder,
      ...contents.config.adapter,
    });
  }
  await writeSafetensors(at(optimizerFile), [
    ...momentTensors('exp_avg', state.firstMoment),
    ...momentTensors('exp_avg_sq', state.secondMoment),
  ]);
  await writeJson(at(stateFile), {
    formatVersion: 1,
    loop: {
      ...contents.loop,
      // JSON has no NaN.
      lastValidationLoss: finite(contents.loop.lastValidationLoss),
      lastTrainLoss: finite(contents.loop.lastTrainLoss),
    },
    totalSteps: contents.totalSteps,
    fingerprint: { ...contents.fingerprint },
    environment: contents.environment,
    trainable: engine.trainable.map(({ name, shape }) => ({ name, shape: [...shape] })),
  } satisfies StoredState);
}

/** A moment as one tensor, or in 8 bits as codes and the scales of their blocks. */
function momentTensors(name: string, moment: Moment): TensorToWrite[] {
  const flat = (data: Float32Array): TensorToWrite => ({
    name,
    dtype: 'F32',
    shape: [data.length],
    data,
  });
  if (moment instanceof Float32Array) return [flat(moment)];
  const { codes, absmax } = moment;
  return [
    { name, dtype: 'U8', shape: [codes.length], data: codes },
    { ...flat(absmax), name: name + absmaxSuffix },
  ];
}

async function readMoment(file: SafetensorsFile, name: string, size: number): Promise<Moment> {
  if (file.info(name)?.dtype !== 'U8') return readExactly(file, name, size);
  const codes = await file.read(name);
  const absmax = await file.read(name + absmaxSuffix);
  return { codes: codes.data as Uint8Array, absmax: absmax.data as Float32Array };
}

function finite(value: number | undefined): number | undefined {
  return Number.isFinite(value) ? value : undefined;
}

async function writeJson(file: string, value: unknown): Promise<void> {
  await writeFile(file, `${JSON.stringify(value, undefined, 2)}\n`);
}

async function copySideFiles(from: string, to: string): Promise<void> {
  for (const name of modelSideFiles) {
    await copyFile(path.join(from, name), path.join(to, name)).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    });
  }
}

function view(flat: Float32Array, tensor: TrainableTensor): Float32Array {
  return flat.subarray(tensor.offset, tensor.offset + tensor.size);
}

/** A checkpoint read from disk, before an engine exists. */
export interface LoadedCheckpoint {
  folder: string;
  state: StoredState;
  loop: LoopState;
  initialCores(module: LinearModule): readonly Core[] | undefined;
}

/**
 * Reads what is needed to build the engine of a resumed run.
 * @throws DotaError `run.corrupt`, `file.malformed`
 */
export async function loadCheckpoint(folder: string): Promise<LoadedCheckpoint> {
  const file = path.join(folder, stateFile);
  let state: StoredState;
  try {
    state = stateSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (cause) {
    throw new DotaError('run.corrupt', 'The checkpoint’s state cannot be read.', {
      where: file,
      next: 'Delete this checkpoint; the run then resumes from an older one.',
      cause,
    });
  }
  const cores = await readInitialCores(folder);
  const { best, lastValidationLoss, lastTrainLoss, evaluatedStep, ...rest } = state.loop;
  return {
    folder,
    state,
    loop: { ...rest, best, lastValidationLoss, lastTrainLoss, evaluatedStep },
    initialCores: (module) => cores.get(module.path),
  };
}

async function readInitialCores(folder: string): Promise<Map<string, Core[]>> {
  const result = new Map<string, Core[]>();
  const file = await openIfThere(path.join(folder, adapterFile));
  if (file === undefined) return result;
  try {
    for (let k = 0; ; k += 1) {
      const suffix = `.${initialPrefix}${k}`;
      const names = file.names.filter((name) => name.endsWith(suffix));
      if (names.length === 0) return result;
      for (const name of names) {
        const tensor = await file.read(name);
        const module = name.slice(0, -suffix.length);
        const list = result.get(module) ?? [];
        list.push({
          data: tensor.data as Float32Array,
          shape: tensor.shape as unknown as Core['shape'],
        });
        result.set(module, list);
      }
    }
  } finally {
    await file.close();
  }
}

async function openIfThere(file: string): Promise<SafetensorsFile | undefined> {
  try {
    return await SafetensorsFile.open(file);
  } catch (error) {
    if (error instanceof DotaError && error.code === 'file.missing') return undefined;
    throw error;
  }
}

/**
 * Puts the checkpoint's parameters and, where wanted, its optimizer state into an engine.
 * @throws DotaError `run.state` when the checkpoint belongs to other tensors
 */
export async function restoreEngine(
  folder: string,
  engine: Engine,
  options: { optimizer: boolean },
): Promise<void> {
  const size = engine.trainable.reduce((sum, t) => sum + t.size, 0);
  const state: EngineStatePart = { parameters: new Float32Array(size) };
  const file =
    (await openIfThere(path.join(folder, adapterFile))) ??
    (await SafetensorsFile.open(path.join(folder, modelFile)));
  try {
    for (const tensor of engine.trainable) {
      state.parameters.set(await readExactly(file, tensor.name, tensor.size), tensor.offset);
    }
  } finally {
    await file.close();
  }
  if (options.optimizer) {
    const optimizer = await SafetensorsFile.open(path.join(folder, optimizerFile));
    try {
      state.firstMoment = await readMoment(optimizer, 'exp_avg', size);
      state.secondMoment = await readMoment(optimizer, 'exp_avg_sq', size);
    } finally {
      await optimizer.close();
    }
  }
  await engine.writeState(state);
}

async function readExactly(
  file: SafetensorsFile,
  name: string,
  size: number,
): Promise<Float32Array> {
  const tensor = file.names.includes(name) ? await file.read(name) : undefined;
  if (tensor?.dtype !== 'F32' || tensor.data.length !== size) {
    throw new DotaError('run.state', `The checkpoint does not fit this run: ${name}.`, {
      where: file.path,
      next: 'Resume with the configuration that the checkpoint was made with.',
    });
  }
  return tensor.data as Float32Array;
}
