/** `dota export`: what a run trained, in a form that other programs load. */
import path from 'node:path';
import type { RunConfig } from '../../config/runConfig';
import { writeAdapterFolder } from '../../export/adapterFolder';
import { denseUpdate, type AdapterState } from '../../export/adapterState';
import { openReplacements, readCheckpointAdapter } from '../../export/checkpointAdapter';
import { writeMergedModel, type MergedReport, type WeightChanges } from '../../export/mergedModel';
import { modelCard } from '../../export/modelCard';
import { writePeftLora, type LoraModuleReport, type LoraRank } from '../../export/peftLora';
import { quantizedChanges } from '../../export/quantizedMerge';
import { countParameters } from '../../models/config';
import { fingerprintWeights, loadModelFolder, readLicense } from '../../models/modelFolder';
import type { RunManifest } from '../../protocol/runFiles';
import { DotaError } from '../../protocol/errors';
import { readManifest } from '../../runs/manifest';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { OrtGemm } from '../ort/ortGemm';
import { loadCheckpoint } from '../training/checkpointFiles';
import { resolveModel } from '../training/modelPath';
import { physicalCores } from '../training/prepareModel';
import { findTarget } from '../training/target';
import { printJson, printLine } from './output';
import { versions } from './versions';

export interface ExportOptions {
  root: string;
  to: 'merged' | 'adapter' | 'lora';
  out: string;
  /** `best`, `last` or a step. */
  checkpoint: string;
  rank?: string;
  energy?: string;
  json?: boolean;
}

/** What every form of export starts from. */
interface Source {
  manifest: RunManifest;
  checkpoint: string;
  model: Awaited<ReturnType<typeof loadModelFolder>>;
  config: RunConfig;
  gemm: OrtGemm;
}

/** @throws DotaError of the run, the model and the target folder */
export async function runExport(what: string, options: ExportOptions): Promise<void> {
  const rank = rankOf(options);
  await ensureComputeEnvironment();
  const started = performance.now();
  const target = await findTarget(what, { ...options, set: [] });
  const { config, run, checkpoint } = target;
  if (run === undefined || checkpoint === undefined) {
    throw new DotaError('usage', 'There is nothing trained to export.', {
      where: what,
      next: 'Name a run that has a checkpoint (dota runs list).',
    });
  }
  const out = path.resolve(options.out);
  const folder = resolveModel(config.model, target.directory);
  // Pretraining has no base: its checkpoint is the model.
  const pretrained = config.model_init === 'pretrained';
  const model = await loadModelFolder(pretrained ? folder : checkpoint);
  const gemm = new OrtGemm(physicalCores());
  try {
    const manifest = await readManifest(run);
    if (pretrained) await requireSameBase(manifest, model);
    const source: Source = { manifest, checkpoint, model, config, gemm };
    const state =
      config.method === 'full'
        ? undefined
        : await readCheckpointAdapter(checkpoint, config.method, config.adapter, model.config);
    const result = await write(source, state, options.to, out, rank);
    const { step } = (await loadCheckpoint(checkpoint)).loop;
    const seconds = (performance.now() - started) / 1000;
    if (options.json === true) {
      printJson({ run: run.path, checkpoint: step, to: options.to, out, ...result, seconds });
    } else printLine(`${out}${summary(result)}`);
    if (config.quantization.load_in_4bit && options.to !== 'merged') {
      process.stderr.write(
        'The run trained on 4-bit weights: with the full-precision base this adapter differs from ' +
          'what was trained by the error of the 4-bit storage. --to merged has no such difference.\n',
      );
    }
  } finally {
    await gemm.dispose();
    await model.weights.close();
  }
}

type Result =
  | { changed: number; worst_rounding: number | null }
  | { modules: { path: string; rank: number; relative_error: number }[] }
  | { modules: number };

async function write(
  source: Source,
  state: AdapterState | undefined,
  to: ExportOptions['to'],
  out: string,
  rank: LoraRank,
): Promise<Result> {
  const { model, manifest } = source;
  if (to === 'merged') return merged(source, state, out);
  if (state === undefined) {
    throw new DotaError('usage', 'Full fine-tuning has no adapter.', {
      next: 'Export it with --to merged.',
    });
  }
  const info = {
    baseModel: source.config.model,
    baseWeights: manifest.fingerprint?.baseWeights,
    layers: model.config.numLayers,
  };
  if (to === 'adapter' && state.method !== 'lora') {
    await writeAdapterFolder(out, state, info);
    return { modules: state.modules.length };
  }
  const report = await writePeftLora(out, state, rank, info, source.gemm);
  return {
    modules: report.map((m: LoraModuleReport) => ({
      path: m.path,
      rank: m.rank,
      relative_error: m.relativeError,
    })),
  };
}

async function merged(
  { model, manifest, checkpoint, config, gemm }: Source,
  state: AdapterState | undefined,
  out: string,
): Promise<Result> {
  const license = await readLicense(model.folder);
  const { dota } = await versions();
  const card = (report: MergedReport): string =>
    modelCard(
      {
        name: manifest.name,
        baseModel: config.model,
        license,
        method: state?.method ?? 'full fine-tuning',
        adapter: state === undefined ? 'all weights' : `${state.modules.length} modules`,
        trainableParameters: manifest.trainable?.parameters ?? 0,
        parameters: countParameters(model.config),
        dataset: datasetName(manifest),
        steps: manifest.progress?.step ?? 0,
        validationLoss: manifest.best?.validationLoss,
        dotaVersion: dota,
      },
      report,
    );
  let report: MergedReport;
  if (state === undefined) {
    const changes = await openReplacements(checkpoint, model.config);
    try {
      report = await writeMergedModel(model, changes, out, card);
    } finally {
      await changes.close();
    }
  } else {
    const { load_in_4bit: quantized, bnb_4bit_use_double_quant: double } = config.quantization;
    const changes = quantized
      ? quantizedChanges(model.weights, model.config, state, double, gemm)
      : denseChanges(state, gemm);
    report = await writeMergedModel(model, changes, out, card);
  }
  return { changed: report.changed, worst_rounding: report.worstRounding?.loss ?? null };
}

function denseChanges(state: AdapterState, gemm: OrtGemm): WeightChanges {
  const modules = new Map(state.modules.map((module) => [`${module.path}.weight`, module]));
  return {
    delta: (name) => {
      const module = modules.get(name);
      return module === undefined ? undefined : denseUpdate(module, gemm);
    },
  };
}

/** An adapter on another base than it was trained on is silently wrong. */
async function requireSameBase(
  { fingerprint }: RunManifest,
  model: Source['model'],
): Promise<void> {
  const expected = fingerprint?.baseWeights;
  if (expected === undefined || expected === (await fingerprintWeights(model))) return;
  throw new DotaError('run.state', 'The base model’s weights have changed since this run.', {
    where: model.folder,
    next: 'Put the original weights back, or train again.',
  });
}

/** The training file's name; where it lies is nobody else's business. */
function datasetName({ config }: RunManifest): string {
  const train = (config as { data?: { train?: unknown } } | undefined)?.data?.train;
  return typeof train === 'string' ? path.basename(train) : 'unknown';
}

function rankOf({ rank, energy }: ExportOptions): LoraRank {
  if (energy !== undefined) {
    const keptEnergy = Number(energy);
    if (!(keptEnergy > 0 && keptEnergy <= 1)) {
      throw new DotaError('usage', `--energy needs a share between 0 and 1, got "${energy}".`);
    }
    return { keptEnergy, maxRank: rank === undefined ? 256 : whole(rank) };
  }
  return { r: rank === undefined ? 16 : whole(rank) };
}

function whole(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new DotaError('usage', `--rank needs a positive number, got "${text}".`);
}

function summary(result: Result): string {
  if ('changed' in result) {
    const { worst_rounding: loss } = result;
    const rounded =
      loss === null ? '' : `, rounding took at most ${(100 * loss).toPrecision(2)} % of a change`;
    return `: ${result.changed} tensors changed${rounded}`;
  }
  if (typeof result.modules === 'number') return `: ${result.modules} modules`;
  const worst = Math.max(0, ...result.modules.map((module) => module.relative_error));
  return `: ${result.modules.length} modules, the conversion lost at most ${(100 * worst).toPrecision(2)} % (norm) of a change`;
}
