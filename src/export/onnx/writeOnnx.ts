/** The merged model as ONNX in the layout that transformers.js loads. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { encodeModel, type ExternalInitializer, type Initializer } from '../../graph/onnx';
import { expectedWeights } from '../../models/config';
import { toFloat32 } from '../../models/dtype';
import { readText, resolveInside } from '../../models/files';
import type { ModelFolder } from '../../models/modelFolder';
import { asObject, parseStrictJson } from '../../models/strictJson';
import { DotaError } from '../../protocol/errors';
import { writeFileAtomic, writeStreamAtomic } from '../../runs/atomicFile';
import { copyCompanions, writeFolder } from '../modelFiles';
import { mergedTensor, type WeightChanges } from '../weightChanges';
import { decoderGraph } from './decoderGraph';

/** Up to here the weights stand in `model.onnx` itself; above, in files of at most `dataBytes`. */
const inlineBytes = 64 * 1024 * 1024;
/** Browsers hold a file in one buffer of at most 2 GB. */
const dataBytes = 1_900_000_000;

export interface OnnxReport {
  /** Weights in the file. */
  tensors: number;
}

export interface OnnxLimits {
  inlineBytes: number;
  dataBytes: number;
}

/**
 * Writes `onnx/model.onnx` (fp32) with the configuration and the tokenizer beside it; one tensor is
 * in memory at a time where the weights are in files of their own.
 * @param target must not exist, or be an empty folder
 * @param onProgress may throw to cancel; then nothing is left behind
 * @throws DotaError `file.unreadable` (target not empty), `file.diskFull`, `train.nonFinite`
 */
export async function writeOnnx(
  model: ModelFolder,
  changes: WeightChanges,
  target: string,
  card: string,
  onProgress?: (fraction: number) => void,
  limits: OnnxLimits = { inlineBytes, dataBytes },
): Promise<OnnxReport> {
  const { config, weights, folder } = model;
  const planned = [...expectedWeights(config)].map(([name, shape]) => ({
    name,
    dtype: 'float32' as const,
    shape,
    length: shape.reduce((product, n) => product * n, 4),
  }));
  const total = planned.reduce((sum, { length }) => sum + length, 0);
  const graph = decoderGraph(config);
  let done = 0;
  const read = async (name: string): Promise<Uint8Array> => {
    const values = toFloat32(await mergedTensor(weights, changes, name), name);
    if (!values.every(Number.isFinite)) {
      throw new DotaError('train.nonFinite', `${name} holds a value that is no number.`, {
        where: name,
        next: 'Export an earlier checkpoint.',
      });
    }
    done += values.byteLength;
    onProgress?.(done / total);
    return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  };
  await writeFolder(target, async (stage) => {
    const onnx = path.join(stage, 'onnx');
    await mkdir(onnx);
    const initializers: (Initializer | ExternalInitializer)[] = [...graph.constants];
    let files = 0;
    if (total <= limits.inlineBytes) {
      for (const { name, dtype, shape } of planned) {
        initializers.push({ name, dtype, shape, bytes: await read(name) });
      }
    } else {
      const external = placeTensors(planned, limits.dataBytes);
      for (const [file, tensors] of external) {
        await writeStreamAtomic(path.join(onnx, file), async (write) => {
          for (const { name } of tensors) await write(await read(name));
        });
        initializers.push(...tensors);
      }
      files = external.size;
    }
    const bytes = encodeModel({ ...graph, initializers });
    await writeFileAtomic(path.join(onnx, 'model.onnx'), bytes);
    await copyCompanions(folder, stage);
    await writeConfig(folder, stage, files);
    await writeFileAtomic(path.join(stage, 'README.md'), card);
  });
  return { tensors: planned.length };
}

type Planned = Omit<ExternalInitializer, 'file' | 'offset'>;

/** Tensors by data file, `model.onnx_data`, `model.onnx_data_1`, ..., as transformers.js asks for them. */
function placeTensors(
  planned: readonly Planned[],
  limit: number,
): Map<string, ExternalInitializer[]> {
  const files = new Map<string, ExternalInitializer[]>();
  let file = '';
  let offset = Infinity;
  for (const tensor of planned) {
    if (offset + tensor.length > limit) {
      file = files.size === 0 ? 'model.onnx_data' : `model.onnx_data_${files.size}`;
      files.set(file, []);
      offset = 0;
    }
    files.get(file)?.push({ ...tensor, file, offset });
    offset += tensor.length;
  }
  return files;
}

/** The base's configuration, with the number of data files where there are some. */
async function writeConfig(folder: string, stage: string, files: number): Promise<void> {
  if (files === 0) return;
  const where = path.join(folder, 'config.json');
  const text = await readText(await resolveInside(folder, 'config.json'), 1024 * 1024);
  const json = asObject(parseStrictJson(text, where, { maxDepth: 32, maxKeys: 10_000 })) ?? {};
  const settings = { ...asObject(json['transformers.js_config']), use_external_data_format: files };
  const config = { ...json, 'transformers.js_config': settings };
  await writeFileAtomic(path.join(stage, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
}
