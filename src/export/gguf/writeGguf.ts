/** The merged model as one GGUF file, for llama.cpp and everything built on it. */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { toFloat32 } from '../../models/dtype';
import type { RawTensor } from '../../models/modelConfig';
import type { ModelFolder } from '../../models/modelFolder';
import { loadTokenizer, readTokenizerFile, tokenizerFileName } from '../../models/tokenizer';
import { DotaError } from '../../protocol/errors';
import { writeStreamAtomic } from '../../runs/atomicFile';
import { mergedTensor, type WeightChanges } from '../weightChanges';
import { decodeRows, encodeRows } from './encodeRows';
import { encodeHeader, padding, tensorBytes, type GgufTensor } from './format';
import { modelMetadata, type GgufDescription } from './modelMetadata';
import {
  planTensors,
  ropeFactors,
  rotatedRow,
  type GgufFileType,
  type PlannedTensor,
} from './tensors';
import { tokenizerMetadata } from './tokenizerMetadata';

/** Values converted at once: 16 MB of fp32. */
const chunkValues = 4 * 1024 * 1024;

export interface GgufReport {
  tensors: number;
  /** ||file - merged||_F / ||merged||_F over all tensors: what the file's types took, measured. */
  relativeError: number;
  /** What the reader of the file will do differently, in sentences. */
  notes: readonly string[];
}

/**
 * Writes the file under a temporary name and renames it when it is complete. One tensor of the base
 * is in memory at a time.
 * @param file must not exist
 * @param onProgress may throw to cancel; then nothing is left behind
 * @throws DotaError `file.unreadable` (the file exists), `file.diskFull`, `train.nonFinite`,
 *   `model.unsupported` (a tokenizer that llama.cpp lacks)
 */
export async function writeGguf(
  model: ModelFolder,
  changes: WeightChanges,
  file: string,
  fileType: GgufFileType,
  description: GgufDescription,
  onProgress?: (fraction: number) => void,
): Promise<GgufReport> {
  await requireAbsent(file);
  const { config, weights, folder } = model;
  const where = path.join(folder, tokenizerFileName);
  const checked = await readTokenizerFile(folder);
  const tokenizer = await loadTokenizer(folder, config.vocabSize);
  const metadata = new Map([
    ...modelMetadata(config, fileType, description),
    ...tokenizerMetadata(checked, tokenizer, config.vocabSize, where),
  ]);
  const planned = planTensors(config, fileType);
  const factors = ropeFactors(config);
  const extra: GgufTensor[] =
    factors === undefined
      ? []
      : [{ name: 'rope_freqs.weight', type: 'F32', shape: [factors.length] }];
  const total = planned.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  let written = 0;
  const error = new StorageError();
  await writeStreamAtomic(file, async (write) => {
    await write(encodeHeader(metadata, [...extra, ...planned]));
    if (factors !== undefined) {
      await write(encodeRows('F32', factors, 'rope_freqs.weight'));
      await write(padding(factors.byteLength));
    }
    for (const tensor of planned) {
      const raw = await mergedTensor(weights, changes, tensor.source);
      for (const bytes of encodeTensor(tensor, raw, config.headDim, error)) {
        await write(bytes);
        written += bytes.length;
        onProgress?.(written / total);
      }
      await write(padding(tensorBytes(tensor)));
    }
  });
  const notes = notesOf(model);
  return { tensors: planned.length + extra.length, relativeError: error.relative, notes };
}

/** Squares of what is stored and of what it lost, in fp64. */
class StorageError {
  private lost = 0;
  private energy = 0;

  add(exact: Float32Array, stored: Float32Array): void {
    for (let i = 0; i < exact.length; i++) {
      const value = exact[i] as number;
      this.lost += (value - (stored[i] as number)) ** 2;
      this.energy += value * value;
    }
  }

  get relative(): number {
    return this.energy === 0 ? 0 : Math.sqrt(this.lost / this.energy);
  }
}

/** The bytes of a tensor in parts of whole rows. */
function* encodeTensor(
  tensor: PlannedTensor,
  raw: RawTensor,
  headDim: number,
  error: StorageError,
): Generator<Uint8Array> {
  const [rows = 1] = tensor.shape;
  const width = raw.data.length / rows;
  const step = Math.max(1, Math.floor(chunkValues / width));
  for (let begin = 0; begin < rows; begin += step) {
    const end = Math.min(rows, begin + step);
    const values = new Float32Array((end - begin) * width);
    if (!tensor.rotated) {
      values.set(floats(raw, begin * width, end * width, tensor.source));
    } else {
      for (let row = begin; row < end; row++) {
        const from = rotatedRow(row, headDim) * width;
        values.set(floats(raw, from, from + width, tensor.source), (row - begin) * width);
      }
    }
    const bytes = encodeRows(tensor.type, values, tensor.source);
    error.add(values, decodeRows(tensor.type, bytes));
    yield bytes;
  }
}

function floats(raw: RawTensor, begin: number, end: number, name: string): Float32Array {
  const { dtype } = raw;
  return toFloat32({ dtype, shape: [end - begin], data: raw.data.subarray(begin, end) }, name);
}

function notesOf({ config }: ModelFolder): string[] {
  if (config.slidingWindow === undefined) return [];
  return [
    `llama.cpp attends to the whole context; this model was trained with a window of ${config.slidingWindow} tokens. Up to that length the two are the same.`,
  ];
}

async function requireAbsent(file: string): Promise<void> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined) return;
  throw new DotaError('file.unreadable', 'There is a file of this name.', {
    where: file,
    next: 'Choose a new name, so that nothing is overwritten.',
  });
}
