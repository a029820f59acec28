/** The forms of `dota export`, each from the same source. */
import path from 'node:path';
import type { RunConfig } from '../../config/runConfig';
import { isNative, writeAdapterFolder } from '../../export/adapterFolder';
import { type AdapterState } from '../../export/adapterState';
import { openReplacements } from '../../export/checkpointAdapter';
import type { GgufFileType } from '../../export/gguf/tensors';
import { writeGguf } from '../../export/gguf/writeGguf';
import { writeMergedModel, type MergedReport } from '../../export/mergedModel';
import { modelCard, type CardFacts } from '../../export/modelCard';
import { writeOnnx } from '../../export/onnx/writeOnnx';
import { writePeftLora, type LoraModuleReport, type LoraRank } from '../../export/peftLora';
import type { WeightChanges } from '../../export/weightChanges';
import { countParameters, expectedWeights } from '../../models/config';
import { toFloat32 } from '../../models/dtype';
import { readLicense, type ModelFolder } from '../../models/modelFolder';
import { DotaError } from '../../protocol/errors';
import type { RunManifest } from '../../protocol/runFiles';
import type { OrtGemm } from '../ort/ortGemm';
import { TrainedAdapters } from '../training/trainedAdapters';
import { versions } from './versions';

export const exportFormats = ['merged', 'adapter', 'lora', 'gguf', 'onnx'] as const;
export type ExportFormat = (typeof exportFormats)[number];

export interface ExportForm {
  format: ExportFormat;
  /** Of a conversion to LoRA. */
  rank: LoraRank;
  ggufType: GgufFileType;
}

/** What every form of export starts from. */
export interface ExportSource {
  manifest: RunManifest;
  checkpoint: string;
  model: ModelFolder;
  config: RunConfig;
  gemm: OrtGemm;
  /** Throws to cancel. */
  onProgress: (fraction: number) => void;
}

export type ExportResult =
  | ({ changed: number; worst_rounding: number | null } & FourBitError)
  | { modules: { path: string; rank: number; relative_error: number }[] }
  | { modules: number }
  /** `relative_error`: what the file's types took of the merged weights, measured. */
  | ({ tensors: number; relative_error?: number; notes?: readonly string[] } & FourBitError);

/**
 * Of a merge into 4-bit weights, measured as it was made: the distance to the same merge into the
 * full-precision weights, by the norm of that.
 */
interface FourBitError {
  four_bit_error?: number;
}

/**
 * @param state undefined for full fine-tuning
 * @param out new folder; for GGUF a new file
 * @throws DotaError of the model and the target
 */
export async function writeExport(
  source: ExportSource,
  state: AdapterState | undefined,
  form: ExportForm,
  out: string,
): Promise<ExportResult> {
  switch (form.format) {
    case 'merged':
      return merged(source, state, out);
    case 'gguf':
      return gguf(source, state, form.ggufType, out);
    case 'onnx':
      return onnx(source, state, out);
    case 'adapter':
    case 'lora':
      return adapter(source, state, form, out);
  }
}

async function adapter(
  { model, manifest, config, gemm }: ExportSource,
  state: AdapterState | undefined,
  { format, rank }: ExportForm,
  out: string,
): Promise<ExportResult> {
  if (state === undefined) {
    throw new DotaError('usage', 'Full fine-tuning has no adapter.', {
      next: 'Export it with --to merged.',
    });
  }
  const info = {
    baseModel: config.model,
    baseWeights: manifest.fingerprint?.baseWeights,
    layers: model.config.numLayers,
  };
  if (format === 'adapter' && isNative(state.method)) {
    await writeAdapterFolder(out, state, info);
    return { modules: state.modules.length };
  }
  const weight = async (module: string): Promise<Float32Array> => {
    const name = `${module}.weight`;
    return toFloat32(await model.weights.read(name), name);
  };
  const report = await writePeftLora(out, state, rank, info, { gemm, weight });
  return {
    modules: report.map((m: LoraModuleReport) => ({
      path: m.path,
      rank: m.rank,
      relative_error: m.relativeError,
    })),
  };
}

async function merged(
  source: ExportSource,
  state: AdapterState | undefined,
  out: string,
): Promise<ExportResult> {
  const facts = await cardFacts(source, state, 'transformers');
  const card = (report: MergedReport): string => modelCard(facts, report);
  const [report, fourBit] = await withChanges(source, state, (changes) =>
    writeMergedModel(source.model, changes, out, card, source.onProgress),
  );
  const { changed, worstRounding } = report;
  return { changed, worst_rounding: worstRounding?.loss ?? null, ...fourBit };
}

async function onnx(
  source: ExportSource,
  state: AdapterState | undefined,
  out: string,
): Promise<ExportResult> {
  const { model, onProgress } = source;
  const changed = state?.modules.length ?? expectedWeights(model.config).size;
  const facts = await cardFacts(source, state, 'transformers.js');
  const card = modelCard(facts, { changed, worstRounding: undefined });
  const [written, fourBit] = await withChanges(source, state, (changes) =>
    writeOnnx(model, changes, out, card, onProgress),
  );
  return { ...written, ...fourBit };
}

async function cardFacts(
  { model, manifest, config }: ExportSource,
  state: AdapterState | undefined,
  library: CardFacts['library'],
): Promise<CardFacts> {
  const { dota } = await versions();
  return {
    name: manifest.name,
    baseModel: config.model,
    license: await readLicense(model.folder),
    library,
    method: state?.method ?? 'full fine-tuning',
    adapter: state === undefined ? 'all weights' : `${state.modules.length} modules`,
    trainableParameters: manifest.trainable?.parameters ?? 0,
    parameters: countParameters(model.config),
    dataset: datasetName(manifest),
    steps: manifest.progress?.step ?? 0,
    validationLoss: manifest.best?.validationLoss,
    dotaVersion: dota,
  };
}

async function gguf(
  source: ExportSource,
  state: AdapterState | undefined,
  type: GgufFileType,
  out: string,
): Promise<ExportResult> {
  const { model, manifest, onProgress } = source;
  const description = { name: manifest.name, license: await readLicense(model.folder) };
  const [{ tensors, relativeError, notes }, fourBit] = await withChanges(source, state, (changes) =>
    writeGguf(model, changes, out, type, description, onProgress),
  );
  return { tensors, relative_error: relativeError, notes, ...fourBit };
}

/** What training changed in the base model, for as long as `use` runs; then what 4 bits did to it. */
async function withChanges<T>(
  { model, checkpoint, config }: ExportSource,
  state: AdapterState | undefined,
  use: (changes: WeightChanges) => Promise<T>,
): Promise<[T, FourBitError]> {
  if (state === undefined) {
    const changes = await openReplacements(checkpoint, model.config);
    try {
      return [await use(changes), {}];
    } finally {
      await changes.close();
    }
  }
  const adapters = await TrainedAdapters.open(config, model, checkpoint);
  try {
    const result = await use(adapters.changes());
    const { fourBitError: error } = adapters;
    return [result, error === undefined ? {} : { four_bit_error: error }];
  } finally {
    await adapters.dispose();
  }
}

/** The training file's name; where it lies is nobody else's business. */
function datasetName({ config }: RunManifest): string {
  const train = (config as { data?: { train?: unknown } } | undefined)?.data?.train;
  return typeof train === 'string' ? path.basename(train) : 'unknown';
}
