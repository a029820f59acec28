/** The weights behind a path: a model folder or one `.safetensors` file. */
import { stat } from 'node:fs/promises';
import { fileError } from '../models/files';
import type { WeightSource } from '../models/modelConfig';
import { openModelWeights } from '../models/safetensors/modelWeights';
import { SafetensorsFile } from '../models/safetensors/reader';

/**
 * @returns an open source; the caller closes it
 * @throws DotaError `file.missing`, `file.unreadable`, `file.malformed`, `model.unsupported`
 */
export async function openWeightSource(path: string): Promise<WeightSource> {
  let isFolder: boolean;
  try {
    isFolder = (await stat(path)).isDirectory();
  } catch (cause) {
    throw fileError(cause, path);
  }
  return isFolder ? openModelWeights(path) : SafetensorsFile.open(path);
}
