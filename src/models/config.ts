/** `config.json` of a Hugging Face folder as `DecoderConfig`, and the check of weights against it. */
import path from 'node:path';
import * as z from 'zod';
import { DotaError } from '../protocol/errors';
import { unsupported } from './architectures/architecture';
import { architectureOf, findArchitecture, supportedArchitectures } from './architectures/lookup';
import { isFloatDtype } from './dtype';
import { readText, resolveInside } from './files';
import type { DecoderConfig, WeightSource } from './modelConfig';
import { asObject, parseStrictJson } from './strictJson';

export const configFileName = 'config.json';
const maxConfigBytes = 4 * 1024 * 1024;
const jsonLimits = { maxDepth: 16, maxKeys: 100_000 };

/**
 * Reads and checks `config.json`.
 * @throws DotaError `file.missing`, `file.malformed`, `model.unsupported`, `model.shape`
 */
export async function readModelConfig(folder: string): Promise<DecoderConfig> {
  const file = await resolveInside(folder, configFileName);
  return parseModelConfig(await readText(file, maxConfigBytes), path.join(folder, configFileName));
}

/**
 * @param text contents of a `config.json`
 * @param where file name for messages
 * @throws DotaError `file.malformed`, `model.unsupported`, `model.shape`
 */
export function parseModelConfig(text: string, where: string): DecoderConfig {
  const raw = asObject(parseStrictJson(text, where, jsonLimits));
  if (raw === undefined) {
    throw new DotaError('file.malformed', 'The configuration is not a JSON object.', {
      where,
      next: 'Download config.json again.',
    });
  }
  if ('auto_map' in raw) {
    throw new DotaError('model.unsupported', 'The model brings its own Python code (auto_map).', {
      where,
      next: `Code of a model is never run. Supported families: ${supportedArchitectures()}.`,
    });
  }
  if (raw['quantization_config'] !== undefined && raw['quantization_config'] !== null) {
    throw unsupported('The checkpoint is quantised', 'F32, F16 and BF16 weights', where);
  }
  const modelType = raw['model_type'];
  const architecture = typeof modelType === 'string' ? findArchitecture(modelType) : undefined;
  if (architecture === undefined) {
    const shown = JSON.stringify(modelType ?? null).slice(0, 80);
    throw unsupported(`The model type ${shown} is not supported`, supportedArchitectures(), where);
  }
  const classes = raw['architectures'];
  if (Array.isArray(classes) && classes.length > 0 && !classes.includes(architecture.className)) {
    const shown = JSON.stringify(classes).slice(0, 80);
    throw unsupported(`The model class ${shown} is not supported`, architecture.className, where);
  }
  try {
    return { architecture: architecture.modelType, ...architecture.toConfig(raw, where) };
  } catch (error) {
    if (!(error instanceof z.ZodError)) throw error;
    const problems = error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new DotaError('file.malformed', `${problems.join('; ')}.`, {
      where,
      next: 'Correct these keys, or download config.json again.',
      cause: error,
    });
  }
}

/** Name to shape of every weight that a checkpoint of this configuration holds. */
export function expectedWeights(config: DecoderConfig): ReadonlyMap<string, readonly number[]> {
  return architectureOf(config).weights(config);
}

/** Number of parameters; a tied head counts once. */
export function countParameters(config: DecoderConfig): number {
  let total = 0;
  for (const shape of expectedWeights(config).values()) total += shape.reduce((a, n) => a * n, 1);
  return total;
}

export interface WeightCheck {
  /** Tensors that the model does not use (for example stored RoPE frequencies). */
  unused: readonly string[];
}

/**
 * Compares a checkpoint with its configuration before anything is computed.
 * @param where folder for messages
 * @throws DotaError `model.shape` naming the first tensor that is missing or has another shape,
 *   `model.unsupported` for an integer tensor
 */
export function checkWeights(
  config: DecoderConfig,
  source: WeightSource,
  where: string,
): WeightCheck {
  const expected = expectedWeights(config);
  for (const [name, shape] of expected) {
    const info = source.info(name);
    if (info === undefined) {
      throw new DotaError('model.shape', `The checkpoint has no tensor ${name}.`, {
        where,
        next: 'Check that weights and config.json belong together and that no file is missing.',
      });
    }
    if (info.shape.length !== shape.length || info.shape.some((n, i) => n !== shape[i])) {
      throw new DotaError(
        'model.shape',
        `${name} has shape [${info.shape.join(', ')}], config.json asks for [${shape.join(', ')}].`,
        { where, next: 'Check that weights and config.json belong together.' },
      );
    }
    if (!isFloatDtype(info.dtype)) {
      throw unsupported(`${name} has element type ${info.dtype}`, 'F32, F16, BF16, F64', where);
    }
  }
  return { unused: source.names.filter((name) => !expected.has(name)) };
}
