/** `dota export`: what a run trained, in a form that other programs load. */
import path from 'node:path';
import { readCheckpointAdapter } from '../../export/checkpointAdapter';
import type { GgufFileType } from '../../export/gguf/tensors';
import type { LoraRank } from '../../export/peftLora';
import { fingerprintWeights, loadModelFolder, type ModelFolder } from '../../models/modelFolder';
import type { RunManifest } from '../../protocol/runFiles';
import { DotaError } from '../../protocol/errors';
import { readManifest } from '../../runs/manifest';
import { ensureComputeEnvironment } from '../child/childEnvironment';
import { OrtGemm } from '../ort/ortGemm';
import { loadCheckpoint } from '../training/checkpointFiles';
import { resolveModel } from '../training/modelPath';
import { physicalCores } from '../training/physicalCores';
import { findTarget } from '../training/target';
import {
  writeExport,
  type ExportFormat,
  type ExportResult,
  type ExportSource,
} from './exportForms';
import { printJson, printLine } from './output';
import { stopOnSignal } from './stopSignal';

export interface ExportOptions {
  root: string;
  format: ExportFormat;
  out: string;
  /** `best`, `last` or a step. */
  checkpoint: string;
  rank?: string;
  energy?: string;
  ggufType: GgufFileType;
  json?: boolean;
  /** Progress as JSON lines on standard output. */
  stream?: boolean;
}

/** @throws DotaError of the run, the model and the target folder */
export async function runExport(what: string, options: ExportOptions): Promise<void> {
  const rank = rankOf(options);
  const progress = new Progress(options.stream === true);
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
    const cancel = cancelOnSignal();
    const source: ExportSource = {
      manifest,
      checkpoint,
      model,
      config,
      gemm,
      onProgress: (fraction) => {
        cancel();
        progress.at(fraction);
      },
    };
    const state =
      config.method === 'full'
        ? undefined
        : await readCheckpointAdapter(
            checkpoint,
            { ...config, method: config.method },
            model.config,
          );
    const form = { format: options.format, ggufType: options.ggufType, rank };
    const result = await writeExport(source, state, form, out);
    const fourBit = config.quantization.load_in_4bit ? fourBitError(result, manifest) : undefined;
    const notes = [
      ...notesOf(result),
      ...(fourBit === undefined ? [] : [fourBitNote(fourBit, options.format)]),
    ];
    for (const note of notes) process.stderr.write(`${note}\n`);
    const { step } = (await loadCheckpoint(checkpoint)).loop;
    const seconds = (performance.now() - started) / 1000;
    if (options.json === true) {
      const error = fourBit === undefined ? {} : { four_bit_error: fourBit };
      const common = { run: run.path, checkpoint: step, to: options.format, out };
      printJson({ ...common, ...result, ...error, notes, seconds });
    } else {
      progress.end();
      printLine(`${out}${summary(result)}`);
    }
  } finally {
    progress.end();
    await gemm.dispose();
    await model.weights.close();
  }
}

/**
 * How far the 4-bit weights are from the full-precision ones: of the merge that was just made, or, where
 * none is, at step 0 of the run.
 */
function fourBitError(result: ExportResult, { quantization }: RunManifest): number | undefined {
  return 'four_bit_error' in result ? result.four_bit_error : quantization?.relativeError;
}

/** What 4-bit weights mean for this export. */
function fourBitNote(relativeError: number, format: ExportFormat): string {
  const error = `${(100 * relativeError).toPrecision(3)} % of the weights’ norm, measured`;
  switch (format) {
    case 'adapter':
    case 'lora':
      return (
        'The run trained on 4-bit weights: with the full-precision base this adapter differs from ' +
        `what was trained by the error of the 4-bit storage (${error} at step 0). ` +
        '--to merged has no such difference.'
      );
    case 'merged':
    case 'gguf':
    case 'onnx':
      return (
        'The run trained on 4-bit weights, which the adapter was merged into: the result computes ' +
        'what was trained, and differs from a merge into the full-precision base by their error ' +
        `(${error} at this merge).`
      );
  }
}

/** An adapter on another base than it was trained on is silently wrong. */
async function requireSameBase({ fingerprint }: RunManifest, model: ModelFolder): Promise<void> {
  const expected = fingerprint?.baseWeights;
  if (expected === undefined || expected === (await fingerprintWeights(model))) return;
  throw new DotaError('run.state', 'The base model’s weights have changed since this run.', {
    where: model.folder,
    next: 'Put the original weights back, or train again.',
  });
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

/** Throws at the next opportunity after Ctrl+C or an end of the editor; nothing half is left then. */
function cancelOnSignal(): () => void {
  const cancelled = stopOnSignal();
  return () => {
    if (cancelled()) throw new DotaError('run.stopped', 'The export was cancelled.');
  };
}

/** Percent done: a line that is redrawn on a terminal, JSON lines for the editor, else nothing. */
class Progress {
  private percent = -1;
  private drawn = false;

  constructor(private readonly stream: boolean) {}

  at(fraction: number): void {
    const percent = Math.floor(100 * fraction);
    if (percent === this.percent) return;
    this.percent = percent;
    if (this.stream) printJson({ type: 'progress', fraction: percent / 100 });
    else if (process.stderr.isTTY) {
      process.stderr.write(`\r\x1b[2Kexporting ${percent} %`);
      this.drawn = true;
    }
  }

  end(): void {
    if (this.drawn) process.stderr.write('\r\x1b[2K');
    this.drawn = false;
  }
}

function summary(result: ExportResult): string {
  if ('changed' in result) {
    const { worst_rounding: loss } = result;
    const rounded =
      loss === null ? '' : `, rounding took at most ${(100 * loss).toPrecision(2)} % of a change`;
    return `: ${result.changed} tensors changed${rounded}`;
  }
  if ('tensors' in result) {
    const { tensors, relative_error: error } = result;
    const lost =
      error === undefined
        ? ''
        : `, storing them took ${(100 * error).toPrecision(2)} % of the weights’ norm`;
    return `: ${tensors} tensors${lost}`;
  }
  if (typeof result.modules === 'number') return `: ${result.modules} modules`;
  const worst = Math.max(0, ...result.modules.map((module) => module.relative_error));
  return `: ${result.modules.length} modules, the conversion lost at most ${(100 * worst).toPrecision(2)} % (norm) of a change`;
}

function notesOf(result: ExportResult): readonly string[] {
  return 'notes' in result ? (result.notes ?? []) : [];
}
