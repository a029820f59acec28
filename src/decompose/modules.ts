/** The matrices of a model that can be decomposed, and their rows in fp32. */
import type { WeightRows } from '../core/mpo/interleave';
import { bf16ToF32, f16ToF32, isFloatDtype } from '../models/dtype';
import type { RawTensor, WeightDtype, WeightSource } from '../models/modelConfig';
import { DotaError } from '../protocol/errors';

export interface MatrixModule {
  /** Full path, e.g. `model.layers.0.self_attn.q_proj`. */
  module: string;
  /** Tensor name in the files. */
  tensor: string;
  /** out_features. */
  rows: number;
  /** in_features. */
  cols: number;
  dtype: WeightDtype;
}

const suffix = '.weight';

/** All floating-point matrices of a source with at least two rows and columns, in file order. */
export function listMatrices(source: WeightSource): MatrixModule[] {
  const found: MatrixModule[] = [];
  for (const tensor of source.names) {
    const info = source.info(tensor);
    const [rows = 0, cols = 0, ...more] = info?.shape ?? [];
    if (info === undefined || more.length > 0 || rows < 2 || cols < 2) continue;
    if (!isFloatDtype(info.dtype)) continue;
    const module = tensor.endsWith(suffix) ? tensor.slice(0, -suffix.length) : tensor;
    found.push({ module, tensor, rows, cols, dtype: info.dtype });
  }
  return found;
}

/**
 * The matrix of a module path or tensor name.
 * @throws DotaError `adapter.noTarget` with the names that come closest
 */
export function findMatrix(source: WeightSource, name: string): MatrixModule {
  const all = listMatrices(source);
  const found = all.find((m) => m.module === name || m.tensor === name);
  if (found !== undefined) return found;
  const last =
    name
      .split('.')
      .filter((part) => part !== 'weight')
      .at(-1) ?? name;
  const close = all.filter((m) => m.module.includes(last));
  const shown = (close.length > 0 ? close : all).slice(0, 8).map((m) => m.module);
  throw new DotaError('adapter.noTarget', `There is no matrix ${JSON.stringify(name)}.`, {
    next: shown.length > 0 ? `Candidates: ${shown.join(', ')}.` : 'The file holds no matrix.',
  });
}

/** Rows of a raw `[rows, cols]` tensor, widened one at a time into a reused buffer. */
export function rawRows(raw: RawTensor, name: string): WeightRows {
  const [outFeatures = 0, inFeatures = 0] = raw.shape;
  const buffer = new Float32Array(inFeatures);
  const rowOf = (o: number): Float32Array => {
    const from = o * inFeatures;
    const { data } = raw;
    if (data instanceof Float32Array) return data.subarray(from, from + inFeatures);
    if (data instanceof Float64Array) {
      buffer.set(data.subarray(from, from + inFeatures));
      return buffer;
    }
    if (data instanceof Uint16Array && (raw.dtype === 'BF16' || raw.dtype === 'F16')) {
      const words = data.subarray(from, from + inFeatures);
      return raw.dtype === 'BF16' ? bf16ToF32(words, buffer) : f16ToF32(words, buffer);
    }
    throw new DotaError('model.unsupported', `${name} has element type ${raw.dtype}.`, {
      next: 'Use a checkpoint whose weights are F32, F16 or BF16.',
    });
  };
  return { outFeatures, inFeatures, row: rowOf };
}
