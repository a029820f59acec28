/** A base model's weights with what was trained, before they are rounded to a file's type. */
import { isFloatDtype, toFloat32, type FloatDtype } from '../models/dtype';
import type { RawTensor, WeightSource } from '../models/modelConfig';
import { DotaError } from '../protocol/errors';

/** What to store in place of the base weights. */
export interface WeightChanges {
  /** Dense change `[out, in]` to add to a tensor, or undefined. */
  delta?: ((tensor: string) => Promise<Float32Array> | undefined) | undefined;
  /** New value of a tensor (full fine-tuning), or undefined; wins over `delta`. */
  replacement?: ((tensor: string) => Promise<Float32Array> | undefined) | undefined;
}

/** A tensor that training changed. */
export interface ChangedValues {
  /** The file's type. */
  dtype: FloatDtype;
  base: Float32Array;
  /** The new values in fp32. */
  exact: Float32Array;
}

/**
 * The new values of a tensor, or undefined where training left it alone.
 * @param original the base model's tensor
 * @throws DotaError `adapter.shape`
 */
export async function changedValues(
  name: string,
  original: RawTensor,
  changes: WeightChanges,
): Promise<ChangedValues | undefined> {
  const replacement = await changes.replacement?.(name);
  const delta = replacement === undefined ? await changes.delta?.(name) : undefined;
  const change = replacement ?? delta;
  if (change === undefined) return undefined;
  const { dtype } = original;
  if (!isFloatDtype(dtype) || change.length !== original.data.length) {
    throw new DotaError('adapter.shape', `The change of ${name} does not fit the tensor.`, {
      where: name,
      next: 'Check that the adapter belongs to this model.',
    });
  }
  const base = toFloat32(original, name);
  const exact = replacement ?? base.map((value, i) => value + (change[i] as number));
  return { dtype, base, exact };
}

/**
 * A tensor of the merged model: as the base's file holds it where nothing changed, else in fp32, so
 * that a format with its own type rounds once only.
 * @throws DotaError `file.missing`, `file.malformed`, `adapter.shape`
 */
export async function mergedTensor(
  weights: Pick<WeightSource, 'read'>,
  changes: WeightChanges,
  name: string,
): Promise<RawTensor> {
  const original = await weights.read(name);
  const changed = await changedValues(name, original, changes);
  return changed === undefined
    ? original
    : { dtype: 'F32', shape: original.shape, data: changed.exact };
}
